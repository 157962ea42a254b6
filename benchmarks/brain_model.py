"""Measure the network that sees the structures of a brain on the real images beside the project.

    python benchmarks/brain_model.py MODEL [NAME ...]

MODEL is a folder with segmentation.json, weights and atlas, or "brain". For each image: Dice of the structures where
labels are known, of all and without CSF (24), which is all fluid around the brain here and a little of it in
FreeSurfer's aseg; the expected calibration error of the confidence inside them (ten bins); what speaks for a brain or
against it (geometry/structures.py has the limits); and CPU seconds. --painted measures images of each contrast painted
on the label maps of the two people who are held out from the atlas and the training.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from SlicerDeepRegLib.anatomy import MERGED, STRUCTURES, TISSUES
from SlicerDeepRegLib.catalog import BRAIN_MODEL, brain_model
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.models.structures import StructureModel, Structures
from SlicerDeepRegLib.preparation.gaps import without_gaps
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.training.inputs import people
from SlicerDeepRegLib.training.label_maps.contrast import TABLES
from SlicerDeepRegLib.training.label_maps.frame import LabelMap, prepare_label_maps
from SlicerDeepRegLib.training.label_maps.paint import Head, Look, PaintSettings, frame_positions, paint
from SlicerDeepRegLib.training.label_maps.source import grid_size, numbers_of, rng_motion, structure, transformed
from SlicerDeepRegLib.training.rng import Rng
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
OTHERS = ("ct_lung/fixed_ct", "ct_lung/moving_ct", "hippocampus", "cardiac_4d", "noise", "blobs", "upside", "cut")


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
    if name == "cut":  # a head without what lies below its ears
        head = read_image(DATA / "brain_patients" / "a_t1.nii.gz")
        along = int(np.argmax(np.abs(head.grid.direction[2])))
        low = round(0.45 * head.grid.size_ijk[along])
        kept = slice(low, None) if head.grid.direction[2, along] > 0 else slice(None, head.grid.size_ijk[along] - low)
        values = np.moveaxis(np.moveaxis(head.values, 2 - along, 0)[kept], 0, 2 - along)
        matrix = head.grid.ijk_to_lps.copy()
        matrix[:3, 3] += matrix[:3, along] * (kept.start or 0)
        return Image(np.ascontiguousarray(values), Grid(values.shape[::-1], matrix), name)
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


def painted(kind: str, person: LabelMap, whole_head: bool, seed: int) -> tuple[Image, np.ndarray]:
    """Return an image of a contrast painted on a label map of 1 mm, in a random pose, and its labels."""
    rng, cpu = Rng(seed, torch.device("cpu")), torch.device("cpu")
    shape = grid_size(1.0)
    head = Head.of(person, cpu)
    positions = transformed(rng_motion(rng, (15.0, 0.1, 10.0)), frame_positions(shape, 1.0, cpu))
    settings = dataclasses.replace(PaintSettings(), coarse=0.0, thick=0.0, lesions=0.0, cut=0.0, noise=0.03)
    look = Look.draw(rng, settings)
    means = look.means.clone()
    means[1 : len(STRUCTURES) + 1] = torch.tensor([TABLES[kind][TISSUES.index(one.tissue)] for one in STRUCTURES])
    deviations = torch.full_like(look.deviations, 0.04)
    stripped = not (whole_head and head.whole_head)
    look = dataclasses.replace(look, means=means, deviations=deviations, stripped=stripped)
    values = paint(head, positions, 1.0, look, rng, settings)[0][0, 0].numpy()
    matrix = np.diag([-1.0, -1, 1, 1])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Image(values, Grid(shape[::-1], matrix), kind), numbers_of(structure(head.at(positions)).numpy())


def overlaps(true: np.ndarray, seen: Structures) -> str:
    """Return what is printed of the overlap and of the confidence."""
    by_number = {s.number: 2 * ((true == s.number) & (seen.labels.values == s.number)).sum() for s in STRUCTURES}
    sizes = {s.number: (true == s.number).sum() + (seen.labels.values == s.number).sum() for s in STRUCTURES}
    dice = {n: both / sizes[n] for n, both in by_number.items() if (true == n).any()}
    without = [value for n, value in dice.items() if n != 24]
    inside = np.isin(true, list(dice)) & (true != 24)
    sure, right = seen.confidence.values[inside], (seen.labels.values == true)[inside]
    place = np.clip((sure * 10).astype(int), 0, 9)
    tenths = [place == k for k in range(10) if (place == k).any()]
    error = sum(tenth.mean() * abs(sure[tenth].mean() - right[tenth].mean()) for tenth in tenths)
    return (
        f"  Dice {np.mean(list(dice.values())):.3f} of {len(dice)}, {np.mean(without):.3f} without CSF"
        f"  calibration {error:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--painted", type=Path, metavar="CACHE", help="painted images; where label maps are prepared")
    options = parser.parse_args()
    folder = brain_model() if options.model == BRAIN_MODEL else Path(options.model)
    model = StructureModel(folder, torch.device("cpu"))
    if options.painted:
        maps = prepare_label_maps(DATA.parent / "labelmaps", options.painted)
        for person in people(len(maps), 0)[1]:
            for seed, kind in enumerate(TABLES):
                for whole_head in (False, True)[: 1 + maps[person].whole_head]:
                    image, true = painted(kind, maps[person], whole_head, 100 + seed)
                    where = f"{maps[person].name}, {kind}, {'head' if whole_head else 'brain'}"
                    print(f"{where:42s}{overlaps(true, model.see(image))}", flush=True)
        return
    for name in options.names or (*BRAINS, *OTHERS):
        image = without_gaps(read_image(DATA / f"{name}.nii.gz"))[0] if name in BRAINS else other(name)
        began = time.process_time()
        seen = model.see(image)
        seconds, e = time.process_time() - began, seen.evidence
        line = f"{name:42s} {'brain' if e.is_brain else 'none ':5s} plausible {e.plausible:.2f}  residual "
        line += f"{e.residual_mm:5.2f} mm  scale {e.scale:.2f}  moved {e.moved_mm:5.2f} mm  confidence "
        line += f"{e.confidence:.2f}  information {e.information:5.2f}  cut {e.cut_cm2:5.1f} cm2  {seconds:.1f} s"
        if BRAINS.get(name):
            line += overlaps(true_labels(BRAINS[name], seen.labels.grid), seen)
        print(line, flush=True)


if __name__ == "__main__":
    main()
