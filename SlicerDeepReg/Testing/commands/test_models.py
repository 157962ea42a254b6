"""``slicerdeepreg models``, and the page that is made of the same cards."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cases import Case
from helpers.command_line import COMMAND, run_command
from helpers.paths import PROJECT
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.weights import write_weights
from SlicerDeepRegLib.models.weights import built
from SlicerDeepRegLib.networks import NETWORKS


def test_models_are_listed(capsys):
    assert main(["models", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {"svf", *NETWORKS} <= set(listed)
    for name in NETWORKS:
        assert {"title", "parameters", "operations", "dimensions", "weights"} <= set(listed[name])
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in listed:
        assert sum(line.split(" ")[0] == name for line in lines) == 1
    assert all(len(line) <= 100 for line in lines)
    assert main(["models", "show", "caml", "msrd-net"]) == 0
    text = capsys.readouterr().out
    assert "13.94 M parameters" in text and "weights: none" in text and "caml:no-rbsc" in text
    assert main(["models", "show"]) == 0
    assert {line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "} == set(listed)
    assert main(["models", "show", "svff"]) == 2
    assert "no method 'svff'. Did you mean svf?" in capsys.readouterr().err


def test_a_model_is_added_used_and_removed(tmp_path):
    """As a user does it, each command in a process of its own."""
    given, environment = tmp_path / "given", {**os.environ, "SLICERDEEPREG_MODELS": str(tmp_path / "models")}

    def run(*arguments):
        return run_command(*arguments, environment=environment)

    assert run("models", "add", given).returncode == 2
    given.mkdir()
    network = built(card("fmirnet:1"))
    write_weights(given / "weights.safetensors", {k: v.numpy() for k, v in network.state_dict().items()})
    values = {"name": "mine", "network": "fmirnet", "configuration": {"scales": 1}, "dimensions": [3]}
    (given / "card.json").write_text(json.dumps(values))
    done = run("models", "add", given)
    assert done.returncode == 2 and "has no recipe" in done.stderr and "Traceback" not in done.stderr
    values["recipe"] = {"intensity": "unit", "voxel_mm": None}
    (given / "card.json").write_text(json.dumps(values))
    done = run("models", "add", given)
    assert done.returncode == 0 and "Added mine (1.49 M parameters)" in done.stdout, done.stderr
    case = Case("LPS-RAS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, tmp_path / f"{name}.nii.gz")
    images = ("--fixed", tmp_path / "fixed.nii.gz", "--moving", tmp_path / "moving.nii.gz", "--device", "cpu")
    done = run("register", *images, "--output", tmp_path / "out", "--method", "mine", "--refine", "3")
    assert done.returncode == 0 and "trained on: unknown data" in done.stdout, done.stderr
    assert "Refined" in done.stdout and (tmp_path / "out" / "transform.h5").exists()
    assert run("models", "remove", "mine").returncode == 0
    done = run("register", *images, "--output", tmp_path / "more", "--method", "mine")
    assert done.returncode == 2 and "no method 'mine'" in done.stderr and not (tmp_path / "more").exists()


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("models_page", PROJECT / "tools" / "models_page.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks up what its annotations mean
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_says_what_the_cards_say(tool):
    assert (PROJECT / "docs" / "models.md").read_text(encoding="utf-8") == tool.page(), "run: make models"


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_diagram_is_that_of_the_network(tool, name):
    drawn = (PROJECT / "docs" / "models" / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn == tool.diagram(name), "run: make models"
    boxes = tool.traced(name)
    assert sum(box.parameters for box in boxes) == pytest.approx(tool.parameters(built(card(name))), rel=0.05)
    assert {"moving", "fixed"} == {box.title for box in boxes if not box.sources}
    for pattern, title in card(name).diagram["blocks"].items():
        assert any(box.title == title.removesuffix(tool.TOKENS) for box in boxes), pattern


def test_links_of_the_page_lead_somewhere():
    text = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
    for name in NETWORKS:
        assert f"models/{name}.svg" in text and Path(PROJECT / "docs" / "models" / f"{name}.svg").exists()


def test_a_reader_that_has_seen_enough_ends_it_without_a_word():
    listing = subprocess.Popen([*COMMAND, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    listing.stdout.read(10)
    listing.stdout.close()
    assert listing.wait(60) == 0 and listing.stderr.read() == b""
    listing.stderr.close()


def test_a_terminal_of_few_letters_shows_the_others_as_question_marks():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run_command("models", "show", environment=environment)
    assert done.returncode == 0 and "?" in done.stdout and "msrd-net" in done.stdout, done.stderr
