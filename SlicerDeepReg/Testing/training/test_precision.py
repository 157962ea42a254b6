"""Where a training may choose its precision: on a CPU the faster one, and when it goes on the one that it had."""

import json

import pytest
import torch
from helpers.scans import small
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.training import precision, start
from SlicerDeepRegLib.training.precision import TIMED, cpu_has_bfloat16, faster_precision, precision_by_device
from SlicerDeepRegLib.training.start import train

CPU = torch.device("cpu")


class Clock:
    """A clock that each step sets forward by what its precision takes."""

    def __init__(self, **seconds):
        self.seconds, self.now, self.steps = seconds, 0.0, []

    def __call__(self):
        return self.now

    def step(self, network, kind):
        self.steps.append(kind)
        self.now += self.seconds[kind] * (10 if self.steps.count(kind) == 1 else 1)  # the first one warms up


@pytest.mark.parametrize("seconds, faster", [((2, 1), "bf16"), ((1, 2), "fp32"), ((1, 1), "fp32")])
def test_the_faster_of_two_timed_steps_is_taken(seconds, faster):
    clock = Clock(**dict(zip(TIMED, seconds)))
    assert faster_precision(torch.nn.Linear(2, 2), clock.step, clock) == (faster, dict(zip(TIMED, seconds)))
    assert clock.steps == ["fp32", "fp32", "bf16", "bf16"]


def test_the_network_stays_as_it_is():
    network = torch.nn.BatchNorm1d(3)

    def step(tried, kind):
        tried(torch.randn(8, 3)).sum().backward()

    faster_precision(network, step)
    assert network.running_mean.abs().max() == 0 and network.weight.grad is None


@pytest.mark.parametrize("wrong", [float("nan"), 0.5])
def test_gradients_that_are_not_the_same_twice_are_not_trusted(wrong):
    """As torch 2.13 gives them in bfloat16 on grids of two voxels along an axis."""
    network, passes = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(20, 2)), []

    def step(tried, kind):
        tried(torch.ones(1, 20)).sum().backward()
        if kind == "bf16":
            passes.append(kind)
            tried[1].weight.grad[0, 0] += wrong * len(passes)

    taken, seconds = faster_precision(network, step)
    assert taken == "fp32" and seconds["bf16"] == float("inf") and seconds["fp32"] < 60

    def same(tried, kind):  # dropout is no reason
        tried(torch.ones(1, 20)).sum().backward()

    assert max(faster_precision(network, same)[1].values()) < 60


def test_what_torch_cannot_do_in_half_precision_is_done_in_single():
    def step(network, kind):
        if kind == "bf16":
            raise RuntimeError('"something" not implemented for BFloat16')

    assert faster_precision(torch.nn.Linear(2, 2), step)[0] == "fp32"
    with pytest.raises(RuntimeError, match="in single too"):
        faster_precision(
            torch.nn.Linear(2, 2), lambda network, kind: (_ for _ in ()).throw(RuntimeError("in single too"))
        )


def test_only_a_cpu_with_instructions_for_it_is_timed(monkeypatch):
    assert precision_by_device("bf16", CPU) == "bf16" and isinstance(cpu_has_bfloat16(), bool)
    for has, expected in ((False, "fp32"), (True, "auto")):
        monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda has=has: has)
        assert precision_by_device("auto", CPU) == expected
    assert precision_by_device("auto", torch.device("mps")) == "fp32"


@torch_files_are_read
def test_a_training_keeps_what_was_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(
        start, "faster_precision", lambda network, step: (step(network, "bf16"), ("bf16", {"bf16": 1.0}))[1]
    )
    said = []
    assert not train(small(tmp_path / "model", precision="auto", limit_minutes=1e-9), said.append).finished
    assert "A step takes 1.00 s in bf16; the training computes in bf16 (--precision chooses)." in said
    plan = tmp_path / "model" / "training.json"
    assert json.loads(plan.read_text(encoding="utf-8"))["precision"] == "bf16"
    monkeypatch.setattr(start, "faster_precision", lambda network, step: pytest.fail("timed again"))
    assert train(small(tmp_path / "model", precision="auto", resume=True), said.append).finished
    assert json.loads(plan.read_text(encoding="utf-8"))["precision"] == "bf16"


def test_nothing_is_timed_where_there_is_nothing_to_gain(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(start, "faster_precision", lambda network, step: pytest.fail("timed"))
    assert train(small(tmp_path / "model", precision="auto", steps=1), lambda text: None).finished
    assert json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))["precision"] == "fp32"
