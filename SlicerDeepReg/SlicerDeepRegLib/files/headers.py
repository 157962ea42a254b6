"""Check headers of NRRD and MetaImage files before ITK reads them: some damaged ones crash its process."""

from __future__ import annotations

import math
import re
from pathlib import Path

from . import nifti

#: A header is shorter than this; and a field is, while comments and what a program keeps ("key:=value") may be long.
_MOST, _LINE = 1 << 20, 1000
#: A file's name, in it at most one number as printf writes it; control characters are in none.
_NAME = re.compile(rb"[^%\x00-\x1f]*(%0?\d{0,2}d[^%\x00-\x1f]*)?\Z")
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
        head = _head(path)
        return _nrrd_fault(head) or _nrrd_cut(path, head)
    if name.endswith((".mha", ".mhd")):
        return _meta_fault(_head(path)) or _meta_cut(path)
    return None


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_MOST).replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # ITK ends lines at either


def _nrrd_fault(head: bytes) -> str | None:
    """Find very long lines that are not fields: they overrun a buffer in ITK."""
    if not head.startswith(b"NRRD"):
        return "it does not begin like a NRRD file"
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        if not line or line.startswith(b"#") or b":=" in line:  # a .nhdr may end without an empty line
            continue
        if len(line) > _LINE or b":" not in line:
            return f"a line of its header is not a field: {line[:40].decode('ascii', 'replace')!r}"
    return None


def _nrrd_cut(path: Path, head: bytes) -> str | None:
    """Check whether a NRRD announces more voxels than its file can hold: ITK allocates the memory for them first."""
    fields = {}
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and not value.startswith(b"="):
            fields[key.strip().lower().replace(b" ", b"")] = value.strip()
    sides, encoding = fields.get(b"sizes", b"").split(), fields.get(b"encoding", b"").lower()
    length = _length(path, fields.get(b"datafile", b"LOCAL"), 0)
    if length is None or not sides or not all(side.isdigit() and len(side) < 20 for side in sides):
        return None
    kind = fields.get(b"type", b"").lower().replace(b" ", b"")
    size = next((size for word, size in _NRRD_BYTES if word in kind), 1)
    if encoding in (b"text", b"txt", b"ascii"):
        size = 1  # a digit at least
    return _cut(size * math.prod(map(int, sides)), length, _NRRD_PACKS.get(encoding, 1))


def _length(path: Path, data: bytes, begin: int) -> int | None:
    """Return the size in bytes of the data file ``data`` beside the header; None if there is no such file."""
    if data == b"LOCAL":
        return path.stat().st_size - begin
    try:
        return (path.parent / data.decode("utf-8", "replace")).stat().st_size
    except (OSError, ValueError):  # whoever reads it will say so
        return None


def _cut(announced: int, length: int, packs: int = 1) -> str | None:
    """Return the fault if that many bytes, each of which stands for at most ``packs``, are too few."""
    if announced <= length * packs:
        return None
    return f"it is cut short: its header announces {announced} bytes of voxels, and there are {length}"


def _meta_fault(head: bytes) -> str | None:
    """Check what ITK uses unchecked: the number of dimensions, negative sizes, printf patterns in file names."""
    for line in head.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if key.strip() == b"ElementDataFile":  # the voxels follow
            if _NAME.match(value.strip()):
                return None
            return "its header names an invalid data file"
        if key.strip() == b"NDims" and equals:
            text = value.strip()
            if not text.isdigit() or len(text) > 2 or not 1 <= int(text) <= _DIMENSIONS:
                return f"its header has an invalid number of dimensions: {text[:20].decode('ascii', 'replace')!r}"
        if key.strip() == b"DimSize" and equals and not all(side.isdigit() for side in value.split()):
            return f"its header has an invalid size: {value.strip()[:40].decode('ascii', 'replace')!r}"
    return None


def _meta_cut(path: Path) -> str | None:
    """Check whether the voxels of a MetaImage end too early: ITK before 5.4 reads and writes such files silently.

    Of packed ones, whether there can be as many as are announced.
    """
    with open(path, "rb") as stream:
        head = stream.read(_MOST)
    fields, begin = {}, 0
    while b"ElementDataFile" not in fields:
        end = head.find(b"\n", begin)
        if end < 0:
            return None
        key, _, value = head[begin:end].partition(b"=")
        fields[key.strip()], begin = value.strip(), end + 1
    whole, packed = _meta_bytes(fields), fields.get(b"CompressedDataSize", b"")
    length = _length(path, fields[b"ElementDataFile"], begin)
    if length is None or fields.get(b"BinaryData", b"True").lower() != b"true":  # elsewhere, or written as text
        return None
    if fields.get(b"CompressedData", b"").lower() != b"true":
        return _cut(whole, length) if whole is not None else None
    fault = _cut(int(packed), length) if packed.isdigit() else None
    return fault or (_cut(whole, length, _DEFLATE) if whole is not None else None)


def _meta_bytes(fields: dict[bytes, bytes]) -> int | None:
    """Return how many bytes the voxels take in memory, or None if the header does not say so plainly."""
    sides, size = fields.get(b"DimSize", b"").split(), _META_BYTES.get(fields.get(b"ElementType", b"")[4:])
    channels = fields.get(b"ElementNumberOfChannels", b"1")
    if not sides or size is None or not all(number.isdigit() and len(number) < 10 for number in (*sides, channels)):
        return None
    return int(channels) * size * math.prod(int(side) for side in sides)
