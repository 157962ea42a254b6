"""The examples of CONTRIBUTING.md: each file added to a copy of the library is all that the addition costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case
from helpers.examples import example_files
from helpers.paths import LIBRARY as EXTENSION
from SlicerDeepRegLib.files.images import write_image

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the library with every example but the panel's, and a pair of images."""
    root = tmp_path_factory.mktemp("extension")
    library = root / "SlicerDeepRegLib"
    shutil.copytree(EXTENSION / library.name, library, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXTENSION / "Resources", root / "Resources")
    added = {
        **{library / "similarity" / name: text for name, text in example_files("similarity").items()},
        **{library / "methods" / name: text for name, text in example_files("methods").items()},
        **{library / "networks" / name: text for name, text in example_files("networks").items()},
        **{root / "Resources" / name: text for name, text in example_files("Resources").items()},
    }
    assert len(added) == 5
    for path, text in added.items():
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
    case = Case("LPS-RAS")
    write_image(case.fixed, root / "fixed.nii.gz")
    write_image(case.moving, root / "moving.nii.gz")
    return root


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(root), "SLICERDEEPREG_MODELS": str(root / "models")}
    call = [sys.executable, "-m", "SlicerDeepRegLib", *arguments]
    return subprocess.run(call, env=environment, cwd=root, capture_output=True, encoding="utf-8", check=False)


def registered(root: Path, *options: str) -> dict:
    pair = ("--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz", "--output", "result", "--device", "cpu")
    done = command(root, "register", *pair, "--preset", "fast", "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_similarity_metric_is_one_file(copied):
    assert "ssd" in command(copied, "register", "--help").stdout
    result = registered(copied, "--similarity", "ssd", "--set", "ssd.regularity=0.5")
    assert result["provenance"]["similarity"] == "ssd"
    assert result["metrics"]["after"]["ncc"] > result["metrics"]["linear"]["ncc"]
    wrong = command(copied, "register", "--fixed", "f", "--moving", "m", "--output", "o", "--set", "ssd.regularity=99")
    assert wrong.returncode == 2


def test_a_method_is_one_file(copied):
    assert "\nphase-correlation  Phase correlation (translation) - " in command(copied, "models").stdout
    result = registered(copied, "--method", "phase-correlation", "--linear", "none")
    before, after = (result["metrics"][state]["ncc"] for state in ("before", "after"))
    assert after > before
    refused = command(
        copied,
        "register",
        "--fixed",
        "fixed.nii.gz",
        "--moving",
        "moving.nii.gz",
        "--output",
        "o",
        "--method",
        "phase-correlation",
        "--similarity",
        "mind",
    )
    assert refused.returncode == 2 and "one modality" in refused.stderr


def test_a_network_is_its_file_and_its_card(copied):
    assert "\ntiny-net    Tiny net - to fit on the pair" in command(copied, "models").stdout
    result = registered(copied, "--method", "tiny-net", "--instance-steps", "5")
    assert [stage["name"] for stage in result["stages"]] == ["linear", "instance optimization"]
    assert np.isfinite(result["metrics"]["after"]["ncc"])
    registry = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "tiny-net"]
    registry += ["-m", "not slow", str(TESTS / "networks" / "test_networks.py")]
    environment = {**os.environ, "PYTHONPATH": str(copied)}
    done = subprocess.run(registry, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0 and re.search(r"\b1\d passed", done.stdout), done.stdout[-2000:]
