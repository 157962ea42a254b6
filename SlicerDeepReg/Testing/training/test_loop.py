"""A training can stop at any moment and go on as if it had not, alone or in company; and says what went wrong."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.scans import folder_of_scans, log_of, scan, small
from helpers.torch_files import torch_files_are_read
from helpers.waiting import wait_until
from SlicerDeepRegLib.catalog import card, read_user_card
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.weights import read_weights
from SlicerDeepRegLib.losses import papers
from SlicerDeepRegLib.networks import NETWORKS, build, network_class
from SlicerDeepRegLib.training import checkpoints, start
from SlicerDeepRegLib.training.checkpoints import Lock, read_checkpoint
from SlicerDeepRegLib.training.start import train
from SlicerDeepRegLib.types import Grid, InputError

COMMAND = [sys.executable, "-m", "SlicerDeepRegLib", "train"]
#: The same as ``small``, as a user types it.
OPTIONS = (
    "--network fmirnet:1 --synthetic shapes --dimensions 2 --size 32 32 --learning-rate 1e-3 --device cpu --ema 0.5"
)
OPTIONS += " --precision fp32 --validation-pairs 3 --checkpoint-every 2 --log-every 1 --validate-every 1000"


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, whatever else is at work; and small networks are no slower so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet(request):
    return train(request, lambda text: None)


def weights_of(folder):
    return read_weights(folder / "weights.safetensors")


def same(first, second):
    """Bit for bit."""
    assert set(first) == set(second)
    return all(np.array_equal(first[name], second[name]) for name in first)


def moments_of(folder):
    """Adam's running mean of the gradients, of all weights."""
    state = read_checkpoint(folder)["optimizer"]["state"]
    return torch.cat([one["exp_avg"].flatten() for one in state.values()])


def losses_of(folder):
    return [(one["step"], one["loss"]) for one in log_of(folder) if "loss" in one]


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


# ------------------------------------------------------------------------------------------ stopping and going on


@torch_files_are_read
def test_going_on_is_the_same_as_not_having_stopped(tmp_path):
    whole = quiet(small(tmp_path / "whole"))
    assert whole.finished and whole.step == 6
    for expected in (1, 2, 3):  # each time as little as the limit allows
        ended = quiet(small(tmp_path / "parts", limit_minutes=1e-9, resume=expected > 1))
        assert not ended.finished and ended.step == expected and ended.why == "the limit of time"
    ended = quiet(small(tmp_path / "parts", resume=True))
    assert ended.finished and ended.step == 6
    assert same(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    first, second = (read_checkpoint(tmp_path / name) for name in ("parts", "whole"))
    moments = [state["optimizer"]["state"][0]["exp_avg"] for state in (first, second)]
    assert torch.equal(*moments) and first["best"] == second["best"]
    trained = read_checkpoint(tmp_path / "whole")["network"]
    assert not same({k: v.numpy() for k, v in trained.items()}, weights_of(tmp_path / "whole"))  # the running mean


@torch_files_are_read
@pytest.mark.parametrize(
    "name", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.slow), pytest.param("SIGINT", marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_it_goes_on(tmp_path, name):
    """In a process of its own, as a user or a cluster stops it."""
    steps = ["--steps", "60"]
    command = [*COMMAND, *OPTIONS.split(), *steps, "--output", str(tmp_path / "killed")]
    # A program that a shell starts in the background is told to ignore Ctrl-C; this one is not.
    heeding = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment(), preexec_fn=heeding)
    log = tmp_path / "killed" / "log.jsonl"
    assert wait_until(lambda: log.exists() and log.read_text(encoding="utf-8").count("\n") > 7, 120)
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=60)
    if name == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 3 and "--resume goes on" in output
    stopped_at = read_checkpoint(tmp_path / "killed")["step"]
    assert 6 <= stopped_at < 60
    done = subprocess.run([*command, "--resume"], capture_output=True, encoding="utf-8", check=False, env=environment())
    assert done.returncode == 0, done.stderr
    assert main(["train", *OPTIONS.split(), *steps, "--output", str(tmp_path / "whole")]) == 0
    assert same(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))
    assert losses_of(tmp_path / "killed") == losses_of(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".unfinished*"))


