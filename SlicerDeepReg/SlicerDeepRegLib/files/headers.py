"""Check headers of NRRD and MetaImage files before ITK reads them: some damaged ones crash its process."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from . import nifti
from .detached import data_files, head_of, meta_fields
from .units import unit_named

#: A field is shorter than this, while comments and what a program keeps ("key:=value") may be long.
_LINE = 1000
#: More dimensions than any image has.
_DIMENSIONS = 10
#: Bytes of a voxel by MetaImage's name for its type.
_META_BYTES = {b"CHAR": 1, b"SHORT": 2, b"INT": 4, b"LONG_LONG": 8, b"FLOAT": 4, b"DOUBLE": 8}
_META_BYTES.update({b"U" + name: size for name, size in list(_META_BYTES.items())[:4]})
#: Bytes of a voxel by the first of these words that occurs in NRRD's name of its type; other types have one byte.
_NRRD_BYTES = (
    (b"8", 1),
    (b"double", 8),
    (b"longlong", 8),
    (b"64", 8),
    (b"float", 4),
    (b"short", 2),
    (b"16", 2),
    (b"int", 4),
)
#: How many bytes a byte of the file can stand for at most: of what deflate packs a thousandth is left at best.
_DEFLATE = 1100
_NRRD_PACKS = {b"gzip": _DEFLATE, b"gz": _DEFLATE, b"bzip2": 100_000, b"bz2": 100_000}


def header_fault_of(path: Path) -> str | None:
    """Say what is wrong with a NRRD or MetaImage header, as the end of a sentence; None if nothing is."""
    name = path.name.lower()
    if nifti.is_nifti(path):
        return nifti.header_fault_of(path)
    if name.endswith((".nrrd", ".nhdr")):
        head = _nrrd_head(path)
        return _nrrd_fault(head) or _data_fault(path) or _nrrd_cut(path, head)
    if name.endswith((".mha", ".mhd")):
        return _meta_fault(head_of(path)) or _data_fault(path) or _meta_cut(path)
    return None


def _data_fault(path: Path) -> str | None:
    """Check that the data files that the header names are there."""
    try:
        missing = [file for file in data_files(path) if not file.is_file()]
    except ValueError as error:
        return str(error)
    return f"its header names the data file {missing[0]}, which does not exist" if missing else None


def _nrrd_fault(head: bytes) -> str | None:
    """Find very long lines that are not fields: they overrun a buffer in ITK."""
    if not head.startswith(b"NRRD"):
        return "it does not begin like a NRRD file"
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        if not line or line.startswith(b"#") or b":=" in line:  # a .nhdr may end without an empty line
            continue
        if len(line) > _LINE or b":" not in line:
            return f"a line of its header is not a field: {line[:40].decode('ascii', 'replace')!r}"
        if line.lower().replace(b" ", b"").startswith(b"datafile:list"):  # names follow
            break
    return None


def _nrrd_cut(path: Path, head: bytes) -> str | None:
    """Check whether a NRRD announces more voxels than its file can hold: ITK allocates the memory for them first."""
    fields = _nrrd_fields(head)
    sides, encoding = fields.get(b"sizes", b"").split(), fields.get(b"encoding", b"").lower()
    length = sum(_lengths(path, 0))
    if not sides or not all(side.isdigit() and len(side) < 20 for side in sides):
        return None
    kind = fields.get(b"type", b"").lower().replace(b" ", b"")
    size = next((size for word, size in _NRRD_BYTES if word in kind), 1)
    if encoding in (b"text", b"txt", b"ascii"):
        size = 1  # a digit at least
    return _cut(size * math.prod(map(int, sides)), length, _NRRD_PACKS.get(encoding, 1))


def _nrrd_fields(head: bytes) -> dict[bytes, bytes]:
    fields = {}
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and not value.startswith(b"="):
            fields[key.strip().lower().replace(b" ", b"")] = value.strip()
    return fields


def unit_of(path: Path) -> str:
    """Return the unit that a NRRD gives its geometry in, a key of ``UNITS_MM``; "mm" for other files.

    Raises:
        ValueError: it names several, or one that is no length.
    """
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return "mm"
    named = re.findall(rb'"([^"]*)"', _nrrd_fields(_nrrd_head(path)).get(b"spaceunits", b""))
    return unit_named([_text(unit) for unit in named[:3]])  # the fourth of a series is time


def _text(data: bytes) -> str:
    """Return what a header says; older programs write Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _nrrd_head(path: Path) -> bytes:
    return head_of(path).replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # ITK ends lines at either


def _lengths(path: Path, begin: int) -> Sequence[int]:
    """Return the bytes of voxels in each data file; of the file itself, those from ``begin`` on."""
    return [file.stat().st_size for file in data_files(path)] or [path.stat().st_size - begin]


def _cut(announced: int, length: int, packs: int = 1) -> str | None:
    """Return the fault if that many bytes, each of which stands for at most ``packs``, are too few."""
    if announced <= length * packs:
        return None
    return f"it is cut short: its header announces {announced} bytes of voxels, and there are {length}"


def _meta_fault(head: bytes) -> str | None:
    """Check what ITK uses unchecked: the number of dimensions, negative sizes, printf patterns in file names."""
    for key, value in meta_fields(head)[0]:
        if key == b"NDims" and (not value.isdigit() or len(value) > 2 or not 1 <= int(value) <= _DIMENSIONS):
            return f"its header has an invalid number of dimensions: {value[:20].decode('ascii', 'replace')!r}"
        if key == b"DimSize" and not all(side.isdigit() for side in value.split()):
            return f"its header has an invalid size: {value[:40].decode('ascii', 'replace')!r}"
    return None


def _meta_cut(path: Path) -> str | None:
    """Check whether the voxels of a MetaImage end too early: ITK before 5.4 reads and writes such files silently.

    Of packed ones, whether there can be as many as are announced.
    """
    found, begin = meta_fields(head_of(path))
    fields = dict(found)
    whole, packed, lengths = _meta_bytes(fields), fields.get(b"CompressedDataSize", b""), _lengths(path, begin)
    if fields.get(b"BinaryData", b"True").lower() != b"true":  # written as text
        return None
    if fields.get(b"CompressedData", b"").lower() != b"true":
        return _cut(whole, min(lengths) * len(lengths)) if whole is not None else None
    if len(lengths) > 1:
        return "its voxels are packed in several files, and ITK would not report a damaged one"
    fault = _cut(int(packed), lengths[0]) if packed.isdigit() else None
    return fault or (_cut(whole, sum(lengths), _DEFLATE) if whole is not None else None)


def _meta_bytes(fields: dict[bytes, bytes]) -> int | None:
    """Return how many bytes the voxels take in memory, or None if the header does not say so plainly."""
    sides, size = fields.get(b"DimSize", b"").split(), _META_BYTES.get(fields.get(b"ElementType", b"")[4:])
    channels = fields.get(b"ElementNumberOfChannels", b"1")
    if not sides or size is None or not all(number.isdigit() and len(number) < 10 for number in (*sides, channels)):
        return None
    return int(channels) * size * math.prod(int(side) for side in sides)
