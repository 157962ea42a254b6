"""The registration networks: ``network(moving, fixed) -> NetworkOutput``, one file each.

A network is a file of this folder that names its class as ``NETWORK``, and a card. The name of the network, which the
card gives as "network", is that of the file with hyphens: ``lku_net.py`` holds "lku-net". What training, tests and
documentation need to know of a network is declared on its class, see :class:`RegistrationNetwork`.
"""

from __future__ import annotations

import sys
from typing import Any

from ..registry import declared
from .base import NetworkOutput, RegistrationNetwork


def discover() -> dict[str, type[RegistrationNetwork]]:
    """Return the class of every network in this folder by name, in alphabetical order."""
    classes = {name.replace("_", "-"): found for name, found in declared(sys.modules[__name__], "NETWORK").items()}
    return dict(sorted(classes.items()))


#: The class of every network by name.
NETWORKS: dict[str, type[RegistrationNetwork]] = discover()


def network_class(name: str) -> type[RegistrationNetwork]:
    """Return the class of a network, which declares its loss and the sizes and axes that it takes.

    Args:
        name: as a card gives it under "network".

    Raises:
        KeyError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise KeyError(f"there is no network {name!r}; the networks are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build(name: str, **configuration: Any) -> RegistrationNetwork:
    """Return a network with random weights.

    Args:
        name: as a card gives it under "network".
        configuration: arguments of its class that differ from the defaults.

    Raises:
        KeyError: there is no network of that name.
        TypeError: its class does not take such an argument.
    """
    return network_class(name)(**configuration)


def takes_dimensions(name: str) -> bool:
    """Return whether a network is built for 2D or 3D by the argument ``dimensions``."""
    return len(network_class(name).dimensions) > 1


__all__ = ["NETWORKS", "NetworkOutput", "RegistrationNetwork", "build", "network_class", "takes_dimensions"]
