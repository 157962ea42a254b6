"""Find what the files of a room declare, so that an addition is one file and no list has to name it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import pkgutil
import re
from types import ModuleType
from typing import Any


def declared(package: ModuleType, attribute: str) -> dict[str, Any]:
    """Collect what the modules of a package declare, by the module's name, in the order of these names.

    A module declares by a variable of that name at its top level. The others are not imported: what they need, torch
    for example, need not be installed.

    Args:
        package: its modules and subpackages are searched.
        attribute: the name of the variable.
    """
    names = [entry.name for entry in pkgutil.iter_modules(package.__path__)]
    full = {name: f"{package.__name__}.{name}" for name in names}
    return {
        name: getattr(importlib.import_module(full[name]), attribute)
        for name in names
        if _declares(full[name], attribute)
    }


def all_declared(package: ModuleType, attribute: str) -> list[Any]:
    """Return what the modules of a package declare as tuples of that name, as one list."""
    return [one for several in declared(package, attribute).values() for one in several]


def _declares(module: str, attribute: str) -> bool:
    spec = importlib.util.find_spec(module)
    loader = spec.loader if spec is not None else None
    source = loader.get_source(module) if isinstance(loader, importlib.abc.InspectLoader) else ""
    return re.search(rf"^{attribute}\s*[:=]", source or "", re.MULTILINE) is not None
