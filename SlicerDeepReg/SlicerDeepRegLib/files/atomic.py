"""Write all or nothing: into a private folder beside the target first, then rename.

A process that fails, is killed or meets a full disk leaves what was there before, and never half of something new.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..processes.folders import PrivateFolder, private_folder, restore
from ..types import InputError

#: How the names of the private folders begin; those that a killed process left are removed by the next writer.
UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def whole_files(folder: Path, last: str | None = None) -> Iterator[Path]:
    """Yield a private folder; when the block ends, its files replace those of the same names in ``folder``.

    If the block fails, nothing in ``folder`` has changed.

    Args:
        folder: where the files belong; it exists.
        last: the name of the file to put there after the others, because it says that they are complete.

    Raises:
        OSError: a private folder cannot be made in ``folder``, or a file cannot take its place there.
    """
    with private_folder(UNFINISHED, folder) as private:
        yield private
        files = sorted(private.iterdir(), key=lambda path: (path.name == last, path.name))
        if len(files) == 1:
            os.replace(files[0], folder / files[0].name)
        elif files:
            with private_folder(UNFINISHED, folder) as aside:
                _replace(files, folder, aside, last)


def _replace(files: Sequence[Path], folder: Path, aside: Path, last: str | None) -> None:
    """Put files in the place of those of their names; where one cannot be, all are as they were.

    Without ``last`` there is nothing whole, so the old one goes first: whoever ends this process leaves no mixture that
    looks like a result.
    """
    for file in files:
        if (folder / file.name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / file.name))
    placed, kept = [], []
    try:
        for file in files:
            if os.path.lexists(folder / file.name):
                _keep(folder / file.name, aside / file.name)
                kept.append(file.name)
        if last in kept:
            (folder / str(last)).unlink(missing_ok=True)
        for file in files:
            os.replace(file, folder / file.name)
            placed.append(file.name)
    except BaseException:
        for name in set(placed) - set(kept):
            (folder / name).unlink(missing_ok=True)
        for name in kept:
            os.replace(aside / name, folder / name)
        raise


def _keep(file: Path, aside: Path) -> None:
    """Keep a file under another name, too; where a disk cannot do that, under that name alone."""
    try:
        os.link(file, aside, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.replace(file, aside)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a private path of the same name; when the block ends, the file written there replaces ``path``.

    Raises:
        OSError: see :func:`whole_files`.
    """
    with whole_files(path.parent) as folder:
        yield folder / path.name


@contextlib.contextmanager
def whole_folder(path: Path, set_aside: str) -> Iterator[Path]:
    """Yield a private folder; when the block ends, it becomes ``path``, in place of a folder of that name.

    If that fails, the old folder is back at once; if the process is killed in between, ``folders.restore`` brings it
    back.

    Args:
        path: the folder to write or replace.
        set_aside: how the name of the private folder begins that holds the old one in the meantime; give the same to
            ``folders.restore``.

    Raises:
        OSError: the folders cannot be made or renamed.
    """
    with private_folder(UNFINISHED, path.parent) as private:
        yield private
        _swap(private, path, set_aside)


def _swap(new: Path, path: Path, set_aside: str) -> None:
    restore(set_aside, path.parent)
    # Without sweeping: such a folder of a killed process may hold the only copy of what was there.
    folder = PrivateFolder(set_aside, path.parent, sweeping=False)
    old = folder.path / path.name
    try:
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        folder.remove()


@contextlib.contextmanager
def writing(
    what: str,
    target: Path,
    remedy: str = "Free some space, or choose another folder.",
    also: tuple[type[Exception], ...] = (),
    error_type: type[InputError] = InputError,
) -> Iterator[None]:
    """Turn a failure to write into an error that says what could not be written where, why, and what to do.

    Args:
        what: is written, as the beginning of a sentence: "The model".
        target: the folder or file.
        remedy: what the user can do.
        also: errors besides OSError by which a library says that the disk failed.
        error_type: of the error to raise.

    Raises:
        InputError: of the type asked for, in place of OSError and the errors of ``also``.
    """
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as error:
        raise error_type(f"{what} could not be written to {target} ({reason(error)}). {remedy}") from error


def reason(error: BaseException) -> str:
    """Return why something failed in a few words: the system's own, or the first line of the library's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_name(text: str) -> None:
    """Raise InputError for a name that is not UTF-8: ITK ends the process for one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "replace").decode("utf-8")
        raise InputError(f"The name {shown} is not valid UTF-8, as of another system. Rename the file.") from None
