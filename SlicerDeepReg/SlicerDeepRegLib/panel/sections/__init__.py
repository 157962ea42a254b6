"""The sections of the panel, one file each; every module of this package is found by itself."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from ..section import BaseSection


def section_classes() -> tuple[type[BaseSection], ...]:
    """Return the section classes of this package in the order in which the panel shows them.

    Raises:
        ValueError: two sections have the same name.
    """
    classes = []
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for _name, member in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(member, BaseSection) and member.__module__ == loaded.__name__:
                classes.append(member)
    names = [section.name for section in classes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Two sections of the panel are named {', '.join(twice)}. Give each its own name.")
    return tuple(sorted(classes, key=lambda section: (section.order, section.name)))
