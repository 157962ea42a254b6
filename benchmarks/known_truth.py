"""One modality: known deformations, landmarks and labels, by the presets, by settings that were tried, and by ANTs.

    python benchmarks/known_truth.py --write                    everything, into RESULTS.md
    python benchmarks/known_truth.py --only standard            these rows again, the others as measured last
    python benchmarks/known_truth.py --only --write             measure nothing, write what was measured last

The brain of brain_oasis and the chest of ct_lung are warped by a smooth random motion, and the lungs slide along the
wall of the chest as well; noise is added, and gain, gamma and bias field to the brain. So the truth is known
everywhere, and these images are made, not acquired: read them beside the landmarks of the lung and the labels of the
brain, which are real. Every row runs in a process of its own with two threads.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import sys

import contrasts
import numpy as np
import run
import scipy.ndimage
import SimpleITK as sitk
from contrasts import Case, Trial, image, points
from results import put
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.preparation.resample import warp_image
from SlicerDeepRegLib.types import Field, Image, Transform

HEADING = "Known deformations, and what was tried on one modality"
METRICS_FILE = run.ROOT / "benchmarks" / "work" / "known_truth.json"
POINTS = 5000
#: Deviations in mm of the smoothing of the random motion, and the root mean square of each part, in mm.
SCALES_MM, AMOUNTS_MM = (24.0, 10.0), (4.0, 1.5)
#: How far the lungs slide along the body's axis, in mm, and over how many mm that begins at their surface.
SLIDING_MM, EDGE_MM = 8.0, 6.0
#: Rows: the preset and the settings that differ.
TRIED = {
    "fast": ("fast", {}),
    "standard": ("standard", {}),
    "thorough": ("thorough", {}),
    "standard, regularity halved": ("standard", {"lncc.regularity": 0.65}),
    "standard, regularity doubled": ("standard", {"lncc.regularity": 2.6}),
    "standard, window 4": ("standard", {"lncc.window_radius": 4.0}),
    "standard, window 6": ("standard", {"lncc.window_radius": 6.0}),
    "standard, search radius 6": ("standard", {"search_radius": 6}),
    "standard, search cells of 4": ("standard", {"search_cell": 4}),
    "standard, steps smoothed by 1": ("standard", {"step_sigma": 1.0}),
    "standard, MIND-SSC": ("standard", {"similarity": "mind"}),
    "standard, NGF-MIND": ("standard", {"similarity": "ngf-mind"}),
}


def motion(grid, seed):
    """A smooth random displacement, (K, J, I, 3) LPS mm."""
    random, vectors = np.random.default_rng(seed), 0
    for sigma_mm, amount_mm in zip(SCALES_MM, AMOUNTS_MM):
        sigma = (*(sigma_mm / grid.spacing_mm[::-1]), 0)
        part = scipy.ndimage.gaussian_filter(random.standard_normal((*grid.shape_kji, 3)), sigma, mode="wrap")
        vectors = vectors + part * (amount_mm / np.sqrt((part**2).sum(-1).mean()))
    return vectors


def warped_pair(moving, vectors, inside, seed):
    """A pair whose fixed image is the moving one at x + u(x); the truth at points inside, of the fixed image."""
    random = np.random.default_rng(seed)
    fixed = warp_image(moving, moving, Transform(np.eye(4), Field(vectors.astype(np.float32), moving.grid)))
    chosen = np.argwhere(inside)
    chosen = chosen[random.choice(len(chosen), POINTS, replace=False)]
    here = apply_matrix(moving.grid.ijk_to_lps, chosen[:, ::-1].astype(float))
    return fixed, here, here + vectors[tuple(chosen.T)]


def brain(number):
    moving, labels = image("brain_oasis", "fixed_t1"), image("brain_oasis", "fixed_aseg")
    vectors = motion(moving.grid, 1)
    inside = scipy.ndimage.binary_erosion(labels.values > 0, iterations=3)
    fixed, here, there = warped_pair(moving, vectors, inside, 2)
    random, top = np.random.default_rng(3), np.percentile(fixed.values, 99.9)
    sigma = 40 / moving.grid.spacing_mm[::-1]
    bias = scipy.ndimage.gaussian_filter(random.standard_normal(fixed.values.shape), sigma)
    values = np.clip(fixed.values / top, 0, None) ** 0.9 * np.exp(0.15 * bias / bias.std())
    values = np.where(fixed.values > 0, values + 0.02 * random.standard_normal(values.shape), 0)
    return Trial(Image((1000 * values).astype(np.float32), fixed.grid, "fixed"), moving, here, there)


def chest(number):
    moving = image("ct_lung", "fixed_ct")
    lungs = image("ct_lung", "fixed_lungmask").values > 0
    vectors = motion(moving.grid, 4)
    inward = scipy.ndimage.gaussian_filter(lungs.astype(float), EDGE_MM / moving.grid.spacing_mm[::-1])
    vectors[..., 2] += SLIDING_MM * inward
    body = scipy.ndimage.binary_fill_holes(moving.values > -400)
    fixed, here, there = warped_pair(moving, vectors, scipy.ndimage.binary_erosion(body, iterations=4), 5)
    noise = 15 * np.random.default_rng(6).standard_normal(fixed.values.shape)
    return Trial(Image((fixed.values + noise).astype(np.float32), fixed.grid, "fixed"), moving, here, there)


def lung(number):
    pair = [image("ct_lung", f"{side}_ct") for side in ("fixed", "moving")]
    return Trial(*pair, *(points("ct_lung", f"{side}_points_lps_mm") for side in ("fixed", "moving")))


def oasis(number):
    images, labels = ([image("brain_oasis", f"{s}_{kind}") for s in ("fixed", "moving")] for kind in ("t1", "aseg"))
    return Trial(*images, labels=tuple(labels), wanted=tuple(int(n) for n in run.THIRTY.split()))


TRIALS = {
    "brain": Case("brain, mm", brain),
    "chest": Case("chest, mm", chest),
    "lung": Case("ct_lung, landmarks, mm", lung),
    "oasis": Case("brain_oasis, Dice", oasis, metric="dice", syn="SyN"),
}


def one(name, tried):
    """The metrics of one pair by one row, in this process."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(run.THREADS)
    case = TRIALS[name]
    if tried == "as given":
        method = contrasts.given
    elif tried == "ANTs":
        method = contrasts.ants_syn
    else:
        preset, settings = TRIED[tried]
        asked = {"similarity": settings["similarity"]} if "similarity" in settings else {"settings": settings}
        method = functools.partial(contrasts.ours, pair="people", preset=preset, **asked)
    trial = case.read(0)
    return contrasts.measure(trial, method(trial, case))


