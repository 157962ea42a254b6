"""Stands in for ``slicer.parameterNodeWrapper``: typed attributes kept in a parameter node, bound to widgets."""

from __future__ import annotations

import enum
import pathlib
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from . import parameter_types, slicer_names
from .parameter_types import (
    Choice,
    Decimals,
    Default,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
    kind_of,
)
from .qt_packages import SLICER, ctk, qt

SlicerParameterNamePropertyName = "SlicerParameterName"


class Parameter:
    """One attribute: its type, its limits, and where it is kept in the node."""

    def __init__(self, name: str, annotated: Any, owner: type) -> None:
        self.name, self.annotated = name, annotated
        self.type, self.notes = _split(annotated)
        self.kind = kind_of(self.type)
        self.validators = [note for note in self.notes if isinstance(note, Validator)]
        noted = [note.value for note in self.notes if type(note) is Default]
        self.default = owner.__dict__.get(name, noted[0] if noted else self.kind.default)
        self.is_node = self.kind.none

    def write(self, node: Any, value: Any) -> None:
        if not self.is_node:
            NotNone().validate(value)
        IsInstance(self.kind.accepts).validate(value)
        for validator in self.validators:
            validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")  # tells "None" from "never set"
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, self.kind.text(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        return self.kind.value(node.GetParameter(self.name))


def _split(annotated: Any) -> tuple[Any, list[Any]]:
    if hasattr(annotated, "__metadata__"):
        return annotated.__origin__, list(annotated.__metadata__)
    return annotated, []


def _limits(parameter: Parameter) -> tuple[Any, Any]:
    low = high = None
    for note in parameter.notes:
        if isinstance(note, (WithinRange, Minimum)):
            low = note.minimum
        if isinstance(note, (WithinRange, Maximum)):
            high = note.maximum
    return low, high


class Connector:
    """Binds a widget to a parameter; which widgets fit which types is Slicer's choice."""

    def __init__(self, widget: Any, parameter: Parameter) -> None:
        self.widget, self.parameter, self._callback = widget, parameter, None
        choose = {
            bool: {qt.QCheckBox: "stateChanged", qt.QPushButton: "toggled"},
            int: {qt.QSpinBox: "valueChanged", qt.QSlider: "valueChanged"},
            float: {qt.QDoubleSpinBox: "valueChanged", ctk.ctkSliderWidget: "valueChanged"},
            str: {qt.QLineEdit: "textChanged", qt.QTextEdit: "textChanged"},
        }.get(parameter.type, {})
        self.choices: list[Any] = []
        if parameter.is_node and type(widget) is SLICER["qMRMLNodeComboBox"]:
            self.signal = "currentNodeChanged"
            # Slicer makes an instance of each class, which an abstract one refuses.
            widget.nodeTypes = [one().GetClassName() for one in parameter_types.node_classes(parameter.type)]
        elif type(widget) is qt.QComboBox and not parameter.is_node:
            self._offer_choices()
        elif type(widget) is ctk.ctkPathLineEdit and issubclass(parameter.type, pathlib.PurePath):
            self.signal = "currentPathChanged"
        elif type(widget) in choose:
            self.signal = choose[type(widget)]
            self._prepare()
        else:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{parameter.annotated}' to widget type '{type(widget)}'"
            )

    def _offer_choices(self) -> None:
        self.signal = "currentIndexChanged"
        noted = [note.choices for note in self.parameter.notes if isinstance(note, Choice)]
        if isinstance(self.parameter.type, type) and issubclass(self.parameter.type, enum.Enum):
            label = getattr(self.parameter.type, "label", lambda one: one.name)
            noted, labels = [list(self.parameter.type)], [label(one) for one in self.parameter.type]
        elif noted:
            labels = [str(one) for one in noted[0]]
        else:
            raise RuntimeError("A QComboBox needs the Choice annotation")
        self.choices = list(noted[0])
        self.widget.clear()
        for text in labels:
            self.widget.addItem(text)

    def _prepare(self) -> None:
        if self.parameter.type is bool:
            self.widget.checkable = True if type(self.widget) is qt.QPushButton else self.widget.checkable
        if self.parameter.type not in (int, float):
            return
        for note in self.parameter.notes:
            if isinstance(note, Decimals):
                self.widget.decimals = note.value
            if isinstance(note, SingleStep):
                self.widget.singleStep = note.value
        low, high = _limits(self.parameter)
        if type(self.widget) in (ctk.ctkSliderWidget, qt.QSlider) and None in (low, high):
            raise RuntimeError("A slider needs a WithinRange annotation (or Minimum and Maximum)")
        whole = self.parameter.type is int
        self.widget.minimum = (-(2**31) if whole else float("-inf")) if low is None else low
        self.widget.maximum = (2**31 - 1 if whole else float("inf")) if high is None else high

    def start(self, callback: Callable) -> None:
        def changed() -> None:
            callback()

        self._callback = changed
        getattr(self.widget, self.signal).connect(changed)

    def stop(self) -> None:
        getattr(self.widget, self.signal).disconnect(self._callback)

    def read(self) -> Any:
        if self.choices:
            return self.choices[self.widget.currentIndex]
        if self.parameter.is_node:
            return self.widget.currentNode()
        if self.parameter.type is bool:
            return self.widget.checked
        if self.signal == "currentPathChanged":
            return self.parameter.type(self.widget.currentPath)
        if type(self.widget) is qt.QTextEdit:
            return self.widget.toPlainText()
        return self.widget.text if self.parameter.type is str else self.widget.value

    def write(self, value: Any) -> None:
        if self.choices:
            self.widget.currentIndex = self.choices.index(value)
        elif self.parameter.is_node:
            self.widget.setCurrentNode(value)
        elif self.parameter.type is bool:
            self.widget.checked = value
        elif self.signal == "currentPathChanged":
            self.widget.currentPath = str(value)
        elif type(self.widget) is qt.QTextEdit:
            self.widget.setPlainText(value)
        elif self.parameter.type is str:
            self.widget.text = value
        else:
            self.widget.value = value


