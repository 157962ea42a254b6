"""Stands in for ``slicer.app``, its layout manager and slice widgets, and ``slicer.modules``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6.QtWidgets import QApplication

from . import slicer_names
from .qt_packages import qt
from .wrapping import wrap

VIEWS = (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))


class Named:
    """An object of Slicer: what is not written in its class is refused, with the reason."""

    _instance = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        slicer_names.require_in_instance(self._instance, name)
        raise slicer_names.not_offered(f"{self._instance}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"'{name}' of {self._instance} cannot be set")
        object.__setattr__(self, name, value)


class Signals:
    """Connections by signature for objects that are no QObjects here; ``emit`` is for the desktop."""

    def __init__(self) -> None:
        self.known: list[tuple[str, Callable]] = []

    def emit(self, signature: str, *arguments: Any) -> None:
        for known, function in list(self.known):
            if known == signature:
                function(*arguments)


class Connecting(Named):
    def __init__(self) -> None:
        self._signals = Signals()

    def connect(self, signature: str, function: Callable) -> bool:
        slicer_names.require_in_instance(self._instance, signature.split("(")[0])
        self._signals.known.append((signature.replace(" ", ""), function))
        return True

    def disconnect(self, signature: str, function: Callable) -> bool:
        entry = (signature.replace(" ", ""), function)
        if entry not in self._signals.known:
            return False
        self._signals.known.remove(entry)
        return True


class SliceView(Named):
    _instance = "sliceView"

    def __init__(self, view: Any) -> None:
        self._view = view

    def mrmlSliceNode(self) -> Any:
        return self._view.node

    def renderWindow(self) -> Any:
        return self._view.window

    def interactor(self) -> Any:
        return self._view.interactor

    def cornerAnnotation(self) -> Any:
        if getattr(self._view, "corners", None) is None:  # as on the desktop: the view's own, empty at first
            self._view.corners = vtk.vtkCornerAnnotation()
            self._view.renderer.AddViewProp(self._view.corners)
        return self._view.corners

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._view.group.GetDisplayableManagerByClassName(name)

    def forceRender(self) -> None:
        self._view.render()

    def scheduleRender(self) -> None:
        """The views are drawn when a picture is taken."""


class SliceController(Named):
    _instance = "sliceController"

    def __init__(self, view: Any) -> None:
        self._view = view

    def mrmlSliceNode(self) -> Any:
        return self._view.node

    def sliceLogic(self) -> Any:
        return self._view.logic

    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()

    def setSliceLink(self, linked: bool) -> None:
        self._view.composite.SetLinkedControl(linked)

    def setSliceOffsetValue(self, offset: float) -> None:
        self._view.logic.SetSliceOffset(offset)

    def setForegroundOpacity(self, opacity: float) -> None:
        self._view.composite.SetForegroundOpacity(opacity)

    def setSliceVisible(self, visible: bool) -> None:
        self._view.node.SetSliceVisible(visible)


class SliceWidget(Named):
    _instance = "sliceWidget"

    def __init__(self, view: Any) -> None:
        self._view = view

    visible = True

    def mrmlSliceNode(self) -> Any:
        return self._view.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view.composite

    def sliceLogic(self) -> Any:
        return self._view.logic

    def sliceView(self) -> SliceView:
        return SliceView(self._view)

    def sliceController(self) -> SliceController:
        return SliceController(self._view)

    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()


class LayoutManager(Connecting):
    _instance = "layoutManager"
    threeDViewCount = 0
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self, host: Any) -> None:
        super().__init__()
        self._host, self._layout = host, 3  # four-up

    @property
    def layout(self) -> int:
        return self._layout

    def setLayout(self, layout: int) -> None:
        self._layout = int(layout)
        self._signals.emit("layoutChanged(int)", self._layout)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._host.views)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return SliceWidget(self._host.views[name]) if name in self._host.views else None

    def threeDWidget(self, index: int) -> None:
        return None

    def mrmlSliceLogics(self) -> Any:
        return self._host.application.GetSliceLogics()

    def mrmlScene(self) -> Any:
        return self._host.scene

    def resetSliceViews(self) -> None:
        for view in self._host.views.values():
            view.logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are none."""

    def pauseRender(self) -> None:
        """Nothing is drawn by itself."""

    def resumeRender(self) -> None:
        """Nothing is drawn by itself."""


