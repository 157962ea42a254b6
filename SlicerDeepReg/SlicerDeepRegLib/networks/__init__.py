"""Registration networks, one a file. All have one face: ``network(moving, fixed) -> NetworkOutput``."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Dict

from .base import NetworkOutput, RegistrationNetwork

#: Name of the card: (file, class).
NETWORKS: dict[str, Any] = {
    "msrd-net": ("msrd_net", "MSRDNet"),
    "unfolding": ("unfolding", "Unfolding"),
    "caml": ("caml", "CAML"),
    "fmirnet": ("fmirnet", "FMIRNet"),
    "wavemorph": ("wavemorph", "WaveMorph"),
    # Those that the five are measured against.
    "voxelmorph": ("voxelmorph", "VoxelMorph"),
    "cyclemorph": ("cyclemorph", "CycleMorph"),
    "lku-net": ("lku_net", "LKUNet"),
    "vit-v-net": ("vit_v_net", "ViTVNet"),
    "transmorph": ("transmorph", "TransMorph"),
    "transmatch": ("transmatch", "TransMatch"),
    "xmorpher": ("xmorpher", "XMorpher"),
    "pivit": ("pivit", "PIViT"),
    "rdp-net": ("rdp_net", "RDPNet"),
    "utsrmorph": ("utsrmorph", "UTSRMorph"),
    "h-sganet": ("h_sganet", "HSGANet"),
    "udrsnet": ("udrsnet", "UDRSNet"),
}


def build(name: str, **configuration: Any) -> RegistrationNetwork:
    """The network of that name, with its defaults changed where ``configuration`` says so.

    Raises:
        KeyError: there is none of that name. TypeError: it has no such configuration.
    """
    file, class_name = NETWORKS[name]
    return getattr(importlib.import_module(f"{__name__}.{file}"), class_name)(**configuration)


def takes_dimensions(name: str) -> bool:
    """Whether the network of that name is built for 2D or 3D by an argument."""
    file, class_name = NETWORKS[name]
    chosen = getattr(importlib.import_module(f"{__name__}.{file}"), class_name)
    return "dimensions" in inspect.signature(chosen.__init__).parameters


__all__ = ["NETWORKS", "NetworkOutput", "RegistrationNetwork", "build", "takes_dimensions"]
