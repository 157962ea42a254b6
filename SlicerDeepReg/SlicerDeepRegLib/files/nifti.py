"""The header of a NIfTI file, checked before ITK reads it: a damaged one can crash ITK's process, or be read as zeros.

NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes), in either byte order: https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np

#: Nothing lies so far away.
_FAR_MM = 1e9
#: Enough for either header.
_HEAD = 544
#: Bytes of a voxel by the header's code for its type.
_BYTES = {1: 1 / 8, 2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4}
_BYTES.update({1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4})
#: Of these the types that can hold NaN and infinity, one number to a voxel.
_FLOATS = {16: "f4", 64: "f8"}
#: Where the two kinds keep what is needed: size of the header, magic and its place, dimensions, type, voxels' offset.
_KINDS = (
    (348, b"n+1\0", 344, (40, "8h"), (70, "h"), (108, "f")),
    (540, b"n+2\0", 4, (16, "8q"), (12, "h"), (168, "q")),
)


def fault_of(path: Path) -> str | None:
    """Say what is wrong with a .nii or .nii.gz, as the end of a sentence; None if nothing is.

    A .gz is read to its checksum, so that one that is cut short is found.
    """
    try:
        with _opened(path) as stream:
            head = stream.read(_HEAD)
            needed, fault = _needed(head)
            if fault:
                return fault
            length = len(head) + _rest(stream) if _is_packed(path) else path.stat().st_size
    except (EOFError, OSError, zlib.error) as error:
        return f"it is damaged or cut short ({error})"
    if length < needed:
        return f"it is cut short: its header announces {needed} bytes, and it has {length}"
    return None


def header_fault_of(path: Path) -> str | None:
    """Say what is wrong with the header alone, which takes no time."""
    try:
        with _opened(path) as stream:
            return _needed(stream.read(_HEAD))[1]
    except (EOFError, OSError, zlib.error) as error:
        return f"it is damaged or cut short ({error})"


def gaps_of(path: Path) -> np.ndarray | None:
    """Return which voxels of a valid file are NaN or infinite, flat bool in the order of the file; None if none is.

    ITK's reader of NIfTI silently takes them for 0.
    """
    with _opened(path) as stream:
        head = stream.read(_HEAD)
        for size, _, _, _, kind, offset in _KINDS:
            for order in "<>":
                if struct.unpack_from(order + "i", head, 0)[0] != size:
                    continue
                code = struct.unpack_from(order + kind[1], head, kind[0])[0]
                if code not in _FLOATS:
                    return None
                start = max(int(struct.unpack_from(order + offset[1], head, offset[0])[0]), size)
                rest = (head + stream.read())[start : _needed(head)[0]]
                gaps: np.ndarray = ~np.isfinite(np.frombuffer(rest, order + _FLOATS[code]))
                return gaps if gaps.any() else None
    return None


def is_nifti(path: Path) -> bool:
    """Return whether the file's name is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if _is_packed(path) else open(path, "rb")


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _rest(stream: BufferedIOBase) -> int:
    length = 0
    while True:
        block = stream.read(1 << 22)
        if not block:
            return length
        length += len(block)


def _needed(head: bytes) -> tuple[int, str | None]:
    """Return how many bytes the whole file must have, and what is wrong with its header."""
    for size, magic, magic_at, dims, kind, offset in _KINDS:
        for order in "<>":
            if len(head) >= size and struct.unpack_from(order + "i", head, 0)[0] == size:
                if head[magic_at : magic_at + 4] != magic:
                    return 0, "its header does not say that it is NIfTI (an old Analyze file, or damaged)"
                count, *sides = struct.unpack_from(order + dims[1], head, dims[0])
                code = struct.unpack_from(order + kind[1], head, kind[0])[0]
                start = struct.unpack_from(order + offset[1], head, offset[0])[0]
                if size == 348 and _place_fault(head, order, min(count, 3)):
                    return 0, "its header does not say where its voxels lie: its numbers are not finite, or too large"
                return _bytes(count, sides, code, start, size)
    return 0, "it does not begin with a NIfTI header"


def _place_fault(head: bytes, order: str, sides: int) -> bool:
    """Check whether the voxels' geometry has non-finite numbers: ITK would search for a rotation forever."""
    quaternion, rows = struct.unpack_from(order + "2h", head, 252)
    numbers = list(struct.unpack_from(order + "8f", head, 76)[1 : max(0, sides) + 1])  # the voxels' sides
    numbers += struct.unpack_from(order + "6f", head, 256) if quaternion > 0 else ()
    numbers += struct.unpack_from(order + "12f", head, 280) if rows > 0 else ()
    return not all(abs(number) < _FAR_MM for number in numbers)


def _bytes(count: int, sides: Sequence[int], code: int, start: float, size: int) -> tuple[int, str | None]:
    # Writers leave 0 in the dimensions after the third; readers take it for 1.
    sides = [*sides[:3], *(side or 1 for side in sides[3:])]
    if not 1 <= count <= 7 or any(side < 1 for side in sides[:count]):
        return 0, f"its header has an invalid size ({count} dimensions of {', '.join(map(str, sides[:4]))}, ...)"
    if code not in _BYTES:
        return 0, f"its header names a voxel type that NIfTI does not have ({code})"
    if not np.isfinite(start) or not 0 <= start < 2**40:
        return 0, "its header does not say where its voxels begin"
    voxels = 1
    for side in sides[:count]:
        voxels *= int(side)
    return max(int(start), size) + int(voxels * _BYTES[code]), None
