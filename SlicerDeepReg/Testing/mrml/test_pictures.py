"""What the views show, compared with stored pictures that somebody has looked at.

A picture that differs is written beside the stored one, with their difference, into build/pictures. To store what is
drawn now, after looking at it: ``make stored-pictures``.
"""

import os

import numpy as np
import pytest
import slicer
from helpers.cases import Case
from helpers.paths import PROJECT
from PIL import Image as Picture
from scipy.ndimage import uniform_filter
from SlicerDeepRegLib.geometry.grids import sampled
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_transform
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.mrml.add_run import add_run
from SlicerDeepRegLib.mrml.host import Host, opengl_works
from SlicerDeepRegLib.mrml.layouts import LAYOUTS, SHOWS, Layouts, cells_of
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.mrml.review import MODES, Review
from SlicerDeepRegLib.mrml.side_by_side import SideBySide
from SlicerDeepRegLib.mrml.side_by_side import cells_of as rows_of_runs
from SlicerDeepRegLib.preparation.resample import warp_image
from SlicerDeepRegLib.types import Field, Image, Request, Result, Transform

STORED = PROJECT / "SlicerDeepReg" / "Testing" / "mrml" / "pictures"
SIZE = (180, 180)
#: Of the blurred difference: its mean in gray levels, and the part of the pixels that may be off by more than 40.
MEAN, PART = 2.0, 0.01

pytestmark = pytest.mark.skipif(not opengl_works(), reason="needs OpenGL: apt-get install libegl1 libgl1-mesa-dri")


def known_result(case, scale=1.0, fold=False):
    """A result whose field is known and not found, so that the picture depends on nothing but the drawing."""
    field = case.transform.field
    vectors = scale * field.displacement_lps_mm
    if fold:
        points = voxel_centers_lps(field.grid) - field.grid.center_lps_mm
        bump = np.exp(-((points / 6) ** 2).sum(-1))[..., None].astype(np.float32)
        vectors = vectors - 1.6 * bump * points.astype(np.float32)
    transform = Transform(case.transform.linear_lps, Field(vectors, field.grid))
    jacobian = Image(jacobian_of_transform(transform), case.fixed.grid, "jacobian")
    coarse = sampled(case.fixed.grid, 3000)
    uncertainty = Image((voxel_centers_lps(coarse)[..., 0] - coarse.origin_lps_mm[0]) / 40, coarse, "uncertainty")
    return Result(
        request=Request(case.fixed, case.moving),
        fixed=case.fixed,
        moving=case.moving,
        transform=transform,
        warped=warp_image(case.moving, case.fixed, transform),
        jacobian=jacobian,
        warped_labels=None,
        fixed_labels=None,
        stages=(),
        metrics={},
        seconds={},
        provenance={},
        uncertainty=uncertainty,
    )


@pytest.fixture(scope="module")
def opened():
    case = Case("oblique-LPS")
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
        for node in (fixed, moving):
            node.GetDisplayNode().SetAutoWindowLevel(0)
            node.GetDisplayNode().SetWindowLevelMinMax(0, 95)
        runs = [
            add_run(host.scene, known_result(case, *how), name, {"method": "known"}, fixed, moving)
            for name, how in (("whole", (1.0, True)), ("half", (0.5,)))
        ]

        def arranged(cells):
            for cell in cells:
                if cell.name not in host.views:
                    host.add_view(cell.name, cell.plane, SIZE)

        layouts = Layouts(host.scene, Review(host.scene, host.application.GetSliceLogics()), arranged)
        yield host, runs, layouts


def drawn(host, rows):
    """The views of a layout as one picture, each with its letters."""
    lines = []
    for row in rows:
        for cell in row:
            host.views[cell.name].annotate(SHOWS[cell.shows][1])
        lines.append(np.concatenate([host.views[cell.name].picture() for cell in row], axis=1))
    return np.concatenate(lines, axis=0)


def compare(name, picture):
    """Fail where the picture is not the stored one, and leave both and their difference side by side."""
    path = STORED / f"{name}.png"
    if os.environ.get("DEEPREG_STORE_PICTURES"):
        Picture.fromarray(picture).save(path, optimize=True)
    assert path.is_file(), f"{path} is not stored yet: look at the picture and store it"
    stored = np.asarray(Picture.open(path).convert("RGB"))
    if stored.shape != picture.shape:
        mean, part, difference = 255.0, 1.0, np.zeros_like(picture)
    else:
        difference = np.abs(uniform_filter(picture.astype(float) - stored, (3, 3, 0)))
        mean, part = difference.mean(), (difference.max(-1) > 40).mean()
    if mean <= MEAN and part <= PART:
        return
    folder = PROJECT / "build" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    three = [stored, picture, np.clip(4 * difference, 0, 255).astype(np.uint8)]
    tall = max(one.shape[0] for one in three)
    three = [np.pad(one, ((0, tall - one.shape[0]), (0, 6), (0, 0)), constant_values=128) for one in three]
    Picture.fromarray(np.concatenate(three, axis=1)).save(folder / f"{name}.png")
    pytest.fail(
        f"{name} differs from the stored picture by {mean:.1f} gray levels, {100 * part:.1f} % of it strongly. "
        f"Stored, drawn and difference are side by side in {folder / name}.png"
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(opened, name):
    host, runs, layouts = opened
    layouts.show(name, runs[0])
    try:
        compare(f"layout-{name}", drawn(host, cells_of(name)))
    finally:
        layouts.restore()


def test_side_by_side(opened):
    host, runs, layouts = opened
    beside = SideBySide(layouts)
    beside.show(runs)
    try:
        compare("side-by-side", drawn(host, rows_of_runs(2)))
    finally:
        beside.restore()


def test_every_way_to_look(opened):
    host, runs, layouts = opened
    review, run = layouts.review, runs[0]
    view = host.views.get("Look") or host.add_view("Look", "Axial", SIZE)
    taken = []
    review.show(run)
    review.fit(run)
    for mode in MODES:
        review.show(run, mode, 0.6)
        view.annotate(mode)
        taken.append(view.picture())
    review.show(run, "fade", 1.0)
    for grid, arrows in ((True, False), (False, True)):
        review.overlay(run, grid, arrows)
        view.annotate("grid" if grid else "arrows")
        taken.append(view.picture())
    review.overlay(run, False, False)
    review.show_over(run, run.get("uncertainty"))
    view.annotate("uncertainty")
    taken.append(view.picture())
    review.restore()
    rows = [np.concatenate(taken[n : n + 3], axis=1) for n in (0, 3, 6)]
    compare("ways-to-look", np.concatenate(rows, axis=0))


def test_a_wrong_picture_is_noticed(opened, monkeypatch, tmp_path):
    """The comparison itself: mirrored, or without its grid, a picture does not pass."""
    host, runs, layouts = opened
    monkeypatch.setattr("test_pictures.PROJECT", tmp_path, raising=False)
    monkeypatch.delenv("DEEPREG_STORE_PICTURES", raising=False)
    layouts.show("deformation", runs[0])
    try:
        right = drawn(host, cells_of("deformation"))
        layouts.review.grid_in(runs[0], [])
        bare = drawn(host, cells_of("deformation"))
    finally:
        layouts.restore()
    for wrong in (right[:, ::-1], bare):
        with pytest.raises(pytest.fail.Exception, match="side by side"):
            compare("layout-deformation", np.ascontiguousarray(wrong))
