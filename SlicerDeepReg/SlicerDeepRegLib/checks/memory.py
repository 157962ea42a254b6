"""How much memory a new program may take on this computer."""

from __future__ import annotations

import ctypes
import os
import sys


def free_memory_bytes() -> int:
    """Return the bytes that a new program may take: the least of free memory and of the limits set on this process."""
    amounts = [_windows_available() if sys.platform == "win32" else _meminfo_available(), address_space_left()]
    known = [amount for amount in amounts if amount is not None]
    return min(known) if known else 1 << 62


def _meminfo_available() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        *[(name, ctypes.c_uint32) for name in ("length", "load")],
        *[(name, ctypes.c_uint64) for name in ("total", "available", "total_page", "available_page")],
        *[(name, ctypes.c_uint64) for name in ("total_virtual", "available_virtual", "available_extended")],
    ]


def _windows_available() -> int | None:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(status)
    windows = ctypes.windll.kernel32  # type: ignore[attr-defined]  # known to the stubs on Windows only
    if not windows.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(min(status.available, status.available_page))  # what may be promised, with the page file


def address_space_left() -> int | None:
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
