"""From PySide values to what PythonQt shows and back: enums are ints, lists are tuples, objects are proxies."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable
from typing import Any

import shiboken6

#: The proxy class of each PySide class, and the proxy class of a full name such as "qt.QLabel".
PROXY_OF: dict[type, type] = {}
BY_NAME: dict[str, type] = {}


class Errors:
    """What slots raised. Qt goes on after an error in a slot; the desktop must not."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.open = False  # whether a desktop is there
        self.turn = 0  # which one: what an earlier desktop has left waiting must not run any more

    def start(self) -> None:
        self.texts.clear()
        self.open, self.turn = True, self.turn + 1

    def note(self, error: BaseException) -> None:
        self.texts.append("".join(traceback.format_exception(type(error), error, error.__traceback__)))


ERRORS = Errors()


class EnumValue(int):
    """An enum value or combination of flags: an int that remembers the PySide member."""

    def __new__(cls, member: enum.Enum) -> EnumValue:
        value = int.__new__(cls, member.value)
        value.member = member
        return value

    def _combine(self, other: Any, act: Callable) -> int:
        if isinstance(self.member, enum.Flag):
            kind = type(self.member)
            return EnumValue(kind(act(int(self), int(other)) & 0xFFFFFFFF))
        return act(int(self), int(other))

    def __or__(self, other: Any) -> int:
        return self._combine(other, lambda a, b: a | b)

    def __and__(self, other: Any) -> int:
        return self._combine(other, lambda a, b: a & b)

    __ror__, __rand__ = __or__, __and__


class EnumType:
    """An enum class such as ``qt.QFrame.Shape``: makes a value from an int."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __call__(self, value: int) -> EnumValue:
        return EnumValue(self.kind(int(value)))

    def __getattr__(self, name: str) -> EnumValue:
        return EnumValue(getattr(self.kind, name))


def unwrap(value: Any) -> Any:
    if isinstance(value, EnumValue):
        return value.member
    if hasattr(type(value), "is_stand_in_proxy"):
        return value.real()
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    return value


def wrap(value: Any) -> Any:
    if isinstance(value, enum.Enum) and type(value).__module__.startswith("PySide6"):
        return EnumValue(value)
    if isinstance(value, (list, tuple)):
        return tuple(wrap(item) for item in value)
    for kind in type(value).__mro__:
        if kind in PROXY_OF:
            return PROXY_OF[kind].around(value)
    if type(value).__module__.startswith("PySide6"):
        raise AttributeError(f"This stand-in offers no {type(value).__name__}")
    return value


def call(function: Callable, arguments: tuple, keywords: dict, what: str) -> Any:
    """Call a PySide function the way PythonQt calls a C++ one."""
    if keywords:
        raise TypeError(f"{what}() takes no keyword arguments: PythonQt passes arguments by position only")
    try:
        return wrap(function(*[unwrap(argument) for argument in arguments]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Could not find matching overload for {what}{arguments!r}: {error}") from error


def alive(real: Any, what: str) -> Any:
    if not shiboken6.isValid(real):
        raise ValueError(f"Trying to call '{what}' on a destroyed {type(real).__name__} object")
    return real


def arguments_taken(function: Callable) -> int | None:
    """How many of a signal's arguments PythonQt passes on; None for all.

    It counts the arguments of plain functions and methods, those with defaults too, and trims nothing else.
    """
    method = getattr(function, "__func__", None)
    code = getattr(method or function, "__code__", None)
    if code is None or code.co_flags & 0x04:  # *args
        return None
    return code.co_argcount - (1 if method is not None else 0)


def argument_types(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    return [part for part in inside.split(",") if part]


def slot(signature: str, function: Callable) -> Callable:
    """What PySide calls: hands over as many arguments as PythonQt would, and notes errors."""
    given = len(argument_types(signature))
    taken = arguments_taken(function)
    count = given if taken is None else min(given, taken)
    turn = ERRORS.turn

    def receive(*arguments: Any) -> None:
        if not ERRORS.open or turn != ERRORS.turn:
            return
        try:
            function(*[wrap(argument) for argument in arguments[:count]])
        except Exception as error:  # as Qt does; the desktop tells it later
            ERRORS.note(error)

    # PySide looks at the number of parameters to choose among a signal's overloads
    shapes = {
        0: lambda: receive(),
        1: lambda a: receive(a),
        2: lambda a, b: receive(a, b),
        3: lambda a, b, c: receive(a, b, c),
        4: lambda a, b, c, d: receive(a, b, c, d),
    }
    return shapes[given]
