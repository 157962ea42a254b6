"""Which device torch computes on, and what it has free."""

from __future__ import annotations

from typing import Optional

import torch

from .contracts import InputError


def choose(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: the named device is not there.
    """
    cuda = torch.cuda.is_available()
    mps = hasattr(torch.backends, "mps") and torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name == "cuda" and not cuda:
        reason = "torch was installed without CUDA" if torch.version.cuda is None else "no NVIDIA GPU was found"
        raise InputError(f"There is no CUDA device here: {reason}. Use --device auto or cpu.")
    if name == "mps" and not mps:
        raise InputError("There is no Apple GPU (MPS) here. Use --device auto or cpu.")
    return torch.device(name)


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return {"mps": "Apple GPU (MPS)"}.get(device.type, "CPU")


def free_bytes(device: torch.device) -> Optional[int]:
    """Free memory of a CUDA device; None where the device shares the computer's memory."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def use_threads(count: object) -> None:
    """Compute on so many threads of the CPU: sums are the same only when split alike. Anything else is left."""
    if isinstance(count, int) and 0 < count <= 1024:
        torch.set_num_threads(count)
