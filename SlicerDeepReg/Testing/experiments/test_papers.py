"""The tables of the papers: every description is complete, and every table is built, small, to its end."""

import dataclasses
import json

import pytest
from helpers.scans import films, folder_of_scans, scan, write_csv
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.experiments.papers import DataSet, papers
from SlicerDeepRegLib.experiments.printed import COLUMNS, shown_figure
from SlicerDeepRegLib.experiments.run import lacks_distances
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.methods import method
from SlicerDeepRegLib.metrics import METRICS
from SlicerDeepRegLib.training.changes import with_changes
from SlicerDeepRegLib.training.schedules import GENERAL, schedules_of
from SlicerDeepRegLib.types import InputError

FIVE = ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph")
TABLES = [(name, table) for name, one in papers().items() for table in one.tables]


@pytest.mark.parametrize("name, table", TABLES)
def test_every_row_can_be_asked_for(name, table):
    """Its method is there, what it changes is an argument, and its figures are of metrics and data that exist."""
    chosen = papers()[name].tables[table]
    assert set(chosen.metrics) <= {*METRICS, *COLUMNS}
    for row in chosen.rows:
        card = method(row.method).card
        texts = [f"{key}={json.dumps(value)}" for key, value in row.set.items()]
        if card.network is not None:
            with_changes(texts, card, GENERAL["general"])
        for data, figures in row.published.items():
            assert data in chosen.test and set(figures) <= set(chosen.metrics), row.title
            assert all(shown_figure(figure) for figure in figures.values())


def test_structures_have_their_names_in_plots():
    assert papers()["hippocampus"].data["hippocampus"].name_of("1") == "anterior"
    assert papers()["wavemorph"].data["oasis"].name_of("17") == "left hippocampus"
    assert papers()["wavemorph"].data["oasis"].name_of("999") == "999"


def test_each_paper_trains_by_its_own_schedules():
    for name in FIVE:
        for data in papers()[name].data.values():
            own = schedules_of(method(name).card)
            assert data.schedule in own or (name, data.name) == ("caml", "lpba40"), data.name
            if data.schedule in own and data.size_ijk and own[data.schedule].size_ijk:
                assert tuple(own[data.schedule].size_ijk) == data.size_ijk
    assert papers()["msrd-net"].tables["4"].train == "ixi"  # a test of generalization


def test_the_baselines_have_schedules_of_the_papers_data():
    for name, wanted in {
        "voxelmorph": {"ixi", "oasis", "lpba40", "ct", "ultrasound"},
        "transmorph": {"ixi", "oasis", "lpba40"},
        "xmorpher": {"oasis", "lpba40"},
        "udrsnet": {"ct", "ultrasound", "sliver"},
    }.items():
        assert wanted <= set(schedules_of(method(name).card)), name


def test_no_paper_clips_or_matches_unless_it_says_so():
    for name in FIVE:
        for key, schedule in schedules_of(method(name).card).items():
            assert key in GENERAL or (schedule.clip == 0 and not schedule.match), (name, key)
    assert GENERAL["general"].clip == 1 and GENERAL["general"].match
    assert schedules_of(method("fmirnet").card)["sliver"].loss["regularity"] == pytest.approx(1.89, abs=0.005)


def test_msrd_nets_table_3_adds_one_part_at_a_time():
    rows = papers()["msrd-net"].tables["3"].rows
    parts = [dict(method(row.method).card.configuration) for row in rows]
    off = {"multi_scale": False, "attention_levels": 0, "separable": False}
    assert parts[0] == off
    assert [set(off) - set(part) for part in parts[1:4]] == [{"multi_scale"}, {"attention_levels"}, {"separable"}]
    assert [row.set for row in rows[:5]] == [{"loss.levels": 1}] * 5 and not rows[5].set


def test_wavemorphs_ablation_has_its_twelve_cells():
    rows = papers()["wavemorph"].tables["3"].rows
    assert len({json.dumps(row.set, sort_keys=True) for row in rows}) == 12
    variants = method("wavemorph").card.variants
    fast = [one["configuration"] for one in variants.values() if set(one["configuration"]) <= {"down", "up"}]
    assert len({json.dumps(one, sort_keys=True) for one in fast}) == 11  # and the network itself


