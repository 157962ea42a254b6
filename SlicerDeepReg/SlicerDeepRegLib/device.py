"""Which device torch computes on, and what it has free."""

from __future__ import annotations

import torch

from .processes.load import LoadMeter
from .types import DeviceLostError, DeviceMemoryError, InputError


def choose(name: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: the named device is not there.
    """
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name == "cuda" and not cuda:
        reason = "torch was installed without CUDA" if torch.version.cuda is None else "no NVIDIA GPU was found"
        raise InputError(f"There is no CUDA device here: {reason}. Choose the device auto or cpu.")
    if name == "mps" and not mps:
        raise InputError("There is no Apple GPU (MPS) here. Use --device auto or cpu.")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """Return the device's name for people."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return {"mps": "Apple GPU (MPS)"}.get(device.type, "CPU")


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a CUDA device in bytes, with what torch holds unused; None for other devices."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused)


def peak_gb(device: torch.device) -> float | None:
    """Return torch's peak memory on a CUDA device since ``forget_peak``, in 10^9 bytes; None on others."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    """Reset the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


#: How torch (an allocator on the CPU) and ITK say that the computer's memory ran out.
_NO_MEMORY = ("DefaultCPUAllocator", "Failed to allocate memory", "bad_alloc", "bad allocation")
#: How torch says that the GPU's did, beside its own class for it.
_NO_GPU_MEMORY = (
    "error: out of memory",
    "backend out of memory",
    "STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
#: What a GPU cannot do, now and later; it works on.
_CANNOT = ("no kernel image", "STATUS_NOT_SUPPORTED")
#: How it says that the GPU, or what was kept on it, is lost: every later call fails too.
_LOST = ("CUDA error", "CUDA driver error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "Command buffer execution")


def in_words(error: RuntimeError) -> Exception:
    """Turn an error of torch or ITK that means full memory or a lost GPU into one in words; return others."""
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in _NO_GPU_MEMORY):
        return DeviceMemoryError(
            "The GPU ran out of memory during the registration. Compute on the CPU, or use a faster preset.", "device"
        )
    if any(words in text for words in _NO_MEMORY):
        return MemoryError(text)
    if any(words in text for words in _LOST) and not any(words in text for words in _CANNOT):
        return DeviceLostError(
            f"The GPU stopped working during the registration ({text.splitlines()[0][:200]}). Try again; if it happens "
            "again, compute on the CPU, and update the driver of the GPU.",
            "device",
        )
    return error


#: The threads that torch takes on an idle computer.
MOST_THREADS = torch.get_num_threads()


def use_free_threads(meter: LoadMeter) -> None:
    """Compute on as many threads as there are processors that no other program uses; see ``processes.load``."""
    torch.set_num_threads(meter.free_threads(MOST_THREADS))


def use_threads(count: object) -> None:
    """Set the number of CPU threads: sums are only equal when split alike. Invalid counts are ignored."""
    if isinstance(count, int) and 0 < count <= 1024:
        torch.set_num_threads(count)
