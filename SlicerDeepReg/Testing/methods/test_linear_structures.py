"""What the structures of brains give to a registration: a start, channels, and a sentence about whose they are."""

import dataclasses
from importlib import import_module

import numpy as np
import pytest
from helpers.geometry import make_grid, rotation
from helpers.images import noise_image, texture
from helpers.structures import write_model
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.anatomy import MEAN_CENTERS_MM
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.geometry.structures import BrainEvidence
from SlicerDeepRegLib.methods import Context, linear_method
from SlicerDeepRegLib.methods.linear import starts
from SlicerDeepRegLib.pipeline import align, register, structures
from SlicerDeepRegLib.types import Image, ImagePair, InputError, Request

BRAIN, NONE = BrainEvidence(1.0, 2.0, 1.0, 1.0, 0.9), BrainEvidence(0.0, np.inf, 0.0, np.inf, 0.2)
TURN = np.eye(4)
TURN[:3, :3], TURN[:3, 3] = rotation([0, 0, 115]), [6, -4, 5]
MEAN = {number: np.array(center) for number, center in MEAN_CENTERS_MM.items()}


def turned_pair():
    """Two images, the second turned so far that no start of the linear stage is near."""
    grid = make_grid((30, 30, 28), (2.2, 2.2, 2.2), np.eye(3))
    points = voxel_centers_lps(grid)
    fixed = texture(apply_matrix(TURN, points.reshape(-1, 3))).reshape(grid.shape_kji)
    return Image(fixed.astype(np.float32), grid, "fixed"), Image(texture(points).astype(np.float32), grid, "moving")


def error_mm(matrix):
    points = np.random.default_rng(0).uniform(-20, 20, (200, 3))
    return np.linalg.norm(apply_matrix(matrix, points) - apply_matrix(TURN, points), axis=1).mean()


class Seen:
    """A stand-in for the model: what it would see in the fixed and in the moving image."""

    def __init__(self, *evidence):
        self.evidence = list(evidence)
        self.centers = [MEAN, {n: apply_matrix(TURN, c[None])[0] for n, c in MEAN.items()}]

    def __call__(self, folder, device):
        return self

    def see(self, image):
        members = np.full((33, 4, 5, 6), 1 / 33, np.float32)
        grid = make_grid((6, 5, 4), (10, 10, 10), np.eye(3))
        return dataclasses.make_dataclass("One", ("evidence", "centers", "memberships", "grid"))(
            self.evidence.pop(0), self.centers.pop(0), members, grid
        )


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (tmp_path / "shipped",))
    return write_model(tmp_path / "shipped")


def test_the_linear_stage_also_starts_from_structures(monkeypatch):
    fixed, moving = turned_pair()
    monkeypatch.setattr(starts, "ROTATIONS", {3: 1})  # what the linear stage would find by itself
    start = TURN.copy()
    start[:3, :3] = rotation([3, -2, 4]) @ start[:3, :3]
    method = linear_method("structures")
    found = method.run(ImagePair(fixed, moving, start=start), np.eye(4), method.presets["fast"], Context())
    assert error_mm(found.linear_lps) < 1.0
    without = method.run(ImagePair(fixed, moving), np.eye(4), method.presets["fast"], Context())
    plain = linear_method("affine").run(ImagePair(fixed, moving), np.eye(4), method.presets["fast"], Context())
    assert np.array_equal(without.linear_lps, plain.linear_lps) and error_mm(plain.linear_lps) > 5


def test_a_registration_takes_start_and_channels_from_both_brains_and_says_so(model, monkeypatch):
    monkeypatch.setattr(structures, "StructureModel", Seen(BRAIN, BRAIN))
    given = []

    def kept(pair, *rest):
        given.append(pair)
        return align.align(pair, *rest)

    monkeypatch.setattr(import_module("SlicerDeepRegLib.pipeline.register"), "align", kept)
    fixed, moving = turned_pair()
    result = register(Request(fixed, moving, linear="structures", structures="auto", preset="fast", measure=False))
    assert error_mm(result.stages[0].linear_lps) < 1.0
    channels = given[0].channels
    assert channels.fixed.shape == channels.moving.shape == (9, 4, 5, 6)
    assert np.allclose(given[0].start, TURN, atol=1e-6)
    said = [note for note in result.notes if "segmented automatically" in note]
    assert len(said) == 1 and "not by a person" in said[0] and "given to the method" in said[0]
    assert "structures" in result.seconds


@pytest.mark.parametrize(
    "evidence, words",
    [((BRAIN, NONE), "the moving image does not"), ((NONE, NONE), "the fixed image and the moving image do not")],
)
def test_what_is_no_brain_is_registered_without_and_that_is_said(model, monkeypatch, evidence, words):
    monkeypatch.setattr(structures, "StructureModel", Seen(*evidence))
    fixed, moving = turned_pair()
    result = register(Request(fixed, moving, linear="center", structures="auto", preset="fast", measure=False))
    assert any(f"{words} look like a whole human brain" in note for note in result.notes)


def test_nobody_looks_for_structures_unless_asked(model, monkeypatch):
    monkeypatch.setattr(structures, "StructureModel", Seen())
    fixed, moving = turned_pair()
    result = register(Request(fixed, moving, linear="center", preset="fast", measure=False))
    assert not any("tructures" in note for note in result.notes) and "structures" not in result.seconds


def test_without_the_model_the_start_is_an_error_and_the_channels_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (tmp_path,))
    fixed, moving = turned_pair()
    with pytest.raises(InputError, match="not part of this installation") as raised:
        register(Request(fixed, moving, linear="structures", preset="fast"))
    assert raised.value.control == "linear"
    result = register(Request(fixed, moving, linear="center", structures="auto", preset="fast", measure=False))
    assert any("Structures were not used" in note and "not part" in note for note in result.notes)


def test_slices_have_no_structures(model):
    grid = make_grid((40, 40, 1), (2, 2, 2), np.eye(3))
    slices = noise_image(grid, "fixed"), noise_image(grid, "moving")
    result = register(Request(*slices, linear="none", structures="auto", preset="fast", measure=False))
    assert any("seen in volumes only" in note for note in result.notes)


def test_structures_are_auto_or_off():
    with pytest.raises(InputError, match="structures must be one of auto, off"):
        Request("a", "b", structures="on")
