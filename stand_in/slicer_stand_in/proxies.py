"""PythonQt's view of PySide objects: properties are attributes, and every name is checked against Slicer's."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import slicer_names
from .wrapping import BY_NAME, PROXY_OF, EnumType, EnumValue, alive, argument_types, arguments_taken, slot, unwrap, wrap
from .wrapping import call as call_real

#: Methods that the stand-in answers itself: (class name, method) -> function(real object, *arguments).
INSTEAD = {}
#: Static methods that the stand-in answers itself, and what is called in place of constructors.
STATIC_INSTEAD = {}
CONSTRUCT = {}
#: Qt 5 names that Qt 6 has under another name.
RENAMED = {
    "width": "horizontalAdvance",  # QFontMetrics only; elsewhere width is a property or still there
    "buttonClicked(int)": "idClicked",
    "valueChanged(QString)": "textChanged",
    "currentIndexChanged(QString)": "currentTextChanged",
    "activated(QString)": "textActivated",
    "highlighted(QString)": "textHighlighted",
}
#: Every object that was given a connection or made here, so that the desktop can stop what still runs.
TIMERS = weakref.WeakSet()


def class_member(cls: type, name: str) -> Any:
    """``qt.QSizePolicy.Expanding`` and ``qt.QTimer.singleShot``."""
    if name.startswith("__"):
        raise AttributeError(name)
    full = cls.slicer_name
    slicer_names.require(full, name)
    if (full, name) in STATIC_INSTEAD:
        return STATIC_INSTEAD[full, name]
    try:
        member = getattr(cls.real_class, name)
    except AttributeError:
        raise slicer_names.not_offered(f"{full}.{name}") from None
    if isinstance(member, type):
        return EnumType(member)
    if not callable(member):
        return wrap(member)
    return lambda *arguments, **keywords: call_real(member, arguments, keywords, f"{full}.{name}")


class ProxyClass(type):
    """Gives ``qt.QLabel`` its enums and static methods, and lets nobody derive from it."""

    def __getattr__(cls, name: str) -> Any:
        return class_member(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"{cls.slicer_name} takes no new attributes such as '{name}'")


class Value(metaclass=ProxyClass):
    """A value or an item: QColor, QIcon, QTableWidgetItem; it has methods only."""

    __slots__ = ("_real", "__weakref__")
    is_stand_in_proxy = True
    slicer_name = "Value"
    real_class = object

    def __init_subclass__(cls, made_here: bool = False) -> None:
        if not made_here:
            raise TypeError("This stand-in offers no classes that derive from those of Qt; use them as they are")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        make = CONSTRUCT.get(self.slicer_name, self.real_class)
        made = call_real(lambda *given: _Made(make(*given)), arguments, keywords, self.slicer_name)
        object.__setattr__(self, "_real", made.real)
        self._remember()

    @classmethod
    def around(cls, real: Any) -> Value:
        """The proxy of a PySide object, the same one while somebody holds it."""
        known = getattr(real, "_stand_in_proxy", None)
        known = known() if known is not None else None
        if known is not None:
            return known
        proxy = cls.__new__(cls)
        object.__setattr__(proxy, "_real", real)
        proxy._remember()
        return proxy

    def _remember(self) -> None:
        try:
            self._real._stand_in_proxy = weakref.ref(self)
        except AttributeError:
            pass  # plain values take no attributes; they are compared by value anyway

    def real(self) -> Any:
        return self._real

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        slicer_names.require(self.slicer_name, name)
        return _method(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self.slicer_name} has no property '{name}'; call a setter")

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Value) and (self._real is other._real or bool(self._real == other._real))

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.slicer_name)

    def __add__(self, other: Any) -> Any:
        return wrap(self._real + unwrap(other))

    def __sub__(self, other: Any) -> Any:
        return wrap(self._real - unwrap(other))

    def __repr__(self) -> str:
        return f"<{self.slicer_name} {self._real!r}>"


class _Made:
    """Keeps a new PySide object from being wrapped twice."""

    def __init__(self, real: Any) -> None:
        self.real = real


class Object(Value, made_here=True):
    """A QObject: attributes are its Qt properties, its signals and its methods."""

    __slots__ = ()

    def _remember(self) -> None:
        super()._remember()
        if isinstance(self._real, QtCore.QTimer):
            TIMERS.add(self._real)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        real = alive(self._real, name)
        slicer_names.require(self.slicer_name, name)
        if is_property(self.slicer_name, real, name):
            return read_property(real, name)
        found = signatures(self.slicer_name, real, name)
        if found:
            return Signal(self, name, found)
        return _method(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        real = alive(self._real, name)
        slicer_names.require(self.slicer_name, name)
        if not is_property(self.slicer_name, real, name):
            raise AttributeError(f"'{name}' of {self.slicer_name} is not a property, it cannot be set")
        write_property(real, self.slicer_name, name, value)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Object) and _address(self._real) == _address(other._real)

    def __hash__(self) -> int:
        return hash(_address(self._real))

    def connect(self, signature: str, function: Callable) -> bool:
        """``button.connect("clicked(bool)", f)``"""
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        signature = signature.replace(" ", "")
        real = alive(self._real, "connect")
        if signature not in signatures(self.slicer_name, real, signature.split("(")[0]):
            raise AttributeError(
                f"'{signature}' is not a signal of {self.slicer_name} in Slicer {slicer_names.VERSION}"
            )
        receive = slot(signature, function)
        real_signal(real, self.slicer_name, signature).connect(receive)
        _connections(real).append((signature, function, receive))
        return True

    def disconnect(self, signature: str, function: Any = None) -> bool:
        signature = signature.replace(" ", "")
        real = alive(self._real, "disconnect")
        if signature not in signatures(self.slicer_name, real, signature.split("(")[0]):
            raise AttributeError(
                f"'{signature}' is not a signal of {self.slicer_name} in Slicer {slicer_names.VERSION}"
            )
        known = _connections(real)
        ending = [entry for entry in known if entry[0] == signature and function in (None, entry[1])]
        for entry in ending if function is None else ending[:1]:
            real_signal(real, self.slicer_name, signature).disconnect(entry[2])
            known.remove(entry)
        return bool(ending)


class Signal:
    """``button.clicked``, with connect and disconnect."""

    def __init__(self, owner: Object, name: str, found: list[str]) -> None:
        self._owner, self._name, self._found = owner, name, found

    def _signature(self, function: Callable) -> str:
        longest = max(self._found, key=lambda one: len(argument_types(one)))
        different = [one for one in self._found if argument_types(one) and one != longest]
        if different and arguments_taken(function) != 0:
            raise AttributeError(
                f"'{self._name}' of {self._owner.slicer_name} stands for {', '.join(self._found)}; "
                f'choose one: connect("{longest}", function)'
            )
        return longest

    def connect(self, function: Callable) -> bool:
        return self._owner.connect(self._signature(function), function)

    def disconnect(self, function: Any = None) -> bool:
        if function is None:
            return any([self._owner.disconnect(one) for one in self._found])
        return self._owner.disconnect(self._signature(function), function)


def _address(real: Any) -> int:
    return shiboken6.getCppPointer(real)[0]


def _connections(real: Any) -> list:
    if not hasattr(real, "_stand_in_connections"):
        real._stand_in_connections = []
    return real._stand_in_connections


def _method(proxy: Value, name: str) -> Any:
    full, real = proxy.slicer_name, proxy.real()
    for kind in type(proxy).__mro__:
        instead = INSTEAD.get((getattr(kind, "slicer_name", ""), name))
        if instead is not None:
            own = partial(instead, real)
            return lambda *arguments, **keywords: call_real(own, arguments, keywords, f"{full}.{name}")
    member = getattr(real, name, None) if hasattr(real, name) else getattr(real, RENAMED.get(name, name), None)
    if member is None:
        raise slicer_names.not_offered(f"{full}.{name}")
    if not callable(member) or isinstance(member, type):
        return class_member(type(proxy), name)

    def run(*arguments: Any, **keywords: Any) -> Any:
        if isinstance(proxy, Object):
            alive(real, name)
        return call_real(member, arguments, keywords, f"{full}.{name}")

    return run


def is_property(full: str, real: Any, name: str) -> bool:
    if name in slicer_names.properties(full):
        return True
    while full and slicer_names.tells_properties(full) is False:
        if real.metaObject().indexOfProperty(name) >= 0 and name in slicer_names.allowed(full):
            return full != "qt.QObject"
        full = slicer_names.CLASSES[full].get("base")
    return False


def read_property(real: Any, name: str) -> Any:
    if real.metaObject().indexOfProperty(name) < 0:
        if hasattr(real, name):  # some Qt 6 methods are properties in Qt 5
            return wrap(getattr(real, name)())
        raise slicer_names.not_offered(f"The property '{name}' of {type(real).__name__}")
    return wrap(real.property(name))


def write_property(real: Any, full: str, name: str, value: Any) -> None:
    index = real.metaObject().indexOfProperty(name)
    if index < 0:
        setter = getattr(real, f"set{name[0].upper()}{name[1:]}", None)
        if setter is None:
            raise slicer_names.not_offered(f"The property '{name}' of {full}")
        setter(unwrap(value))
        return
    if not real.metaObject().property(index).isWritable():
        raise AttributeError(f"Property '{name}' of {full} object is not writable")
    plain = int(value) if isinstance(value, EnumValue) else unwrap(value)
    if not real.setProperty(name, plain):
        raise ValueError(
            f"Property '{name}' of type '{real.metaObject().property(index).typeName()}' of {full} "
            f"does not accept {value!r}"
        )


def signatures(full: str, real: Any, name: str) -> list[str]:
    """The signatures of a signal that Slicer's list tells, or Qt's own where the list tells only the names."""
    listed = [one for one in sorted(slicer_names.signals(full)) if one.split("(")[0] == name]
    if listed:
        return listed
    unlisted = full
    while unlisted and slicer_names.tells_properties(unlisted):
        unlisted = slicer_names.CLASSES[unlisted].get("base")
    if not unlisted or name not in slicer_names.allowed(unlisted):
        return []
    meta = real.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    own = [bytes(one.methodSignature().data()).decode() for one in methods if one.methodType() == one.MethodType.Signal]
    older = [one for one, newer in RENAMED.items() if "(" in one and hasattr(real, newer)]
    return sorted({one for one in own + older if one.split("(")[0] == name})


def real_signal(real: Any, full: str, signature: str) -> Any:
    own = getattr(type(real), "SLICER_SIGNALS", {}).get(signature)
    name = own or signature.split("(")[0]
    renamed = RENAMED.get(signature)
    if renamed and not own and hasattr(real, renamed):
        name = renamed
    found = getattr(real, name, None)
    if found is None or not hasattr(found, "connect"):
        raise slicer_names.not_offered(f"The signal '{signature}' of {full}")
    return found


def make_proxy_class(full: str, real_class: type) -> type:
    """The class offered as ``full``, for instance "qt.QLabel", over a PySide class."""
    if full in BY_NAME:
        return BY_NAME[full]
    is_object = isinstance(real_class, type) and issubclass(real_class, QtCore.QObject)
    base = next((PROXY_OF[kind] for kind in real_class.__mro__ if kind in PROXY_OF), Object if is_object else Value)
    plain = full.split(".")[1]
    body = {"__slots__": (), "slicer_name": full, "real_class": real_class, "__doc__": f"Stands in for {full}."}
    made = ProxyClass(plain, (base,), body, made_here=True)
    PROXY_OF[real_class] = BY_NAME[full] = made
    return made
