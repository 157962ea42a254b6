"""Measure the segmentation network of a joint training on the images of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..device import choose
from ..models.segmentation import load_described, read_description
from ..networks.segmentation import build_segmentation
from ..training.annotated import sliced
from ..training.dataset.read import read_dataset_index
from ..training.joint import segmentation_metrics
from ..training.recipe import prepare_subjects
from ..types import InputError


@torch.no_grad()
def evaluate_segmentation(
    model: Path,
    data: Path,
    split: str,
    cache: Path,
    slices: str | None = None,
    size_ijk: Sequence[int] | None = None,
    resample: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Return what ``run.Measured`` holds: Dice, Hausdorff distance and ASSD of each labeled image of the split.

    Args:
        model: the folder "segmentation" of a joint training.
        data: see ``training.dataset.read``.
        slices: axis that volumes are cut into slices along.
        size_ijk, resample: see ``training.recipe.prepare_subjects``.

    Raises:
        InputError: the model or the data cannot be used, or no image of the split has labels.
    """
    described, chosen = read_description(model), choose(device)
    network = build_segmentation(described["segmentation"], described["dimensions"], len(described["classes"]))
    load_described(network, described, model)
    network = network.to(chosen).eval()
    index = read_dataset_index(data)
    index = index.without({name for name, one in index.subjects.items() if one.split != split})
    if not index.subjects:
        raise InputError(f"No image of {data} is in the split {split}.")
    free = None if slices is None else "ijk".index(slices)
    size = list(size_ijk) if size_ijk else None
    if size is not None and free is not None and len(size) == 2:
        size.insert(free, 0)
    recipe = {key: described["recipe"].get(key) for key in ("intensity", "voxel_mm", "orientation")}
    subjects, _ = prepare_subjects(index, recipe, size, cache, skip=False, free_axis=free, resample_to=resample)
    if slices is not None:
        subjects, index = sliced(subjects, index, slices)
    outcomes, names = [], []
    for name, subject in subjects.items():
        labels = subject.array("labels")
        if labels is None or not np.isin(labels, described["classes"][1:]).any():
            continue
        image = torch.from_numpy(np.asarray(subject.array("image"), np.float32))[None, None].to(chosen)
        found = network(image).argmax(1)[0].cpu().numpy()
        seen = np.array(described["classes"])[found]
        measured = segmentation_metrics(np.asarray(labels), seen, described["classes"], subject.spacing_kji_mm, True)
        outcomes.append({"metrics": {"after": measured}, "seconds": {}})
        names.append(name)
    if not outcomes:
        raise InputError(f"No image of the split {split} of {data} has labels, so its segmentation cannot be measured.")
    return {"pairs": names, "outcomes": outcomes, "parameters": sum(p.numel() for p in network.parameters())}
