"""Three phantom heads, in one frame and related, made once for all tests here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads import folder_of_heads
from SlicerDeepRegLib.training.label_maps import atlas
from SlicerDeepRegLib.training.label_maps.frame import LabelMap, prepare_label_maps


@dataclass(frozen=True)
class Heads:
    """The folder of label maps, the cache, and what is kept there."""

    folder: Path
    cache: Path
    maps: tuple[LabelMap, ...]
    relation: np.ndarray


@pytest.fixture(scope="package")
def heads(tmp_path_factory):
    """The atlas is coarse and takes few iterations, so that this takes seconds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(atlas, "SHAPE", (32, 40, 32))
        patched.setattr(atlas, "VOXEL_MM", 6.0)
        patched.setattr(atlas, "ROUNDS", (6, 8))
        patched.setattr(atlas, "SMOOTHING", (2.0, 1.0))
        place = tmp_path_factory.mktemp("heads")
        folder = folder_of_heads(place / "maps", 3)
        maps = prepare_label_maps(folder, place / "cache")
        yield Heads(folder, place / "cache", maps, atlas.prepare_atlas(maps, place / "cache", torch.device("cpu")))
