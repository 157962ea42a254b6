"""Painted and real pairs in one training."""

import json

import numpy as np
import torch
from helpers.geometry import make_grid
from helpers.scans import log_of
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.weights import read_weights
from SlicerDeepRegLib.training.mixed import MixedSource, first_ones, part_of
from SlicerDeepRegLib.types import Image

from .test_training import asked, quiet

CPU = torch.device("cpu")


class Counted:
    """A source that gives its own number and the positions."""

    shape, spacing_kji_mm = (4, 4, 4), (1.0,) * 3

    def __init__(self, number):
        self.number, self.ahead = number, []

    def names(self, positions):
        return [f"{self.number}: {position}" for position in positions]

    def batches(self, positions_of_batches, device):
        for positions in positions_of_batches:
            self.ahead.append(positions)
            yield {"moving": torch.tensor([[self.number, *positions]])}


def test_each_batch_is_of_one_kind_and_follows_from_its_position():
    batches = [[n, n + 1] for n in range(0, 400, 2)]
    source = MixedSource(Counted(0), Counted(1), part_of(seed=3, part=0.25))
    given = [batch["moving"][0].tolist() for batch in source.batches(batches, CPU)]
    assert [positions for _number, *positions in given] == batches
    assert 0.17 < np.mean([number for number, *_positions in given]) < 0.33
    again = [batch["moving"][0].tolist() for batch in source.batches(batches[50:], CPU)]  # a training that goes on
    assert again == given[50:]
    for number, *positions in given:
        assert source.names(positions) == [f"{number}: {position}" for position in positions]
    assert len(source.real.ahead) + len(source.made.ahead) == len(given) + len(again)  # nothing is made in vain


def test_of_what_is_validated_the_first_are_real():
    source = MixedSource(Counted(0), Counted(1), first_ones(2))
    given = [batch["moving"][0].tolist() for batch in source.batches([[n] for n in range(4)], CPU)]
    assert given == [[1, 0], [1, 1], [0, 2], [0, 3]]


@torch_files_are_read
def test_real_images_are_mixed_into_painted_ones(heads, tmp_path):
    random = np.random.default_rng(0)
    grid = make_grid((30, 34, 28), (6.0, 6.0, 6.0), np.diag([-1.0, -1.0, 1.0]))
    (tmp_path / "scans").mkdir()
    for number in range(6):
        values = np.zeros((28, 34, 30), np.float32)
        values[5:23, 6:28, 5:25] = 100 + 10 * random.random((18, 22, 20))
        write_image(Image(values, grid, "scan"), tmp_path / "scans" / f"scan{number}.nii.gz")

    def request(name, **changed):
        settings = dict(data=tmp_path / "scans", real_part=0.4, validation=0.34, validation_pairs=3, steps=6)
        return asked(heads, tmp_path / name, validate_every=6, **{**settings, **changed})

    assert quiet(request("model")).finished
    plan = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert plan["data"]["images"] == 4 and plan["data"]["real_part"] == 0.4 and len(plan["data"]["label_maps"]) == 3
    assert plan["shape"] == [32, 32, 32] and plan["recipe"]["orientation"] == "RAS"
    card = json.loads((tmp_path / "model" / "card.json").read_text(encoding="utf-8"))
    assert "3 people, and 40% of the steps on 4 images of scans" in card["trained_on"] and card["regime"] == "brain"
    steps = [one for one in log_of(tmp_path / "model") if "loss" in one]
    is_real = ["field" not in one for one in steps]  # the field of real pairs is not known
    rule = part_of(0, 0.4)
    assert is_real == [rule(position) for position in range(6)] and 0 < sum(is_real) < 6

    stopped = quiet(request("parts", limit_minutes=1e-9))
    assert stopped.step == 1 and quiet(request("parts", resume=True)).finished
    weights = [read_weights(tmp_path / name / "weights.safetensors") for name in ("model", "parts")]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
