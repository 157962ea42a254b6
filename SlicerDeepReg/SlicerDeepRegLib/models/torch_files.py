"""Files of torch that hold tensors by name; nothing in them is run."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files.atomic import reason
from ..files.model_bytes import kind
from ..processes.memory import free_memory_bytes
from ..types import InputError

#: From this version on torch's ``weights_only`` is known to run nothing (CVE-2025-32434).
SAFE_TORCH = (2, 6)
#: Where files that hold more than weights keep these, and where what they say about the network.
WEIGHTS, SETTINGS = ("state_dict", "model_state", "model"), ("config",)
#: How often arrays may name the same numbers of a file (networks share some): more is a file made to fill the memory.
SHARED = 4
#: What torch says of a file that names other classes or functions than those of tensors.
_MORE_THAN_TENSORS = ("was not an allowed global", "is blocked", "unsupported class", "Can only create new object")


def can_read() -> bool:
    """Whether this torch is known to read such files without running what is in them."""
    return tuple(int(n) for n in torch.__version__.split(".")[:2]) >= SAFE_TORCH


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a torch file by name, and what it says about the network beside them.

    Raises:
        InputError: see ``read_torch_file``; or it holds something else than tensors by name.
    """
    values, settings = read_torch_file(path), {}
    for key in WEIGHTS:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            for beside in SETTINGS:
                if isinstance(values.get(beside), dict):
                    settings = values[beside]
            values = values[key]
    named = isinstance(values, dict) and values and all(isinstance(name, str) for name in values)
    if not named or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise InputError(f"{path.name} does not hold tensors by name. Save the network's state_dict.")
    try:
        if sum(value.numel() * value.element_size() for value in values.values()) > SHARED * path.stat().st_size:
            raise InputError(f"{path.name}: its tensors would be larger than the file. Download or copy it again.")
        tensors = {name: value.detach() for name, value in values.items()}
        return {name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}, settings
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantized, without numbers
        raise InputError(
            f"{path.name} holds tensors that are not plain arrays ({reason(error)}). Save the network's state_dict in "
            "float32."
        ) from error


def read_torch_file(path: Path) -> Any:
    """Return what a torch file holds, on the CPU: tensors, numbers, text and containers of them.

    Every torch file is read here.

    Raises:
        InputError: it cannot be read without running code, is damaged or cut short, is no torch file, or needs more
            memory than is free.
    """
    if not can_read():
        raise InputError(
            f"{path.name} was not read: PyTorch {torch.__version__} cannot read such files safely. Upgrade to PyTorch "
            "2.6 or newer, or convert the file to safetensors elsewhere."
        )
    found = kind(path)
    if found == "safetensors":
        raise InputError(f"{path.name} is a safetensors file. Give it a name that ends in .safetensors.")
    needed = path.stat().st_size * (1 if found == "zip" else 2)
    if needed > free_memory_bytes():
        raise InputError(f"{path.name} needs {needed / 1e9:.1f} GB of memory, more than is free. Close other programs.")
    try:
        if found == "zip":
            _check_archive(path)
        # Before 1.6 lengths are of the file's own saying: of bytes in memory no more is read than there is.
        source = path if found == "zip" else io.BytesIO(path.read_bytes())
        return torch.load(source, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch has no common error for a damaged file
        if isinstance(error, pickle.UnpicklingError) and any(text in str(error) for text in _MORE_THAN_TENSORS):
            raise InputError(
                f"{path.name} was refused: it holds more than tensors, and reading it would run code. Save its "
                "state_dict as safetensors."
            ) from error
        raise InputError(
            f"{path.name} cannot be read ({_why(error)}). It is damaged or cut short, or no torch file. Download or "
            "copy it again."
        ) from error


def _why(error: Exception) -> str:
    """Return what torch found, without its advice to run what is in the file."""
    return "its list of tensors is not valid" if isinstance(error, pickle.UnpicklingError) else reason(error)


def _check_archive(path: Path) -> None:
    """Check the entries of a zip archive before torch, which compares no checksums and unpacks what is said.

    Raises:
        InputError: it is none of tensors.
        ValueError, zipfile.BadZipFile: it is damaged, or would be larger when unpacked than the file.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename.rpartition("/")[2] for entry in entries}
        if "data.pkl" not in names:
            raise InputError(
                f"{path.name} is a zip archive without tensors of PyTorch. Unpack it, and give the file in it."
            )
        if "constants.pkl" in names:
            raise InputError(
                f"{path.name} is a TorchScript program, which is not run here. Save the network's state_dict."
            )
        # torch never compresses, so that what is unpacked is no larger than the file.
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries would be larger than the file")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} differs")
