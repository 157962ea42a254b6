"""Files of torch that hold tensors by name; nothing in them is run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..types import InputError

#: From this version on torch's ``weights_only`` is known to run nothing (CVE-2025-32434).
SAFE_TORCH = (2, 6)
#: Where files that hold more than weights keep these, and where what they say about the network.
WEIGHTS, SETTINGS = ("state_dict", "model_state", "model"), ("config",)


def can_read() -> bool:
    """Whether this torch is known to read such files without running what is in them."""
    return tuple(int(n) for n in torch.__version__.split(".")[:2]) >= SAFE_TORCH


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a torch file by name, and what it says about the network beside them.

    Raises:
        InputError: it cannot be read without running code, is cut short, or holds something else.
    """
    if not can_read():
        raise InputError(
            f"{path.name} was not read: PyTorch {torch.__version__} cannot read such files safely. Save the weights as "
            "safetensors, or install PyTorch 2.6 or newer."
        )
    values, settings = _loaded(path), {}
    for key in WEIGHTS:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            for beside in SETTINGS:
                if isinstance(values.get(beside), dict):
                    settings = values[beside]
            values = values[key]
    named = isinstance(values, dict) and values and all(isinstance(name, str) for name in values)
    if not named or not all(isinstance(value, torch.Tensor) for value in values.values()):
        raise InputError(f"{path.name} does not hold tensors by name. Save the network's state_dict.")
    tensors = {name: value.detach() for name, value in values.items()}
    return {name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}, settings


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path.name} was refused: it holds more than tensors, and reading it would run code. Save its state_dict "
            "as safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise InputError(f"{path.name} cannot be read ({error}). It is cut short, or no torch file.") from error
