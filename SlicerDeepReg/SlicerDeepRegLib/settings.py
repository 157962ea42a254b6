"""The numbers of methods: how a dataclass declares them, and how changed ones are checked. Read without torch.

A method's settings are a frozen dataclass whose fields are made by :func:`number`. A field may also hold a mapping of
name to such a dataclass (the settings of each similarity metric): its numbers are called NAME.NUMBER, as
"lncc.window_radius". The panel makes its controls from :func:`numbers_of`, the command checks by :func:`changed`.
A method that reads a file of its own, as one whose weights do not come with it, has a field made by :func:`file`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .types import InputError, meant

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method without numbers."""


@dataclass(frozen=True)
class Number:
    """One number of a method, with what a control needs.

    Attributes:
        name: as ``--set`` takes it; "group.number" for one of a group.
        title, text: for people; ``text`` explains it.
        low, high: its range, both included.
        value: the default.
    """

    name: str
    title: str
    text: str
    low: float
    high: float
    value: float

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.value, int)

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off: 1 or 0."""
        return isinstance(self.value, bool)


def number(default: float, low: float, high: float, title: str, text: str) -> Any:
    """Declare a number of a settings dataclass: an int default makes it a whole number, False or True a switch."""
    return field(default=default, metadata={"low": low, "high": high, "title": title, "text": text})


@dataclass(frozen=True)
class File:
    """One file that a method reads.

    Attributes:
        name: as ``--set`` takes it. title, text: for people; ``text`` explains it.
        value: the default, a path or "".
    """

    name: str
    title: str
    text: str
    value: str


def file(title: str, text: str) -> Any:
    """Declare a file of a settings dataclass: an absolute path, or "" where the method looks for it itself."""
    return field(default="", metadata={"file": title, "text": text})


def files_of(settings: Any) -> list[File]:
    """List the files of a settings dataclass."""
    return [
        File(item.name, item.metadata["file"], item.metadata["text"], getattr(settings, item.name))
        for item in dataclasses.fields(settings)
        if "file" in item.metadata
    ]


def numbers_of(settings: Any) -> list[Number]:
    """List the numbers of a settings dataclass in order, those of its groups after their name."""
    numbers: list[Number] = []
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, Mapping):
            for group, inner in value.items():
                numbers += [dataclasses.replace(n, name=f"{group}.{n.name}") for n in numbers_of(inner)]
        elif "low" in item.metadata:
            numbers.append(
                Number(
                    name=item.name,
                    title=item.metadata["title"],
                    text=item.metadata["text"],
                    low=item.metadata["low"],
                    high=item.metadata["high"],
                    value=value,
                )
            )
    return numbers


def changed(settings: Settings, values: Mapping[str, Any], owner: str) -> Settings:
    """Return the settings with some numbers and files changed.

    Args:
        settings: a settings dataclass.
        values: number or text by name; a file's path may be relative to the working folder.
        owner: the name of the method, for messages.

    Raises:
        InputError: it has no such number or file, or a value is not in its range.
    """
    known: dict[str, Number | None] = {n.name: n for n in numbers_of(settings)}
    known.update((one.name, None) for one in files_of(settings))
    if values and not known:
        raise InputError(f"The method {owner} has no settings; {', '.join(values)} cannot be changed.", "settings")
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"There is no setting {name!r}.{meant(name, known)} The settings of {owner} are: {', '.join(known)}.",
                "settings",
            )
        asked = known[name]
        settings = _replaced(settings, name, _path(name, value) if asked is None else _checked(asked, value))
    return settings


def _replaced(settings: Any, name: str, value: float | str) -> Any:
    group, _, inner = name.rpartition(".")
    if not group:
        return dataclasses.replace(settings, **{name: value})
    for item in dataclasses.fields(settings):
        groups = getattr(settings, item.name)
        if isinstance(groups, Mapping) and group in groups:
            merged = {**groups, group: _replaced(groups[group], inner, value)}
            return dataclasses.replace(settings, **{item.name: merged})
    raise KeyError(name)


def _path(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InputError(f"{name} must be the path of a file; it was {value!r}.", "settings")
    return os.path.abspath(value) if value else ""


def _checked(asked: Number, value: Any) -> float:
    kind = "a whole number" if asked.whole else "a number"
    wanted = f"{asked.name} must be {kind} from {asked.low} to {asked.high}; it was {value!r}."
    try:
        result = type(asked.value)(float(value))
    except (TypeError, ValueError, OverflowError):
        raise InputError(wanted, "settings") from None
    if result != float(value) or not asked.low <= result <= asked.high:
        raise InputError(wanted, "settings")
    return result