@torch_files_are_read
@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    """torchrun with two processes and gloo; accumulated batches are the third way to the same step."""
    many = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    tail = [*OPTIONS.split(), "--steps", "5", "--clip", "0", "--learning-rate", "1e-5", "--output"]
    two = [*many, "SlicerDeepRegLib", "train", *tail, str(tmp_path / "two"), "--batch", "2"]
    done = subprocess.run(two, capture_output=True, encoding="utf-8", check=False, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    assert main(["train", *tail, str(tmp_path / "one"), "--batch", "4"]) == 0
    assert main(["train", *tail, str(tmp_path / "accumulated"), "--batch", "2", "--accumulate", "2"]) == 0
    one = weights_of(tmp_path / "one")
    for name in ("two", "accumulated"):
        other = weights_of(tmp_path / name)
        first, second = (moments_of(tmp_path / folder) for folder in ("one", name))
        assert (first - second).abs().max() < 1e-4 * first.abs().max(), name  # the gradients of all steps
        # Five steps of 0.00001. Adam makes whole ones of gradients that are rounding alone, so the mean is compared.
        apart = np.concatenate([np.abs(one[key] - other[key]).ravel() for key in one])
        assert apart.mean() < 1e-6, name
        metrics = [log_of(tmp_path / folder)[-1]["held_out_epe_voxels"] for folder in ("one", name)]
        assert metrics[0] == pytest.approx(metrics[1], rel=1e-4)
    plans = [
        json.loads((tmp_path / name / "training.json").read_text(encoding="utf-8"))["pairs_per_step"]
        for name in ("two", "one", "accumulated")
    ]
    assert plans == [4, 4, 4]


# ------------------------------------------------------------------------------------------ what can go wrong


@torch_files_are_read
def test_a_loss_that_is_no_number_stops_with_step_pairs_and_advice(tmp_path, monkeypatch):
    calls = []

    class Broken(papers.Structural):
        def __call__(self, output):
            calls.append(1)
            return super().__call__(output) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(network_class("fmirnet"), "loss", Broken)
    scans = folder_of_scans(tmp_path / "scans", 3)
    with pytest.raises(InputError, match=r"not a number at step 3 \(sub-0\d to sub-0\d, .*--learning-rate.*of step 2"):
        quiet(small(tmp_path / "model", data=scans, validate_every=100))
    assert read_checkpoint(tmp_path / "model")["step"] == 2
    monkeypatch.undo()
    assert quiet(small(tmp_path / "model", data=scans, validate_every=100, resume=True)).finished


@torch_files_are_read
def test_networks_with_nan_are_not_kept(tmp_path, monkeypatch):
    """A field that is no number (which torch's backward pass does not survive), and a gradient that is none."""
    from SlicerDeepRegLib.networks.fmirnet import FMIRNet
    from SlicerDeepRegLib.training.loop import Trainer

    estimate = FMIRNet.estimate

    def lost(self, moving, fixed):
        output = estimate(self, moving, fixed)
        output.displacement = output.displacement * float("nan")
        return output

    with monkeypatch.context() as patched:
        patched.setattr(FMIRNet, "estimate", lost)
        with pytest.raises(InputError, match="not a number at step 1 .*There is no checkpoint yet"):
            quiet(small(tmp_path / "field"))
    rate = Trainer._loss

    def spoiled(self, model, batch, positions):
        loss, parts = rate(self, model, batch, positions)
        if self.step == 3:
            head = self.network.estimators[0].head.weight
            head.register_hook(lambda gradient: gradient * float("inf"))
        return loss, parts

    monkeypatch.setattr(Trainer, "_loss", spoiled)
    with pytest.raises(InputError, match="its gradient is not a number at step 4 .*checkpoint of step 2"):
        quiet(small(tmp_path / "gradient", clip=0.0))
    kept = read_checkpoint(tmp_path / "gradient")["network"]
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_a_training_that_never_began_can_begin(tmp_path, monkeypatch):
    """Ended before its first checkpoint: neither --resume nor another folder is needed."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.Adam, "step", lambda self, closure=None: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            quiet(small(tmp_path / "model"))
    assert (tmp_path / "model" / "training.json").exists()
    assert quiet(small(tmp_path / "model")).finished


@torch_files_are_read
def test_a_signal_to_all_processes_reaches_the_training_with_its_readers(tmp_path):
    """As a cluster sends it: to the whole group, readers of images included."""
    scans = folder_of_scans(tmp_path / "scans", 6)
    command = [*COMMAND, "--network", "fmirnet:1", "--data", str(scans), "--steps", "100000", "--workers", "2"]
    command += ["--checkpoint-every", "100000", "--log-every", "1", "--device", "cpu", "--output", str(tmp_path / "m")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
        start_new_session=True,
    )
    log = tmp_path / "m" / "log.jsonl"
    assert wait_until(lambda: log.exists() and log.read_text(encoding="utf-8").count("\n") > 4, 120)
    os.killpg(process.pid, signal.SIGTERM)
    output, said = process.communicate(timeout=60)
    assert process.returncode == 3 and "--resume goes on" in output, said
    assert read_checkpoint(tmp_path / "m")["step"] >= 4


@torch_files_are_read
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    saved = torch.save
    count = []

    def full(state, stream):
        count.append(1)
        if len(count) == 2:
            stream.write(b"half of it")
            raise OSError(28, "No space left on device")
        saved(state, stream)

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(InputError, match="No space left.*step 2 is still there.*--resume"):
        quiet(small(tmp_path / "model"))
    assert read_checkpoint(tmp_path / "model")["step"] == 2 and not list((tmp_path / "model").glob(".unfinished*"))
    assert quiet(small(tmp_path / "model", resume=True)).step == 6


def test_a_disk_that_is_really_too_small(tmp_path):
    """By the system's own limit on the size of files."""
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from SlicerDeepRegLib.commands import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    tail = ["train", *OPTIONS.split(), "--steps", "4", "--output", str(tmp_path / "model")]
    done = subprocess.run(
        [sys.executable, "-c", code, *tail], capture_output=True, encoding="utf-8", check=False, env=environment()
    )
    assert done.returncode == 2 and "could not be written" in done.stderr and "Traceback" not in done.stderr
    assert "There is none before it" in done.stderr


def test_a_folder_is_for_one_training_at_a_time(tmp_path):
    (tmp_path / "model").mkdir()
    lock = Lock(tmp_path / "model")
    with pytest.raises(InputError, match="Another training is at work"):
        quiet(small(tmp_path / "model"))
    lock.release()
    quiet(small(tmp_path / "model"))
    before = weights_of(tmp_path / "model")
    with pytest.raises(InputError, match="already contains a training.*--resume"):
        quiet(small(tmp_path / "model"))
    assert same(before, weights_of(tmp_path / "model"))
    with pytest.raises(InputError, match="no checkpoint to go on from"):
        quiet(small(tmp_path / "other", resume=True))


@torch_files_are_read
def test_another_configuration_does_not_go_on(tmp_path):
    quiet(small(tmp_path / "model", limit_minutes=1e-9))
    with pytest.raises(InputError) as refused:
        quiet(small(tmp_path / "model", resume=True, learning_rate=5e-4, seed=3))
    assert "learning_rate was 0.001 and is now 0.0005" in str(refused.value)
    assert "seed was 0 and is now 3" in str(refused.value)
    with pytest.raises(InputError, match="network was 'fmirnet'|configuration"):
        quiet(small(tmp_path / "model", resume=True, network="fmirnet"))
    with pytest.raises(InputError, match="start was"):
        quiet(small(tmp_path / "model", resume=True, start=tmp_path / "model"))
    assert quiet(small(tmp_path / "model", resume=True, validate_every=2, checkpoint_every=3)).finished  # may change


def test_other_files_of_the_same_names_do_not_go_on(tmp_path):
    scans = folder_of_scans(tmp_path / "scans", 3)
    quiet(small(tmp_path / "model", data=scans, limit_minutes=1e-9))
    split = (tmp_path / "model" / "split.csv").read_bytes()
    for changed in ({"augment": "strong"}, {"mirror": "i"}, {"seed": 5}):
        with pytest.raises(InputError, match=f"{next(iter(changed))} was"):
            quiet(small(tmp_path / "model", data=scans, resume=True, **changed))
    assert (tmp_path / "model" / "split.csv").read_bytes() == split  # what is refused changes nothing
    other, _ = scan(9)
    write_image(other, scans / "sub-01.nii.gz")
    with pytest.raises(InputError, match="data.files was"):
        quiet(small(tmp_path / "model", data=scans, resume=True))


@torch_files_are_read
def test_a_damaged_checkpoint_is_said(tmp_path):
    quiet(small(tmp_path / "model", limit_minutes=1e-9))
    path = tmp_path / "model" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="checkpoint .* cannot be read"):
        quiet(small(tmp_path / "model", resume=True))
    for other in ([1, 2], {"step": 3}, {"network": {"a": torch.ones(3)}}):
        torch.save(other, path)
        with pytest.raises(InputError, match="checkpoint in .* is not one of this training.*another folder"):
            quiet(small(tmp_path / "model", resume=True))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"network": "svf"}, "no network 'svf'"),
        ({"data": "somewhere", "synthetic": "shapes"}, "both of these, or --synthetic"),
        ({"synthetic": None}, "what to train on"),
        ({"schedule": "oasis"}, "no schedule 'oasis'.*ultrasound"),
        ({"network": "wavemorph"}, "takes 3D images; these have 2 axes"),
        ({"size_ijk": (32, 8)}, "--size must be 16 voxels"),
        ({"size_ijk": (32, 32, 32)}, "--size has 3 numbers and the images have 2 axes"),
        ({"augment": "much"}, "--augment must be one of"),
        ({"ema": 1.5}, "--ema must be a part"),
        ({"image_weight": -1.0}, "--image-weight must be 0 or more"),
        ({"regularity": float("nan")}, "--regularity must be 0 or more"),
        ({"patience": -3}, "--patience must be 0"),
        ({"limit_minutes": -1.0}, "--limit must be above 0"),
        ({"steps": 3, "epochs": 2, "synthetic": None, "data": "scans"}, "Give one of them"),
        ({"augment": "strong", "mirror": "i"}, "--augment and --mirror belong to images on disk"),
        ({"pairing": "from-atlas", "synthetic": None, "data": "scans"}, "--atlas NAME"),
        ({"segmentation_weight": 9.0}, "belong to joint training"),
        ({"network": "msrd-net-brain"}, "is a model with weights.*--network msrd-net"),
        ({"batch": 0}, "--batch must be 1"),
        ({"steps": 0}, "--steps must be 1"),
        ({"epochs": 3}, "no epochs"),
        ({"log_every": 0}, "--log-every must be 1"),
        ({"workers": -1}, "--workers must be 0"),
        ({"validation_pairs": -1}, "--validation-pairs must be 0"),
        ({"clip": -1.0}, "--clip must be 0"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0"),
        ({"name": "my model"}, "--name must be of letters"),
        ({"name": "caml"}, "not the name of a model that comes"),
        ({"start": "nowhere"}, "are not there"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_bad_requests_are_refused_before_any_work(tmp_path, changed, message):
    if changed.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    changed = {key: tmp_path / value if key in ("data", "start") else value for key, value in changed.items()}
    request = small(tmp_path / "model")
    with pytest.raises(InputError, match=message):
        quiet(replace(request, **changed))
    assert not (tmp_path / "model" / "checkpoint.pt").exists()


def test_too_little_memory_is_said_before(tmp_path, monkeypatch):
    needs = card("fmirnet").bytes_per_voxel
    voxels = 2 * 32 * 32
    monkeypatch.setattr(start, "free_memory_bytes", lambda: 500_000_000 + voxels * needs["checkpointed"])
    said = []
    assert train(small(tmp_path / "tight", steps=1), said.append).finished
    assert any("computed twice" in text for text in said)
    monkeypatch.setattr(start, "free_memory_bytes", lambda: 1_000_000)
    with pytest.raises(InputError, match="needs about 0.5 GB of memory, and 0.0 GB are free.*--batch"):
        quiet(small(tmp_path / "model"))


# ------------------------------------------------------------------------------------------ what it does


#: The five systems and the one that all are measured against every time, the others in ``make test-all``.
EVERY_TIME = ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph", "voxelmorph")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in EVERY_TIME else [pytest.mark.slow]) for n in sorted(NETWORKS)]
)
def test_every_network_takes_a_step(tmp_path, name, monkeypatch):
    monkeypatch.setattr(start, "build", lambda name, **asked: build(name, **network_class(name).small, **asked))
    request = small(tmp_path / name, network=name, dimensions=3, size_ijk=(32, 32, 32), batch=1, steps=2)
    before = quiet(replace(request, steps=1, output=tmp_path / "one"))
    after = quiet(request)
    assert after.finished and np.isfinite(after.metrics["epe_voxels"]) and after.metrics["pairs"] == 3
    assert not same(weights_of(tmp_path / "one"), weights_of(tmp_path / name)) and before.finished
    assert json.loads((tmp_path / name / "card.json").read_text(encoding="utf-8"))["network"] == name


def test_a_training_on_scans_makes_them_alike(tmp_path, own_models):
    """End to end on files: Dice of held-out pairs rises; the model is added, and registers a pair from the menu."""
    scans = folder_of_scans(tmp_path / "scans", 8)
    request = small(tmp_path / "mine", data=scans, steps=125, batch=4, validate_every=25, regularity=0.1)
    ended = quiet(replace(request, validation=0.25, label_weight=1.0, precision="fp32", ema=0.9))
    metrics = ended.metrics
    first, last = ([one for one in log_of(tmp_path / "mine") if "held_out_dice" in one][n] for n in (0, -1))
    assert last["held_out_loss"] < first["held_out_loss"] and metrics["dice"] > metrics["dice_before"]
    assert {"dice", "hd95_mm", "ndv_percent", "ncc"} <= set(metrics)
    assert len(list((tmp_path / "mine" / "pictures").glob("*.png"))) == 5
    described = json.loads((tmp_path / "mine" / "card.json").read_text(encoding="utf-8"))
    assert "images of scans" in described["trained_on"] and "held out" in described["shown"]
    assert described["recipe"] == {"intensity": "unit", "voxel_mm": 1.0, "orientation": None}
    assert main(["models", "add", str(tmp_path / "mine")]) == 0
    arguments = ["register", "--fixed", str(scans / "sub-00.nii.gz"), "--moving", str(scans / "sub-01.nii.gz")]
    arguments += ["--method", "mine", "--linear", "none", "--output", str(tmp_path / "out"), "--quiet", "--refine", "0"]
    assert main(arguments) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["after"]["ncc"] > result["metrics"]["before"]["ncc"]


def test_the_recipe_has_the_voxels_of_all_images(tmp_path):
    for name, spacing, expected in (("thick", (1.0, 2.5, 1.0), [1.0, 2.5, 1.0]), ("square", (1.5, 1.5, 1.5), 1.5)):
        scans = tmp_path / name
        scans.mkdir()
        for number in range(3):
            image, _labels = scan(number)
            write_image(
                replace(image, grid=Grid(image.grid.size_ijk, np.diag([*spacing, 1.0]))), scans / f"{number}.nii"
            )
        quiet(small(tmp_path / f"{name} model", data=scans, steps=1, validation=0.0, name="m"))
        card = json.loads((tmp_path / f"{name} model" / "card.json").read_text(encoding="utf-8"))
        assert card["recipe"]["voxel_mm"] == expected and read_user_card(tmp_path / f"{name} model").recipe


@torch_files_are_read
def test_half_precision_early_end_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    request = small(tmp_path / "model", precision="bf16", patience=2, learning_rate=1e-12, validate_every=1, steps=50)
    ended = quiet(replace(request, tensorboard=True, ema=0.0))
    assert ended.finished and ended.step < 50 and ended.why == "no better for a while"
    again = quiet(replace(request, ema=0.0, resume=True))
    assert again.finished and again.step == ended.step and again.why == "it had finished"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "model" / "tensorboard"))
    events.Reload()
    assert {"loss", "held_out_dice", "learning_rate"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["held out"]


def test_a_model_can_be_the_start_of_another(tmp_path):
    quiet(small(tmp_path / "first"))
    quiet(small(tmp_path / "second", start=tmp_path / "first", learning_rate=1e-12, steps=1, ema=0.0))
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert max(np.abs(first[name] - second[name]).max() for name in first) < 1e-9
    with pytest.raises(InputError, match="not those of fmirnet"):
        quiet(small(tmp_path / "third", network="fmirnet", start=tmp_path / "first"))


def test_schedules_are_printed_and_taken(tmp_path, capsys):
    from SlicerDeepRegLib.commands import main

    assert main(["train", "--network", "unfolding", "--schedules"]) == 0
    text = capsys.readouterr().out
    assert "lpba40: " in text and "agreement 0.1" in text and "chosen here" in text
    quiet(small(tmp_path / "model", schedule="ultrasound", learning_rate=None, batch=None, synthetic="shapes", steps=1))
    plan = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert plan["learning_rate"] == 1e-4 and plan["pairs_per_step"] == 4
    assert plan["loss"] == {"regularity": 0.655, "structure": 1.0}
