"""Pairs to try the module on: Slicer's public test data, and synthetic pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from ..files.images import read_image
from ..mrml.display import set_range
from ..mrml.nodes import add_volume, flipped
from ..mrml.scene import display_range
from ..mrml.segments import add_segmentation
from ..mrml.world import placed_volume
from ..teaching.pairs import LABEL_NAMES, RANGE, SyntheticPair, synthetic_head

CATEGORY = "DeepReg"
#: Two people of mne-misc-data; LICENSE.txt is beside them. tools/sample_pair.py made them.
BRAINS = Path(__file__).resolve().parents[2] / "Resources" / "Samples"
STRUCTURES = (
    "lateral ventricles",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "hippocampus",
    "amygdala",
    "brain stem",
)
_TEST_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
#: Two scans of one patient with a brain tumor, before and after surgery: (file and node name, SHA256).
_TUMOR = (
    ("MRBrainTumor1", "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
    ("MRBrainTumor2", "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97"),
)


def register_samples() -> None:
    """Add the pairs to Slicer's Sample Data module; nothing is downloaded before one is clicked."""
    import SampleData

    add = SampleData.SampleDataLogic.registerCustomSampleDataSource
    add(
        category=CATEGORY,
        sampleName="DeepRegBrainTumor",
        uris=[_TEST_DATA + digest for _, digest in _TUMOR],
        fileNames=[f"{name}.nrrd" for name, _ in _TUMOR],
        nodeNames=[name for name, _ in _TUMOR],
        checksums=[f"SHA256:{digest}" for _, digest in _TUMOR],
    )
    for name, add_pair in (("DeepRegTwoBrains", add_brains), ("DeepRegSyntheticPair", add_synthetic_pair)):
        add(
            category=CATEGORY,
            sampleName=name,
            customDownloader=_adder(add_pair),
            uris=[],  # without lists Slicer takes each of these for one file
            fileNames=[],
            nodeNames=[],
            loadFiles=[],
            checksums=[],
        )


def _adder(add_pair: Callable[[], tuple[Any, Any]]) -> Callable[[Any], list[Any]]:
    return lambda source: list(add_pair())


def add_brains() -> tuple[Any, Any]:
    """Add the brains of two people, with a segmentation of each, hidden, and return their (fixed, moving) volumes."""
    scene, nodes = slicer.mrmlScene, []
    for letter, name in (("a", "Brain A"), ("b", "Brain B")):
        image, labels = (read_image(BRAINS / f"brain-{letter}-{kind}.nii.gz", kind) for kind in ("t1", "structures"))
        node = add_volume(scene, image, name)
        set_range(node, *display_range(image))
        segmentation = add_segmentation(scene, labels, f"{name} structures", dict(enumerate(STRUCTURES, start=1)))
        segmentation.GetDisplayNode().SetVisibility(False)
        nodes.append(node)
    return nodes[0], nodes[1]


def add_synthetic_pair() -> tuple[Any, Any]:
    """Add the synthetic pair to the scene and return its (fixed, moving) volume nodes."""
    return add_volumes(synthetic_head())


def add_volumes(pair: SyntheticPair) -> tuple[Any, Any]:
    """Add the images of a synthetic pair to the scene and return their (fixed, moving) volume nodes."""
    nodes = []
    for image in (pair.fixed, pair.moving):
        node = add_volume(slicer.mrmlScene, image, image.name)
        set_range(node, *RANGE)
        nodes.append(node)
    return nodes[0], nodes[1]


def add_labeled_pair(pair: SyntheticPair) -> dict[str, Any]:
    """Add a synthetic pair with its segmentations and landmarks, which are hidden, to the scene.

    Returns:
        The nodes, named as the fields of ``Choice``.
    """
    scene = slicer.mrmlScene
    fixed, moving = add_volumes(pair)
    nodes = {"fixed": fixed, "moving": moving}
    for side, labels in (("fixed", pair.fixed_labels), ("moving", pair.moving_labels)):
        node = add_segmentation(scene, labels, labels.name, LABEL_NAMES)
        node.GetDisplayNode().SetVisibility(False)
        nodes[f"{side}_segmentation"] = node
    for side, points in (("fixed", pair.fixed_points), ("moving", pair.moving_points)):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"Synthetic {side} landmarks")
        for position_ras_mm in flipped(points):
            node.AddControlPoint(*position_ras_mm)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility(False)
        nodes[f"{side}_points"] = node
    return nodes


def displayed_distance(fixed: Any, other: Any) -> float:
    """Return the mean difference of two volumes inside the fixed one's content, where the scene shows them."""
    here = placed_volume(fixed).image
    reference = add_volume(slicer.mrmlScene, here, "reference")
    shown = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(other, reference)
    try:
        values = slicer.util.arrayFromVolume(shown)
        inside = here.values > 10
        return float(np.abs(values - here.values)[inside].mean())
    finally:
        for node in (shown, reference):
            slicer.mrmlScene.RemoveNode(node)
