"""What the tests of the panel share."""

import pytest
from helpers.panel import finish
from SlicerDeepRegLib.mrml.nodes import FLIP
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.segments import add_segment


@pytest.fixture(autouse=True)
def _quick_hands(desktop, monkeypatch):
    """A test clicks faster than a person: its second click on Apply is meant."""
    from SlicerDeepRegLib.panel.sections import apply  # Qt is there with the desktop

    monkeypatch.setattr(apply, "DOUBLE_CLICK_S", 0.0)


@pytest.fixture
def done(desktop, widget, synthetic_case):
    """A registration with segmentations, from Apply to its end."""
    for name, image in (("fixedSegmentation", synthetic_case.fixed), ("movingSegmentation", synthetic_case.moving)):
        node = desktop.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        for segment, color, low, high in (("shell", (1, 0, 0), 20, 60), ("core", (0, 1, 0), 60, 1000)):
            inside = (image.values > low) & (image.values <= high)
            add_segment(node, segment, color, inside, FLIP @ image.grid.ijk_to_lps)
        setattr(widget.panel.parameters, name, node)
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    return widget, runs(desktop.host.scene)[0]
