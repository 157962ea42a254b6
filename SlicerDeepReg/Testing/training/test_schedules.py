"""The schedules of training on the networks' cards."""

import dataclasses

import pytest
from SlicerDeepRegLib.catalog import card, cards
from SlicerDeepRegLib.networks import NETWORKS
from SlicerDeepRegLib.training.schedules import GENERAL, describe_schedules, find_schedule, schedules_of
from SlicerDeepRegLib.types import InputError


def with_training(training):
    return dataclasses.replace(card("msrd-net"), training=training)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_its_own_schedules_and_the_general_ones(name):
    schedules = schedules_of(card(name))
    assert list(schedules)[-len(GENERAL) :] == list(GENERAL)
    assert list(schedules)[: -len(GENERAL)] == list(cards()[name].training)
    for label, schedule in schedules.items():
        assert (schedule.epochs is None) != (schedule.steps is None)
        assert f"{label}: {schedule.text}" in describe_schedules(card(name))


def test_a_schedule_is_read_from_the_card():
    schedule = find_schedule(card("unfolding"), "lpba40")
    assert schedule.size_ijk == (160, 192, 160) and schedule.split == (30, 0, 9)
    assert schedule.loss == {"regularity": 1.0, "data_weight": 0.8, "agreement": 0.1}
    assert (schedule.pairing, schedule.optimizer, schedule.decay) == ("to-atlas", "adam", "constant")


def test_a_variant_has_the_schedules_of_its_network():
    assert schedules_of(card("wavemorph:full")) == schedules_of(card("wavemorph"))


def test_an_unknown_schedule_is_refused_with_those_that_there_are():
    with pytest.raises(
        InputError, match="msrd-net has no schedule 'x'. Its schedules are: ixi, lpba40, general, synth"
    ):
        find_schedule(card("msrd-net"), "x")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ([], '"training" must contain schedules by name'),
        ({"ixi": 3}, "training 'ixi': a schedule must be an object with a \"text\""),
        ({"ixi": {"epochs": 3}}, 'an object with a "text"'),
        ({"ixi": {"text": "a", "speed": 3}}, "unknown speed. A schedule may have: text, epochs"),
        ({"ixi": {"text": "a", "epochs": 0}}, "'epochs' must be a number of 1 or more; it is 0"),
        ({"ixi": {"text": "a", "batch": True}}, "'batch' must be"),
        ({"ixi": {"text": "a", "pairing": "some"}}, "'pairing' must be one of all, random"),
        ({"ixi": {"text": "a", "optimizer": ["adam"]}}, "'optimizer' must be one of adam, amsgrad, adamw"),
        ({"ixi": {"text": "a", "learning_rate": "high"}}, "'learning_rate' must be a number above 0"),
        ({"ixi": {"text": "a", "size_ijk": [160]}}, "'size_ijk' must be a list of two or three sizes"),
        ({"ixi": {"text": "a", "split": [1, 2]}}, "'split' must be a list of three"),
        ({"ixi": {"text": "a", "loss": {"regularity": "1"}}}, "'loss' must be numbers by name"),
        ({"ixi": {"text": "a", "chosen": "decay"}}, "'chosen' must be a list of texts"),
    ],
)
def test_a_wrong_card_is_named_with_what_is_wrong(training, message):
    with pytest.raises(InputError, match=message):
        schedules_of(with_training(training))
