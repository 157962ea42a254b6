"""The commands of docs/training.md do what they say, on small data sets of the layouts that they name."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import PROJECT
from helpers.scans import scan, write_csv
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image

PAGE = PROJECT / "docs" / "training.md"
LINES = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    slicerdeepreg")]
PAPERS = [line for line in LINES if "--schedule" in line]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The data that the page names, small."""
    place = tmp_path_factory.mktemp("layouts")
    pair = scan(0, (32, 32, 32))
    for folder, names, subjects in (
        ("IXI", ("t1", "seg"), ("atlas", "IXI002", "IXI012", "IXI013")),
        ("OASIS", ("aligned_norm", "aligned_seg35"), tuple(f"OASIS_OAS1_000{n}_MR1" for n in range(1, 7))),
    ):
        for subject in subjects:
            (place / folder / subject).mkdir(parents=True)
            for name, what in zip(names, pair):
                write_image(what, place / folder / subject / f"{name}.nii.gz")
    for folder, subjects in (("LPBA40", ("S01", "S02", "S03")), ("CT", ("a", "b"))):
        (place / folder).mkdir()
        for subject in subjects:
            write_image(pair[0], place / folder / f"{subject}.nii.gz")
            write_image(pair[1], place / folder / f"{subject}_seg.nii.gz")
    for name in ("one", "other"):
        write_image(scan(1, (40, 40))[0], place / f"{name}.nii.gz")
    write_csv(place / "pairs.csv", [{"fixed": "one.nii.gz", "moving": "other.nii.gz"}])
    return place


def test_the_page_names_every_paper():
    for network in ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph"):
        assert any(f"--network {network}" in line for line in PAPERS), network


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", PAPERS, ids=[shlex.split(line)[3] + " " + line.split("--output ")[1] for line in PAPERS]
)
def test_the_papers_commands_run(layouts, monkeypatch, line):
    monkeypatch.chdir(layouts)
    arguments = shlex.split(line)[1:]
    output = Path(arguments[arguments.index("--output") + 1])
    shutil.rmtree(output, ignore_errors=True)
    flat = "fmirnet" in arguments
    size = ["32", "32"] if flat else ["32", "32", "32"]
    assert main([*arguments, "--size", *size, "--steps", "1", "--validation-pairs", "1", "--device", "cpu"]) == 0
    plan = json.loads((output / "training.json").read_text(encoding="utf-8"))
    assert plan["network"] == arguments[arguments.index("--network") + 1].split(":")[0]
    assert plan["schedule"] == arguments[arguments.index("--schedule") + 1]


@pytest.mark.slow
def test_the_field_forms_in_the_teaching_script(tmp_path):
    script = PROJECT / "docs" / "teaching" / "field_forming.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) < 80
    done = subprocess.run(
        [sys.executable, script, "--steps", "240", "--output", tmp_path / "forming"],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("step")]
    first, last = (float(line.split("true field ")[1].split()[0]) for line in (lines[0], lines[-1]))
    assert last < 0.85 * first
    assert (tmp_path / "forming" / "forming.png").stat().st_size > 50_000
