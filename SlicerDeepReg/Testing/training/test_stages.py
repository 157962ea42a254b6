"""The script that trains the shipped models: its stages can be asked for, stop, and go on."""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import types

import pytest
from helpers.paths import LIBRARY, PROJECT
from helpers.waiting import wait_until
from SlicerDeepRegLib.catalog import STRUCTURES_NETWORK, card
from SlicerDeepRegLib.training.command import add_parser
from SlicerDeepRegLib.training.plan import PRECISIONS

SCRIPT = PROJECT / "benchmarks" / "weights.py"


@pytest.fixture(scope="module")
def weights():
    spec = importlib.util.spec_from_file_location("weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["weights"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["weights"]


def test_every_stage_can_be_asked_of_the_command(weights, tmp_path):
    options = argparse.Namespace(folder=tmp_path / "runs", data=tmp_path / "data", cache=tmp_path / "cache")
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    names = [stage.name for stage in weights.STAGES]
    assert len(set(names)) == len(names)
    for number, stage in enumerate(weights.STAGES):
        call = weights.command(stage, options)
        asked = vars(parser.parse_args(call[call.index("SlicerDeepRegLib") + 1 :]))
        assert asked["steps"] == stage.steps and asked["voxel_mm"] == stage.voxel_mm and asked["clip"] == 1
        assert (
            asked["output"] == options.folder / stage.name
            and asked["precision"] in PRECISIONS
            and "resume" not in asked
        )
        assert asked["label_maps"] == options.data / "labelmaps" and asked["cache"] == options.cache
        assert stage.network == STRUCTURES_NETWORK or card(stage.network).parameters
        if stage.start:
            before = weights.STAGES[names.index(stage.start)]
            assert names.index(stage.start) < number and before.network == stage.network
            assert asked["start"] == options.folder / stage.start
    folder = options.folder / names[0]
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    assert "--resume" in weights.command(weights.STAGES[0], options)


def test_what_is_listed_is_what_the_logs_say(weights, tmp_path, capsys):
    stage = weights.STAGES[0]
    (tmp_path / stage.name).mkdir()
    entry = {"seconds_data": 1, "seconds_forward": 2, "seconds_backward": 3}
    lines = [json.dumps({"step": 10, **entry}), json.dumps({"step": 400, "held_out_dice": 0.5}), '{"step": 4']
    (tmp_path / stage.name / weights.LOG_FILE).write_text("\n".join(lines), encoding="utf-8")
    assert weights.progress(stage, tmp_path) == (400, 6)
    assert weights.main(["--list", "--folder", str(tmp_path), "--only", stage.name]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:6] == [stage.name, stage.network, "3", "400", str(stage.steps), "6.00"]
    assert float(row[6]) == pytest.approx((stage.steps - 400) * 6 / 3600, abs=0.06)


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_are_kept_while_the_weights_are_the_same(tmp_path, monkeypatch):
    """And they are what tools/ship_model.py takes. The registrations themselves are made up here."""
    asked, written = [], []

    def in_process(one, folder, pair, method, script):
        asked.append((pair, method))
        labeled = "labels" in figures.pairs(tmp_path)[pair]
        return {"ncc": 0.5, **({"dice": 0.5 if method == "linear" else 0.6} if labeled else {})}

    fake = {"DATA": tmp_path, "THREADS": 2, "machine": lambda: "here", "in_process": in_process}
    fake["case_table"] = lambda pair, rows: f"{pair}: {', '.join(rows)}"
    for name in ("DEEPREG_DATA", "SLICERDEEPREG_MODELS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "run", types.SimpleNamespace(**fake))
    results = types.SimpleNamespace(put=lambda name, heading, lines: written.extend(lines))
    monkeypatch.setitem(sys.modules, "results", results)
    figures = module_of(SCRIPT.with_name("weights_figures.py"))

    def trained(checksum):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "card.json").write_text(json.dumps({"sha256": checksum}), encoding="utf-8")
        asked.clear()
        assert figures.evaluate(["model", "not trained"], tmp_path, tmp_path) == 0
        return [method for pair, method in asked]

    pairs = len(figures.pairs(tmp_path))
    own = ["trained:model", f"trained:model:{figures.REFINE}"]
    assert trained("1") == ["linear", "svf-standard", *own] * pairs
    assert "brain_oasis: linear, svf, model, alone, model, refined" in written
    assert trained("1") == []
    assert trained("2") == own * pairs
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "brain_multicontrast.nii.gz").touch()
    assert trained("2") == ["linear", "svf-standard", *own] * 2  # the two pairs that have labels now
    ship_model = module_of(PROJECT / "tools" / "ship_model.py")
    assert len(ship_model.read_figures(tmp_path / "figures" / "model.json")["pairs"]) == pairs


