"""The modules ``qt`` and ``ctk``: the offered classes of Qt and CTK under the names that Slicer has."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import ctk_widgets, node_combo_box, proxies, slicer_names
from .proxies import CONSTRUCT, INSTEAD, STATIC_INSTEAD
from .wrapping import ERRORS, PROXY_OF, EnumValue, slot, unwrap, wrap


class Dialogs:
    """What was shown in message boxes and dialogs, and what is answered; nothing waits for a person."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.answers: list[Any] = []  # taken from the front; the default answer when empty

    def ask(self, text: str, default: Any) -> Any:
        self.messages.append(str(text))
        return self.answers.pop(0) if self.answers else default


DIALOGS = Dialogs()
_BUTTONS = QtWidgets.QMessageBox.StandardButton


def _real_class(plain: str) -> Any:
    for package in (QtCore, QtGui, QtWidgets):
        if hasattr(package, plain):
            return getattr(package, plain)
    return None


class Package(types.ModuleType):
    """A module that says which class it lacks, and why."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if f"{self.__name__}.{name}" in slicer_names.CLASSES:
            raise slicer_names.not_offered(f"{self.__name__}.{name}")
        raise AttributeError(
            f"{self.__name__}.{name} is not among the names of Slicer {slicer_names.VERSION} offered here"
        )


def _fill(package: Package) -> Package:
    """Classes nearer to QObject first, so that each finds its base among those made before."""
    found = []
    for full in slicer_names.CLASSES:
        if full.split(".")[0] == package.__name__:
            plain = full.split(".")[1]
            real = _real_class(plain) if package.__name__ == "qt" else getattr(ctk_widgets, plain, None)
            if real is not None:
                found.append((len(real.__mro__), plain, real))
    for _, plain, real in sorted(found, key=lambda one: one[:2]):
        setattr(package, plain, proxies.make_proxy_class(f"{package.__name__}.{plain}", real))
    return package


def _single_shot(milliseconds: int, function: Any) -> None:
    QtCore.QTimer.singleShot(milliseconds, slot("timeout()", function))


def _message(kind: str, default: Any):
    def show(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        offered = int(buttons[0]) if buttons else int(default.value)
        fallback = default if offered & default.value else _BUTTONS(offered & -offered)
        answer = DIALOGS.ask(text, EnumValue(fallback))
        if answer is True or answer is False:
            return EnumValue(fallback if answer else _BUTTONS.No if offered & _BUTTONS.No.value else _BUTTONS.Cancel)
        return answer

    show.__name__ = kind
    return show


def _run_dialog(real: Any, *arguments: Any) -> Any:
    """Instead of exec: the text is noted, the answer is taken, the dialog never opens."""
    if isinstance(real, QtWidgets.QMessageBox):
        buttons = real.standardButtons().value
        accept = next(
            (one for one in (_BUTTONS.Ok, _BUTTONS.Yes) if buttons & one.value), _BUTTONS(buttons & -buttons or 1024)
        )
        answer = DIALOGS.ask(real.text(), EnumValue(accept))
        chosen = next((one for one in real.buttons() if one.text().replace("&", "") == answer), None)
        real.stand_in_clicked = chosen or real.button(
            _BUTTONS(int(answer)) if isinstance(answer, EnumValue) else accept
        )
        return answer if chosen is None else 0
    return int(DIALOGS.ask(real.windowTitle(), int(QtWidgets.QDialog.DialogCode.Accepted.value)))


def _ask_static(place: int, default: Any):
    """Static dialogs that give one value: the title is noted."""

    def show(*arguments: Any) -> Any:
        return DIALOGS.ask(arguments[place] if len(arguments) > place else "", default)

    return show


def _find_children(real: Any, kind: Any = proxies.Object, name: str = "") -> list:
    """PythonQt's way: a class or its name, and the exact object name."""
    return [
        child
        for child in real.findChildren(QtCore.QObject)
        if (not name or child.objectName() == name)
        and (child.inherits(kind) if isinstance(kind, str) else isinstance(wrap(child), kind))
    ]


def _find_child(real: Any, kind: Any = proxies.Object, name: str = "") -> Any:
    return next(iter(_find_children(real, kind, name)), None)


def _dynamic_names(real: Any) -> list:
    return [bytes(name.data()).decode() for name in real.dynamicPropertyNames()]


def _class_name(real: Any) -> str:
    return type(wrap(real)).slicer_name.split(".")[1]


class _Settings:
    """``qt.QSettings()`` are the user's settings; here an .ini file in the folder of the desktop."""

    path = ""

    def __call__(self, *arguments: Any) -> QtCore.QSettings:
        return QtCore.QSettings(*(arguments or (self.path, QtCore.QSettings.IniFormat)))


SETTINGS = _Settings()


def _register_instead() -> None:
    objects = {
        "findChildren": _find_children,
        "findChild": _find_child,
        "dynamicPropertyNames": _dynamic_names,
        "className": _class_name,
    }
    for name, function in objects.items():
        INSTEAD["qt.QObject", name] = function
    for dialog in ("QDialog", "QMessageBox", "QFileDialog", "QInputDialog"):
        INSTEAD[f"qt.{dialog}", "exec"] = _run_dialog
    INSTEAD["qt.QMessageBox", "clickedButton"] = lambda real: getattr(real, "stand_in_clicked", None)
    INSTEAD["qt.QMenu", "exec"] = lambda real, *place: None
    STATIC_INSTEAD["qt.QTimer", "singleShot"] = _single_shot
    for kind, default in (("question", _BUTTONS.Yes), ("information", _BUTTONS.Ok)):
        STATIC_INSTEAD["qt.QMessageBox", kind] = _message(kind, default)
    for kind in ("warning", "critical"):
        STATIC_INSTEAD["qt.QMessageBox", kind] = _message(kind, _BUTTONS.Ok)
    for kind in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        STATIC_INSTEAD["qt.QFileDialog", kind] = _ask_static(1, "")
    STATIC_INSTEAD["qt.QFileDialog", "getOpenFileNames"] = _ask_static(1, ())
    for kind, default in (("getText", ""), ("getItem", ""), ("getInt", 0), ("getDouble", 0.0)):
        STATIC_INSTEAD["qt.QInputDialog", kind] = _ask_static(2, default)
    STATIC_INSTEAD["qt.QDesktopServices", "openUrl"] = lambda url: bool(DIALOGS.ask(unwrap(url).toString(), True))
    CONSTRUCT["qt.QSettings"] = SETTINGS


_register_instead()
qt = _fill(Package("qt"))
ctk = _fill(Package("ctk"))
PROXY_OF[QtWidgets.QLayoutItem] = qt.QSpacerItem  # the list has no other layout items
SLICER = {
    plain: proxies.make_proxy_class(f"slicer.{plain}", real)
    for plain, real in sorted(node_combo_box.SLICER_CLASSES.items(), key=lambda one: len(one[1].__mro__))
}


def stop_timers() -> None:
    ERRORS.open = False
    for timer in list(proxies.TIMERS):
        try:
            timer.stop()
        except RuntimeError:
            pass  # deleted with its parent
