"""Find what the files of a room declare, so that an addition is one file and no list has to name it."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def declared(package: ModuleType, attribute: str) -> list[Any]:
    """Collect what the modules of a package declare, in the order of the modules' names.

    Args:
        package: its modules and subpackages are imported.
        attribute: the name of a tuple at the top of such a module; modules without it are passed over.
    """
    objects: list[Any] = []
    for entry in pkgutil.iter_modules(package.__path__):
        if not entry.name.startswith("_"):
            module = importlib.import_module(f"{package.__name__}.{entry.name}")
            objects += vars(module).get(attribute, ())
    return objects
