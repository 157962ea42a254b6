"""Every method of the registry declares what menus, checks and documentation read; and their settings are checked."""

import dataclasses

import pytest
from SlicerDeepRegLib.methods import linear_method, linear_methods, method, methods, settings_of
from SlicerDeepRegLib.settings import NoSettings, changed, numbers_of
from SlicerDeepRegLib.types import PRESETS, InputError


@pytest.mark.parametrize("name", [*methods(), *linear_methods()])
def test_a_method_declares_what_it_is(name):
    chosen = methods().get(name) or linear_method(name)
    assert chosen.name == name and chosen.title and chosen.card.summary and chosen.card.license
    assert chosen.kind == ("linear" if name in linear_methods() else "deformable")
    assert set(chosen.dimensions) <= {2, 3} and set(chosen.modalities) <= {"same", "different"}
    assert set(chosen.presets) == set(PRESETS)
    for settings in chosen.presets.values():
        assert type(settings) is type(chosen.presets["standard"]) and dataclasses.is_dataclass(settings)
        for number in numbers_of(settings):
            assert number.title and number.text and number.low <= number.value <= number.high, number.name
    for variant in chosen.card.variants:
        varied = method(f"{name}:{variant}")
        assert varied.name == f"{name}:{variant}" and varied.title != chosen.title
        assert varied.card.configuration != chosen.card.configuration


def test_the_menu_is_in_alphabetical_order_and_linear_methods_from_simple_to_rich():
    assert list(methods()) == sorted(methods()) and "svf" in methods()
    assert list(linear_methods()) == ["auto", "none", "center", "rigid", "similarity", "affine", "structures"]


def test_unknown_methods_and_variants_are_refused():
    for name, text in (("resnet", "There is no method 'resnet'"), ("svf:fast", "no variant 'fast'")):
        with pytest.raises(InputError, match=text):
            method(name)
    with pytest.raises(InputError, match="linear must be one of auto, none, center"):
        linear_method("perspective")


def test_settings_are_changed_by_name_also_those_of_a_metric():
    svf = method("svf")
    settings = settings_of(svf, "thorough", {"step": "0.2", "lncc.window_radius": 3})
    assert settings.step == 0.2 and settings.metrics["lncc"].window_radius == 3
    assert settings.metrics["lncc"].regularity == 0.75 and settings.repair_reach == 2  # the preset's own
    assert svf.presets["thorough"].metrics["lncc"].window_radius == 2.5  # nothing shared was changed
    names = [number.name for number in numbers_of(settings)]
    assert len(names) == len(set(names)) and {"lncc.regularity", "mind.regularity", "search_cell"} <= set(names)


@pytest.mark.parametrize(
    "values, text",
    [
        ({"speed": 1}, "no setting 'speed'"),
        ({"step": "fast"}, "step must be a number from 0.02 to 2.0; it was 'fast'"),
        ({"step": 3}, "from 0.02"),
        ({"search_cell": 4.5}, "whole number"),
        ({"lncc.speed": 1}, "no setting 'lncc.speed'"),
        ({"step": float("nan")}, "must be a number"),
        ({"search_cell": float("inf")}, "must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(values, text):
    with pytest.raises(InputError, match=text):
        settings_of(method("svf"), "standard", values)


def test_a_method_without_settings_says_so():
    with pytest.raises(InputError, match="has no settings; step cannot be changed"):
        changed(NoSettings(), {"step": 1}, "rigid")
    assert dataclasses.fields(NoSettings) == ()
