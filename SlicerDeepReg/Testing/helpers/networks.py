"""Networks in small sizes, the images that they take, and networks that are no longer the identity."""

import numpy as np
import torch
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.models.weights import built
from SlicerDeepRegLib.networks import NETWORKS, network_class

#: (name, number of axes) of everything that a network takes.
INPUTS = [(name, axes) for name in sorted(NETWORKS) for axes in card(name).dimensions]
IDS = [f"{name}-{axes}d" for name, axes in INPUTS]


def network_of(name, axes, seed=0, **configuration):
    """Return the small network of a card, or the network of a variant, from that random start."""
    torch.manual_seed(seed)
    small = network_class(name).small if name in NETWORKS else {}
    return built(card(name), axes, **{**small, **configuration})


def images(axes, shape=None, seed=0, shift=1.5):
    """Return two smooth images, the second ``shift`` voxels along i from the first: moving(x + shift) = fixed(x)."""
    shape = shape or (32, 32, 32)[:axes]
    random = np.random.default_rng(seed)
    indices = np.indices(shape).astype(np.float32)
    blobs = [(random.uniform(0.1, 0.9, axes) * shape, random.uniform(1.5, 4)) for _ in range(60 if axes == 3 else 20)]

    def seen(moved):
        total = np.zeros(shape, np.float32)
        for center, width in blobs:
            distance = sum((indices[a] + (moved if a == axes - 1 else 0) - center[a]) ** 2 for a in range(axes))
            total += np.exp(-distance / (2 * width**2))
        return torch.from_numpy((total / 2.5).astype(np.float32))[None, None]

    return seen(0.0), seen(shift)


def stirred(network):
    """Return the network with heads that are not zero, so that its fields are not; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.Conv2d)) and module.out_channels in (2, 3):
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.01)
    return network


def error_of(values, expected):
    """Return the largest difference, relative to the largest value."""
    return float((values - expected).abs().max() / expected.abs().max())
