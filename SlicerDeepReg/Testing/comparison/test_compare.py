"""``slicerdeepreg compare``: the table from the cells, goes on where it was, one failed cell fails alone, Dask."""

import csv
import dataclasses
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.comparison import cell as cells_module
from SlicerDeepRegLib.comparison import run as cells_of_comparison
from SlicerDeepRegLib.comparison.request import Cell, Method, Pair, cells_of, read_methods, read_pairs
from SlicerDeepRegLib.comparison.run import outcomes
from SlicerDeepRegLib.comparison.table import (
    Row,
    best_of,
    by_structure,
    differences_of,
    holm,
    lines_of,
    mean_and_deviation,
    rows_of,
)
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.types import Image, InputError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two synthetic pairs as files, the first with labels."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number, geometry in enumerate(("LPS-RAS", "oblique-LPS")):
        case = Case(geometry)
        for side in ("fixed", "moving"):
            image = getattr(case, side)
            write_image(image, folder / f"{side}{number}.nii.gz")
            labels = Image(np.digitize(image.values, [30, 60]).astype(np.int16), image.grid)
            write_image(labels, folder / f"{side}{number}_labels.nii.gz")
        row = {"name": f"made-{number}", "fixed": f"fixed{number}.nii.gz", "moving": f"moving{number}.nii.gz"}
        if number == 0:
            row.update(fixed_labels="fixed0_labels.nii.gz", moving_labels="moving0_labels.nii.gz")
        rows.append(row)
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["name", "fixed", "moving", "fixed_labels", "moving_labels"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def compare(files, output, *more):
    return main(["compare", "--pairs", str(files / "pairs.csv"), "--output", str(output), "--device", "cpu", *more])


def test_a_comparison_is_made_and_goes_on(files, tmp_path, capsys):
    output = tmp_path / "out"
    assert compare(files, output, "--methods", "demons", "--linear", "center") == 0
    first = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/demons.json")}
    assert len(first) == 2
    methods = (
        "--methods",
        "demons,h-sganet",
        "--linear",
        "center",
        "--set",
        "h-sganet.instance_steps=0",
        "--workers",
        "2",
    )
    assert compare(files, output, *methods) == 1  # a network without weights and without fitting fails, alone
    told = capsys.readouterr()
    assert told.err.count("done before") == 2 and told.err.count("failed: H-SGANet comes without trained weights") == 2
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert compare(files, output, "--methods", "demons", "--linear", "none") == 0  # another question: done again
    assert {path: path.stat().st_mtime_ns for path in first} != first


def test_segments_are_structures_by_name_whatever_their_numbers_are(tmp_path):
    case, outcomes_of, cells = Case("LPS-RAS"), [], []
    for number in (2, 5):
        files = {}
        for side in ("fixed", "moving"):
            image = getattr(case, side)
            files[side], files[f"{side}_labels"] = str(tmp_path / f"{side}.nii.gz"), str(tmp_path / f"{side}.seg.nrrd")
            write_image(image, files[side])
            segments = [("core", number, 0), ("rim", 7 - number, 0)]
            layer = number * (image.values > 60) + (7 - number) * ((image.values > 30) & (image.values <= 60))
            write_segmentation(files[f"{side}_labels"], image.grid, [layer], segments)
        cells.append(
            Cell(Pair(f"pair {number}", files), Method("demons", "demons", "fast", {}), "none", "auto", "cpu", 1)
        )
        outcomes_of.append(cells_module.measure(cells[-1], None)[0])
    dice = by_structure(cells, outcomes_of, "dice_by_label")
    assert list(dice) == ["core", "rim"]
    assert all(values["demons"][0] == pytest.approx(values["demons"][1]) for values in dice.values())


def test_the_table_is_that_of_the_cells(files, tmp_path):
    output = tmp_path / "out"
    assert compare(files, output, "--methods", "demons,lddmm", "--linear", "center", "--preset", "fast") == 0
    values = json.loads((output / "results.json").read_text(encoding="utf-8"))
    cells = {(c["pair"], c["method"]["label"]): c for c in values["cells"]}
    assert len(cells) == 4 and not any("error" in one for one in cells.values())
    with open(output / "table.csv", encoding="utf-8") as stream:
        table = {row["method"]: row for row in csv.DictReader(stream)}
    assert list(table) == ["as given", "linear", "demons", "lddmm"]
    ncc = [cells[pair, "demons"]["metrics"]["after"]["ncc"] for pair in ("made-0", "made-1")]
    assert float(table["demons"]["ncc_mean"]) == pytest.approx(np.mean(ncc))
    assert float(table["demons"]["ncc_sd"]) == pytest.approx(np.std(ncc, ddof=1))
    assert table["demons"]["dice_n"] == "1" and table["demons"]["dice_sd"] == ""  # one pair has no labels: blank
    assert float(table["demons"]["dice_mean"]) > float(table["linear"]["dice_mean"])
    assert float(table["demons"]["peak_gb_mean"]) > 0.05 and float(table["lddmm"]["seconds_mean"]) > 0
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "Against demons" in page and page.count("data:image/png") >= 4 and "script" not in page
    assert (output / "montage-made-1.png").stat().st_size > 20_000
    with open(output / "cells.csv", encoding="utf-8") as stream:
        long = list(csv.DictReader(stream))
    wanted = ("made-0", "lddmm", "after", "dice_by_label", "2")
    of_structure = [r for r in long if tuple(r.values())[:5] == wanted]
    assert len(of_structure) == 1 and 0.5 < float(of_structure[0]["value"]) < 1
    assert "| demons |" in (output / "table.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pages_hold_no_folder_and_anonymous_ones_no_name(files, tmp_path, monkeypatch):
    """One method fails, with a message that names a file."""
    (tmp_path / "Doe_Jane.nii.gz").write_bytes((files / "fixed0.nii.gz").read_bytes())
    (tmp_path / "Doe_broken.nii.gz").write_bytes(b"no image")
    lines = f"name,fixed,moving\nDoe,{tmp_path / 'Doe_Jane.nii.gz'},{tmp_path / 'Doe_broken.nii.gz'}\n"
    lines += f"Roe,{tmp_path / 'Doe_Jane.nii.gz'},{files / 'moving0.nii.gz'}\n"
    (tmp_path / "Doe.csv").write_text(lines)
    for output, more in (("named", []), ("nameless", ["--anonymous"])):
        call = ["compare", "--pairs", str(tmp_path / "Doe.csv"), f"--output={tmp_path / output}", "--device", "cpu"]
        call += ["--methods", "demons", "--linear", "center", "--preset", "fast", "--keep", *more]
        monkeypatch.setattr("sys.argv", ["slicerdeepreg", *call])
        assert main(call) == 1
        texts = {
            path.relative_to(tmp_path): re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8"))
            for path in (tmp_path / output).rglob("*")
            if path.suffix in (".html", ".md", ".csv", ".json")
        }
        assert len(texts) >= 8
        for path, text in texts.items():
            assert str(tmp_path) not in text and str(files) not in text, path
            assert not more or "Doe" not in text and "Doe" not in str(path), path
        page = texts[Path(output, "table.md")]
        assert "--pairs pairs.csv --output=DIR" in page if more else "--pairs Doe.csv --output=named" in page
        assert "on pair-001: The moving image moving" in page if more else "The moving image Doe_broken.nii.gz" in page


@pytest.mark.parametrize(
    "text, shown",
    [
        ('File "/home/jane/a/b.py", line 3', 'File "b.py", line 3'),
        ("see https://a.org/b/c and svf/fast", "see https://a.org/b/c and svf/fast"),
        (r"C:\Users\jane\scan.nii is not there", "scan.nii is not there"),
    ],
)
def test_folders_in_a_message(text, shown):
    cell = Cell(Pair("p", {}), Method("svf", "svf", "fast"), "none", "auto", "cpu", 1)
    assert cell.without_paths(text) == shown


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "needs the columns fixed and moving"),
        ("fixed\na.nii\n", "needs the columns fixed and moving"),
        ("fixed,moving,color\na,b,c\n", "needs the columns fixed and moving"),
        ("fixed,moving\nfixed0.nii.gz,nothing.nii\n", "is not there"),
        ("fixed,moving\nfixed0.nii.gz,\n", "no moving image"),
        ("fixed,moving\nfixed0.nii.gz,moving0.nii.gz,more\n", "more cells"),
        ("fixed,moving,fixed_labels\nfixed0.nii.gz,moving0.nii.gz,fixed0_labels.nii.gz\n", "need both|give fixed"),
        ("name,fixed,moving\na,fixed0.nii.gz,moving0.nii.gz\na,fixed1.nii.gz,moving1.nii.gz\n", "comes twice"),
        ("name,fixed,moving\n../a,fixed0.nii.gz,moving0.nii.gz\n", "must be of letters"),
    ],
)
def test_wrong_pairs_are_refused(files, text, message):
    path = files / "wrong.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_pairs_get_names_and_whole_paths(files):
    path = files / "plain.csv"
    path.write_text("fixed,moving\nfixed0.nii.gz,moving0.nii.gz\n")
    pair = read_pairs(path)[0]
    assert pair.name == "pair-001" and pair.files == {
        "fixed": str((files / "fixed0.nii.gz").resolve()),
        "moving": str((files / "moving0.nii.gz").resolve()),
    }
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(files / "none.csv")


