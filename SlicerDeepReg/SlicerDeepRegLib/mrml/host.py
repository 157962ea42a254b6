"""A scene and slice views without a screen: what Slicer's application does for them, on ``slicer-core``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence

import vtk

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # before the first render window

import numpy as np  # noqa: E402
import slicer  # noqa: E402
import slicer.util  # noqa: E402

from ..processes.launch import environment_for, module_command, output_of  # noqa: E402
from .display import refresh_legends  # noqa: E402
from .png import grab  # noqa: E402

_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)
NO_OPENGL = (
    "No pictures: OpenGL does not work here. On Debian or Ubuntu install it with "
    "'apt-get install libegl1 libgl1-mesa-dri' and run the command again."
)


def opengl_works() -> bool:
    """Return whether a picture can be drawn. Tried in another process: without a driver VTK would end this one."""
    return b"drawn" in (output_of(module_command("mrml.probe"), environment_for(), timeout_s=120) or b"")


class Host:
    """A MRML scene with the logics that volumes, colors, legends and .mrb files need.

    Use it as a context manager; ``slicer.mrmlScene`` is its scene meanwhile.
    """

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        self._connect_files()
        for node in (slicer.vtkMRMLColorLegendDisplayNode(), slicer.vtkMRMLSequenceBrowserNode()):
            self.scene.RegisterNodeClass(node)  # the wheel does not
        converters = slicer.vtkSegmentationConverterFactory.GetInstance()  # without a rule segments cannot be made
        converters.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.crosshair = self.scene.AddNode(crosshair)
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        colors = self.application.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        self.application.SetModuleLogic("Colors", colors)  # without it volumes added later show black
        self.application.SetSliceLogics(vtk.vtkCollection())
        self.application.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._factory.SetMRMLApplicationLogic(self.application)
        for name in _SLICE_MANAGERS:
            if not self._factory.IsDisplayableManagerRegistered(name):
                self._factory.RegisterDisplayableManager(name)
        self.views: dict[str, SliceView] = {}

    def _connect_files(self) -> None:
        """Provide what ReadFromMRB and WriteToMRB need: a cache folder and the data I/O logic."""
        self._cache = tempfile.mkdtemp(prefix="deepreg-cache-")
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self._cache)
        self._remote.SetMRMLScene(self.scene)
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._data_io.SetMRMLScene(self.scene)
        self._remote.AddDataIOToScene()

    def add_view(self, name: str, orientation: str, size: tuple[int, int] = (480, 480)) -> SliceView:
        """Add a slice view, "Axial", "Sagittal" or "Coronal", in radiological convention (patient's right at left)."""
        self.views[name] = SliceView(self, name, orientation, size)
        return self.views[name]

    def save(self, path: str) -> None:
        """Write the scene with all its data as one .mrb.

        Raises:
            OSError: it could not be written.
        """
        if not self.scene.WriteToMRB(str(path)):
            raise OSError(f"The scene could not be written to {path}.")

    def load(self, path: str) -> None:
        """Read a .mrb into this scene, in place of what it held.

        Raises:
            OSError: it could not be read.
        """
        if not self.scene.ReadFromMRB(str(path), True):
            raise OSError(f"The scene {path} could not be read.")

    def close(self) -> None:
        for view in self.views.values():
            view.close()
        self.views.clear()
        self._factory.SetMRMLApplicationLogic(None)
        self.scene.Clear(True)
        slicer.mrmlScene = None
        shutil.rmtree(self._cache, ignore_errors=True)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SliceView:
    """One slice view, drawn off screen by Slicer's displayable managers."""

    def __init__(self, host: Host, name: str, orientation: str, size: tuple[int, int]) -> None:
        self.host, self.size = host, size
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(self.renderer)
        self.window.SetSize(*size)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(host.application)
        host.application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(host.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(1)
        self.composite = self.logic.GetSliceCompositeNode()
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(host._factory, self.renderer)
        self.group.SetMRMLDisplayableNode(self.node)
        self.logic.SetDisplayableManagerGroup(self.group)
        self._mapper = vtk.vtkImageMapper()  # on the desktop CTK's light box draws the image
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._picture = vtk.vtkActor2D()
        self._picture.SetMapper(self._mapper)
        self._picture.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self._picture)
        self._note: vtk.vtkCornerAnnotation | None = None
        self.logic.ResizeSliceNode(*size)

    def show(
        self,
        background: slicer.vtkMRMLVolumeNode | None = None,
        foreground: slicer.vtkMRMLVolumeNode | None = None,
        opacity: float = 0.5,
        labels: slicer.vtkMRMLVolumeNode | None = None,
    ) -> None:
        """Choose the layers; label maps are drawn as outlines."""
        for layer, setter in (
            (background, self.composite.SetBackgroundVolumeID),
            (foreground, self.composite.SetForegroundVolumeID),
            (labels, self.composite.SetLabelVolumeID),
        ):
            setter(layer.GetID() if layer is not None else None)
        self.composite.SetForegroundOpacity(opacity)
        self.composite.SetLabelOpacity(1.0)
        self.node.SetUseLabelOutline(True)
        refresh_legends(self.host.scene)

    def center(self, ras_mm: Sequence[float], field_of_view_mm: float) -> None:
        """Center the view on an RAS point, with that many mm across the shorter side."""
        width, height = self.size
        scale = field_of_view_mm / min(width, height)
        self.node.SetFieldOfView(width * scale, height * scale, self.node.GetFieldOfView()[2])
        self.node.SetXYZOrigin(0, 0, 0)
        self.node.JumpSliceByCentering(*[float(value) for value in ras_mm])

    def annotate(self, title: str, detail: str = "") -> None:
        """Write a title at the upper left, details at the lower left, and orientation letters at the edges."""
        if self._note is not None:
            self.renderer.RemoveViewProp(self._note)
        to_ras = slicer.util.arrayFromVTKMatrix(self.node.GetSliceToRAS())
        note = vtk.vtkCornerAnnotation()
        note.SetText(note.UpperLeft, title)
        note.SetText(note.LowerLeft, detail)
        for place, column, sign in (
            (note.RightEdge, 0, 1),
            (note.LeftEdge, 0, -1),
            (note.UpperEdge, 1, 1),
            (note.LowerEdge, 1, -1),
        ):
            direction = sign * to_ras[:3, column]
            axis = int(np.argmax(np.abs(direction)))
            note.SetText(place, ("RAS" if direction[axis] > 0 else "LPI")[axis])
        note.SetMaximumFontSize(16)
        note.SetMinimumFontSize(16)
        note.SetNonlinearFontScaleFactor(1)
        note.GetTextProperty().SetFontFamilyToArial()
        note.GetTextProperty().SetBackgroundColor(0, 0, 0)
        note.GetTextProperty().SetBackgroundOpacity(0.6)
        self.renderer.AddViewProp(note)
        self._note = note

    def render(self) -> None:
        port = self.logic.GetImageDataConnection()  # None until a volume is shown
        self._picture.SetVisibility(port is not None)
        if port is not None and self._mapper.GetInputConnection(0, 0) != port:
            self._mapper.SetInputConnection(port)
        self.window.Render()

    def picture(self) -> np.ndarray:
        """Return what it shows as (height, width, 3) uint8, first row on top."""
        self.render()
        return grab(self.window)

    def close(self) -> None:
        self._mapper.RemoveAllInputConnections(0)
        self.renderer.RemoveAllViewProps()
        self.group.SetMRMLDisplayableNode(None)
        self.logic.SetDisplayableManagerGroup(None)
        self.host.application.GetSliceLogics().RemoveItem(self.logic)
        self.window.Finalize()
