"""Headers of NRRD and MetaImage files, looked at before ITK reads them: some damaged ones end its process."""

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
#: Bytes of a voxel by a word that is in NRRD's names for its type, the first that is; the others have one.
_NRRD_BYTES = ((b"8", 1), (b"double", 8), (b"longlong", 8), (b"64", 8), (b"float", 4), (b"short", 2), (b"16", 2))
_NRRD_BYTES += ((b"int", 4),)
#: How many bytes a byte of the file can stand for at most: of what deflate packs a thousandth is left at best.
_DEFLATE = 1100
_NRRD_PACKS = {b"gzip": _DEFLATE, b"gz": _DEFLATE, b"bzip2": 100_000, b"bz2": 100_000}


def header_fault_of(path: Path) -> str | None:
    """What is wrong with a header, in words that end a sentence; None where nothing is, or the format is another."""
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
    """A very long line that is no field runs over a buffer of ITK's."""
    if not head.startswith(b"NRRD"):
        return "it does not begin as NRRD"
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        if not line or line.startswith(b"#") or b":=" in line:  # a .nhdr may end without an empty line
            continue
        if len(line) > _LINE or b":" not in line:
            return f"a line of its header is no field: {line[:40].decode('ascii', 'replace')!r}"
    return None


def _nrrd_cut(path: Path, head: bytes) -> str | None:
    """Whether a NRRD announces more voxels than its file can hold: ITK takes the memory for them first."""
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
    """Bytes of the voxels' file, named ``data`` beside the header; None where there is none of that name."""
    if data == b"LOCAL":
        return path.stat().st_size - begin
    try:
        return (path.parent / data.decode("utf-8", "replace")).stat().st_size
    except (OSError, ValueError):  # whoever reads it will say so
        return None


def _cut(announced: int, length: int, packs: int = 1) -> str | None:
    """The fault where so many bytes, each of which stands for ``packs`` at most, are too few."""
    if announced <= length * packs:
        return None
    return f"it is cut short: its header announces {announced} bytes of voxels, and there are {length}"


def _meta_fault(head: bytes) -> str | None:
    """What ITK uses as it stands: no number of dimensions, a negative size, a pattern in a name (by printf)."""
    for line in head.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if key.strip() == b"ElementDataFile":  # the voxels follow
            if _NAME.match(value.strip()):
                return None
            return "the name of its file of voxels is none"
        if key.strip() == b"NDims" and equals:
            text = value.strip()
            if not text.isdigit() or len(text) > 2 or not 1 <= int(text) <= _DIMENSIONS:
                return f"its header has no sensible number of dimensions: {text[:20].decode('ascii', 'replace')!r}"
        if key.strip() == b"DimSize" and equals and not all(side.isdigit() for side in value.split()):
            return f"its header has no sensible size: {value.strip()[:40].decode('ascii', 'replace')!r}"
    return None


def _meta_cut(path: Path) -> str | None:
    """Whether the voxels of a MetaImage end too early: ITK before 5.4 reads, and writes, such files without a word.

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
    """How many bytes the voxels take in memory, or None where the header does not say so plainly."""
    sides, size = fields.get(b"DimSize", b"").split(), _META_BYTES.get(fields.get(b"ElementType", b"")[4:])
    channels = fields.get(b"ElementNumberOfChannels", b"1")
    if not sides or size is None or not all(number.isdigit() and len(number) < 10 for number in (*sides, channels)):
        return None
    return int(channels) * size * math.prod(int(side) for side in sides)