def test_methods_are_read_with_their_own_settings():
    changed = ["instance_seconds=20", "demons.sigma=2"]
    methods = read_methods(["demons", "transmorph:small/fast", "svf/thorough"], "standard", changed)
    assert [(m.name, m.preset, dict(m.settings)) for m in methods] == [
        ("demons", "standard", {"sigma": "2"}),
        ("transmorph:small", "fast", {"instance_seconds": "20"}),
        ("svf", "thorough", {}),
    ]
    for labels, more, message in (
        (["nothing"], [], "no method"),
        (["demons/quick"], [], "preset must be"),
        (["demons", "demons"], [], "named twice"),
        (["demons"], ["lddmm.sigma=2"], "none of the methods"),
        (["demons"], ["instance_steps=2"], "none of the methods has"),
        (["demons"], ["demons.instance_steps=2"], "no setting"),
        (["demons"], ["sigma"], "needs METHOD"),
        (["demons"], ["sigma=-1"], "a number from"),
    ):
        with pytest.raises(InputError, match=message):
            read_methods(labels, "standard", more)


def test_bad_options_are_said_before_any_work(files, tmp_path, capsys):
    for more, message in (
        (["--methods", "demons", "--reference", "ants"], "not among --methods"),
        (["--methods", ","], "--methods is empty"),
        (["--methods", "demons", "--workers", "0"], "must be 1 or more"),
        (["--methods", "niftyreg"], "not found on the path"),
        (["--methods", "demons", "--scheduler", "tcp://127.0.0.1:9"], "No Dask scheduler answers"),
    ):
        assert compare(files, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("cells/*/*"))
    (tmp_path / "file").write_text("")
    assert compare(files, tmp_path / "file", "--methods", "demons") == 2


