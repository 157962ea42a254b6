"""Which names Slicer 5.8.1 gives to Python, from ``slicer_names.json``; everything else is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

VERSION = "5.8.1"
_DATA = json.loads(Path(__file__).with_name("slicer_names.json").read_text(encoding="utf-8"))
CLASSES = _DATA["classes"]
INSTANCES = {name: frozenset(names.split()) for name, names in _DATA["instances"].items()}
FUNCTIONS = _DATA["functions"]
PARAMETER_NODE_WRAPPER = frozenset(_DATA["parameterNodeWrapper"].split())


@cache
def allowed(class_name: str) -> frozenset[str]:
    """Every name of a class such as "qt.QLabel", those of its base classes included."""
    entry = CLASSES[class_name]
    names = set(entry["names"].split())
    for other in (entry.get("takes"), entry.get("base")):
        if other:
            names |= allowed(other)
    return frozenset(names)


@cache
def properties(class_name: str) -> frozenset[str]:
    """The Qt properties of a class that the list tells; see ``tells_properties``."""
    entry = CLASSES[class_name]
    own = frozenset(entry.get("properties", "").split())
    return own | (properties(entry["base"]) if entry.get("base") else frozenset(["objectName"]))


@cache
def signals(class_name: str) -> frozenset[str]:
    """The signal signatures of a class that the list tells."""
    entry = CLASSES[class_name]
    own = frozenset(entry.get("signals", ()))
    return own | (signals(entry["base"]) if entry.get("base") else frozenset())


def tells_properties(class_name: str) -> bool:
    """Whether properties and signals of the class itself are in the list; of some only the plain names are."""
    return "properties" in CLASSES[class_name]


def full_name(plain: str) -> str | None:
    """ "qt.QLabel" for "QLabel"; None for a class that is not in the list."""
    for package in ("qt", "ctk", "slicer"):
        if f"{package}.{plain}" in CLASSES:
            return f"{package}.{plain}"
    return None


def require(class_name: str, name: str) -> None:
    """
    Raises:
        AttributeError: Slicer has no such name there.
    """
    if name not in allowed(class_name):
        raise AttributeError(f"'{name}' is not a name of {class_name} in Slicer {VERSION}")


def require_in_instance(instance: str, name: str) -> None:
    """
    Raises:
        AttributeError: the object of Slicer, such as "layoutManager", has no such name.
    """
    if name not in INSTANCES[instance]:
        raise AttributeError(f"'{name}' is not a name of {instance} in Slicer {VERSION}")


def not_offered(what: str) -> AttributeError:
    return AttributeError(f"{what} is there in Slicer {VERSION}, but this stand-in does not offer it")
