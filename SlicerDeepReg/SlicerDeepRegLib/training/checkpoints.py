"""The state of a training on disk: whole or not at all, tensors and numbers and nothing that could run."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch

from ..files.atomic import whole_file, writing
from ..models.torch_files import read_torch_file
from ..types import InputError

CHECKPOINT_FILE = "checkpoint.pt"
LOCK_FILE = ".in-use"


def write_checkpoint(state: dict[str, Any], folder: Path, final_step: int | None) -> None:
    """Replace the checkpoint of the folder; the one before stays when that fails.

    Raises:
        InputError: the disk is full or cannot be written to.
    """
    kept = "There is none before it." if final_step is None else f"The one of step {final_step} is still there."
    remedy = f"{kept} Free some space, then go on with --resume."
    # torch wraps what the disk said in a RuntimeError.
    with writing("The checkpoint", folder, remedy, also=(RuntimeError,)):
        with whole_file(folder / CHECKPOINT_FILE) as private, open(private, "wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state that was written last, or None.

    Raises:
        InputError: see ``read_torch_file``.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        return read_torch_file(path)
    except InputError as error:
        raise InputError(
            f"The checkpoint in {folder} cannot be used: {error} Or start anew in another folder."
        ) from error


class Lock:
    """Keeps a folder for one training; the system lets go of it when the process ends, however it ends.

    On a disk that knows no locks there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.stream = open(folder / LOCK_FILE, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the lock
        if hasattr(os, "register_at_fork"):  # a reader of images must not hold it when its training was killed
            os.register_at_fork(after_in_child=self.stream.close)
        try:
            if os.name == "nt":
                import msvcrt

                self.stream.seek(0)
                msvcrt.locking(self.stream.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return
            self.stream.close()
            raise InputError(
                f"Another training is at work in {folder}. Wait for it, stop it, or give another --output."
            ) from error

    def release(self) -> None:
        self.stream.close()