class Wrapped:
    """What the decorator adds to a class; the names are Slicer's."""

    allParameters: dict[str, Parameter] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._bound: dict[int, list[Connector]] = {}
        self._next_tag, self._showing = 0, False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def isCached(self, paramName: str) -> bool:
        return self._parameter(paramName) is not None

    def default(self, paramName: str) -> Default:
        return Default(self._parameter(paramName).default)

    @classmethod
    def dataType(cls, membername: str) -> Any:
        return cls._parameter(membername).annotated

    @classmethod
    def _parameter(cls, name: str) -> Parameter:
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return cls.allParameters[name]

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def connectGui(self, gui: Any) -> None:
        """Bind every widget with the property SlicerParameterName. As in Slicer, no tag comes back."""
        if hasattr(gui, "isWidgetType"):
            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = gui.__dict__.values()
        found = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in found.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = [Connector(widget, self._parameter(name)) for name, widget in mapping.items()]
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._bound[tag] = connectors
        for connector in connectors:
            connector.write(self.getValue(connector.parameter.name))
            connector.start(lambda connector=connector: self._take_from_gui(connector))
        itself = weakref.ref(self)
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: itself() and itself()._show_in_gui())
        return tag

    def _take_from_gui(self, connector: Connector) -> None:
        if not self._showing:
            with slicer.util.NodeModify(self):
                self.setValue(connector.parameter.name, connector.read())

    def _show_in_gui(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._bound.values():
                    for connector in connectors:
                        connector.write(self.getValue(connector.parameter.name))
        finally:
            self._showing = False

    def disconnectGui(self, guiTag: Any) -> None:
        for connector in self._bound.pop(guiTag, []):
            connector.stop()

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: Any = None) -> Any:
    """The decorator, with or without parentheses."""
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: Parameter(name, annotated, classtype) for name, annotated in hints.items()}
    taken = [name for name in parameters if hasattr(Wrapped, name)]
    if taken:
        raise ValueError(f"Cannot use reserved name '{taken[0]}' in a parameterNodeWrapper")
    for name in parameters:
        read = property(lambda self, name=name: self.getValue(name), lambda self, v, name=name: self.setValue(name, v))
        setattr(classtype, name, read)
    for name, member in vars(Wrapped).items():
        if name not in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"):
            setattr(classtype, name, member)
    classtype.allParameters = parameters
    return classtype


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


class _Package(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name in slicer_names.PARAMETER_NODE_WRAPPER:
            raise slicer_names.not_offered(f"slicer.parameterNodeWrapper.{name}")
        raise AttributeError(f"'{name}' is not a name of slicer.parameterNodeWrapper in Slicer {slicer_names.VERSION}")


def package() -> types.ModuleType:
    made = _Package("slicer.parameterNodeWrapper")
    for name, value in {**vars(parameter_types), **globals()}.items():
        if name in slicer_names.PARAMETER_NODE_WRAPPER:
            setattr(made, name, value)
    made.__all__ = [name for name in vars(made) if name in slicer_names.PARAMETER_NODE_WRAPPER]
    return made
