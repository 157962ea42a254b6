"""Networks in small sizes, the images that they take, and networks that are no longer the identity."""

import numpy as np
import torch
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.methods.weights import built
from SlicerDeepRegLib.networks import NETWORKS

#: Sizes for the tests of networks that are large; their own sizes are built without memory in others.
SMALL_NETWORKS = {
    "caml": {"width": 16, "depths": (1, 1, 1)},
    "unfolding": {"channels": (4, 8, 8), "layers": 2, "mlp": 32, "denoise_width": 4, "denoise_depth": 3},
    "fmirnet": {"channels": (8, 16, 16)},
    "vit-v-net": {"width": 24, "layers": 2, "heads": 2, "inner": 32, "first": 32, "decoder": (16, 16, 8, 8, 8)},
    "transmorph": {"width": 12, "depths": (2, 2), "heads": (2, 2), "window": (2, 3, 4)},
    "transmatch": {"width": 12, "depths": (2, 2), "heads": (2, 2), "window": (2, 3, 4)},
    "utsrmorph": {"width": 12, "depths": (2, 2), "heads": (2, 2), "window": (2, 3, 4), "squeeze": 4},
    "xmorpher": {"width": 16, "depths": (1, 1, 1)},
    "pivit": {"width": 8, "window": 3},
    "rdp-net": {"width": 4},
    "h-sganet": {"channels": (8, 8, 8, 8), "hop": 3, "positions": 8},
    "udrsnet": {"channels": (8, 16, 16)},
    "lku-net": {"width": 4, "head_scale": 0.1},
}
#: (name, number of axes) of everything that a network takes.
INPUTS = [(name, axes) for name in sorted(NETWORKS) for axes in card(name).dimensions]
IDS = [f"{name}-{axes}d" for name, axes in INPUTS]


def network_of(name, axes, seed=0, **configuration):
    """The network of a card or variant, from that random start."""
    torch.manual_seed(seed)
    sizes = dict(SMALL_NETWORKS.get(name, {}))
    sizes.update(configuration)
    return built(card(name), axes, **sizes)


def images(axes, shape=None, seed=0, shift=1.5):
    """Two smooth images, the second ``shift`` voxels along i from the first: moving(x + shift) = fixed(x)."""
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
    """The network with heads that are not zero, so that its fields say something; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.Conv2d)) and module.out_channels in (2, 3):
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.01)
    return network


def error_of(found, expected):
    """The largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
