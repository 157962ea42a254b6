"""What was found of a series is saved with the scene, and plays after loading."""

import numpy as np
import slicer
import slicer.util
from helpers.geometry import make_grid
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.mrml.segments import segment_array, segments_of
from SlicerDeepRegLib.mrml.series import add_series, browser_of
from SlicerDeepRegLib.types import Field, FrameResult, Image, Transform

GRID = make_grid((20, 22, 24), (2.0, 2.0, 2.0), np.eye(3))
SHIFT = Transform(np.eye(4), Field(np.full((*GRID.shape_kji, 3), (1.5, 0, 0), np.float32), GRID))


def frame(number):
    return Image(np.random.default_rng(number).random(GRID.shape_kji).astype(np.float32), GRID, f"frame {number}")


def test_a_series_comes_back_with_its_scene(tmp_path):
    labels = np.zeros(GRID.shape_kji, np.int32)
    labels[8:16, 7:15, 6:14] = 1
    with Host() as host:
        sequence = host.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
        for number in range(2):
            volume = add_volume(host.scene, frame(number), "frame")
            sequence.SetDataNodeAtValue(volume, str(number))
            host.scene.RemoveNode(volume)
        found = [
            FrameResult(n, SHIFT if n else None, Image(labels, GRID), frame(0), {"volume_1_ml": 4.1}) for n in range(2)
        ]
        nodes = add_series(host.scene, sequence, found, {1: "ventricle"})
        assert nodes.browser is browser_of(sequence)  # made, because nothing played the frames
        host.save(tmp_path / "scene.mrb")
    with Host() as host:
        host.load(tmp_path / "scene.mrb")
        named = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode", host.scene)}
        assert {node.GetNumberOfDataNodes() for node in named.values()} == {2} and len(named) == 4
        browser = browser_of(named["heart"])
        browser.SetSelectedItemNumber(1)
        slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)
        shown = browser.GetProxyNode(named["heart: segmentation"])
        ((identifier, name),) = segments_of(shown)
        assert name == "ventricle"
        inside = segment_array(shown, identifier, browser.GetProxyNode(named["heart"]))
        np.testing.assert_array_equal(inside, labels > 0)
        motion = browser.GetProxyNode(named["heart: motion"])
        np.testing.assert_allclose(motion.GetTransformFromParent().TransformPoint(0, 0, 0), (-1.5, 0, 0), atol=1e-4)
