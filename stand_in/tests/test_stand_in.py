"""The stand-in itself: it shows Slicer's names and no others, and its widgets, nodes and pictures work."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import slicer
import slicer.util
from PySide6.QtGui import QImage
from sample_module import UI, write_module
from slicer_stand_in import application, node_combo_box, qt_packages, scripted_modules, slicer_names
from slicer_stand_in.desktop import Desktop
from slicer_stand_in.ui_files import UiError, check_ui


@pytest.fixture
def desktop(tmp_path):
    with Desktop(tmp_path / "slicer") as made:
        yield made


@pytest.fixture
def module_file(tmp_path):
    return write_module(tmp_path / "Small module")  # the path has a space


def add_volume(name: str = "brain"):
    values = np.add.outer(np.add.outer(np.arange(20), np.arange(24)), np.arange(28)).astype(np.float32)
    node = slicer.util.addVolumeFromArray(values, name=name)
    node.CreateDefaultDisplayNodes()
    return node


def public(kind: type) -> set:
    return {name for one in kind.__mro__[:-1] for name in vars(one) if not name.startswith("_")}


class TestNames:
    @pytest.mark.parametrize(
        "kind",
        [
            application.Application,
            application.LayoutManager,
            application.ModuleManager,
            application.SliceWidget,
            application.SliceView,
            application.SliceController,
        ],
    )
    def test_objects_of_slicer_offer_only_its_names(self, kind):
        own = slicer_names.INSTANCES[kind._instance] | {"connect", "disconnect"}
        if kind._instance.startswith("slice"):  # they are widgets; the list tells what they add to one
            own |= slicer_names.allowed("qt.QWidget")
        assert not public(kind) - own

    def test_classes_offer_only_listed_ones(self):
        for package in (qt_packages.qt, qt_packages.ctk):
            for name in vars(package):
                assert name.startswith("_") or f"{package.__name__}.{name}" in slicer_names.CLASSES
        assert all(f"slicer.{name}" in slicer_names.CLASSES for name in node_combo_box.SLICER_CLASSES)

    def test_base_classes_of_modules_offer_only_listed_methods(self):
        for kind in (
            scripted_modules.ScriptedLoadableModule,
            scripted_modules.ScriptedLoadableModuleWidget,
            scripted_modules.ScriptedLoadableModuleLogic,
        ):
            listed = slicer_names.FUNCTIONS[f"slicer.ScriptedLoadableModule.{kind.__name__}"]
            assert public(kind) <= set(listed)

    def test_functions_are_those_of_the_program(self, desktop):
        own = {
            name
            for name, value in vars(slicer.util).items()
            if getattr(value, "__module__", "") == "slicer.util" and not name.startswith("_")
        }
        assert {f"slicer.util.{name}" for name in own} <= set(slicer_names.FUNCTIONS)
        assert not hasattr(slicer, "packaging")

    def test_what_slicer_lacks_is_refused(self, desktop):
        import ctk
        import qt

        label = qt.QLabel("text")
        with pytest.raises(AttributeError, match=r"not a name of qt\.QLabel in Slicer 5\.8\.1"):
            label.setBold(True)
        with pytest.raises(AttributeError, match="not a name"):
            label.color = "red"
        with pytest.raises(AttributeError, match="not a property"):
            label.setText = "red"
        with pytest.raises(AttributeError, match="not a signal"):
            label.connect("clicked(bool)", print)
        with pytest.raises(AttributeError, match="not among the names"):
            qt.QNonsense  # noqa: B018
        with pytest.raises(AttributeError, match="not a name"):
            qt.QSizePolicy.Enormous  # noqa: B018
        with pytest.raises(AttributeError, match="not among the names"):
            ctk.ctkNonsense  # noqa: B018
        with pytest.raises(AttributeError, match="not a name"):
            slicer.app.nonsense  # noqa: B018
        with pytest.raises(AttributeError, match="does not offer"):
            slicer.app.coreIOManager  # noqa: B018
        with pytest.raises(ValueError, match="by position|matching overload"):
            label.setText({}, 3)
        with pytest.raises(TypeError, match="keyword"):
            label.setText(text="x")
        with pytest.raises(AttributeError):
            slicer.app.layoutManager().sliceWidget("Red").nonsense()


class TestPythonQt:
    def test_properties_are_attributes(self, desktop):
        import ctk
        import qt

        button = qt.QPushButton("Apply")
        button.enabled, button.toolTip, button.checkable = False, "why", True
        assert (button.text, button.enabled, button.toolTip) == ("Apply", False, "why")
        assert button.isEnabled() is False and button.isChecked() is False
        button.setText("Cancel")
        assert button.text == "Cancel"
        with pytest.raises(TypeError):
            button.text()
        slider = ctk.ctkSliderWidget()
        slider.maximum, slider.value, slider.suffix = 8, 3.5, " mm"
        assert (slider.value, slider.maximum, slider.suffix) == (3.5, 8.0, " mm")

    def test_signals_connect_both_ways_and_pass_what_fits(self, desktop):
        import qt

        button, seen = qt.QPushButton("Apply"), []
        button.checkable = True

        def none():
            seen.append("none")

        def one(checked):
            seen.append(checked)

        button.connect("clicked(bool)", none)
        button.clicked.connect(one)
        button.click()
        assert seen == ["none", True]
        assert button.disconnect("clicked(bool)", none)
        button.clicked.disconnect(one)
        button.click()
        assert len(seen) == 2
        box = qt.QComboBox()
        box.addItems(["a", "b"])
        with pytest.raises(AttributeError, match="choose one"):
            box.currentIndexChanged.connect(one)
        box.connect("currentIndexChanged(int)", one)
        box.currentIndex = 1
        assert seen[-1] == 1 and box.currentText == "b"

    def test_enums_are_ints_and_go_back_to_qt(self, desktop):
        import qt

        label = qt.QLabel("x")
        label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignTop)
        assert label.alignment == qt.Qt.AlignRight | qt.Qt.AlignTop
        assert int(qt.QFrame.HLine) == 4
        label.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        table = qt.QTableWidget(2, 2)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        item = qt.QTableWidgetItem("cell")
        item.setFlags(item.flags() & ~qt.Qt.ItemIsEditable)
        table.setItem(0, 1, item)
        assert table.item(0, 1).text() == "cell" and table.rowCount == 2
        assert table.item(0, 1) == item

    def test_objects_stay_and_are_the_same(self, desktop):
        import qt

        panel = qt.QWidget()
        layout = qt.QFormLayout(panel)
        layout.addRow("Name", qt.QLineEdit())
        line = panel.findChild(qt.QLineEdit)
        line.objectName = "name"
        line.setProperty("SlicerParameterName", "x")
        assert panel.findChildren(qt.QWidget, "name")[0] == line
        assert isinstance(line, qt.QWidget) and line.parent() == panel
        assert line.property("SlicerParameterName") == "x" and line.property("other") is None
        assert line.dynamicPropertyNames() == ("SlicerParameterName",)
        assert panel.layout() is layout

    def test_dialogs_are_answered_and_errors_in_slots_are_told(self, desktop):
        import qt

        desktop.answers += [False, True]
        assert slicer.util.confirmOkCancelDisplay("Go on?") is False
        assert slicer.util.confirmYesNoDisplay("Really?") is True
        slicer.util.errorDisplay("broken")
        assert desktop.messages == ["Go on?", "Really?", "broken"]
        with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("Failed."):
            1 / 0  # noqa: B018
        assert desktop.messages[-1].startswith("Failed.")
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: 1 / 0)
        timer.start(1)
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            desktop.wait(lambda: False, 2)
        desktop.errors.clear()
        timer.stop()
        qt.QTimer.singleShot(0, lambda: desktop.status.append("shot"))
        desktop.wait(lambda: "shot" in desktop.status, 2)
        slicer.util.showStatusMessage("working")
        assert desktop.status[-1] == "working"
        qt.QSettings().setValue("DeepReg/Folder", "here")
        assert slicer.util.settingsValue("DeepReg/Folder", "") == "here"
        slicer.util.pip_install("surface-distance")
        assert desktop.installed == ["surface-distance"]


class TestUi:
    def test_faults_are_all_listed(self, tmp_path):
        bad = UI.replace('name="enabled"', 'name="colored"').replace("toggled(bool)", "tickled(bool)")
        bad = bad.replace('class="ctkPathLineEdit"', 'class="ctkWonder"').replace("setDisabled(bool)", "wink()")
        bad = bad.replace("<receiver>fixedBox", "<receiver>apply")
        (tmp_path / "bad.ui").write_text(bad, encoding="utf-8")
        with pytest.raises(UiError) as found:
            check_ui(tmp_path / "bad.ui")
        for word in ("colored", "tickled", "ctkWonder", "hands the scene to 'fixedBox'", "setMRMLScene"):
            assert word in str(found.value)

    def test_collapsed_contents_are_hidden(self, desktop, module_file):
        widget = desktop.open_module(module_file)
        desktop._panel(None).show()
        assert widget.ui.more.collapsed and not widget.ui.path.visible and widget.ui.fixedBox.visible
        widget.ui.more.collapsed = False
        assert widget.ui.path.visible
        widget.ui.more.collapsed = True
        assert not widget.ui.path.visible


class TestNodes:
    def test_the_box_follows_the_scene(self, desktop):
        box, seen = slicer.qMRMLNodeComboBox(), []
        box.nodeTypes = ["vtkMRMLVolumeNode"]
        box.noneEnabled = True
        box.setMRMLScene(slicer.mrmlScene)
        box.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
        first, second = add_volume("first"), add_volume("second")
        assert box.nodeCount() == 2 and box.currentNode() is None
        box.setCurrentNode(second)
        assert box.currentNodeID == second.GetID() and seen == [second]
        second.SetName("renamed")
        assert box.currentNode().GetName() == "renamed"
        second.SetHideFromEditors(1)
        second.Modified()
        assert box.nodeCount() == 1 and box.currentNode() is None
        slicer.mrmlScene.RemoveNode(first)
        assert box.nodeCount() == 0
        box.noneEnabled = False
        third = add_volume("third")
        assert box.currentNode() == third
        desktop.close_scene()
        assert box.currentNode() is None and box.nodeCount() == 0

    def test_types_and_attributes_filter(self, desktop):
        box = slicer.qMRMLNodeComboBox()
        box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        box.showChildNodeTypes = False
        box.setMRMLScene(slicer.mrmlScene)
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        assert box.nodeCount() == 0
        box.showChildNodeTypes = True
        assert box.currentNode() == labels
        box.addAttribute("vtkMRMLScalarVolumeNode", "Kind", "MR")
        assert box.nodeCount() == 0


class TestModule:
    def test_opens_binds_and_closes(self, desktop, module_file):
        widget = desktop.open_module(module_file)
        assert widget.resourcePath("UI/Small.ui").endswith("Small.ui")
        volume = add_volume()
        widget.ui.fixedBox.setCurrentNode(volume)
        assert widget.parameters.fixed == volume
        widget.ui.ratio.value = 1.25
        widget.ui.fast.checked = False
        assert (widget.parameters.ratio, widget.parameters.fast, widget.parameters.method) == (1.25, False, "Quick")
        assert not widget.ui.path.enabled or widget.ui.fast.checked is False
        widget.parameters.method = "Best"
        assert widget.ui.method.currentText == "Best"
        widget.ui.apply.enabled = True
        widget.ui.apply.click()
        assert widget.clicks == 1
        with pytest.raises(ValueError):
            widget.parameters.ratio = 9.0
        with pytest.raises(TypeError):
            widget.parameters.fast = "yes"
        desktop.close_scene()
        assert widget.parameters.fixed is None and widget.parameters.ratio == 0.5
        desktop.close_module(widget)
        assert (widget.left, widget.cleaned) == (1, 1)

    def test_slicer_finds_the_module(self, desktop, module_file):
        widget = desktop.open_module(module_file)
        assert slicer.util.getModuleWidget("Small") is widget
        assert slicer.util.modulePath("Small") == str(module_file)
        assert slicer.util.findChild(widget.parent, "apply") == widget.ui.apply
        assert slicer.util.findChildren(widget.parent, text="App*") == [widget.ui.apply]

    def test_connecting_gives_no_tag_and_only_slicers_pairs(self, desktop, module_file):
        import qt

        widget = desktop.open_module(module_file)
        assert widget.parameters.connectGui(widget.ui) is None
        check = qt.QCheckBox()
        tag = widget.parameters.connectParametersToGui({"fast": check})
        check.checked = False
        assert widget.parameters.fast is False
        widget.parameters.disconnectGui(tag)
        check.checked = True
        assert widget.parameters.fast is False
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            widget.parameters.connectParametersToGui({"fast": qt.QPlainTextEdit()})

    def test_sample_data_are_registered_after_the_start(self, desktop):
        import SampleData

        nothing = {name: [] for name in ("uris", "fileNames", "nodeNames", "checksums")}

        def register():
            SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="pair", category="Test", **nothing)

        slicer.app.connect("startupCompleted()", register)
        desktop.start()
        assert desktop.samples == [{"sampleName": "pair", "category": "Test", **nothing}]
        with pytest.raises(TypeError):  # Slicer counts them, None too
            SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="pair", category="Test")

    def test_parameters_survive_saving(self, desktop, module_file, tmp_path):
        widget = desktop.open_module(module_file)
        widget.parameters.fixed = add_volume("kept")
        widget.parameters.ratio = 1.75
        path = str(tmp_path / "scene.mrb")
        desktop.host.save(path)
        desktop.close_scene()
        desktop.host.load(path)
        again = widget.logic.getParameterNode()
        assert again.fixed.GetName() == "kept" and again.ratio == 1.75

    def test_two_desktops_leave_nothing_behind(self, tmp_path, module_file):
        before = set(vars(slicer)), set(vars(slicer.util)), list(sys.path)
        for turn in range(2):
            with Desktop(tmp_path / str(turn)) as desktop:
                widget = desktop.open_module(module_file)
                widget.ui.apply.enabled = True
                widget.ui.apply.click()
                assert widget.clicks == 1
            assert (set(vars(slicer)), set(vars(slicer.util)), list(sys.path)) == before
            assert "qt" not in sys.modules and "Small" not in sys.modules
            assert not [name for name in sys.modules if name.startswith("SmallLib.panel")]
        assert slicer.mrmlScene is None


class TestPictures:
    @pytest.mark.parametrize("dark", [False, True])
    def test_screenshots_show_something(self, desktop, module_file, tmp_path, dark):
        if dark:
            desktop.dark()
        widget = desktop.open_module(module_file)
        widget.ui.fixedBox.setCurrentNode(add_volume())
        slicer.util.setSliceViewerLayers(background=widget.ui.fixedBox.currentNode(), fit=True)
        desktop.screenshot(tmp_path / "window.png")
        desktop.grab_panel(tmp_path / "panel.png")
        window, panel = QImage(str(tmp_path / "window.png")), QImage(str(tmp_path / "panel.png"))
        assert (window.width(), window.height(), panel.width()) == (1280, 800, 460)
        for picture in (window, panel):
            colors = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
            assert len(colors) > 10
        is_dark = panel.pixelColor(2, panel.height() - 2).lightness() < 100
        assert is_dark == dark


class TestErrors:
    def test_observers_that_raise_are_told(self, tmp_path):
        def broken(caller, event):
            raise KeyError("observer")

        with pytest.raises(AssertionError, match="KeyError"), Desktop(tmp_path):
            slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, broken)
            add_volume()

    def test_late_timers_of_an_earlier_desktop_do_not_run(self, tmp_path):
        ran = []
        with Desktop(tmp_path / "1"):
            import qt

            qt.QTimer.singleShot(30, lambda: ran.append(1))
        with Desktop(tmp_path / "2") as desktop:
            qt.QTimer.singleShot(80, lambda: ran.append(2))
            desktop.wait(lambda: 2 in ran, 3)
        assert ran == [2]

    def test_a_panel_that_fails_says_its_own_error(self, tmp_path, module_file):
        text = module_file.read_text(encoding="utf-8").replace("self.logic = SmallLogic()", "raise OSError('mine')")
        module_file.write_text(text, encoding="utf-8")
        with pytest.raises(OSError, match="mine"), Desktop(tmp_path) as desktop:
            desktop.open_module(module_file)