def test_a_cell_whose_memory_runs_out_is_named(files, monkeypatch):
    def killed(command, title, log, *more, **options):
        log.write_bytes(b"")
        return -signal.SIGKILL

    pair = read_pairs(files / "pairs.csv")[0]
    cell = cells_of(
        [pair], [Method("demons", "demons", "fast")], linear="none", similarity="auto", device="cpu", threads=1
    )
    monkeypatch.setattr(cells_module, "run", killed)
    outcome, slices = cells_module.run_cell(cell[0].values())
    assert "memory ran out" in outcome["error"] and slices == b""


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_finishes(files, tmp_path):
    distributed = pytest.importorskip("distributed", reason='needs pip install "SlicerDeepReg[dask]"')
    pairs = read_pairs(files / "pairs.csv")
    methods = read_methods(["demons", "lddmm"], "fast")
    cells = cells_of(pairs, methods, linear="none", similarity="auto", device="cpu", threads=1)
    lost = []

    def told(cell, outcome, before):
        if not lost:  # the first cell is done: end the worker that has the next one
            workers = distributed.Client(cluster.scheduler_address, set_as_default=False)
            with workers:
                busy = [address for address, keys in workers.processing().items() if keys]
                pids = workers.run(os.getpid, workers=busy[:1])
                lost.extend(pids.values())
            os.kill(lost[0], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = outcomes(cells, tmp_path / "cells", told, scheduler=cluster.scheduler_address)
    assert len(lost) == 1 and len(found) == 4
    assert not any("error" in outcome for outcome in found)
    assert len(list((tmp_path / "cells").glob("*/*.json"))) == 4


# ------------------------------------------------------------------ the table alone


def row(label, **values):
    return Row(label, label, {"dice": [], **values}, None, None, 0)


def test_holm_is_that_of_the_book():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.5, 0.9]) == [None, 1.0, 1.0]
    assert holm([]) == []


