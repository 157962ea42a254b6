"""Private folders for unfinished work, removed at the end, or by the next user if their owner was killed.

A process owns a folder as long as it holds the system's lock on it, which ends with the process, however that ends.
Before a new folder is made, those of the same kind without an owner are removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: Windows has no locks on folders; there a folder not touched for so long has no owner.
FORGOTTEN_S = 2 * 86400.0
LOCKS = os.name == "posix"
#: The end of their names, after random characters: a user's folder with the same beginning is never mistaken for one.
_SUFFIX = ".private"
_MADE = re.compile(r"[a-z0-9_]{8}" + re.escape(_SUFFIX))


class PrivateFolder:
    """A folder that only this user may read, with an unpredictable name.

    Args:
        prefix: how its name begins.
        parent: where; the system's temporary folder when left out.
        sweeping: whether folders of that prefix beside it that have lost their owner are removed first.

    Attributes:
        path: of the folder, absolute if ``parent`` is.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, prefix: str, parent: str | os.PathLike[str] | None = None, sweeping: bool = True) -> None:
        parent = Path(tempfile.gettempdir() if parent is None else parent)
        if sweeping:
            sweep(prefix, parent)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=parent))
            try:
                self._owned = own(self.path)
            except BlockingIOError:  # another process took it for ownerless and is removing it
                continue
            if self.path.is_dir():  # else it has been removed already
                return
            self._disown()

    def remove(self) -> None:
        """Remove the folder with all that is in it. Safe to call again and again, and once it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._disown()

    def _disown(self) -> None:
        handle, self._owned = self._owned, None
        disown(handle)


@contextlib.contextmanager
def private_folder(prefix: str, parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yield the path of a :class:`PrivateFolder`, removed when the block ends, however it ends."""
    folder = PrivateFolder(prefix, parent)
    try:
        yield folder.path
    finally:
        folder.remove()


def sweep(prefix: str, parent: Path) -> None:
    """Remove the private folders in ``parent`` whose names begin so and whose owner is gone."""
    for path in _made(prefix, parent):
        _remove_if_ownerless(path)


def restore(prefix: str, parent: Path) -> None:
    """Put back what a process had set aside in such a folder when it was killed before replacing it.

    If something of that name exists in ``parent`` by now, that stays, and what was set aside is removed.
    """
    for path in _made(prefix, parent):
        if not LOCKS and not _is_forgotten(path):
            continue
        handle = None
        with contextlib.suppress(OSError):
            handle = own(path)
            if handle is None and LOCKS:
                continue
            for kept in path.iterdir():
                if not (parent / kept.name).exists():
                    os.replace(kept, parent / kept.name)
            shutil.rmtree(path, ignore_errors=True)
        disown(handle)


def _made(prefix: str, parent: Path) -> list[Path]:
    """Return the folders in ``parent`` that have such a name with that prefix; no links."""
    try:
        paths = list(parent.iterdir())
    except OSError:
        return []
    named = [path for path in paths if path.name.startswith(prefix) and _MADE.fullmatch(path.name[len(prefix) :])]
    return [path for path in named if path.is_dir() and not path.is_symlink()]


def _remove_if_ownerless(path: Path) -> None:
    if not LOCKS:
        if _is_forgotten(path):
            shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(BlockingIOError):  # it has an owner
        handle = own(path)
        if handle is not None:
            shutil.rmtree(path, ignore_errors=True)
            disown(handle)


def _is_forgotten(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > FORGOTTEN_S
    return False


def disown(handle: int | None) -> None:
    """End what :func:`own` began."""
    if handle is not None:
        os.close(handle)


def own(path: Path) -> int | None:
    """Return an open handle that locks the folder; None if it is gone, or its disk has no locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    if not LOCKS:
        return None
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None  # a disk without locks: then only its owner removes it
    return handle