#: The script with two stages of a trainer that counts to a number, keeps it, and stops at a signal as ours does.
DRIVER = textwrap.dedent(
    """
    import dataclasses, importlib.util, sys
    script, trainer, *arguments = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("weights", script)
    weights = sys.modules["weights"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    first = weights.Stage("first", "msrd-net", 3, 40, 1e-3, 1.0)
    weights.STAGES = (dataclasses.replace(first, name="second", steps=3, start="first"), first)
    weights.command = lambda stage, options: [
        sys.executable, trainer, str(options.folder / stage.name), str(stage.steps)
    ]
    sys.exit(weights.main(arguments))
    """
)
TRAINER = textwrap.dedent(
    """
    import pathlib, signal, sys, time
    folder, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    asked = []
    signal.signal(signal.SIGTERM, lambda *given: asked.append(1))
    folder.mkdir(exist_ok=True)
    kept = folder / "count"
    count = int(kept.read_text()) if kept.exists() else 0
    with open(folder / "begun", "a") as stream:
        stream.write(f"{count}\\n")
    while count < steps:
        count += 1
        time.sleep(0.05)
        if asked:
            kept.write_text(str(count))
            sys.exit(3)
    if (folder / "fails").exists():
        print("The disk is full.")
        sys.exit(2)
    """
)


@pytest.fixture
def start(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER, encoding="utf-8")
    (tmp_path / "trainer.py").write_text(TRAINER, encoding="utf-8")
    (tmp_path / "data" / "labelmaps").mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}

    def started(*arguments):
        call = [sys.executable, tmp_path / "driver.py", SCRIPT, tmp_path / "trainer.py", *arguments]
        call += ["--folder", tmp_path / "runs", "--data", tmp_path / "data"]
        text = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        return subprocess.Popen([str(part) for part in call], env=environment, **text)

    return started


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could handle")
def test_a_signal_is_passed_on_and_the_same_command_goes_on(start, tmp_path):
    begun = tmp_path / "runs" / "first" / "begun"
    process = start()
    assert wait_until(begun.exists, 30)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 3 and "Not finished: second, first. The same command goes on." in told
    count = int((tmp_path / "runs" / "first" / "count").read_text())
    assert not (tmp_path / "runs" / "second").exists()  # it starts from the first, which is not finished

    again = start()
    told, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "All stages are finished." in told
    assert begun.read_text().split() == ["0", str(count)]
    order = [told.index(text) for text in ("first: at work", "first: finished", "second: at work", "second: finished")]
    assert order == sorted(order)

    nothing = start()
    assert "at work" not in nothing.communicate(timeout=30)[0] and nothing.returncode == 0


def test_a_limit_stops_and_a_failure_is_said(start, tmp_path):
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "count").write_text("39")
    (tmp_path / "runs" / "first" / "fails").touch()
    failing = start()
    told, _ = failing.communicate(timeout=30)
    assert failing.returncode == 1 and "first: ended with 2: The disk is full." in told
    assert "second: at work" not in told and "Not finished: second, first" in told
    (tmp_path / "runs" / "first" / "count").write_text("0")
    limited = start("--limit", "0.01")
    assert "Stopping after the step" in limited.communicate(timeout=30)[0] and limited.returncode == 3
