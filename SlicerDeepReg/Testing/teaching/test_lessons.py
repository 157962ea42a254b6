"""The lessons: their pairs are what they say, their scripts run, and what their texts claim is so."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from SlicerDeepRegLib.geometry.points import apply_matrix, interpolate_at_ijk
from SlicerDeepRegLib.methods import method, settings_of
from SlicerDeepRegLib.teaching.lessons import LESSONS
from SlicerDeepRegLib.teaching.pairs import LABEL_NAMES, PAIRS

SCRIPTS = Path(__file__).resolve().parents[3] / "docs" / "teaching"


def script(name):
    """A script of docs/teaching as a module."""
    spec = importlib.util.spec_from_file_location(f"teaching_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SCRIPTS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPTS))
    return module


def at(image, points_lps_mm):
    return interpolate_at_ijk(image.values[..., None], apply_matrix(image.grid.lps_to_ijk, points_lps_mm))[:, 0]


@pytest.mark.parametrize("name", PAIRS)
def test_the_truth_of_a_pair_is_true(name):
    pair = PAIRS[name]()
    assert len(pair.fixed_points) > 20
    way_mm = np.linalg.norm(pair.fixed_points - pair.moving_points, axis=1)
    assert 3 < way_mm.mean() < 40
    assert np.abs(at(pair.fixed, pair.fixed_points) - at(pair.moving, pair.moving_points)).mean() < 4
    assert np.abs(at(pair.fixed, pair.fixed_points) - at(pair.moving, pair.fixed_points)).mean() > 8
    for labels in (pair.fixed_labels, pair.moving_labels):
        assert set(np.unique(labels.values)) == {0, *LABEL_NAMES}
    ventricles = pair.fixed.values[pair.fixed_labels.values == 3].mean()
    assert ventricles < 0.7 * pair.fixed.values[pair.fixed_labels.values == 2].mean()


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_asks_for_what_there_is(name):
    lesson = LESSONS[name]
    assert (SCRIPTS / f"{name}.py").is_file() and lesson.pair in PAIRS
    assert 1 <= len(lesson.tries) <= 5 and 3 <= len(lesson.steps) <= 7 and lesson.learned
    for one in lesson.tries:
        settings_of(method(one.method), one.preset, one.settings)
    assert {step.shows for step in lesson.steps} <= set(range(len(lesson.tries)))
    assert bool(lesson.slider) == (len(lesson.tries) > 1)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What a lesson's script gave: results and what it printed; each runs once."""
    known = {}

    def play(name, capsys):
        if name not in known:
            folder, module = tmp_path_factory.mktemp(name), script(name)
            results = module.run(name, module.look, module.__doc__, ["--output", str(folder)])
            known[name] = (results, capsys.readouterr().out)
            assert (folder / f"{name}.png").stat().st_size > 20_000
            assert LESSONS[name].learned in known[name][1]
        return known[name]

    return play


def after(results, figure):
    return [result.metrics["after"][figure] for result in results]


def test_lesson_1_an_arrow_fetches_the_value(played, capsys):
    results, said = played("field", capsys)
    value = {line.partition(":")[0].strip(): line.rpartition(":")[2] for line in said.splitlines() if ":" in line}
    moving = float(value["Moving image there, moving(x+u)"])
    warped, fixed = float(value["Warped image here, warped(x)"]), float(value["Fixed image here, fixed(x)"])
    here = float(value["Moving image here, moving(x)"])
    assert abs(moving - warped) < 3 and abs(warped - fixed) < 8 and abs(here - fixed) > 50
    assert after(results, "tre_mm")[0] < 0.3 * results[0].metrics["before"]["tre_mm"]


@pytest.mark.slow
def test_lesson_2_the_best_weight_is_in_the_middle_and_the_similarity_does_not_show_it(played, capsys):
    results, said = played("regularity", capsys)
    tre, ncc, rough = (after(results, name) for name in ("tre_mm", "ncc", "sdlogj"))
    best = int(np.argmin(tre))
    assert 0 < best < len(tre) - 1 and tre[0] > 1.15 * tre[best] and tre[-1] > 2 * tre[best]
    assert abs(ncc[0] - ncc[best]) < 0.003
    assert rough == sorted(rough, reverse=True) and "Nearest to the truth: weight 0.3" in said


@pytest.mark.slow
def test_lesson_3_added_steps_fold_and_composed_ones_do_not(played, capsys):
    results, said = played("folding", capsys)
    folds, least, tre = (after(results, name) for name in ("digital_folds_percent", "jacobian_min", "tre_mm"))
    assert folds[0] > 1 and least[0] < 0
    assert folds[1:] == [0, 0] and min(least[1:]) > 0
    assert tre[2] < tre[1] < tre[0]
    assert "composed: 0% of it runs backwards" in said and "added:    0%" not in said


def test_lesson_4_each_stage_comes_nearer_and_a_second_pass_too(played, capsys):
    results, said = played("stages", capsys)
    tre = [results[0].metrics["before"]["tre_mm"], *(stage.metrics["tre_mm"] for stage in results[0].stages)]
    assert tre == sorted(tre, reverse=True) and tre[1] < 0.4 * tre[0]
    names = [stage.name for stage in results[0].stages]
    assert {step.stage for step in LESSONS["stages"].steps if step.stage} <= {"as given", "last", *names}
    passes = after(results, "tre_mm")
    assert passes[2] < 0.7 * passes[1] and "as given   13" in said


@pytest.mark.slow
def test_lesson_5_instance_optimization_gets_there_slowly(played, capsys):
    results, said = played("networks", capsys)
    tre, seconds = after(results, "tre_mm"), [result.seconds["method"] for result in results]
    assert tre[1] > 3 * tre[0] and tre[2] < 1.5 * tre[0] and tre[3] < 0.4 * tre[1]
    assert seconds[2] > 3 * seconds[0]  # some 15 times here
    assert "what a trained one would need" in said


def test_lesson_6_landmarks_lead_where_the_images_do_not(played, capsys):
    results, said = played("guidance", capsys)
    tre, ncc = after(results, "tre_mm"), after(results, "ncc")
    assert tre[0] > 10 and ncc[0] > results[0].metrics["before"]["ncc"]  # similar, and far off
    assert tre[1] < 0.5 * tre[0] and tre[2] < 0.5 * tre[1]
    assert after(results, "digital_folds_percent") == [0, 0, 0] and "guiding ones" in said


def test_the_page_says_what_the_lessons_say():
    spec = importlib.util.spec_from_file_location("teaching_pages", SCRIPTS.parents[1] / "tools" / "teaching_pages.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    for number, lesson in enumerate(LESSONS.values(), start=1):
        assert tool.about(number, lesson) in text, "run: make teaching"
        assert (SCRIPTS / f"{lesson.name}.png").is_file()
