"""How large a network is: parameters, and operations as the papers' tables count them."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn

from .face import RegistrationNetwork


def parameters(network: nn.Module) -> int:
    """Trained numbers."""
    return sum(one.numel() for one in network.parameters() if one.requires_grad)


def operations(network: RegistrationNetwork, shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions, linear layers and normalisations for one pair; nothing is computed.

    This is what the profiler behind the papers' tables (thop) counts: products of attention, resampling and
    activations are left out, a normalisation counts two for each value.

    Args:
        network: on the device "meta" (``with torch.device("meta"): build(...)``).
        shape: (K, J, I) or (J, I) of the images.
    """
    counted = [0]

    def count(module: nn.Module, given, found: torch.Tensor) -> None:
        if isinstance(module, nn.Linear):
            each = module.in_features
        elif isinstance(module, (nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm)):
            each = 2
        else:
            kernel = module.weight[0, 0].numel()
            each = module.in_channels // module.groups * kernel
        counted[0] += found.numel() * each

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
    kinds += (nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm)
    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    image = torch.empty((1, 1, *shape), device="meta")
    try:
        with torch.no_grad():
            network(image, image)
    finally:
        for hook in hooks:
            hook.remove()
    return counted[0]
