"""A template lies in the middle of its cohort, whoever it began with."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.geometry.points import fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.pipeline.template import make_template
from SlicerDeepRegLib.types import Image, InputError, Request

SIZE = (30, 29, 28)
#: Radius of a ball, mm, and where its owner lies in the scanner.
PEOPLE = ((11.0, (0, 0, 0)), (13.0, (6, -3, 2)), (15.0, (-4, 5, 0)))


def person(radius, shift):
    grid = make_grid(SIZE, (2.0, 2.0, 2.0), np.eye(3))
    distance = np.linalg.norm(voxel_centers_lps(grid) - np.array(shift), axis=-1)
    values = 100 / (1 + np.exp((distance - radius) / 1.2)) + 60 / (1 + np.exp((distance - radius / 2) / 1.2))
    return Image(values.astype(np.float32), grid, f"ball {radius:g}"), Image(
        (distance < radius).astype(np.int32), grid, "l"
    )


IMAGES, LABELS = zip(*(person(*one) for one in PEOPLE))


def request(**options):
    given = {"preset": "fast", "linear": "center", "pair": "people", "similarity": "lncc", "device": "cpu"}
    return Request(IMAGES[0], IMAGES[0], **{**given, **options})


def radius_of(labels):
    volume = (labels.values > 0).sum() * abs(np.linalg.det(labels.grid.ijk_to_lps[:3, :3]))
    return (3 * volume / (4 * np.pi)) ** (1 / 3)


@pytest.mark.parametrize("start", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_it_is_the_mean_shape_whoever_it_begins_with(start):
    before, last = make_template(IMAGES, request(), LABELS, rounds=2, start=start)
    assert radius_of(last.labels) == pytest.approx(13, abs=0.7)  # the first one's is 11, the third one's 15
    assert last.change_mm < before.change_mm and last.dice > 0.88 and last.number == 2
    here = last.template.grid.center_lps_mm + np.array([[4.0, 3, -2], [0, 9, 1]])
    there = [fixed_to_moving(transform, here) for transform in last.transforms]
    for transform, places in zip(last.transforms, there):
        np.testing.assert_allclose(moving_to_fixed(transform, places), here, atol=0.1)
    # Nobody is turned, so that the way from one place to another is that of the template in the mean.
    np.testing.assert_allclose(np.mean([b - a for a, b in there], 0), here[1] - here[0], atol=0.8)


def test_the_command_writes_what_was_made(tmp_path, capsys):
    paths = []
    for n, (image, labels) in enumerate(zip(IMAGES[:2], LABELS[:2])):
        write_image(image, tmp_path / f"p{n}.nii.gz")
        write_image(labels, tmp_path / f"l{n}.nii.gz")
        paths.append((str(tmp_path / f"p{n}.nii.gz"), str(tmp_path / f"l{n}.nii.gz")))
    images, labels = (list(side) for side in zip(*paths))
    command = ["template", "--images"] + images + ["--labels"] + labels
    command += ["--preset", "fast", "--linear", "center", "--similarity", "lncc", "--rounds", "2"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    assert "Round 2:" in capsys.readouterr().out
    template, labels = (sitk.ReadImage(str(tmp_path / "out" / f"{name}.nii.gz")) for name in ("template", "labels"))
    assert template.GetSize() == labels.GetSize() and min(template.GetSize()) > 30  # wider than the first image
    assert 0 <= sitk.GetArrayFromImage(template).min() and sitk.GetArrayFromImage(template).max() <= 1
    with open(tmp_path / "out" / "rounds.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["round"] for row in rows] == ["1", "2"] and float(rows[1]["change_mm"]) < float(rows[0]["change_mm"])
    described = json.loads((tmp_path / "out" / "template.json").read_text())
    assert described["images"] == ["01_p0", "02_p1"]
    there = sitk.ReadTransform(str(tmp_path / "out" / "02_p1.h5")).TransformPoint((3.0, 4.0, 2.0))
    back = sitk.ReadTransform(str(tmp_path / "out" / "02_p1_inverse.h5")).TransformPoint(there)
    np.testing.assert_allclose(back, (3, 4, 2), atol=0.2)


def test_a_few_voxels_that_are_no_numbers_do_not_blacken_it(monkeypatch):
    from SlicerDeepRegLib.pipeline import template

    values = IMAGES[1].values.copy()
    values[0, :3, :3] = np.nan
    still = [template.Transform(np.eye(4), template.Field(np.zeros((*SIZE[::-1], 3), np.float32), IMAGES[0].grid))]
    monkeypatch.setattr(template, "register", lambda request, told: ended(still[0]))
    (made,) = make_template([IMAGES[0], Image(values, IMAGES[1].grid, "gaps")], request(), rounds=1)
    assert np.isfinite(made.template.values).all() and 0.9 < made.template.values.max() <= 1


def ended(transform, notes=(), modality="same"):
    return SimpleNamespace(transform=transform, notes=notes, provenance={"pair": {"modality": modality}})


def test_what_was_said_of_an_image_is_kept_and_a_failure_says_of_which(monkeypatch):
    from SlicerDeepRegLib.pipeline import template

    still = template.Transform(np.eye(4), template.Field(np.zeros((*SIZE[::-1], 3), np.float32), IMAGES[0].grid))

    def register(request, told):
        if request.moving.name == "ball 11":
            return ended(still)
        return ended(still, ("Check right and left.",), "different")

    monkeypatch.setattr(template, "register", register)
    (made,) = make_template(IMAGES[:2], request(), rounds=1)
    assert made.notes[0] == () and made.notes[1][0] == "Check right and left." and "contrast" in made.notes[1][1]

    def fails(request, told):
        raise InputError("Nothing in common.")

    monkeypatch.setattr(template, "register", fails)
    with pytest.raises(InputError, match="Round 1, ball 11, registered to the template: Nothing in common"):
        list(make_template(IMAGES[:2], request(), rounds=1))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--images", "a.nii.gz"], "at least two images"),
        (["--images", "a.nii.gz", "b.nii.gz", "--labels", "a.nii.gz"], "2 images and 1 label maps"),
        (["--images", "a.nii.gz", "b.nii.gz", "--start", "3"], "no image 3: there are 2"),
        (["--images", "a.nii.gz", "b.nii.gz", "--rounds", "0"], "from 1 to 20; they were 0"),
        (["--images", "a.nii.gz", "b.nii.gz", "--labels", "a.nii.gz", "c.nii.gz"], "lie on another voxel grid than b"),
        (["--images", "a.nii.gz", "none.nii.gz"], "none.nii.gz does not exist"),
        (["--images", "a.nii.gz", "half.nii.gz"], "half.nii.gz) is constant"),
        (["--images", "a.nii.gz", "nan.nii.gz"], "nan.nii.gz) has 1200 voxels that are NaN"),
        (["--images", "a.nii.gz", "slice.nii.gz"], "slice.nii.gz is a single slice"),
        (["--images", "a.nii.gz", "b.nii.gz", "--labels", "half.nii.gz", "a.nii.gz"], "must be whole numbers"),
    ],
)
def test_a_cohort_that_makes_no_template_is_refused_before_any_work(tmp_path, capsys, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_image(LABELS[0], tmp_path / f"{name}.nii.gz")
    small = make_grid((10, 10, 10), (2.0, 2.0, 2.0), np.eye(3))
    write_image(Image(np.ones((10, 10, 10), np.int32), small), tmp_path / "c.nii.gz")
    write_image(Image(np.full(SIZE[::-1], 0.5, np.float32), LABELS[0].grid), tmp_path / "half.nii.gz")
    spoiled = IMAGES[0].values.copy()
    spoiled[10:20, 10:20, 9:21] = np.nan
    write_image(Image(spoiled, IMAGES[0].grid), tmp_path / "nan.nii.gz")
    flat = make_grid((20, 20, 1), (2.0, 2.0, 2.0), np.eye(3))
    write_image(Image(np.arange(400, dtype=np.float32).reshape(1, 20, 20), flat), tmp_path / "slice.nii.gz")
    assert main(["template", *options, "--output", "out", "--quiet"]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()