class Module(Named):
    """An entry of ``slicer.modules``."""

    def __init__(self, name: str, path: str, logic: Any = None, widget: Any = None) -> None:
        self._name, self._path, self._logic, self._widget = name, path, logic, widget

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        slicer_names.require("slicer.qSlicerScriptedLoadableModule", name)
        raise slicer_names.not_offered(f"A module's {name}")

    @property
    def name(self) -> str:
        return self._name

    @property
    def path(self) -> str:
        return self._path

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        return self._widget


class Modules:
    """``slicer.modules``: those of the stand-in, and what a test opens."""

    def __init__(self, host: Any) -> None:
        self.colors = Module("Colors", "", host.application.GetColorLogic())
        for name in ("Volumes", "Transforms"):
            kind = getattr(slicer, {"Volumes": "vtkSlicerVolumesLogic", "Transforms": "vtkSlicerTransformLogic"}[name])
            logic = kind()
            logic.SetMRMLApplicationLogic(host.application)
            logic.SetMRMLScene(host.scene)
            setattr(self, name.lower(), Module(name, "", logic))
        self.sampleDataSources: dict[str, list] = {}

    def __getattr__(self, name: str) -> Any:
        if name in slicer_names.INSTANCES["modules"]:
            raise slicer_names.not_offered(f"slicer.modules.{name}")
        raise AttributeError(f"module 'modules' has no attribute '{name}'")


class ModuleManager(Connecting):
    _instance = "moduleManager"

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(one.name for one in vars(slicer.modules).values() if isinstance(one, Module))


class Application(Connecting):
    _instance = "app"
    majorVersion, minorVersion = 5, 8
    applicationName = mainApplicationName = "Slicer"
    applicationVersion = "5.8.1"
    mainApplicationMajorVersion, mainApplicationMinorVersion, mainApplicationPatchVersion = 5, 8, 1
    revision = repositoryRevision = "33241"
    isInstalled = True
    arch, os, platform = "amd64", "linux", "linux-amd64"

    def __init__(self, host: Any, folder: str) -> None:
        super().__init__()
        self._host, self._folder = host, folder
        self._layout_manager, self._module_manager = LayoutManager(host), ModuleManager()

    @property
    def temporaryPath(self) -> str:
        return self._folder

    @property
    def cachePath(self) -> str:
        return self._folder

    @property
    def slicerHome(self) -> str:
        return os.path.dirname(os.path.dirname(sys.executable))

    @property
    def launcherExecutableFilePath(self) -> str:
        return sys.executable

    @property
    def extensionsInstallPath(self) -> str:
        return os.path.join(self._folder, "Extensions")

    def applicationDirPath(self) -> str:
        return os.path.dirname(sys.executable)

    def applicationFilePath(self) -> str:
        return sys.executable

    def applicationPid(self) -> int:
        return os.getpid()

    def applicationLogic(self) -> Any:
        return self._host.application

    def layoutManager(self) -> LayoutManager:
        return self._layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def mrmlScene(self) -> Any:
        return self._host.scene

    def moduleLogic(self, name: str) -> Any:
        return self._host.application.GetModuleLogic(name)

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def settings(self) -> Any:
        return qt.QSettings()

    def userSettings(self) -> Any:
        return qt.QSettings()

    def testingEnabled(self) -> bool:
        return False

    def processEvents(self, *flags: Any) -> None:
        QApplication.processEvents()

    def pauseRender(self) -> None:
        """Nothing is drawn by itself."""

    def resumeRender(self) -> None:
        """Nothing is drawn by itself."""

    def setRenderPaused(self, paused: bool) -> None:
        """Nothing is drawn by itself."""

    def setOverrideCursor(self, cursor: Any) -> None:
        """There is no cursor."""

    def restoreOverrideCursor(self) -> None:
        """There is no cursor."""

    def palette(self) -> Any:
        return wrap(QApplication.palette())

    def font(self) -> Any:
        return wrap(QApplication.font())

    def style(self) -> Any:
        return wrap(QApplication.style())

    def clipboard(self) -> Any:
        raise slicer_names.not_offered("slicer.app.clipboard")

    def quit(self) -> None:
        raise SystemExit("slicer.app.quit() was called")
