"""What errors of torch and ITK are taken for."""

import pytest
import torch
from SlicerDeepRegLib.contracts import DeviceLostError, DeviceMemoryError
from SlicerDeepRegLib.device import in_words


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
