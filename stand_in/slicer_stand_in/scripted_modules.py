"""Stands in for ``slicer.ScriptedLoadableModule`` and ``slicer.i18n``."""

from __future__ import annotations

import os
import sys
import types
import unittest
from typing import Any

import slicer

from . import slicer_names
from .qt_packages import qt


class ModuleParent:
    """What Slicer hands to a module class: takes title, categories and the other descriptions."""

    _full = "slicer.qSlicerScriptedLoadableModule"
    _settable = {
        "acknowledgementText": "",
        "associatedNodeTypes": (),
        "categories": (),
        "contributors": (),
        "dependencies": (),
        "extensions": (),
        "helpText": "",
        "hidden": False,
        "icon": None,
        "index": -1,
        "path": "",
        "title": "",
        "widgetRepresentationCreationEnabled": True,
    }

    def __init__(self, path: str, name: str) -> None:
        object.__setattr__(self, "_values", dict(self._settable, path=str(path), title=name))
        object.__setattr__(self, "_name", name)

    @property
    def name(self) -> str:
        return self._name

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        slicer_names.require(self._full, name)
        if name not in self._values:
            raise slicer_names.not_offered(f"{self._full}.{name}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        slicer_names.require(self._full, name)
        if name not in self._settable:
            raise slicer_names.not_offered(f"Setting {self._full}.{name}")
        if isinstance(self._settable[name], tuple):
            if not all(isinstance(item, str) for item in value):
                raise ValueError(f"'{name}' takes a list of texts")
            value = tuple(value)
        elif isinstance(self._settable[name], str) and not isinstance(value, str):
            raise ValueError(f"'{name}' takes a text")
        self._values[name] = value


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        for ending in (".svg", ".png"):
            icon = os.path.join(os.path.dirname(parent.path), "Resources", "Icons", self.moduleName + ending)
            if os.path.isfile(icon):
                parent.icon = qt.QIcon(icon)
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: Any = None) -> str:
        return f"<p>For more information see the online documentation of {docPage or self.moduleName}.</p>"

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        test = getattr(sys.modules[type(self).__module__], self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__
        if self.moduleName.endswith("Widget"):
            self.moduleName = self.moduleName[: -len("Widget")]
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
            self.parent, self.layout = parent, parent.layout()
            self.setup()
        self.parent, self.layout = parent, parent.layout()

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """The reload and test buttons; not made here."""

    def cleanup(self) -> None:
        pass

    def onReload(self) -> None:
        raise slicer_names.not_offered("Reloading a module")

    def onTest(self, **kwargs: Any) -> None:
        slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        self.onReload()

    def onEditSource(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__
        if self.moduleName.endswith("Logic"):
            self.moduleName = self.moduleName[: -len("Logic")]
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messageDelay = 0

    def runTest(self) -> None:
        """Overridden by the module's tests."""

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        slicer.util.delayDisplay(message)

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:  # noqa: A002 - Slicer's name
        slicer.util.delayDisplay(description)


def modules() -> dict[str, types.ModuleType]:
    """By their full names."""
    bases = types.ModuleType("slicer.ScriptedLoadableModule")
    bases.__all__ = [
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleWidget",
        "ScriptedLoadableModuleLogic",
        "ScriptedLoadableModuleTest",
    ]
    for name in bases.__all__:
        setattr(bases, name, globals()[name])
    words = types.ModuleType("slicer.i18n")
    words.tr = lambda text: text
    words.translate = lambda context, text: text
    words.getContext = lambda sourceFile: os.path.splitext(os.path.basename(sourceFile))[0]
    return {bases.__name__: bases, words.__name__: words}
