"""How much memory a new program may take on this computer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..types import InputError

#: Where nothing is known, as in a Slicer without psutil.
UNKNOWN = 1 << 62
#: By version of cgroups: the folder of the memory controller, its limit, what is taken, and what of that are cached
#: files, which the kernel gives back. https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/memory.html
_CONTROLLERS = {
    2: ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    1: ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return the bytes that a new program may take: the least of free memory and of the limits set on this process.

    Args:
        root: the folder in which ``proc`` and ``sys`` lie.

    Returns:
        The bytes; :data:`UNKNOWN` where nothing can be found out.
    """
    amounts = [_available(), address_space_left(), *_left_in_groups(root)]
    return min([amount for amount in amounts if amount is not None], default=UNKNOWN)


def check_room(announced: int, called: str) -> None:
    """Raise InputError if so many bytes of voxels, and a copy of them, are more than is free.

    Args:
        announced: by a header, before any voxel is read.
        called: what and where, as "fixed image /data/a.nrrd".
    """
    free = free_memory_bytes()
    if 2 * announced > free:
        raise InputError(
            f"The {called} announces {announced / 1e9:.3g} GB of voxels, and {free / 1e9:.3g} GB of memory are free. "
            "Twice the voxels are needed to read them: close other programs, use a computer with more memory, or crop "
            "the image or resample it to larger voxels."
        )


def _available() -> int | None:
    try:
        import psutil
    except ImportError:  # Slicer's own process may lack it
        return None
    return int(psutil.virtual_memory().available)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group around this process (containers, clusters' jobs) that has a limit."""
    for controllers, group in re.findall(r"^\d+:(.*?):(.*)$", _text(root / "proc" / "self" / "cgroup"), re.MULTILINE):
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, limit, taken, cached = _CONTROLLERS[1 if controllers else 2]
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):  # a container may see only the innermost of them
            place = root.joinpath(folder, *parts[:depth])
            most, used = _text(place / limit).strip(), _text(place / taken).strip()
            if most.isdigit() and used.isdigit():
                kept = re.search(rf"^{cached} (\d+)$", _text(place / "memory.stat"), re.MULTILINE)
                yield max(0, int(most) - int(used) + (int(kept.group(1)) if kept else 0))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def address_space_left() -> int | None:
    """Return what is left of the limit on this process's addresses; None without one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            taken = int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        taken = 0
    return max(0, limit - taken)
