"""Figures of trained models on real pairs, beside the linear start and svf; see weights.py --evaluate.

FOLDER/figures/NAME.json has the figures of a model, which tools/ship_model.py takes. Each row is a registration in a
process of its own, and is not measured again while the weights are the same.

T2 and FLAIR of brain_multicontrast have no labels. Where FOLDER/labels/brain_multicontrast.nii.gz is (labels by
FreeSurfer's numbers on their common grid, as of `slicerdeepreg segment`), Dice is measured there, too.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path

#: Steps of velocity-field optimization after a network, at each of its two finest scales.
REFINE = 40
#: Ways to register that a row of a pair has, beside those of the model.
REFERENCES = {"linear": "linear", "svf": "svf-standard"}


def pairs(folder):
    """The pairs, as run.CASES describes them."""
    people = {"folder": "brain_patients", "fixed": "a_t1"}
    labels = folder / "labels" / "brain_multicontrast.nii.gz"
    segmented = {"labels": ("a_aseg", str(labels).removesuffix(".nii.gz"))} if labels.is_file() else {}
    return {
        "brain_oasis": {"fixed": "fixed_t1", "moving": "moving_t1", "labels": ("fixed_aseg", "moving_aseg")},
        "brain_patients, a from b": {**people, "moving": "b_t1", "labels": ("a_aseg", "b_aseg")},
        "brain_patients, b from a": {**people, "fixed": "b_t1", "moving": "a_t1", "labels": ("b_aseg", "a_aseg")},
        "two people, T1 from T2": {**people, "moving": "../brain_multicontrast/t2", **segmented},
        "two people, T1 from FLAIR": {**people, "moving": "../brain_multicontrast/flair", **segmented},
    }


def ways(name):
    """The ways of a model, by what run.asked takes."""
    return {"alone": f"trained:{name}", "refined": f"trained:{name}:{REFINE}"}


def evaluate(names, folder, data):
    """Measure what is not measured yet, and write the table; returns the exit code."""
    os.environ.update(DEEPREG_DATA=str(data), SLICERDEEPREG_MODELS=str(folder))
    import run
    from results import put

    if not run.DATA.is_dir():
        sys.exit(f"There are no images in {run.DATA}. Give --data, the folder that holds 'open'.")
    models = {name: _checksum(folder / name) for name in names if (folder / name / "card.json").is_file()}
    if not models:
        sys.exit(f"{folder} has no trained registration network yet. Train first; --list says how far it is.")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    found = {name: _known(figures / f"{name}.json", checksum) for name, checksum in models.items()}
    references = _known(figures / "references.json", None)
    described = pairs(folder)
    for pair, about in described.items():
        _measure(run, folder, pair, about, REFERENCES, references, figures / "references.json")
        for name in models:
            row = found[name]["pairs"].setdefault(pair, {})
            row.update(references["pairs"][pair])
            _measure(run, folder, pair, about, ways(name), found[name], figures / f"{name}.json")
    lines = [
        f"Command: `python benchmarks/weights.py --evaluate --only {' '.join(models)}`. "
        f"Date: {datetime.date.today()}. Machine: {run.machine()}. "
        f"{run.THREADS} threads. Dice and HD95 are means over 30 labels; refined: then {REFINE} steps of svf at each "
        "of its two finest scales. None of these people is in the training.",
        "",
    ]
    for pair in described:
        rows = {way: references["pairs"][pair][way] for way in REFERENCES}
        rows.update({f"{name}, {way}": found[name]["pairs"][pair][way] for name in models for way in ways(name)})
        lines += run.case_table(pair, rows).splitlines() + [""]
    # A block for each: they are trained one after another, on machines that have no other's weights.
    put(f"trained models, {', '.join(models)}", f"Models trained on label maps: {', '.join(models)}", lines[:-1])
    return 0


def _measure(run, folder, pair, about, methods, figures, path):
    """Measure the ways that a row lacks, or has without Dice though there are labels; what failed is tried again."""
    row = figures["pairs"].setdefault(pair, {})
    for way, method in methods.items():
        if ("dice" if "labels" in about else "ncc") in row.get(way, {}):
            continue
        print(f"{pair}: {method} ...", file=sys.stderr, flush=True)
        row[way] = run.in_process("--one", str(folder), pair, method, script=__file__)
        print(f"  {row[way]}", file=sys.stderr, flush=True)
        figures.update(date=str(datetime.date.today()), machine=run.machine())
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _known(path, checksum):
    """Figures that were measured before, of these weights."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["sha256"] == checksum and isinstance(known["pairs"], dict):
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"name": path.stem, "sha256": checksum, "pairs": {}}


def _checksum(folder):
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))["sha256"]


def main():
    """One registration; its figures are printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "PAIR", "METHOD"), required=True)
    folder, pair, method = parser.parse_args().one
    import run

    run.CASES.update(pairs(Path(folder)))
    print(json.dumps(run.one(pair, method)))


if __name__ == "__main__":
    main()
