"""Headers of NRRD and MetaImage files, looked at before ITK reads them: some damaged ones end its process."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Dict, Optional

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


def header_fault_of(path: Path) -> Optional[str]:
    """What is wrong with a header, in words that end a sentence; None where nothing is, or the format is another."""
    name = path.name.lower()
    if nifti.is_nifti(path):
        return nifti.header_fault_of(path)
    if name.endswith((".nrrd", ".nhdr")):
        return _nrrd_fault(_head(path))
    if name.endswith((".mha", ".mhd")):
        return _meta_fault(_head(path)) or _meta_cut(path)
    return None


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_MOST).replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # ITK ends lines at either


def _nrrd_fault(head: bytes) -> Optional[str]:
    """A very long line that is no field runs over a buffer of ITK's."""
    if not head.startswith(b"NRRD"):
        return "it does not begin as NRRD"
    for line in head.split(b"\n\n")[0].split(b"\n")[1:]:
        if line.startswith(b"#") or b":=" in line:
            continue
        if len(line) > _LINE or b":" not in line:
            return f"a line of its header is no field: {line[:40].decode('ascii', 'replace')!r}"
    return None


def _meta_fault(head: bytes) -> Optional[str]:
    """A number of dimensions that is none is used by ITK as it stands, and so is a pattern in a name, by printf."""
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
    return None


def _meta_cut(path: Path) -> Optional[str]:
    """Whether the voxels of a MetaImage end too early: ITK before 5.4 reads, and writes, such files without a word."""
    with open(path, "rb") as stream:
        head = stream.read(_MOST)
    fields, begin = {}, 0
    while b"ElementDataFile" not in fields:
        end = head.find(b"\n", begin)
        if end < 0:
            return None
        key, _, value = head[begin:end].partition(b"=")
        fields[key.strip()], begin = value.strip(), end + 1
    data, needed = fields[b"ElementDataFile"], _meta_needed(fields)
    if needed is None or fields.get(b"BinaryData", b"True").lower() != b"true":  # written as text
        return None
    if data == b"LOCAL":
        length = path.stat().st_size - begin
    else:
        try:
            length = (path.parent / data.decode("utf-8", "replace")).stat().st_size
        except OSError:  # a pattern, or missing: whoever reads it will say so
            return None
    if length < needed:
        return f"it is cut short: its header announces {needed} bytes of voxels, and there are {length}"
    return None


def _meta_needed(fields: Dict[bytes, bytes]) -> Optional[int]:
    """How many bytes the voxels take in the file, or None where the header does not say so plainly."""
    packed = fields.get(b"CompressedDataSize", b"")
    if fields.get(b"CompressedData", b"").lower() == b"true":
        return int(packed) if packed.isdigit() else None
    sides, size = fields.get(b"DimSize", b"").split(), _META_BYTES.get(fields.get(b"ElementType", b"")[4:])
    channels = fields.get(b"ElementNumberOfChannels", b"1")
    if not sides or size is None or not all(number.isdigit() and len(number) < 10 for number in (*sides, channels)):
        return None
    return int(channels) * size * math.prod(int(side) for side in sides)
