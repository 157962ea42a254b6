"""Segmentations as Slicer has them (.seg.nrrd): segments with names, read in one layer or several, written in one.

The file is as large as what is drawn in it, and its origin is that of its own voxels; the extents among its keys only
say where these lie in the image on which it was drawn. Keys: Slicer's documentation, module Segmentations, file format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry.labels import label_map
from ..processes.memory import check_room
from ..types import Image, InputError
from .detached import files_of, outside_of
from .headers import header_fault_of
from .images import announced_bytes, check_memory_ran_out, from_sitk, in_mm, write_image


@dataclass(frozen=True)
class Segment:
    """One segment: where ``layers[layer]`` is ``label``."""

    name: str
    label: int
    layer: int


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation.

    Attributes:
        layers: label maps on one grid; a label means another segment in each.
        segments: in their order.
    """

    layers: tuple[Image, ...]
    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.layers[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """Those of its segments, in their order."""
        return tuple(segment.name for segment in self.segments)

    def own_numbers(self) -> dict[str, int] | None:
        """Return the label of each segment's name in the file; None where a label stands for several segments."""
        labels = [segment.label for segment in self.segments]
        return dict(zip(self.names, labels)) if len(set(labels)) == len(labels) else None

    def labels(self, numbers: Mapping[str, int]) -> Image:
        """Return one label map (int32) with the number of each segment's name.

        Raises:
            InputError: two segments overlap, or have the same name.
        """
        parts = ((s.name, numbers[s.name], self._inside(s)) for s in self.segments)
        return self._image(label_map(parts, self.layers[0].grid.shape_kji, self.name, np.int32))

    def union(self) -> Image:
        """Return 1 inside any segment, 0 elsewhere."""
        return self._image(np.logical_or.reduce([self._inside(s) for s in self.segments]).astype(np.uint8))

    def _inside(self, segment: Segment) -> np.ndarray:
        inside: np.ndarray = self.layers[segment.layer].values == segment.label
        return inside

    def _image(self, values: np.ndarray) -> Image:
        first = self.layers[0]
        return Image(values, first.grid, first.name, first.dimensions, first.notes, first.files)


def read_segmentation(path: str | Path, role: str, allow_outside: bool = False) -> Segmentation | None:
    """Read a segmentation of Slicer; None if the file is none, but an image or nothing that can be read.

    Args:
        path: the file.
        role: what it is for, as messages should call it ("fixed labels").
        allow_outside: whether a header may name data files outside its folder.

    Raises:
        InputError: its keys say what cannot be used, or its voxels do not fit into memory.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nrrd", ".nhdr")) or not path.is_file():
        return None
    if not (allow_outside or outside_of(path) is None) or header_fault_of(path):
        return None
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        found = [key for key in reader.GetMetaDataKeys() if key.startswith("Segment") and key.isascii()]
        keys = {key: reader.GetMetaData(key).encode("utf-8", "replace").decode() for key in found}
        if "Segment0_ID" not in keys and "Segment0_Name" not in keys:
            return None
        check_room(announced_bytes(reader), f"{role} {path}")
        image = reader.Execute()
    except RuntimeError as error:  # whoever reads it as an image will say so
        check_memory_ran_out(error)
        return None
    kinds = {keys.get(f"Segmentation_{which}Representation", "Binary labelmap") for which in ("Master", "Source")}
    if kinds != {"Binary labelmap"}:
        kind = sorted(kinds - {"Binary labelmap"})[0]
        raise InputError(
            f"The {role} file {path} contains a {kind.lower()}. Save the segmentation as a binary labelmap."
        )
    components = image.GetNumberOfComponentsPerPixel()
    parts = [image] if components == 1 else [sitk.VectorIndexSelectionCast(image, n) for n in range(components)]
    files = tuple(map(str, files_of(path)))
    layers = tuple(replace(in_mm(from_sitk(part, path.name), path, role), files=files) for part in parts)
    try:
        return Segmentation(layers, _segments(keys, len(layers)))
    except ValueError as error:
        raise InputError(f"The {role} file {path} has a wrong header ({error}). Save it again.") from error


def _segments(keys: Mapping[str, str], layers: int) -> tuple[Segment, ...]:
    """Return what the keys say; files of Slicer before 4.11 have one layer for each segment, and 1 inside it."""
    segments: list[Segment] = []
    while any(f"Segment{len(segments)}_{key}" in keys for key in ("ID", "Name")):
        n = len(segments)
        name = keys.get(f"Segment{n}_Name") or keys[f"Segment{n}_ID"]
        label, layer = int(keys.get(f"Segment{n}_LabelValue", 1)), int(keys.get(f"Segment{n}_Layer", n))
        if not 0 <= layer < layers or label < 1:
            raise ValueError(f"the segment {name} has the label {label} in layer {layer} of {layers}")
        segments.append(Segment(name.strip(), label, layer))
    return tuple(segments)


def write_segmentation(
    labels: Image, segments: Sequence[tuple[int, str, tuple[int, int, int]]], path: str | Path
) -> None:
    """Write a label map as a segmentation of Slicer, in one layer.

    Args:
        labels: whole numbers of 0 or more.
        segments: label, name and color (0..255) of each, in their order.
        path: ends in .seg.nrrd.

    Raises:
        OSError: the disk is full, or the file cannot be written; a file of that name is as it was.
    """
    extent = " ".join(f"0 {n - 1}" for n in labels.grid.size_ijk)
    keys = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_SourceRepresentation": "Binary labelmap",  # Slicer 5.2 and later; before it was Master
        "Segmentation_MasterRepresentation": "Binary labelmap",
    }
    for n, (label, name, color) in enumerate(segments):
        about = {
            "ID": f"Segment_{label}",
            "Name": name,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part / 255:.6g}" for part in color),
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "LabelValue": str(label),
            "Layer": "0",
        }
        keys.update({f"Segment{n}_{key}": value for key, value in about.items()})
    write_image(labels, path, keys)
