"""What a pair is found to be, and what follows from it when it is registered."""

import dataclasses

import numpy as np
import pytest
from helpers.geometry import make_grid
from helpers.images import texture
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.methods.evidence import PairEvidence, look_at
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, ImagePair, InputError, Request

GRID = make_grid((48, 52, 44), (1.4, 1.4, 1.5), np.eye(3))
SLICE = make_grid((64, 60, 1), (1.0, 1.0, 1.0), np.eye(3))


def seen(bump_mm=(0, 0, 0), contrast=lambda v: v, grid=GRID, noise=0.3, seed=0):
    """The texture, a part of it displaced, with noise of its own."""
    points = voxel_centers_lps(grid)
    bump = np.exp(-(points**2).sum(-1) / (2 * 14.0**2))[..., None] * np.array(bump_mm, float)
    values = contrast(texture(points + bump)) + np.random.default_rng(seed).normal(size=grid.shape_kji) * noise
    return Image(values.astype(np.float32), grid, f"scan {seed}")


def inverted(values):
    """Another modality: tissues in the opposite order."""
    return np.where(values < 30, values, 60 - values)


def looked(fixed, moving, linear=None):
    return look_at(ImagePair(fixed, moving), np.eye(4) if linear is None else linear, "cpu")


@pytest.mark.parametrize("grid", [GRID, SLICE], ids=["volume", "slice"])
@pytest.mark.parametrize("contrast, modality", [(lambda v: v, "same"), (inverted, "different")])
def test_two_scans_of_one_visit(contrast, modality, grid):
    evidence = looked(seen(grid=grid), seen(contrast=contrast, grid=grid, seed=1))
    assert evidence.moved < 0.1 and evidence.modality == modality
    assert evidence.metric("visit") == ("lncc" if modality == "same" else "ngf")


@pytest.mark.parametrize("contrast, modality", [(lambda v: v, "same"), (inverted, "different")])
def test_a_part_that_moved_is_noticed(contrast, modality):
    still, moved = (looked(seen(bump), seen(contrast=contrast, seed=1)) for bump in ((0, 0, 0), (5, -4, 3)))
    assert moved.kind != "visit" and moved.moved > still.moved + 0.1
    assert moved.modality == modality


def test_it_is_read_where_the_linear_alignment_puts_the_images():
    away = np.eye(4)
    away[:3, 3] = (9, 0, 0)
    shifted = Image(texture(apply_matrix(away, voxel_centers_lps(GRID).reshape(-1, 3))).reshape(GRID.shape_kji), GRID)
    assert looked(shifted, seen(seed=1)).kind != "visit"
    assert looked(shifted, seen(seed=1), away).kind == "visit"


def test_images_without_common_edges_are_never_said_to_lie_where_they_should():
    noise = Image(np.random.default_rng(3).random(GRID.shape_kji).astype(np.float32), GRID, "noise")
    unrelated = looked(seen(), noise)
    assert (
        unrelated.kind == "people"
        and not unrelated.held
        and "Nothing in the two images corresponds" in unrelated.sentence
    )
    few = np.zeros(GRID.shape_kji, np.float32)
    few[20:22, 20:22, 20:22] = 1
    assert looked(seen(), Image(few, GRID, "few")).kind == "people"


@pytest.mark.parametrize(
    "moved, sign, sharpness, kind, metric",
    [
        (0.01, -0.9, None, "visit", "ngf"),
        (0.10, 0.9, None, "people", "lncc"),
        (0.10, -0.9, None, "person", "ngf"),
        (0.60, -0.9, 0.4, "person", "ngf"),
        (0.60, -0.9, 0.2, "people", "ngf-mind"),
        (0.60, 0.9, None, "people", "lncc"),
    ],
)
def test_what_follows_from_what_was_seen(moved, sign, sharpness, kind, metric):
    evidence = PairEvidence(moved, sign, 2.0, sharpness)
    assert evidence.kind == kind and evidence.metric(kind) == metric
    assert f"{100 * moved:.0f}%" in evidence.sentence and "2 mm" in evidence.sentence
    assert "Hardly anything" not in evidence.sentence
    assert "Hardly anything in them corresponds" in PairEvidence(0.5, 0.05, 2.0, 0.04).sentence


