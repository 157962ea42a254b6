"""Several contrasts of both images, compared at once."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.requests import request
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.anonymous import without_names
from SlicerDeepRegLib.files.images import to_sitk
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, InputError, Request
from SlicerDeepRegLib.worker import protocol

GRID = make_grid((44, 48, 40), (1.5, 1.5, 1.6), np.eye(3))
POINTS = voxel_centers_lps(GRID)
BUMP = np.exp(-(POINTS**2).sum(-1) / (2 * 14.0**2))[..., None] * np.array([5.0, -4.0, 3.0])
HEAD = texture(POINTS) > 30
FAST = {"preset": "fast", "linear": "none", "measure": False}


def contrast(shows, displacement=0.0, name="scan"):
    """A texture that is flat where x has the other sign, as tissues that a contrast does not tell apart."""
    places = POINTS + displacement
    values = texture(places)
    flat = np.where(values > 30, 60.0, values)
    part = 1 / (1 + np.exp(-places[..., 0] * shows / 2))
    return Image((part * values + (1 - part) * flat).astype(np.float32), GRID, name)


FIXED = [contrast(shows, BUMP, f"fixed {n}") for n, shows in enumerate((1, -1))]
MOVING = [contrast(shows, name=f"moving {n}") for n, shows in enumerate((1, -1))]


def error_mm(result, where=HEAD):
    found = fixed_to_moving(result.transform, POINTS[where])
    return np.linalg.norm(found - POINTS[where] - BUMP[where], axis=1).mean()


def both(**options):
    return request(FIXED[0], MOVING[0], more_fixed=FIXED[1:], more_moving=MOVING[1:], **{**FAST, **options})


def test_each_contrast_adds_what_the_other_does_not_show():
    together = register(both())
    for pair, shows in zip(zip(FIXED, MOVING), (1, -1)):
        unseen = HEAD & (POINTS[..., 0] * shows < -4) & (np.linalg.norm(BUMP, axis=-1) > 2)
        assert error_mm(together, unseen) < 0.8 * error_mm(register(request(*pair, **FAST)), unseen)


def test_weights_decide_between_them():
    first = register(request(FIXED[0], MOVING[0], **FAST))
    mostly = register(both(contrast_weights=(1.0, 1e-6)))
    equal = register(both())

    def apart(one, other):
        there = [fixed_to_moving(result.transform, POINTS[HEAD]) for result in (one, other)]
        return np.linalg.norm(there[0] - there[1], axis=1).mean()

    assert apart(first, mostly) < 0.3 * apart(first, equal)


def test_a_contrast_given_twice_changes_nothing():
    once = register(request(FIXED[0], MOVING[0], **FAST))
    twice = register(request(FIXED[0], MOVING[0], more_fixed=FIXED[:1], more_moving=MOVING[:1], **FAST))
    assert error_mm(twice) == pytest.approx(error_mm(once), abs=0.02)


def test_uncertainty_and_a_deformation_to_start_from_take_them_along(tmp_path):
    result = register(both(uncertainty_runs=1, measure=True))
    assert np.isfinite(result.uncertainty.values).all()
    start = sitk.GetImageFromArray(0.7 * BUMP, isVector=True)
    start.CopyInformation(to_sitk(FIXED[0]))
    sitk.WriteImage(start, str(tmp_path / "start.nrrd"))
    begun = register(both(initial=str(tmp_path / "start.nrrd")))
    assert error_mm(begun) < 0.8


@pytest.mark.parametrize(
    "options, words",
    [
        ({"more_fixed": FIXED[1:]}, "differ in number: 2 fixed and 1 moving"),
        ({"contrast_weights": (1.0, 2.0)}, "must be 1 numbers above 0"),
        ({"more_fixed": FIXED[1:], "more_moving": MOVING[1:], "contrast_weights": (1.0, 0.0)}, "they were 1, 0"),
        ({"more_fixed": FIXED[1:], "more_moving": MOVING[1:], "method": "rigid"}, "Rigid compares one contrast"),
        (
            {"more_fixed": FIXED[1:], "more_moving": [Image(MOVING[1].values * 0, GRID)]},
            "constant|same value|one value",
        ),
        (
            {"more_fixed": [Image(FIXED[1].values[1:], make_grid((44, 48, 39), (1.5, 1.5, 1.6), np.eye(3)))]}
            | {"more_moving": MOVING[1:]},
            "fixed image 2 .* lies on another voxel grid than the first",
        ),
        (
            {"more_fixed": [Image(np.where(HEAD, np.nan, FIXED[1].values), GRID)], "more_moving": MOVING[1:]},
            "voxels that are NaN or infinite",
        ),
    ],
)
def test_contrasts_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        register(request(FIXED[0], MOVING[0], **{**FAST, **options}))


def test_the_worker_gets_them(tmp_path):
    asked = Request(FIXED[0], MOVING[0], more_fixed=FIXED[1:], more_moving=MOVING[1:], contrast_weights=(1, 2))
    told = protocol.parse(protocol.line("x", r=protocol.write_request(asked, tmp_path)))["r"]
    read = protocol.read_request(told, tmp_path)
    assert np.array_equal(read.more_moving[0].values, MOVING[1].values) and read.contrast_weights == (1, 2)


def test_names_are_left_out():
    result = dataclasses.replace(register(both()), notes=("Of moving 1, and fixed 1.",))
    nameless = without_names(result)
    assert nameless.notes == ("Of moving 2, and fixed 2.",)
    assert nameless.request.describe()["more_fixed"] == ["<fixed 2>"]


def test_the_command_takes_several_and_repeats_them(tmp_path, capsys):
    files = {}
    for side, images in (("fixed", FIXED), ("moving", MOVING)):
        for number, image in enumerate(images):
            files[side, number] = str(tmp_path / f"{side}{number}.nii.gz")
            sitk.WriteImage(to_sitk(image), files[side, number])
    common = ["--preset", "fast", "--device", "cpu", "--pair", "people", "--quiet"]
    given = [f"--{side}" if n < 0 else files[side, n] for side in ("fixed", "moving") for n in (-1, 0, 1)]
    assert main(["register", *given, *common, "--contrast-weights", "1", "0.5", "--output", str(tmp_path / "out")]) == 0
    described = tmp_path / "out" / "result.json"
    assert '"more_fixed": [\n   "fixed1.nii.gz"' in described.read_text(encoding="utf-8").replace("    ", " ")
    assert main(["repeat", str(described)]) == 0
    (tmp_path / "fixed1.nii.gz").rename(tmp_path / "elsewhere.nii.gz")
    assert main(["repeat", str(described)]) == 2
    assert "fixed_2=FILE" in capsys.readouterr().err
    assert main(["repeat", str(described), "--input", f"fixed_2={tmp_path / 'elsewhere.nii.gz'}"]) == 0
