"""DeepReg's module in 3D Slicer: deformable registration of two loaded volumes.

The panel is SlicerDeepRegLib/panel; torch runs in a separate process.
"""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class SlicerDeepReg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DeepReg")
        self.parent.categories = [_("Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["The SlicerDeepReg developers"]
        self.parent.helpText = _(
            "Aligns a moving volume to a fixed volume by a dense deformation regularized to avoid folding. Shows the "
            "warped volume, the deformation, the Jacobian determinant, and metrics before and after registration. "
            "Choose two volumes and press Apply. The first registration asks before it installs PyTorch."
            "<p>Convention: warped(x) = moving(T(x)), where T maps points of the fixed volume to the moving volume. "
            "Place the moving volume under the result's transform to see it warped.</p>"
        )
        self.parent.acknowledgementText = _(
            "The methods are those of: Avants et al., Med Image Anal 2008, doi:10.1016/j.media.2007.06.004; "
            "Vercauteren et al., NeuroImage 2009, doi:10.1016/j.neuroimage.2008.10.040; Heinrich et al., MICCAI 2013, "
            "doi:10.1007/978-3-642-40811-3_24; Siebert et al., IEEE TMI 2024, doi:10.1109/TMI.2024.3462248. "
            "Research software: not a medical device."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data() -> None:
    """Add this module's pairs to Slicer's Sample Data module."""
    from SlicerDeepRegLib.panel.samples import register_samples

    register_samples()


class SlicerDeepRegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Opens the panel and keeps it in step with the scene."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Build the panel; nothing is installed or imported here that Slicer does not bundle."""
        ScriptedLoadableModuleWidget.setup(self)
        from SlicerDeepRegLib.mrml.review import Review
        from SlicerDeepRegLib.panel.widget import Panel

        path = Path(self.resourcePath("UI/SlicerDeepReg.ui"))
        uiWidget = slicer.util.loadUI(str(path))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SlicerDeepRegLogic()
        review = Review(slicer.mrmlScene, slicer.app.applicationLogic().GetSliceLogics())
        self.panel = Panel(uiWidget, path.parent, self.logic.session, review)
        self.ui = self.panel.ui
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self.onNodeRemoved)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self.onNodeAdded)
        slicer.app.connect("aboutToQuit()", self.cleanup)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Leave no process, file or observer behind, when Slicer is left or the module is reloaded."""
        if self.panel is not None:
            self.setParameterNode(None)
            self.panel.close()
            self.panel = None
        self.removeObservers()
        if self.logic is not None:
            slicer.app.disconnect("aboutToQuit()", self.cleanup)
            self.logic.close()
            self.logic = None

    def enter(self) -> None:
        """Show the scene and the models as they are now, and let the worker load torch if it is installed."""
        if self.panel is None:
            return
        self.panel.entered()
        self.initializeParameterNode()
        self.logic.warmUp()

    def exit(self) -> None:
        """Another module is opened; a registration that runs goes on."""
        if self.panel is not None:
            self.panel.left()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.panel.scene_closing()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        self.setParameterNode(None)  # what was imported has gone into the node that was there
        self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        self.panel.node_removed(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller: Any, event: Any, node: Any) -> None:
        scene = slicer.mrmlScene
        if self._parameterNode is None or scene.IsImporting() or scene.IsClosing() or scene.IsRestoring():
            return
        if node.GetClassName() == "vtkMRMLScalarVolumeNode":
            self.panel.volume_added(node)

    def initializeParameterNode(self) -> None:
        """Show the parameter node of the present scene; the one that is shown already stays bound."""
        if slicer.mrmlScene.IsClosing():
            return
        parameterNode = self.logic.getParameterNode()
        if self._parameterNode is not None and self._parameterNode.parameterNode is parameterNode.parameterNode:
            self.panel.set_parameters(self._parameterNode)
        else:
            self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode: Any) -> None:
        """Bind the controls to another parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.update)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            # Not connectGui: in Slicer 5.8 that gives no tag, and without one nothing can be disconnected.
            self._parameterNodeGuiTag = parameterNode.connectParametersToGui(self.panel.bound_widgets())
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.update)
        self.panel.set_parameters(parameterNode)

    def onReload(self) -> None:
        """Reload the library behind the panel too; the developer's button."""
        for name in [name for name in sys.modules if name.split(".")[0] == "SlicerDeepRegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SlicerDeepRegLogic(ScriptedLoadableModuleLogic):
    """Registration without the panel, for Slicer's Python console and for scripts."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from SlicerDeepRegLib.panel.session import Session
        from SlicerDeepRegLib.processes.launch import find_program
        from SlicerDeepRegLib.worker.client import WorkerClient

        self.session = Session(WorkerClient([find_program("PythonSlicer") or sys.executable]))
        weakref.finalize(self, self.session.close)  # a logic used in one line leaves no process either

    def getParameterNode(self) -> Any:
        """Return the typed parameter node of the scene; its parameters are those that the panel's sections declare."""
        from SlicerDeepRegLib.panel.parameters import parameter_node_class
        from SlicerDeepRegLib.panel.sections import section_classes

        return parameter_node_class(section_classes())(super().getParameterNode())

    def warmUp(self) -> None:
        """Start the worker when everything it needs is installed; never installs."""
        from SlicerDeepRegLib.worker.requirements import unmet

        if not unmet():
            self.session.warm_up()

    def register(
        self, fixedNode: Any, movingNode: Any, waitForCompletion: bool = True, name: str = "", **choices: Any
    ) -> Any:
        """Register a volume node to another and put the result into the scene.

        Args:
            fixedNode, movingNode: scalar volume nodes.
            waitForCompletion: False returns at once; then call ``poll()`` until ``session.busy`` is False.
            name: of the run; made from the volumes when empty.
            choices: method, preset, linear, similarity, device, settings, fixed_mask, moving_segmentation,
                fixed_points, initial and so on: the fields of ``SlicerDeepRegLib.panel.choice.Choice``.

        Returns:
            The run: ``run.get("warped")``, ``run.get("transform")``, ``run.get("jacobian")``,
            ``run.get("table")`` are its nodes, ``run.facts["metrics"]`` its metrics. The job, with
            ``waitForCompletion=False``.

        Raises:
            ValueError: the volumes cannot be registered; the text says what to do.
            RuntimeError: the registration failed or was canceled.
        """
        from SlicerDeepRegLib.panel.choice import Choice

        job = self.session.start(Choice(fixed=fixedNode, moving=movingNode, **choices), name)
        while waitForCompletion and not job.over:
            self.poll()
            slicer.app.processEvents()
            self.session.rest()
        if not waitForCompletion:
            return job
        if job.state != "done":
            raise (ValueError if job.reason == "input" else RuntimeError)(job.text)
        return job.run

    def poll(self) -> bool:
        """Read what the worker reported; returns whether anything changed."""
        return self.session.poll()

    def close(self) -> None:
        """End the worker and remove its files."""
        self.session.close()


class SlicerDeepRegTest(ScriptedLoadableModuleTest):
    """Run in Slicer: by the Reload and Test button, by CTest, or by ``Slicer --testing``."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_registration_is_seen()

    def test_registration_is_seen(self, logic: SlicerDeepRegLogic | None = None) -> None:
        """A pair made on the spot: the displayed volume must have come nearer, not only exist."""
        from SlicerDeepRegLib.panel.samples import add_synthetic_pair, displayed_distance

        own = logic is None
        logic = logic or SlicerDeepRegLogic()
        try:
            fixed, moving = add_synthetic_pair()
            run = logic.register(fixed, moving, preset="fast", device="cpu")
            warped = run.get("warped")
            before, after = displayed_distance(fixed, moving), displayed_distance(fixed, warped)
            assert after < 0.5 * before, f"the warped volume differs by {after:.1f}, the moving one by {before:.1f}"
            moving.SetAndObserveTransformNodeID(run.get("transform").GetID())
            under = displayed_distance(fixed, moving)
            assert abs(under - after) < 0.1 * before, (
                f"under the transform it differs by {under:.1f}, warped {after:.1f}"
            )
            assert run.facts["metrics"]["folds_percent"] == 0
            self.delayDisplay("Test passed")
        finally:
            if own:
                logic.close()
