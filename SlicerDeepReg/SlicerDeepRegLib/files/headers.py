"""Headers of NRRD and MetaImage files, looked at before ITK reads them: some damaged ones end its process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from . import nifti

#: A header is shorter than this; and a field is, while comments and what a program keeps ("key:=value") may be long.
_MOST, _LINE = 1 << 20, 1000
#: A file's name, in it at most one number as printf writes it; control characters are in none.
_NAME = re.compile(rb"[^%\x00-\x1f]*(%0?\d{0,2}d[^%\x00-\x1f]*)?\Z")
#: More dimensions than any image has.
_DIMENSIONS = 10


def header_fault_of(path: Path) -> Optional[str]:
    """What is wrong with a header, in words that end a sentence; None where nothing is, or the format is another."""
    name = path.name.lower()
    if nifti.is_nifti(path):
        return nifti.header_fault_of(path)
    if name.endswith((".nrrd", ".nhdr")):
        return _nrrd_fault(_head(path))
    return _meta_fault(_head(path)) if name.endswith((".mha", ".mhd")) else None


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
