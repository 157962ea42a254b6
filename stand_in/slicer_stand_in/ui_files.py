"""Designer's .ui files: checked against Slicer's names, then loaded with CTK's and MRML's widgets in place."""

from __future__ import annotations

import fnmatch
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from PySide6.QtCore import QBuffer, QByteArray, QDir, QIODevice, QObject
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QApplication

from . import slicer_names
from .ctk_widgets import ctkCollapsibleButton
from .qt_packages import SLICER, ctk
from .qt_packages import qt as offered_qt
from .wrapping import wrap

_DESIGNER_ONLY = {"Line": "qt.QFrame"}  # Designer's own names
_SCENE_SIGNAL = "mrmlSceneChanged(vtkMRMLScene*)"
_SCENE_SLOT = "setMRMLScene(vtkMRMLScene*)"


class UiError(ValueError):
    """A .ui file uses what Slicer does not have."""


def _class_of(element: ElementTree.Element) -> str | None:
    plain = element.get("class", "")
    return _DESIGNER_ONLY.get(plain) or slicer_names.full_name(plain)


def _is_property(full: str, name: str) -> bool:
    if name in slicer_names.properties(full):
        return True
    while full:
        if not slicer_names.tells_properties(full) and name in slicer_names.allowed(full):
            return True
        full = slicer_names.CLASSES[full].get("base")
    return False


def _has_signal(full: str, signature: str) -> bool:
    if signature in slicer_names.signals(full):
        return True
    return not slicer_names.tells_properties(full) and signature.split("(")[0] in slicer_names.allowed(full)


def _widget_faults(element: ElementTree.Element) -> list[str]:
    plain, name = element.get("class"), element.get("name")
    full = _class_of(element)
    if full is None:
        return [f"the class {plain} of '{name}' is not offered"]
    faults = []
    for one in element.findall("property"):
        if one.get("stdset") == "0" or (plain == "Line" and one.get("name") == "orientation"):
            continue
        if not _is_property(full, one.get("name")):
            faults.append(f"'{one.get('name')}' is not a property of {full} ('{name}')")
    return faults


def _connection_faults(root: ElementTree.Element, classes: dict[str, str | None]) -> list[str]:
    faults = []
    for one in root.iter("connection"):
        sender, signal = one.findtext("sender"), one.findtext("signal").replace(" ", "")
        receiver, slot = one.findtext("receiver"), one.findtext("slot").replace(" ", "")
        for name, what in ((sender, signal), (receiver, slot)):
            if name not in classes:
                faults.append(f"no '{name}' for the connection of {what}")
        if classes.get(sender) and not _has_signal(classes[sender], signal):
            faults.append(f"'{signal}' is not a signal of {classes[sender]} ('{sender}')")
        if classes.get(receiver) and slot.split("(")[0] not in slicer_names.allowed(classes[receiver]):
            faults.append(f"'{slot}' is not a slot of {classes[receiver]} ('{receiver}')")
    return faults


def _scene_faults(root: ElementTree.Element, widgets: list[ElementTree.Element]) -> list[str]:
    """MRML widgets inside a qMRMLWidget that no connection hands the scene to."""
    if root.find("widget") is None or root.find("widget").get("class") != "qMRMLWidget":
        return []
    served = {one.findtext("receiver") for one in root.iter("connection") if one.findtext("signal") == _SCENE_SIGNAL}
    return [
        f"nothing hands the scene to '{one.get('name')}' ({one.get('class')}): connect {_SCENE_SIGNAL}"
        for one in widgets[1:]
        if one.get("class", "").startswith("qMRML") and one.get("name") not in served
    ]


def check_ui(path: Any) -> ElementTree.Element:
    """The parsed .ui file.

    Raises:
        UiError: it uses a class, property, signal or slot that Slicer does not have; all faults are listed.
    """
    root = ElementTree.parse(str(path)).getroot()
    widgets = list(root.iter("widget"))
    faults = [fault for widget in widgets for fault in _widget_faults(widget)]
    all_names = [widget.get("name") for widget in widgets]
    faults += [f"the name '{name}' is given twice" for name in sorted({n for n in all_names if all_names.count(n) > 1})]
    classes = {widget.get("name"): _class_of(widget) for widget in widgets}
    faults += _connection_faults(root, classes) + _scene_faults(root, widgets)
    if faults:
        raise UiError(f"{Path(path).name} does not fit Slicer {slicer_names.VERSION}:\n- " + "\n- ".join(faults))
    return root


class _Loader(QUiLoader):
    """Makes CTK's and MRML's widgets where the file names them."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        made = ctk.__dict__.get(class_name) or SLICER.get(class_name)
        if made is None:
            return super().createWidget(class_name, parent, name)
        widget = made.real_class(parent) if parent is not None else made.real_class()
        widget.setObjectName(name)
        return widget


def _take_scene_connections(root: ElementTree.Element) -> list[dict[str, str]]:
    """Qt cannot make these for the stand-in: taken out of the file and made by hand afterwards."""
    taken = []
    for section in root.iter("connections"):
        for one in list(section):
            if one.findtext("signal") == _SCENE_SIGNAL:
                taken.append({key: one.findtext(key) for key in ("sender", "receiver", "slot")})
                section.remove(one)
    return taken


def load_ui(path: Any) -> Any:
    """The widget of a .ui file, as a proxy.

    Raises:
        RuntimeError: there is no such file, or it cannot be loaded.
        UiError: see :func:`check_ui`.
    """
    if not Path(path).is_file():
        raise RuntimeError(f"Could not load UI file: file not found {path}\n\n")
    root = check_ui(path)
    scene_connections = _take_scene_connections(root)
    buffer = QBuffer()
    buffer.setData(QByteArray(ElementTree.tostring(root)))
    buffer.open(QIODevice.ReadOnly)
    loader = _Loader()
    loader.setWorkingDirectory(QDir(str(Path(path).parent)))
    widget = loader.load(buffer)
    if widget is None:
        raise RuntimeError(f"Could not load UI file: {path}: {loader.errorString()}")
    children = widget.findChildren(QObject)
    widget.stand_in_children = children  # the Python halves must live as long as the widget
    by_name = {child.objectName(): child for child in [widget, *children]}
    for one in scene_connections:
        sender, receiver = by_name[one["sender"]], by_name[one["receiver"]]
        sender.mrmlSceneChanged.connect(receiver.setMRMLScene)
    for child in children:
        if isinstance(child, ctkCollapsibleButton) and not child.isChecked():
            child._folding.fold()
    return wrap(widget)


def find_children(widget: Any = None, name: str = "", text: str = "", title: str = "", className: str = "") -> list:
    """``slicer.util.findChildren``; names may hold * and ?."""
    tops = [wrap(one) for one in QApplication.topLevelWidgets()] if widget is None else [widget]
    children = [child for top in tops for child in top.findChildren(offered_qt.QObject)]
    wanted = {"objectName": name, "text": text, "windowTitle": title}
    for key, pattern in wanted.items():
        if pattern:
            children = [one for one in children if fnmatch.fnmatchcase(str(getattr(one, key, "")), pattern)]
    return [one for one in children if not className or one.className() == className]


def child_widgets(widget: Any) -> Any:
    """``slicer.util.childWidgetVariables``: an object with an attribute for each named child."""
    ui = type("", (), {})()
    for child in widget.real().findChildren(QObject):
        if child.objectName() and type(child).__name__ != "QAction":
            setattr(ui, child.objectName(), wrap(child))
    return ui
