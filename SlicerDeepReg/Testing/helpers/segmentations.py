"""Segmentations as Slicer writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from SlicerDeepRegLib.files.images import place
from SlicerDeepRegLib.types import Grid


def write_segmentation(
    path: Path, grid: Grid, layers: Sequence[np.ndarray], segments: Sequence[tuple[str, int, int]], **keys: str
) -> str:
    """Write a .seg.nrrd; returns its path.

    Args:
        layers: (K, J, I) label maps.
        segments: (name, label, layer) of each.
        keys: further ones of the header.
    """
    values = layers[0] if len(layers) == 1 else np.stack(layers, -1)
    image = sitk.GetImageFromArray(values.astype(np.uint8), isVector=len(layers) > 1)
    place(image, grid)
    for n, (name, label, layer) in enumerate(segments):
        said = {"ID": f"Segment_{n + 1}", "Name": name, "LabelValue": str(label), "Layer": str(layer)}
        for key, value in said.items():
            image.SetMetaData(f"Segment{n}_{key}", value)
    for key, value in keys.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return str(path)