def test_one_visit_is_aligned_and_not_deformed_unless_that_is_asked_for():
    request = Request(seen(noise=0), seen(seed=1), preset="fast", device="cpu")
    result = register(request)
    assert result.transform.field is None and result.provenance["pair"]["kind"] == "visit"
    assert any("nothing was deformed" in note for note in result.notes)
    assert np.allclose(result.jacobian.values, 1, atol=1e-5)  # rigid
    assert result.metrics["after"]["nmi"] == result.metrics["linear"]["nmi"]
    forced = register(dataclasses.replace(request, pair="person"))
    assert forced.transform.field is not None and forced.provenance["similarity"] == "lncc"
    assert not any("nothing was deformed" in note for note in forced.notes)


def test_people_are_brought_to_one_size_and_one_person_is_not():
    grown = dataclasses.replace(seen(seed=1), grid=make_grid((48, 52, 44), (1.75, 1.75, 1.875), np.eye(3)))
    request = Request(seen(), grown, preset="fast", device="cpu", measure=False)
    people, visit = (register(dataclasses.replace(request, pair=kind)) for kind in ("people", "visit"))
    assert np.linalg.det(people.transform.linear_lps[:3, :3]) == pytest.approx(1.953, abs=0.2)
    assert np.linalg.det(visit.transform.linear_lps[:3, :3]) == pytest.approx(1, abs=1e-6)
    assert any("was to be one person at one visit" in note for note in visit.notes)


def test_one_person_is_deformed_more_stiffly():
    request = Request(seen((5, -4, 3)), seen(seed=1), preset="fast", linear="none", device="cpu", similarity="lncc")
    free, stiff = (register(dataclasses.replace(request, pair=kind)).metrics["after"] for kind in ("people", "person"))
    assert stiff["sdlogj"] < 0.95 * free["sdlogj"]


@pytest.mark.parametrize("pair", ["twins", ""])
def test_an_unknown_kind_is_refused(pair):
    with pytest.raises(InputError, match="pair must be one of auto, visit, person, people"):
        Request("a.nii.gz", "b.nii.gz", pair=pair)


@pytest.mark.parametrize(
    "fixed, moving, kind, modality",
    [
        ("brain_multicontrast/t1", "brain_multicontrast/flair", "visit", "different"),
        ("brain_multicontrast/t1", "moved_contrasts/t1_flair/moving", "person", "different"),
        pytest.param("brain_patients/a_t1", "brain_multicontrast/t2", "people", "different", marks=pytest.mark.slow),
        pytest.param("brain_patients/a_t1", "brain_patients/b_t1", "people", "same", marks=pytest.mark.slow),
    ],
)
def test_real_pairs(shared_data, fixed, moving, kind, modality):
    names = [str(shared_data / f"{name}.nii.gz") for name in (fixed, moving)]
    result = register(Request(*names, method="svf", linear="auto", preset="fast", device="cpu", measure=False))
    assert (result.provenance["pair"]["kind"], result.provenance["pair"]["modality"]) == (kind, modality)


def test_half_of_an_image_is_of_its_own_modality():
    """A coarse deformation of what has no counterpart would crush it, and read the sign of what is left."""
    whole = seen()
    half = dataclasses.replace(
        seen(seed=1), values=np.where(np.arange(GRID.size_ijk[0]) < GRID.size_ijk[0] // 2, 0, whole.values)
    )
    assert looked(whole, half).modality == "same"


def test_at_large_voxels_nothing_is_denied():
    grid = make_grid((24, 26, 22), (4.0, 4.0, 4.0), np.eye(3))
    evidence = looked(seen(grid=grid), seen(grid=grid, seed=1))
    assert evidence.cannot_tell and "cannot be told at voxels of 4 mm" in evidence.sentence
    request = Request(
        seen(grid=grid), seen(grid=grid, seed=1), preset="fast", device="cpu", pair="visit", measure=False
    )
    assert not any("was to be one person" in note for note in register(request).notes)
