"""Stages are described in words that people read, with units."""

import ast

import pytest
from helpers.paths import LIBRARY
from SlicerDeepRegLib.metrics.stages import FORMS, stage_title, stage_values
from SlicerDeepRegLib.metrics.table import beside, change_percent, volume_text


def test_scales_are_called_resolutions():
    assert stage_title("scale 1/8") == "1/8 resolution"
    assert stage_title("refine, scale 1") == "refine, full resolution"
    assert stage_title("svf alone, scale 1/2.2") == "velocity-field optimization alone, 1/2.2 resolution"
    assert stage_title("linear") == "linear"


def test_values_have_names_and_units():
    text = stage_values({"hd95_mm": 2.345, "folds_percent": 0.25, "rotation_deg": 12.34, "is_kept": True, "why": "x"})
    assert text == "HD95: 2.35 mm, |J| <= 0: 0.25%, rotation 12.3 degrees"
    assert stage_values({"loss_before": -0.5, "loss_after": -0.75, "smoothing_rounds": 0}) == "loss -0.5, then -0.75"
    assert stage_values({"smoothing_rounds": 2}) == "smoothed 2 times against folds"
    assert stage_values({}) == ""


def test_every_measure_of_a_stage_has_words():
    """Names of what stages measure are literal keys where they are made."""
    made = set()
    for path in (LIBRARY / "SlicerDeepRegLib" / "methods").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if call in ("Stage", "Displacement"):
                measures = [k.value for k in node.keywords if k.arg == "metrics" and isinstance(k.value, ast.Dict)]
                made |= {key.value for measure in measures for key in measure.keys}
    assert {"rotation_deg", "loss_before"} <= made
    assert made <= set(FORMS)


def test_digits_tell_a_value_from_a_limit_and_zero_has_no_sign():
    assert [beside(2.004, 2, 2), beside(2.0, 2, 2), beside(1.9999, 1, 2), beside(-0.001, 2)] == [
        "2.004",
        "2.00",
        "1.9999",
        "0.00",
    ]
    assert [change_percent(4, 3.999), change_percent(4, 5), change_percent(4, 3)] == ["0%", "+25%", "-25%"]


@pytest.mark.parametrize(
    ("ml", "text"),
    [(None, "-"), (0.0, "0.0"), (0.0123, "0.012"), (0.4, "0.4"), (0.94, "0.94"), (0.96, "1.0"), (1234.56, "1234.6")],
)
def test_small_volumes_keep_digits_that_count(ml, text):
    assert volume_text(ml) == text