def row(tried, found):
    cells = [tried]
    for name, case in TRIALS.items():
        metrics = found.get(name, {})
        form = contrasts.FORMS[case.metric]
        cells.append(form.format(metrics[case.metric]) if case.metric in metrics else metrics.get("error", "-")[:40])
    sdlogj, seconds = found.get("oasis", {}).get("sdlogj"), [found.get(n, {}).get("seconds") for n in TRIALS]
    cells.append("-" if sdlogj is None else f"{sdlogj:.3f}")
    return [*cells, "-" if None in seconds else " / ".join(f"{value:.0f}" for value in seconds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = ("as given", "ANTs", *TRIED)
    parser.add_argument("--only", nargs="*", choices=rows, metavar="ROW")
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    found = json.loads(METRICS_FILE.read_text(encoding="utf-8")) if METRICS_FILE.exists() else {}
    for tried in rows if options.only is None else options.only:
        for name in TRIALS:
            print(f"{tried}: {name} ...", file=sys.stderr, flush=True)
            metrics = run.in_process("--one", name, tried, script=__file__)
            print(f"  {metrics}", file=sys.stderr, flush=True)
            found.setdefault(tried, {})[name] = metrics
            METRICS_FILE.parent.mkdir(exist_ok=True)
            METRICS_FILE.write_text(json.dumps(found, indent=1), encoding="utf-8")
    heading = ["", *(case.title for case in TRIALS.values()), "SDlogJ of the last", "CPU s of each"]
    table = run.table(heading, [row(tried, found[tried]) for tried in rows if tried in found])
    print(table)
    if options.write:
        introduction = (
            f"Command: `python benchmarks/known_truth.py --write`. Date: {datetime.date.today()}. Machine: "
            f"{run.machine()}. {run.THREADS} threads. Mean error in mm at {POINTS} points of made pairs whose "
            "deformation is known (sliding lungs in the chest), at ten real landmarks, and the mean Dice of 30 labels. "
            "ANTs: SyNRA with its mutual information on pairs with points, SyN on the labels."
        )
        put("known_truth", HEADING, [introduction, "", *table.splitlines()])


if __name__ == "__main__":
    main()
