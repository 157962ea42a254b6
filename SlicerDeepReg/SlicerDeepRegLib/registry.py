"""Find what the files of a room declare, so that an addition is one file and no list has to name it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import pkgutil
import re
from types import ModuleType
from typing import Any


def declared(package: ModuleType, attribute: str) -> list[Any]:
    """Collect what the modules of a package declare, in the order of the modules' names.

    A module declares by a tuple of that name at its top level. The others are not imported: what they need, torch for
    example, need not be installed.

    Args:
        package: its modules and subpackages are searched.
        attribute: the name of the tuple.
    """
    objects: list[Any] = []
    for entry in pkgutil.iter_modules(package.__path__):
        name = f"{package.__name__}.{entry.name}"
        if _declares(name, attribute):
            objects += getattr(importlib.import_module(name), attribute)
    return objects


def _declares(module: str, attribute: str) -> bool:
    spec = importlib.util.find_spec(module)
    loader = spec.loader if spec is not None else None
    source = loader.get_source(module) if isinstance(loader, importlib.abc.InspectLoader) else ""
    return re.search(rf"^{attribute}\s*[:=]", source or "", re.MULTILINE) is not None
