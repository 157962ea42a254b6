"""Compress quickly: with Intel's ISA-L where the package isal is installed, else with zlib.

Both write the format that every reader of it knows, in about the same number of bytes; ISA-L several times as fast.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from pathlib import Path

try:
    from isal import igzip, isal_zlib
except ImportError:  # the extra "fast" is not installed
    igzip = isal_zlib = None

#: More saves little and takes several times as long; the levels of the two are about alike.
LEVEL = 1


def deflated(data: bytes) -> bytes:
    """Return bytes as zlib's format has them, as of HDF5's filter "deflate"."""
    packed: bytes = (zlib if isal_zlib is None else isal_zlib).compress(data, LEVEL)
    return packed


def gzipped(data: bytes) -> bytes:
    """Return bytes as a gzip file has them, without a date."""
    packed: bytes = gzip.compress(data, LEVEL, mtime=0) if igzip is None else igzip.compress(data, LEVEL, mtime=0)
    return packed


def gzip_file(path: Path, packed: Path) -> None:
    """Write a file as a gzip file, without a name or a date in it, and remove it.

    Raises:
        OSError: the disk is full, or one of them cannot be read or written.
    """
    with open(path, "rb") as source, open(packed, "wb") as target:
        opened = (gzip.GzipFile if igzip is None else igzip.IGzipFile)("", "wb", LEVEL, target, 0)
        with opened as stream:
            shutil.copyfileobj(source, stream, 1 << 20)
    path.unlink()
