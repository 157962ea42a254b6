"""Registration networks, one a file. All have one face: ``network(moving, fixed) -> NetworkOutput``."""

from __future__ import annotations

import importlib
from typing import Any, Dict

from .face import NetworkOutput, RegistrationNetwork

#: Name of the card: (file, class).
NETWORKS: Dict[str, Any] = {"msrd-net": ("msrd_net", "MSRDNet")}


def build(name: str, **configuration: Any) -> RegistrationNetwork:
    """The network of that name, with its defaults changed where ``configuration`` says so.

    Raises:
        KeyError: there is none of that name. TypeError: it has no such configuration.
    """
    file, class_name = NETWORKS[name]
    return getattr(importlib.import_module(f"{__name__}.{file}"), class_name)(**configuration)


__all__ = ["NETWORKS", "NetworkOutput", "RegistrationNetwork", "build"]
