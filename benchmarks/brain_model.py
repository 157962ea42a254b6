"""Measure the network that sees the structures of a brain on the real images beside the project.

    python benchmarks/brain_model.py MODEL [--fit] [NAME ...]

MODEL is a folder with segmentation.json and weights, or "brain". For each image: Dice over the 32 structures where
labels are known, what speaks for a brain or against it (geometry/structures.py has the limits), and CPU seconds. --fit
gives the temperature for the card, from the images with labels; the card's own must be 1 or missing then.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from SlicerDeepRegLib.anatomy import MERGED, STRUCTURES
from SlicerDeepRegLib.catalog import BRAIN_MODEL, brain_model
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.models.structures import StructureModel, fitted_temperature
from SlicerDeepRegLib.preparation.gaps import without_gaps
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.types import Grid, Image

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data")) / "open"
#: Images, and labels where there are some.
BRAINS = {
    "brain_oasis/fixed_t1": "brain_oasis/fixed_aseg",
    "brain_oasis/moving_t1": "brain_oasis/moving_aseg",
    "brain_patients/a_t1": "brain_patients/a_aseg",
    "brain_patients/b_t1": "brain_patients/b_aseg",
    **dict.fromkeys(
        (
            *("brain_multicontrast/t1", "brain_multicontrast/t2", "brain_multicontrast/flair"),
            *("ct_mr_head/t1", "ct_mr_head/ct", "brain_native_to_aligned/moving_native_t1"),
            *("free_brains/bsd2_t1", "free_brains/cc0_t1", "free_brains/cc0_stroke_t2"),
            *("ms_two_visits/study1_T1W", "ms_two_visits/study1_T2W", "ms_two_visits/study1_FLAIR"),
            *("templates/mni152_2009a_t1", "templates/colin27_t1"),
        ),
        "",
    ),
}
OTHERS = ("ct_lung/fixed_ct", "ct_lung/moving_ct", "hippocampus", "cardiac_4d", "noise", "blobs", "upside")


def other(name: str) -> Image:
    """Return an image that is no brain, or none as its header says."""
    if name == "hippocampus":
        return read_image(sorted((DATA / name / "images").glob("*.nii.gz"))[0])
    if name == "cardiac_4d":
        frames = sitk.ReadImage(str(DATA / name / "img4d.nii.gz"))
        frame = sitk.GetArrayFromImage(frames)[0]
        return Image(frame, Grid(frame.shape[::-1], np.diag([*frames.GetSpacing()[:3], 1.0])), name)
    size, matrix = (96, 112, 96), np.diag([-2.0, -2, 2, 1])
    if name in ("noise", "blobs"):
        values = np.random.default_rng(0).standard_normal(size[::-1]).astype(np.float32)
        if name == "blobs":
            values = sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(values), 25.0))
            k, j, i = np.indices(values.shape)
            head = ((k - 48) / 40) ** 2 + ((j - 56) / 48) ** 2 + ((i - 48) / 38) ** 2 < 1
            values = (values - values.min()) * head
        return Image(np.abs(values), Grid(size, matrix), name)
    if name == "upside":
        brain = read_image(DATA / "brain_oasis" / "fixed_t1.nii.gz")
        turn = np.diag([1.0, -1, -1, 1])
        return Image(brain.values, Grid(brain.grid.size_ijk, turn @ brain.grid.ijk_to_lps), name)
    return without_gaps(read_image(DATA / f"{name}.nii.gz"))[0]


def true_labels(name: str, grid: Grid) -> np.ndarray:
    """Return FreeSurfer's numbers on a grid, parts joined to their structure where it has no side to be chosen."""
    labels = resample(read_image(DATA / f"{name}.nii.gz"), grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
    labels = labels.astype(np.int32)
    for number, joined in MERGED.items():
        if len(joined) == 1:
            labels[labels == number] = joined[0]
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    folder = brain_model() if options.model == BRAIN_MODEL else Path(options.model)
    model = StructureModel(folder, torch.device("cpu"))
    logits, classes = [], []
    for name in options.names or (*BRAINS, *OTHERS):
        image = without_gaps(read_image(DATA / f"{name}.nii.gz"))[0] if name in BRAINS else other(name)
        began = time.process_time()
        seen = model.see(image)
        seconds, e = time.process_time() - began, seen.evidence
        line = f"{name:42s} {'brain' if e.is_brain else 'none ':5s} plausible {e.plausible:.2f}  residual "
        line += f"{e.residual_mm:5.2f} mm  scale {e.scale:.2f}  moved {e.moved_mm:5.2f} mm  confidence "
        line += f"{e.confidence:.2f}  {seconds:.1f} s"
        if BRAINS.get(name):
            true = true_labels(BRAINS[name], seen.labels.grid)
            pairs = [(true == s.number, seen.labels.values == s.number) for s in STRUCTURES]
            dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs if a.any()]
            line += f"  Dice {np.mean(dice):.3f} of {len(dice)}"
            here = true_labels(BRAINS[name], seen.grid)
            logits.append(np.log(seen.memberships.clip(1e-6)).reshape(len(seen.memberships), -1)[:, ::7])
            table = {0: 0, **{s.number: k for k, s in enumerate(STRUCTURES, 1)}}
            classes.append(np.array([table.get(n, 0) for n in here.ravel()[::7].tolist()]))
        print(line, flush=True)
    if options.fit:
        found = fitted_temperature(
            torch.from_numpy(np.concatenate(logits, 1)), torch.from_numpy(np.concatenate(classes))
        )
        print(f'"temperature": {found:.3f}')


if __name__ == "__main__":
    main()
