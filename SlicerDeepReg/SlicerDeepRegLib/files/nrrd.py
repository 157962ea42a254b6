"""The header of an NRRD file, looked at before ITK reads it: a very long line that is no field ends ITK's process."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

#: A header is shorter than this, and its lines (but for what a program keeps there, "key:=value") are, too.
_MOST, _LINE = 1 << 20, 1000


def header_fault_of(path: Path) -> Optional[str]:
    """What is wrong with the header of a .nrrd or .nhdr, in words that end a sentence, or None."""
    with open(path, "rb") as stream:
        head = stream.read(_MOST)
    if not head.startswith(b"NRRD"):
        return "it does not begin as NRRD"
    for line in head.replace(b"\r\n", b"\n").split(b"\n\n")[0].split(b"\n")[1:]:
        if line.startswith(b"#") and len(line) <= _LINE or b":=" in line:
            continue
        if len(line) > _LINE or b":" not in line:
            return f"a line of its header is no field: {line[:40].decode('ascii', 'replace')!r}"
    return None


def is_nrrd(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith((".nrrd", ".nhdr"))
