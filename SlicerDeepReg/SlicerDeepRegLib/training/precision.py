"""Which precision a training computes in, where it may choose.

On a GPU that follows from its kind. On a CPU half the bits are faster or slower by the network, the sizes and the
library's version, so one step of each is timed; where the CPU has no instructions for bfloat16 there is nothing to try.
Nor is bfloat16 taken where it does not compute the same twice: torch 2.13 reads memory that was never written for the
gradients of convolutions on grids of two voxels along an axis (seen on 2 x 3 x 2 and 2 x 4 x 4, with AVX512-BF16).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import nn

#: One step with a network in a precision: forward pass, loss, backward pass.
Step = Callable[[nn.Module, str], None]
#: Those that a CPU is timed in; the first is taken where there is no difference.
TIMED = ("fp32", "bf16")


def precision_by_device(asked: str, device: torch.device) -> str:
    """Return the precision that is asked for, or the one for the device; "auto" on a CPU that has to be timed."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"  # older ones only emulate it
    return "auto" if device.type == "cpu" and cpu_has_bfloat16() else "fp32"


def cpu_has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, as far as torch says."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # PyTorch before 2.6 does not say, nor do builds for other processors
        return False


def faster_precision(
    network: nn.Module, step: Step, clock: Callable[[], float] = time.perf_counter
) -> tuple[str, dict[str, float]]:
    """Time a step of each precision, after one to warm up.

    Args:
        network: a copy of it is used, so that it stays as it is.
        step: see ``Step``.
        clock: seconds.

    Returns:
        The faster one, and the seconds of each; infinity for one that does not give the same gradients twice.
    """
    seconds = {}
    for precision in TIMED:
        tried = copy.deepcopy(network)
        try:
            _seeded(step, tried, precision)
            first = [_gradient(parameter) for parameter in tried.parameters()]
            begun = clock()
            _seeded(step, tried, precision)
        except RuntimeError:  # an operation that torch does not have in bfloat16
            if precision == TIMED[0]:
                raise
            continue
        seconds[precision] = clock() - begun
        if precision != TIMED[0] and not _twice(first, tried):
            seconds[precision] = math.inf
    return min(seconds, key=lambda precision: seconds[precision]), seconds


def _seeded(step: Step, network: nn.Module, precision: str) -> None:
    """Make a step whose random numbers (of dropout) are always the same; those of the training stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        step(network, precision)


def _gradient(parameter: nn.Parameter) -> torch.Tensor | None:
    return None if parameter.grad is None else parameter.grad.clone()


def _twice(first: list[torch.Tensor | None], network: nn.Module) -> bool:
    """Return whether the gradients of a network are twice what they were: a second step adds the same again."""
    pairs = [(one, parameter.grad) for one, parameter in zip(first, network.parameters()) if one is not None]
    return all(both is not None and bool(torch.allclose(2 * one, both, rtol=1e-2, atol=1e-6)) for one, both in pairs)
