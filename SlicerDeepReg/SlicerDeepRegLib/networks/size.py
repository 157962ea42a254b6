"""How large a network is: parameters, and operations as the papers' tables count them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .base import RegistrationNetwork
from .blocks import CountsProducts


def parameters(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(values.numel() for values in network.parameters() if values.requires_grad)


def multiply_accumulates(network: RegistrationNetwork, shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products, those of attention included, for one pair.

    Args:
        network, shape: as for :func:`operations`.
    """
    image = torch.empty((1, 1, *shape), device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(image, image)
    return counter.get_total_flops() // 2


def operations(network: RegistrationNetwork, shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of convolutions, linear layers and normalizations for one pair.

    Only shapes are computed. This is what the profiler behind the papers' tables (thop) counts: products of attention,
    resampling and activations are left out, a normalization counts two for each value, and a transposed convolution
    counts the whole kernel for each voxel of its output, which is stride^3 times what is computed.

    Args:
        network: on the device "meta" (``with torch.device("meta"): build(...)``).
        shape: (K, J, I) or (J, I) of the images.
    """
    counted = [0]

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Linear):
            each = module.in_features
        elif isinstance(module, norms):
            each = 2
        elif isinstance(module, CountsProducts):
            each = module.products
        else:
            kernel = module.weight[0, 0].numel()
            each = module.in_channels // module.groups * kernel
        counted[0] += output.numel() * each

    norms = (nn.GroupNorm, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)
    convolutions = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kinds = (*convolutions, nn.Linear, CountsProducts, *norms)
    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    image = torch.empty((1, 1, *shape), device="meta")
    try:
        with torch.no_grad():
            network(image, image)
    finally:
        for hook in hooks:
            hook.remove()
    return counted[0]
