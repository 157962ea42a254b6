"""Pairs to try the module on: Slicer's public test data, and a pair that is made on the spot."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from ..mrml.nodes import add_volume
from ..mrml.world import placed_volume
from ..teaching.pairs import RANGE, SyntheticPair, synthetic_head

CATEGORY = "DeepReg"
_TEST_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
#: Two scans of one patient with a brain tumor, before and after surgery: (file and node name, SHA256).
_TUMOR = (
    ("MRBrainTumor1", "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
    ("MRBrainTumor2", "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97"),
)


def register_samples() -> None:
    """Show the pairs in Slicer's Sample Data module; nothing is downloaded before one is clicked."""
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
    nothing = {name: [] for name in ("uris", "fileNames", "nodeNames", "loadFiles", "checksums")}  # it counts them
    add(
        category=CATEGORY,
        sampleName="DeepRegSyntheticPair",
        customDownloader=lambda source: list(add_synthetic_pair()),
        **nothing,
    )


def add_synthetic_pair():
    """Add the synthetic pair to the scene; returns (fixed, moving) volume nodes."""
    return add_volumes(synthetic_head())


def add_volumes(pair: SyntheticPair):
    """Add the images of a synthetic pair to the scene; returns (fixed, moving) volume nodes."""
    nodes = []
    for image in (pair.fixed, pair.moving):
        node = add_volume(slicer.mrmlScene, image, image.name)
        node.GetDisplayNode().SetAutoWindowLevel(0)
        node.GetDisplayNode().SetWindowLevelMinMax(*RANGE)
        nodes.append(node)
    return tuple(nodes)


def displayed_distance(fixed, other) -> float:
    """The mean difference of two volumes inside the fixed one's content, where the scene shows them."""
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
