"""What errors of torch and ITK are taken for."""

import pytest
import torch
from SlicerDeepRegLib.device import free_bytes, in_words
from SlicerDeepRegLib.types import DeviceLostError, DeviceMemoryError


@pytest.mark.parametrize(
    "error, kind",
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), DeviceMemoryError),
        (RuntimeError("CUDA error: out of memory"), DeviceMemoryError),
        (RuntimeError("CUDA driver error: out of memory"), DeviceMemoryError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"), DeviceMemoryError),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), DeviceMemoryError),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError),
        (RuntimeError("ITK ERROR: Failed to allocate memory for image."), MemoryError),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceLostError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLostError),
    ],
)
def test_a_full_memory_and_a_lost_gpu_are_told_apart(error, kind):
    assert type(in_words(error)) is kind


def test_memory_that_torch_holds_unused_is_free(monkeypatch):
    known = {"mem_get_info": (4_000, 12_000), "memory_reserved": 6_000, "memory_allocated": 1_000}
    for name, value in known.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_bytes(torch.device("cuda")) == 9_000
    assert free_bytes(torch.device("cpu")) is None and free_bytes(torch.device("mps")) is None


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: no kernel image is available for execution",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
        "shapes differ",
    ],
)
def test_what_is_neither_stays_as_it_is(text):
    error = RuntimeError(text)
    assert in_words(error) is error
