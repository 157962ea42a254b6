"""Pairs to try the module on: Slicer's public test data, and a pair that is made on the spot."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from ..contracts import Grid, Image
from ..geometry.points import voxel_centres_lps
from ..mrml.nodes import add_volume
from ..mrml.world import placed_volume

CATEGORY = "DeepReg"
_TEST_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
#: Two scans of one patient with a brain tumour, before and after surgery: (file and node name, SHA256).
_TUMOUR = (
    ("MRBrainTumor1", "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"),
    ("MRBrainTumor2", "1a64f3f422eb3d1c9b093d1a18da354b13bcf307907c66317e2463ee530b7a97"),
)


def register_samples() -> None:
    """Show the pairs in Slicer's Sample Data module; nothing is downloaded before one is clicked."""
    import SampleData

    add = SampleData.SampleDataLogic.registerCustomSampleDataSource
    add(
        category=CATEGORY,
        sampleName="DeepRegBrainTumour",
        uris=[_TEST_DATA + digest for _, digest in _TUMOUR],
        fileNames=[f"{name}.nrrd" for name, _ in _TUMOUR],
        nodeNames=[name for name, _ in _TUMOUR],
        checksums=[f"SHA256:{digest}" for _, digest in _TUMOUR],
    )
    nothing = {name: [] for name in ("uris", "fileNames", "nodeNames", "loadFiles", "checksums")}  # it counts them
    add(
        category=CATEGORY,
        sampleName="DeepRegMadePair",
        customDownloader=lambda source: list(add_made_pair()),
        **nothing,
    )


def made_pair(size: int = 64, spacing_mm: float = 2.5):
    """(fixed, moving) images of a made head: the fixed one is the moving one seen through a smooth deformation."""
    matrix = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    matrix[:3, 3] = -spacing_mm * (size - 1) / 2
    grid = Grid((size, size, size), matrix)
    points = voxel_centres_lps(grid)
    bend = 6.0 * np.stack([np.sin(points[..., 1] / 30), np.cos(points[..., 2] / 35), np.sin(points[..., 0] / 32)], -1)
    return tuple(
        Image(_head(where).astype(np.float32), grid, name)
        for name, where in (("Made fixed", points + bend), ("Made moving", points))
    )


def _head(points_lps_mm: np.ndarray) -> np.ndarray:
    """A head with a skull, a folded cortex and ventricles, 0 to about 130, as a function of the place."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    shell = np.sqrt((x / 58) ** 2 + (y / 70) ** 2 + (z / 60) ** 2)
    skull = 70 * np.exp(-(((shell - 1.0) / 0.05) ** 2))
    folds = 0.06 * np.sin(x / 5 + 0.7) * np.cos(y / 6) + 0.05 * np.sin(z / 5.5 + x / 13)
    cortex = 80 / (1 + np.exp((shell - 0.88 + folds) * 40))
    white = 45 / (1 + np.exp((shell - 0.70 + 1.4 * folds) * 40))
    side = np.minimum(np.hypot((x - 14) / 8, (y + 4) / 24), np.hypot((x + 14) / 8, (y + 4) / 24))
    ventricles = 95 / (1 + np.exp((np.hypot(side, z / 22) - 1) * 10))
    return np.maximum(0, skull + cortex + white - ventricles)


def add_made_pair():
    """Add the made pair to the scene; returns (fixed, moving) volume nodes."""
    nodes = []
    for image in made_pair():
        node = add_volume(slicer.mrmlScene, image, image.name)
        node.GetDisplayNode().SetAutoWindowLevel(0)
        node.GetDisplayNode().SetWindowLevelMinMax(0, 135)
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
