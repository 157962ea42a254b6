"""The data files that headers of NRRD and MetaImage name, known before ITK opens any of them.

Formats: https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation. Forms that ITK's
MetaImage reader fills with whatever lies in memory, or crashes on, are faults here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

#: A header is shorter than this.
MOST = 1 << 22
#: More files than any image has.
_FILES = 100_000
#: A name with one number as printf writes it.
_PATTERN = re.compile(rb"[^%]*%0?\d{0,2}d[^%]*")
_INVALID = "its header names an invalid data file"


def head_of(path: Path) -> bytes:
    """Return the beginning of a file."""
    with open(path, "rb") as stream:
        return stream.read(MOST)


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold the voxels of a header, in their order; none if they follow the header itself.

    Raises:
        ValueError: the header names them in a way that cannot be read; the text is the end of a sentence.
    """
    return tuple(path.parent / name for name in _names(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the file itself and the data files that it names, as far as they are there."""
    try:
        return (path, *(file for file in data_files(path) if file.is_file()))
    except (OSError, ValueError):  # whoever reads it will say so
        return (path,)


def stamps_of(path: Path) -> list[tuple[str, int, int]]:
    """Return (path, bytes, time of its last change) of a file and those that its header names, or of a folder's files.

    Raises:
        OSError: one cannot be looked at.
    """
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else files_of(path)
    stats = [(file, file.stat()) for file in dict.fromkeys(files)]
    return [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def outside_of(path: Path) -> Path | None:
    """Return the first data file whose name is absolute, or leads out of the header's folder by ``..`` or a link."""
    try:
        names = _names(path)
    except (OSError, ValueError):  # whoever reads it will say so
        return None
    folder = Path(os.path.realpath(path.parent))
    for name in names:
        file = path.parent / name
        if PureWindowsPath(name).anchor or folder not in Path(os.path.realpath(file)).parents:
            return file
    return None


def _names(path: Path) -> list[str]:
    name = path.name.lower()
    names: Sequence[bytes] = ()
    if name.endswith((".nrrd", ".nhdr")):
        names = _nrrd_names(head_of(path).replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    elif name.endswith((".mha", ".mhd")):
        names = _meta_names(head_of(path))
    if any(not name.strip() or re.search(rb"[\x00-\x1f\x7f]", name) for name in names):
        raise ValueError(_INVALID)
    return [os.fsdecode(name) for name in names]


def meta_fields(head: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return key and value of each field of a MetaImage up to its data file, and where the line after it begins."""
    fields: list[tuple[bytes, bytes]] = []
    begin = 0
    while begin < len(head) and not (fields and fields[-1][0] == b"ElementDataFile"):
        end = head.find(b"\n", begin)
        end = len(head) if end < 0 else end
        key, *value = (part.strip() for part in re.split(rb"[=:]", head[begin:end], maxsplit=1))  # ITK takes either
        fields.append((key, b"".join(value)))
        begin = end + 1
    return fields, begin


def _nrrd_names(head: bytes) -> Sequence[bytes]:
    lines = head.split(b"\n")  # of a list, readers of both formats pass over a last line that does not end
    for number, line in enumerate(lines):
        key, colon, value = line.partition(b":")
        if number and not line:
            return ()
        if not colon or value.startswith(b"=") or key.lower().replace(b" ", b"") != b"datafile":
            continue
        value = value.lstrip()
        if value.startswith(b"LIST"):
            if not re.fullmatch(rb"LIST(\s+\d+)?\s*", value):
                raise ValueError(_INVALID)
            return lines[number + 1 : -1]
        if b"%" in value:
            pattern, numbers = _pattern(value)
            if len(numbers) not in (3, 4):
                raise ValueError(f"{_INVALID}: after a pattern come the least number, the greatest and the step")
            return _numbered(pattern, *numbers[:3])
        return (value,)
    if len(head) == MOST:
        raise ValueError("its header has no end")
    return ()


def _meta_names(head: bytes) -> Sequence[bytes]:
    found, begin = meta_fields(head)
    fields = dict(found)
    value = fields.get(b"ElementDataFile", b"")
    sides = [int(side) for side in fields.get(b"DimSize", b"").split()]
    if value in (b"LOCAL", b"Local", b"local"):
        return ()
    if value.startswith(b"LIST"):
        match = re.fullmatch(rb"LIST(?:\s+(\d)D?)?", value)
        dimensions = int(match.group(1) or len(sides) - 1) if match else 0
        if not 1 <= dimensions < len(sides):
            raise ValueError(f"{_INVALID}: a LIST needs files of fewer dimensions than the image")
        names = [line.rstrip() for line in head[begin:].split(b"\n")[:-1]]
        count = math.prod(sides[dimensions:])
    elif b"%" in value:
        pattern, numbers = _pattern(value)
        count = sides[-1] if sides else 0
        if len(numbers) in (0, 1):
            first = numbers[0] if numbers else 1
            numbers = [first, first + count - 1, 1]
        if len(numbers) != 3 or numbers[2] < 1:  # ITK divides by a step that is left out
            raise ValueError(f"{_INVALID}: after a pattern come the least number, the greatest and the step")
        names = _numbered(pattern, *numbers)
    else:
        return (value,)
    if len(names) != count:  # ITK leaves what it does not find as it is in memory
        raise ValueError(f"its header names {len(names)} data files (each on a line that ends), and needs {count}")
    return names


def _pattern(value: bytes) -> tuple[bytes, list[int]]:
    pattern, *words = value.split()
    if not _PATTERN.fullmatch(pattern) or not all(re.fullmatch(rb"-?\d{1,9}", word) for word in words):
        raise ValueError(_INVALID)
    return pattern, [int(word) for word in words]


def _numbered(pattern: bytes, least: int, greatest: int, step: int) -> list[bytes]:
    numbers = range(least, greatest + (1 if step > 0 else -1), step) if step else ()
    if not 0 < len(numbers) <= _FILES:
        raise ValueError(f"{_INVALID}: its numbers are not a least one, a greatest one and a step")
    return [pattern % number for number in numbers]
