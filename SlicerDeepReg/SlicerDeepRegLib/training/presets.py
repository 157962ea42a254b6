"""The schedules of the papers by name, as far as they are published; what was chosen here is named in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..types import InputError


@dataclass(frozen=True)
class Preset:
    """How a network is trained. Everything can be changed on the command line.

    Attributes:
        text: what it is, for people.
        epochs: passes over the pairs; ``steps`` instead where there are no pairs to count.
        pairing: see ``dataset_index.PAIRINGS``.
        size_ijk: images are cut or padded to it, voxels along i, j(, k).
        optimizer: "adam", "amsgrad" (Adam with it) or "adamw". decay: "constant", or "poly" for (1 - step / steps)^0.9.
        loss: arguments of the network's loss in ``losses/papers.py``.
        split: how many scans the paper had for training, validation and test; which ones is drawn by the seed.
        chosen: which of these the paper does not give, and were chosen here.
    """

    text: str
    epochs: int | None = None
    steps: int | None = None
    pairing: str = "random"
    size_ijk: tuple[int, ...] | None = None
    batch: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    decay: str = "constant"
    loss: Mapping[str, Any] = field(default_factory=dict)
    augment: str = "none"
    split: tuple[int, int, int] | None = None
    chosen: tuple[str, ...] = ()


_ALL = ("epochs", "pairing", "batch", "optimizer", "learning_rate", "decay", "loss", "augment")

#: What any network is trained by when nothing else is asked for.
GENERAL = {
    "general": Preset(
        "Ours, for any data: each image once an epoch with another one, light augmentation.",
        **{"epochs": 300, "optimizer": "amsgrad", "decay": "poly", "augment": "light", "chosen": _ALL},
    ),
    "synthetic": Preset(
        "Ours, for pairs that are made: losses on images of one contrast, on labels and on the field.",
        **{"steps": 20000, "optimizer": "amsgrad", "learning_rate": 3e-4, "decay": "poly", "chosen": _ALL},
    ),
}

PRESETS: dict[str, dict[str, Preset]] = {
    "msrd-net": {
        "ixi": Preset(
            "IXI, atlas to patient, 160 x 192 x 224 (403 / 58 / 115 scans in TransMorph's split).",
            **{
                "epochs": 500,
                "split": (403, 58, 115),
                "pairing": "from-atlas",
                "size_ijk": (160, 192, 224),
                "optimizer": "amsgrad",
            },
            **{"decay": "poly", "loss": {"regularity": 1.0}},
            chosen=("epochs", "batch", "optimizer", "learning_rate", "decay", "loss"),
        ),
        "lpba40": Preset(
            "LPBA40, every ordered pair of 30 scans, 160 x 192 x 160 (the protocol of RDP, whose table it shares).",
            **{
                "epochs": 30,
                "split": (30, 0, 10),
                "pairing": "all",
                "size_ijk": (160, 192, 160),
                "optimizer": "amsgrad",
            },
            **{"decay": "poly", "loss": {"regularity": 1.0}},
            chosen=("epochs", "batch", "optimizer", "learning_rate", "decay", "loss"),
        ),
    },
    "unfolding": {
        "lpba40": Preset(
            "LPBA40, 30 scans to one fixed scan, 160 x 192 x 160; l1 0.8, l2 1, l3 0.1 as published.",
            **{"epochs": 500, "split": (30, 0, 9), "pairing": "to-atlas", "size_ijk": (160, 192, 160)},
            loss={"regularity": 1.0, "data_weight": 0.8, "agreement": 0.1},
            chosen=("decay", "augment", "that the terms are means, with displacements in voxels"),
        ),
        "oasis": Preset(
            "OASIS, 254 / 20 / 140 scans, 160 x 192 x 224; l1 0.8, l2 1, l3 0.1 as published.",
            **{"epochs": 500, "split": (254, 20, 140), "pairing": "random", "size_ijk": (160, 192, 224)},
            loss={"regularity": 1.0, "data_weight": 0.8, "agreement": 0.1},
            chosen=("pairing", "decay", "augment", "that the terms are means, with displacements in voxels"),
        ),
    },
    "caml": {
        "oasis": Preset(
            "OASIS, atlas-based; the paper's numbers are not in the text at hand, so XMorpher's, its base, stand here.",
            **{"epochs": 400, "pairing": "from-atlas", "size_ijk": (160, 192, 224), "loss": {"regularity": 1.0}},
            chosen=("epochs", "batch", "learning_rate", "decay", "loss", "which of the two the atlas is", "augment"),
        )
    },
    "fmirnet": {
        "ct": Preset(
            "CHAOS CT slices, resampled to 128 x 128 (--voxel-mm): 40 epochs, batches of 4, alpha 1e-7, beta 0.1.",
            **{"epochs": 40, "batch": 4, "pairing": "given"},
            loss={"regularity": 0.00655, "structure": 0.1},
            chosen=("decay", "alpha read as the weight of a sum: 0.00655 of the mean"),
        ),
        "ultrasound": Preset(
            "EchoNet ultrasound, resampled to 128 x 128 (--voxel-mm): 40 epochs, batches of 4, alpha 1e-5, beta 1.",
            **{"epochs": 40, "batch": 4, "pairing": "given"},
            loss={"regularity": 0.655, "structure": 1.0},
            chosen=("decay", "alpha read as the weight of a sum: 0.655 of the mean"),
        ),
        "sliver": Preset(
            "SLIVER CT, resampled to 128 x 128 x 128 (--voxel-mm): 40 epochs, batches of 4.",
            **{"epochs": 40, "batch": 4, "pairing": "given"},
            loss={"regularity": 0.01, "structure": 0.1},
            chosen=("decay", "loss"),
        ),
    },
    "wavemorph": {
        "ixi": Preset(
            "IXI, atlas to patient, 160 x 192 x 224, in TransMorph's protocol, whose table it shares.",
            **{
                "epochs": 500,
                "split": (403, 58, 115),
                "pairing": "from-atlas",
                "size_ijk": (160, 192, 224),
                "loss": {"regularity": 1.0},
            },
            **{"optimizer": "amsgrad", "decay": "poly"},
            chosen=("epochs", "batch", "optimizer", "learning_rate", "decay", "loss"),
        ),
        "oasis": Preset(
            "OASIS, patient to patient, 160 x 192 x 224.",
            **{"epochs": 500, "pairing": "random", "size_ijk": (160, 192, 224), "loss": {"regularity": 1.0}},
            **{"optimizer": "amsgrad", "decay": "poly"},
            chosen=("epochs", "batch", "optimizer", "learning_rate", "decay", "loss"),
        ),
    },
}

_IXI = {"epochs": 500, "split": (403, 58, 115), "pairing": "from-atlas", "size_ijk": (160, 192, 224)}
_LPBA40 = {"split": (30, 0, 10), "pairing": "all", "size_ijk": (160, 192, 160)}
_OPEN = ("decay", "augment")

#: The compared systems, as far as their papers or public code say it.
PRESETS.update(
    {
        "transmorph": {
            "ixi": Preset(
                "IXI, atlas to patient, as its repository: local correlation and diffusion of weight 1.",
                **{**_IXI, "optimizer": "amsgrad", "decay": "poly", "loss": {"regularity": 1.0}},
                chosen=("augment", "no stochastic depth"),
            )
        },
        "vit-v-net": {
            "ixi": Preset(
                "IXI in TransMorph's protocol: squared difference and diffusion of weight 0.02.",
                **{**_IXI, "optimizer": "amsgrad", "decay": "poly", "loss": {"regularity": 0.02}},
                chosen=("augment", "no dropout"),
            )
        },
        "lku-net": {
            "ixi": Preset(
                "IXI, atlas to patient, as its code: local correlation and diffusion of weight 5.",
                **{**_IXI, "loss": {"regularity": 5.0}},
                chosen=("epochs", *_OPEN),
            )
        },
        "utsrmorph": {
            "ixi": Preset(
                "IXI, atlas to patient, as its code: rate 4e-4, local correlation and diffusion of weight 4.",
                **{**_IXI, "learning_rate": 4e-4, "optimizer": "amsgrad", "decay": "poly", "loss": {"regularity": 4.0}},
                chosen=("augment", "no stochastic depth"),
            )
        },
        "cyclemorph": {
            "brain": Preset(
                "Its rate of 2e-4 and weight of 1; without its cycle and identity terms.",
                **{"epochs": 100, "pairing": "random", "learning_rate": 2e-4, "loss": {"regularity": 1.0}},
                chosen=("epochs", "pairing", *_OPEN, "one network instead of two"),
            )
        },
        "transmatch": {
            "lpba40": Preset(
                "LPBA40, 160 x 192 x 160, as its code: rate 4e-4, local correlation and diffusion of weight 4.",
                **{
                    **_LPBA40,
                    "pairing": "from-atlas",
                    "epochs": 500,
                    "learning_rate": 4e-4,
                    "loss": {"regularity": 4.0},
                },
                chosen=("epochs", *_OPEN),
            )
        },
        "rdp-net": {
            "lpba40": Preset(
                "LPBA40, every ordered pair of 30 scans, 160 x 192 x 160, as its code.",
                **{**_LPBA40, "epochs": 30, "optimizer": "amsgrad", "decay": "poly", "loss": {"regularity": 1.0}},
                chosen=("augment",),
            )
        },
        "pivit": {
            "lpba40": Preset(
                "LPBA40, every ordered pair, 160 x 192 x 160; its rate of 1e-4 and weight of 1.",
                **{**_LPBA40, "epochs": 30, "loss": {"regularity": 1.0}},
                chosen=("epochs", "pairing", *_OPEN),
            )
        },
        "h-sganet": {
            "oasis": Preset(
                "OASIS, 160 x 192 x 224; its rate of 1e-4, squared difference and diffusion of weight 0.002.",
                **{"epochs": 500, "pairing": "random", "size_ijk": (160, 192, 224), "loss": {"regularity": 0.002}},
                chosen=("epochs", "pairing", *_OPEN, "one direction instead of both"),
            )
        },
    }
)


def preset(network: str, name: str) -> Preset:
    """The preset of a network.

    Raises:
        InputError: it has none of that name.
    """
    known = {**GENERAL, **PRESETS.get(network, {})}
    if name not in known:
        raise InputError(f"{network} has no preset {name!r}. Its presets are: {', '.join(known)}.")
    return known[name]


def described(network: str) -> str:
    """The presets of a network as text for people."""
    lines = []
    for name, one in {**PRESETS.get(network, {}), **GENERAL}.items():
        length = f"{one.epochs} epochs" if one.epochs else f"{one.steps} steps"
        numbers = ", ".join(f"{key} {value:g}" for key, value in one.loss.items()) or "its loss as it stands"
        lines += [
            f"{name}: {one.text}",
            f"  {length}, pairs {one.pairing}, batch {one.batch}, {one.optimizer} {one.learning_rate:g} {one.decay}; "
            f"{numbers}; augmentation {one.augment}",
            *([f"  scans for training, validation, test: {', '.join(map(str, one.split))}"] if one.split else []),
            f"  chosen here: {', '.join(one.chosen) or 'nothing'}",
        ]
    return "\n".join(lines)