def test_methods_are_tested_over_pairs_that_both_have():
    random = np.random.default_rng(0)
    base = random.normal(0.7, 0.05, 12)
    better, same = base + 0.02 + random.normal(0, 0.005, 12), base + random.normal(0, 0.01, 12)
    rows = [
        row("as given", dice=[0.5] * 12),
        row("ours", dice=base.tolist()),
        row("better", dice=[None, *better.tolist()[1:]]),
        row("same", dice=same.tolist()),
        row("few", dice=[0.9] * 3 + [None] * 9),
    ]
    rows = [dataclasses.replace(one, values={name: one.values.get(name, []) for name in NAMES}) for one in rows]
    found = {test.first: test for test in differences_of(rows, "ours") if test.metric == "dice"}
    assert set(found) == {"better", "same", "few"}
    assert found["better"].pairs == 11 and found["better"].difference == pytest.approx(0.02, abs=0.005)
    assert found["better"].corrected < 0.01 < 0.1 < found["same"].corrected
    assert found["better"].corrected >= found["better"].p
    assert found["few"].pairs == 3 and found["few"].p is None and found["few"].corrected is None


NAMES = ("dice", "hd95_mm", "assd_mm", "tre_mm", "ncc", "nmi", "ssim", "folds_percent", "ndv_percent", "sdlogj")


def test_blank_is_not_zero():
    pair = Pair("one", {})
    cells = [Cell(pair, Method(name, "svf", "fast"), "none", "auto", "cpu", 1) for name in ("svf", "svf/fast")]
    good = {"metrics": {"before": {"ncc": 0.5}, "after": {"ncc": 0.8, "dice": None}}, "seconds": {}, "spent": {}}
    rows = rows_of(cells, [good, {"error": "crashed"}])
    heading, lines = lines_of(rows)
    assert heading == ["Method", "NCC ↑", "Parameters", "G MAC", "n"]
    assert lines == [["as given", "0.500", "", "", "1"], ["linear", "", "", "", "0"]] + [
        ["svf", "0.800", "", "", "1"],
        ["svf/fast", "", "", "", "0 (1 failed)"],
    ]
    assert best_of(rows, "ncc") == "svf" and best_of(rows, "dice") is None
    assert mean_and_deviation([None, None]) == (None, None, 0) and mean_and_deviation([2.0]) == (2.0, None, 1)


def test_what_was_not_kept_is_measured_again_to_be_kept(tmp_path, monkeypatch):
    class Done:
        file_name = "svf-on-pair"

        def fingerprint(self):
            return "the same"

    asked = []

    def here(workers):
        def run(jobs):
            for number, _cell, keep in jobs:
                asked.append(keep)
                if keep:
                    Path(keep).mkdir()
                yield number, ({"metrics": {}}, b"")

        return run

    monkeypatch.setattr(cells_of_comparison, "_here", here)
    for keep in (False, False, True, True):
        cells_of_comparison.outcomes([Done()], tmp_path, lambda *told: None, keep=keep)
    assert asked == [None, str(tmp_path / "svf-on-pair")]
