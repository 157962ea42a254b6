"""Networks in small sizes, the images that they take, and networks that are no longer the identity."""

import dataclasses
import json

import numpy as np
import torch
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.files.weights import write_weights
from SlicerDeepRegLib.models.weights import built
from SlicerDeepRegLib.networks import NETWORKS, network_class

RECIPE = {"intensity": "unit", "voxel_mm": None}
#: An MSRD-Net that is small enough to be made, written and checked in a moment.
SMALL = {"channels": [4, 4, 8], "attention_levels": 1, "mlp_ratios": [2], "global_levels": 1}
#: (name, number of axes) of everything that a network takes.
INPUTS = [(name, axes) for name in sorted(NETWORKS) for axes in card(name).dimensions]
IDS = [f"{name}-{axes}d" for name, axes in INPUTS]


def network_of(name, axes, seed=0, **configuration):
    """Return the small network of a card, or the network of a variant, from that random start."""
    torch.manual_seed(seed)
    small = network_class(name).small if name in NETWORKS else {}
    return built(card(name), axes, **{**small, **configuration})


def model(folder, name="mine", network="msrd-net", configuration=SMALL, suffix=".safetensors", **changes):
    """Make a folder with a card and random weights of that network; ``changes`` are entries of the card."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    made = built(dataclasses.replace(card(network), configuration=configuration))
    for module in made.heads if hasattr(made, "heads") else ():
        torch.nn.init.normal_(module.weight, std=0.02)
    arrays = {key: value.numpy() for key, value in made.state_dict().items()}
    if suffix == ".safetensors":
        write_weights(folder / "weights.safetensors", arrays)
    else:
        torch.save({"state_dict": made.state_dict()}, folder / f"weights{suffix}")
    values = {
        "name": name,
        "network": network,
        "configuration": configuration,
        "recipe": RECIPE,
        "trained_on": "nothing",
    }
    values.update(changes)
    (folder / "card.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    return folder


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