# ------------------------------------------------------------------ built to the end


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small data for every data set: aligned volumes with labels, films, and pairs of slices."""
    place = tmp_path_factory.mktemp("data")
    folder_of_scans(place / "volumes", 14, (32, 32, 32))
    films(place / "films", ["train", "train", "train", "val", "test", "test"], frames=6, size=32)
    rows = []
    for number in range(8):
        for side in ("fixed", "moving"):
            write_image(scan(2 * number + (side == "moving"), (40, 40))[0], place / f"{side}{number}.nii.gz")
        rows.append({side: f"{side}{number}.nii.gz" for side in ("fixed", "moving")})
    write_csv(place / "slices.csv", rows)
    rows = []
    names = sorted(path.name for path in (place / "volumes").glob("*.nii.gz") if "seg" not in path.name)
    for fixed, moving in zip(names[::2], names[1::2]):
        rows.append({"fixed": f"volumes/{fixed}", "moving": f"volumes/{moving}"})
    write_csv(place / "volumes.csv", rows)
    return place


def arguments(data, paper, table, output):
    """The command that builds a table on the small data, with one step for each training."""
    chosen = papers()[paper].tables[table]
    call = ["paper", paper, table, "--output", str(output), "--steps", "1", "--device", "cpu", "--precision", "fp32"]
    joint, flat = any(row.joint for row in chosen.rows), paper in ("fmirnet", "oasis2d")
    size = [32, 32] if flat and "sliver" not in chosen.test else [32, 32, 32]
    for name in {*chosen.test, *([chosen.train] if chosen.train else [])}:
        given = (
            name == "sliver" and "volumes.csv" or (joint and "films/films.csv") or (flat and "slices.csv") or "volumes"
        )
        call += ["--data", f"{name}={data / given}"]
        if papers()[paper].data[name].pairing in ("from-atlas", "to-atlas"):
            first = sorted(path.name for path in (data / "volumes").glob("*.nii.gz"))[0]
            call += ["--atlas", f"{name}={first.partition('.')[0]}"]
    return [*call, "--size", *map(str, size)]


@pytest.fixture
def small(monkeypatch):
    """The descriptions, as they fit the small data: no fixed names, no slices cut from volumes."""
    from SlicerDeepRegLib.experiments import papers as module

    def fitted(one):
        def changed(entry: DataSet):
            return dataclasses.replace(entry, split=None, slices=None, structures=(), images=None, labels=None)

        return dataclasses.replace(one, data={name: changed(entry) for name, entry in one.data.items()})

    known = {name: fitted(one) for name, one in papers().items()}
    monkeypatch.setattr(module, "papers", lambda: known)


@pytest.mark.slow
@pytest.mark.parametrize("paper, table", [(name, table) for name, table in TABLES if name in FIVE])
def test_every_table_is_built(small, data, tmp_path, paper, table):
    assert main(arguments(data, paper, table, tmp_path / "out")) in (0, 1)
    printed = (tmp_path / "out" / "tables" / table / "table.md").read_text(encoding="utf-8")
    # Engines of others that are not installed, or find such images too small, are named; networks are all there.
    left = {row.title for row in papers()[paper].tables[table].rows if f"| {row.title} | not run" in printed}
    engines = {row.title for row in papers()[paper].tables[table].rows if method(row.method).card.network is None}
    assert left <= engines and (not left or "Not done: as-it-is-" in printed)


def test_a_table_is_trained_evaluated_and_printed_beside_the_papers_figures(small, data, tmp_path, capsys):
    out = tmp_path / "out"
    call = [*arguments(data, "unfolding", "6", out), "--rows", "1", "--scale", "0.5"]
    assert main(call) == 0  # the other rows were not asked for
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("| 2 |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == "0.692" and 0 < float(cells[1].split()[0]) < 1  # ours, and the paper's 69.2 %
    assert "| 5 | not run | 0.683" in told
    assert (out / "tables" / "6" / "table.csv").is_file()
    model = out / "models" / "lpba40-unfolding-stages-2"
    trained = (model / "weights.safetensors").stat().st_mtime_ns
    assert json.loads((model / "training.json").read_text(encoding="utf-8"))["clip"] == 0
    assert main(call) == 0  # what is done stays
    again = capsys.readouterr().out
    assert "training on" not in again and (model / "weights.safetensors").stat().st_mtime_ns == trained
    assert main([*arguments(data, "unfolding", "6", out), "--rows", "1", "--scale", "0.4"]) == 2
    assert "scale was 0.5 and is now 0.4. Give what it had, or another --output" in capsys.readouterr().err
    origin = out / "data" / "lpba40.json"
    kept = origin.read_text(encoding="utf-8")
    origin.write_text(json.dumps({**json.loads(kept), "contents": "of other files"}), encoding="utf-8")
    assert main(call) == 2 and "have changed since the trainings in" in capsys.readouterr().err
    origin.write_text(kept, encoding="utf-8")
    other = [*arguments(data, "unfolding", "6", out), "--rows", "1", "--scale", "0.5", "--labels", "lpba40=*_seg*"]
    assert main(other) == 2 and "labels was None and is now *_seg*" in capsys.readouterr().err
    for changed in (["--steps", "3"], ["--size", "24", "24", "24"]):  # not taken for the answer to another question
        assert main([*call, *changed]) == 1
        assert "holds another training" in capsys.readouterr().out
    assert main([*arguments(data, "unfolding", "6", out), "--rows", "1", "--scale", "0.5", "--slurm"]) == 0
    assert "#SBATCH --array=1-1" in capsys.readouterr().out


def test_a_row_that_another_table_measured_without_distances_is_measured_again():
    measured = {"outcomes": [{"metrics": {"after": {"dice": 0.5}}}]}
    assert lacks_distances(("dice", "assd_mm"), measured) and not lacks_distances(("dice",), measured)
    measured["outcomes"][0]["metrics"]["after"]["hd95_mm"] = 1.0
    assert not lacks_distances(("dice", "hd_mm"), measured)


def test_a_folder_has_no_pairs_that_were_given(small, data, tmp_path, capsys):
    call = [*arguments(data, "fmirnet", "6", tmp_path / "out"), "--rows", "1"]
    call[call.index(f"sliver={data / 'volumes.csv'}")] = f"sliver={data / 'volumes'}"
    assert main(call) != 0
    printed = capsys.readouterr()
    assert "its pairs are given, not drawn. Give a .csv of them" in printed.err + printed.out
    assert not list((tmp_path / "out").glob("models/*"))


def test_a_segmentation_is_measured_beside_those_without_registration(small, data, tmp_path, capsys):
    call = [*arguments(data, "fmirnet", "3", tmp_path / "out"), "--rows", "1", "2"]
    assert main(call) == 0
    told = capsys.readouterr().out
    for title in ("FCN", "VFCN"):
        line = next(line for line in told.splitlines() if line.startswith(f"| {title} |"))
        assert 0 <= float(line.split("|")[2].split()[0]) <= 1
    assert "of which are left out" not in told


@pytest.mark.parametrize(
    "more, message",
    [
        (["unfolding", "7"], "has no table '7'. Its tables: 1 ("),
        (["nothing"], "There is no paper 'nothing'"),
        (["unfolding", "6"], "Say where the experiment goes"),
        (["unfolding", "6", "--output", "OUT"], "needs the data set lpba40"),
        (["unfolding", "1", "--output", "OUT", "--data", "x"], "--data needs NAME=DATA here"),
        (["unfolding", "6", "--output", "OUT", "--data", "x", "--rows", "9"], "rows 1 to 3; there is no row 9"),
        (["unfolding", "6", "--output", "OUT", "--data", "x", "--scale", "2"], "--scale must be above 0"),
        (["unfolding", "6", "--output", "OUT", "--data", "x", "--job", "3/2"], "--job needs N/M"),
    ],
)
def test_what_cannot_be_built_is_said_before_any_work(tmp_path, capsys, more, message):
    assert main(["paper", *[part.replace("OUT", str(tmp_path / "out")) for part in more]]) == 2
    assert message in capsys.readouterr().err


def test_changes_are_checked_before_any_work():
    card = method("unfolding").card
    changed, schedule = with_changes(["stages=5", "loss.data_weight=0.5"], card, schedules_of(card)["oasis"])
    assert changed.configuration["stages"] == 5 and schedule.loss["data_weight"] == 0.5
    for text, message in (
        ("stages", "needs NAME=VALUE"),
        ("stage=5", "has no stage. It has: channels"),
        ("loss.beta=1", "has no loss.beta. It has: loss.agreement"),
        ("loss.agreement=strong", "arguments of a loss are numbers"),
        ("stages=9", "stages must be 1 to 8"),
    ):
        with pytest.raises(InputError, match=message):
            with_changes([text], card, schedules_of(card)["oasis"])
