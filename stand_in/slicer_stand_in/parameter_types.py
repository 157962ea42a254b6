"""The types, limits and defaults of parameters, under the names of ``slicer.parameterNodeWrapper``."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer


class Default:
    def __init__(self, value: Any) -> None:
        self.value = value


class Decimals(Default):
    """How many decimals a spin box or slider shows."""


class SingleStep(Default):
    """The step of a spin box or slider."""


class Validator:
    """Base of the annotations that refuse values."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("the value must not be None")


class IsInstance(Validator):
    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"the value must be of {self.classtype}, it is {value!r}")


class WithinRange(Validator):
    def __init__(self, minimum: Any, maximum: Any) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not from {self.minimum} to {self.maximum}")


class Minimum(Validator):
    def __init__(self, minimum: Any) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


class Maximum(Validator):
    def __init__(self, maximum: Any) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is more than {self.maximum}")


class Choice(Validator):
    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues: Any) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


def node_classes(type_: Any) -> tuple[Any, ...]:
    """The node classes of a type that is one or a Union of some, None left out; empty for any other type."""
    members = typing.get_args(type_) if typing.get_origin(type_) is typing.Union else (type_,)
    members = tuple(member for member in members if member is not type(None))
    nodes = all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in members)
    return members if nodes else ()


class Kind:
    """How values of one type are written to the node, and what they are at first."""

    def __init__(self, accepts: Any, default: Any, text: Callable = str, value: Callable = str, none=False) -> None:
        self.accepts, self.default, self.text, self.value, self.none = accepts, default, text, value, none


def kind_of(type_: Any) -> Kind:
    if type_ is bool:
        return Kind(bool, False, lambda value: "True" if value else "False", lambda text: text == "True")
    if type_ is int:
        return Kind(int, 0, str, int)
    if type_ is float:
        return Kind((int, float), 0, str, float)
    if type_ is str:
        return Kind(str, "")
    if type_ in (pathlib.Path, pathlib.PurePath):
        return Kind(type_, type_(), str, type_)
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return Kind(type_, next(iter(type_)), lambda value: value.name, lambda text: type_[text])
    nodes = node_classes(type_)
    if nodes:
        return Kind(nodes, None, none=True)
    raise Exception(f"Unable to create serializer for type {type_} (or the stand-in does not offer it)")
