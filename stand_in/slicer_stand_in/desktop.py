"""The desktop: while it is open, ``slicer`` of the wheel has what the program adds, and modules can be opened."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before Qt's first import makes an application

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from PySide6.QtCore import QCoreApplication, QEvent  # noqa: E402
from PySide6.QtWidgets import QApplication, QMainWindow, QVBoxLayout, QWidget  # noqa: E402
from SlicerDeepRegLib.mrml.host import Host, opengl_works  # noqa: E402

from . import node_combo_box, parameter_node, qt_packages, screenshots, scripted_modules, slicer_names, ui_files  # noqa: E402
from .application import VIEWS, Application, Module, Modules  # noqa: E402
from .qt_packages import DIALOGS, SLICER, ctk, qt  # noqa: E402
from .wrapping import ERRORS, wrap  # noqa: E402

#: Made once: modules under test keep them between two desktops.
_MODULES = {
    "qt": qt,
    "ctk": ctk,
    "slicer.parameterNodeWrapper": parameter_node.package(),
    **scripted_modules.modules(),
}
_can_draw: list[bool] = []


def _draws() -> bool:
    if not _can_draw:
        _can_draw.append(opengl_works())
    return _can_draw[0]


class Desktop:
    """A Slicer without a screen, for one ``with`` block.

    Attributes:
        host: the scene with its logics and the slice views Red, Green and Yellow.
        messages: the texts of all message boxes and dialogs so far, and of the status bar in ``status``.
        answers: what the next dialogs get, first one first: True or False, or the value that they return.
        pip: called with the requirements instead of pip; by default nothing happens but a note in ``installed``.
        samples: the sample data sets that modules registered.
        errors: tracebacks of what slots and timers raised; ``wait`` and the end of the block raise them.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = Path(folder)
        self.messages, self.answers = DIALOGS.messages, DIALOGS.answers
        self.errors = ERRORS.texts
        self.status: list[str] = []
        self.installed: list[Any] = []
        self.selected: list[str] = []
        self.pip: Callable = lambda requirements: None
        self.widgets: list[Any] = []
        self.samples: list[dict] = []
        self._entered: list[Any] = []
        self._missing = object()
        self._changed: list[tuple] = []

    # -- coming and going ------------------------------------------------------------------------------------------

    def __enter__(self) -> Desktop:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.application = QApplication.instance() or QApplication(["desktop"])
        self.application.setStyle("Fusion")
        self.application.setQuitOnLastWindowClosed(False)
        self.light()
        screenshots.prepare_fonts()
        ERRORS.start()
        DIALOGS.messages.clear()
        DIALOGS.answers.clear()
        qt_packages.SETTINGS.path = str(self.folder / "Slicer.ini")
        self.host = Host()
        for name, orientation in VIEWS:
            self.host.add_view(name, orientation)
        self._before = set(sys.modules)
        self._path_before = list(sys.path)
        self._install()
        return self

    def __exit__(self, kind: Any = None, error: Any = None, trace: Any = None) -> None:
        try:
            for widget in list(self.widgets):
                try:
                    self.close_module(widget)
                except Exception as failure:
                    ERRORS.note(failure)
        finally:
            self._take_down()
        if kind is None:
            self._raise_errors()

    def _raise_errors(self) -> None:
        if self.errors:
            raise AssertionError("A slot, an observer or the cleaning up raised:\n" + "\n".join(self.errors))

    def _take_down(self) -> None:
        qt_packages.stop_timers()
        tops = QApplication.topLevelWidgets()
        for top in tops:
            node_combo_box.forget_scenes([top, *top.findChildren(QWidget)])
            top.close()
            top.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)
        self._forget_imports()
        for holder, name, value in reversed(self._changed):
            if value is self._missing:
                delattr(holder, name)
            else:
                setattr(holder, name, value)
        self._changed.clear()
        for name, value in self._modules_before.items():
            if value is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = value
        sys.path[:] = self._path_before
        self.host.close()

    def _forget_imports(self) -> None:
        """Modules that were imported meanwhile and hold parts of the stand-in, with their packages."""
        new = {name: module for name, module in sys.modules.items() if name not in self._before}
        ours = set(_MODULES.values())
        own_package = __name__.split(".")[0]

        def is_ours(value: Any) -> bool:
            return (isinstance(value, types.ModuleType) and value in ours) or str(
                getattr(value, "__module__", "")
            ).startswith(f"{own_package}.")

        tainted = [
            name
            for name, module in new.items()
            if module not in ours
            and "site-packages" not in (getattr(module, "__file__", None) or "")
            and not name.startswith(own_package)
            and any(is_ours(value) for value in list(vars(module).values()))
        ]
        packages = {name.rpartition(".")[0] for name in tainted if name.count(".") > 1}
        for name in new:
            if name in tainted or any(name == one or name.startswith(one + ".") for one in packages):
                gone = sys.modules.pop(name)
                parent, _, last = name.rpartition(".")
                if parent and getattr(sys.modules.get(parent), last, None) is gone:
                    delattr(sys.modules[parent], last)

    def _set(self, holder: Any, name: str, value: Any) -> None:
        self._changed.append((holder, name, getattr(holder, name, self._missing)))
        setattr(holder, name, value)

    def _install(self) -> None:
        self._modules_before = {name: sys.modules.get(name) for name in [*_MODULES, "SampleData"]}
        sys.modules["SampleData"] = self._sample_data()
        self._set(slicer, "app", Application(self.host, str(self.folder)))
        self._set(slicer, "modules", Modules(self.host))
        self._set(slicer, "selfTests", {})
        for name, proxy in SLICER.items():
            self._set(slicer, name, proxy)
        for name, module in _MODULES.items():
            sys.modules[name] = module
            if name.startswith("slicer."):
                self._set(slicer, name.partition(".")[2], module)
        self._set(sys, "excepthook", lambda kind, error, trace: ERRORS.note(error))  # VTK's observers end there
        self._remove_newer_functions()
        self._main_window = QMainWindow()
        self._main_window.setWindowTitle("3D Slicer")
        self._main_window.statusBar().messageChanged.connect(lambda text: text and self.status.append(text))
        self._install_functions()

    def _remove_newer_functions(self) -> None:
        """The wheel is newer than 5.8.1: its public helpers that were not there yet."""
        for name, value in list(vars(slicer.util).items()):
            own = getattr(value, "__module__", "") == "slicer.util"
            if own and not name.startswith("_") and f"slicer.util.{name}" not in slicer_names.FUNCTIONS:
                self._changed.append((slicer.util, name, value))
                delattr(slicer.util, name)

    def _install_functions(self) -> None:
        for name, function in {
            "loadUI": ui_files.load_ui,
            "childWidgetVariables": ui_files.child_widgets,
            "findChildren": ui_files.find_children,
            "findChild": lambda widget, name: widget.findChild(qt.QObject, name),
            "mainWindow": lambda: wrap(self._main_window),
            "messageBox": self._message_box,
            "delayDisplay": self._delay,
            "pip_install": self._pip_install,
            "pip_uninstall": self._pip_install,
            "selectModule": self._select_module,
            "tempDirectory": self._temporary_folder,
            "WaitCursor": _WaitCursor,
        }.items():
            self._set(slicer.util, name, function)

    def _sample_data(self) -> types.ModuleType:
        package = types.ModuleType("SampleData")

        def register(**described: Any) -> None:
            counted = [described.get(name) for name in ("uris", "fileNames", "nodeNames", "checksums")]
            if len({1 if isinstance(one, str) else len(one) for one in counted}) != 1:  # None raises, as in Slicer
                raise ValueError("uris, fileNames, nodeNames and checksums must be equally many")
            self.samples.append(described)

        package.SampleDataLogic = type(
            "SampleDataLogic", (), {"registerCustomSampleDataSource": staticmethod(register)}
        )
        return package

    # -- in place of functions of slicer.util ----------------------------------------------------------------------

    def _message_box(self, text: str, parent: Any = None, **kwargs: Any) -> Any:
        buttons = int(kwargs.get("standardButtons") or qt.QMessageBox.Ok)
        accept = [one for one in (qt.QMessageBox.Ok, qt.QMessageBox.Yes, qt.QMessageBox.Retry) if buttons & int(one)]
        answer = DIALOGS.ask(text, True)
        if answer is True:
            return accept[0] if accept else buttons
        if answer is False:
            refuse = [one for one in (qt.QMessageBox.Cancel, qt.QMessageBox.No, qt.QMessageBox.Close)]
            return next((one for one in refuse if buttons & int(one)), 0)
        return answer

    def _delay(self, message: str, autoCloseMsec: int = 1000, parent: Any = None, **kwargs: Any) -> None:
        self.messages.append(str(message))
        QApplication.processEvents()

    def _pip_install(self, requirements: Any) -> None:
        self.installed.append(requirements)
        self.pip(requirements)

    def _select_module(self, module: Any) -> None:
        self.selected.append(module if isinstance(module, str) else module.name)

    def _temporary_folder(self, key: str = "__SlicerTemp__", tempDir: Any = None, includeDateTime: bool = True) -> str:
        base = Path(tempDir or self.folder) / f"{key}{time.time_ns() if includeDateTime else ''}"
        base.mkdir(parents=True, exist_ok=True)
        return str(base)

    # -- for tests -------------------------------------------------------------------------------------------------

    def open_module(self, path: Any) -> Any:
        """Import a scripted module's file anew and show its panel.

        Returns:
            the module's own widget object, for instance a DeepRegWidget.
        """
        path = Path(path).resolve()
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        specification = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)
        parent = scripted_modules.ModuleParent(str(path), name)
        instance = getattr(module, name)(parent)
        panel = SLICER["qSlicerScriptedLoadableModuleWidget"]()
        panel.real().setLayout(QVBoxLayout())
        panel.setMRMLScene(slicer.mrmlScene)
        entry = Module(name, str(path), None, panel)
        self._set(slicer.modules, name.lower(), entry)
        self._set(slicer.modules, f"{name}Instance", instance)
        widget = getattr(module, f"{name}Widget")(panel)
        self._set(slicer.modules, f"{name}Widget", widget)
        self.widgets.append(widget)
        panel.real().self = lambda: widget  # slicer.util.getModuleWidget asks for it
        widget.setup()
        panel.real().layout().addStretch(1)
        if hasattr(widget, "enter"):
            widget.enter()
        self._entered.append(widget)
        QApplication.processEvents()
        return widget

    def close_module(self, widget: Any) -> None:
        """Leave the module and clean it up, as Slicer does when it ends."""
        self.widgets.remove(widget)
        panel = widget.parent.real()
        try:
            if widget in self._entered and hasattr(widget, "exit"):
                widget.exit()
            widget.cleanup()
        finally:
            node_combo_box.forget_scenes(panel.findChildren(QWidget))
            panel.hide()
            panel.deleteLater()
            QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        """Let Qt work until the condition holds.

        Raises:
            TimeoutError: it did not hold in time.
            AssertionError: a slot raised.
        """
        end = time.monotonic() + seconds
        while not condition():
            QApplication.processEvents()
            self._raise_errors()
            if time.monotonic() > end:
                raise TimeoutError(f"The condition did not hold within {seconds} s")
            time.sleep(0.005)

    def close_scene(self) -> None:
        """What File > Close Scene does: the events of closing, an empty scene, the parameter nodes gone."""
        slicer.mrmlScene.Clear(0)
        QApplication.processEvents()

    def start(self) -> None:
        """Tell everybody that Slicer has started: the moment when modules register their sample data."""
        slicer.app._signals.emit("startupCompleted()")

    def quit(self) -> None:
        """Tell everybody that Slicer is about to end."""
        slicer.app._signals.emit("aboutToQuit()")

    def light(self) -> None:
        self.application.setPalette(screenshots.light_palette())

    def dark(self) -> None:
        self.application.setPalette(screenshots.dark_palette())

    def _panel(self, widget: Any | None) -> QWidget:
        return (widget or self.widgets[-1]).parent.real()

    def screenshot(self, path: Any, width: int = 1280, height: int = 800, widget: Any = None) -> None:
        """A window like Slicer's: the panel of the module opened last, and the slice views."""
        picture = screenshots.window_picture(self._panel(widget), self.host, (width, height), 460, _draws())
        if not picture.save(str(path)):
            raise OSError(f"The picture {path} could not be written.")

    def grab_panel(self, path: Any, width: int = 460, widget: Any = None) -> None:
        """The panel alone, at its full height."""
        if not screenshots.panel_picture(self._panel(widget), width).save(str(path)):
            raise OSError(f"The picture {path} could not be written.")


class _WaitCursor:
    def __init__(self, show: bool = True) -> None:
        self.show = show

    def __enter__(self) -> _WaitCursor:
        return self

    def __exit__(self, *error: Any) -> None:
        pass
