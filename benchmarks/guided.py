"""What guidance is worth: landmarks, structures, what is excluded, corrections, a series, a template of a cohort.

python benchmarks/guided.py                       prints everything
python benchmarks/guided.py --only landmarks      one part, or several
python benchmarks/guided.py --write               writes it to RESULTS.md, too
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "SlicerDeepReg"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import torch  # noqa: E402
from results import put  # noqa: E402
from SlicerDeepRegLib.files.images import from_sitk, load, write_image  # noqa: E402
from SlicerDeepRegLib.files.points import load_points  # noqa: E402
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field  # noqa: E402
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, voxel_centers_lps  # noqa: E402
from SlicerDeepRegLib.pipeline import register  # noqa: E402
from SlicerDeepRegLib.pipeline.series import register_series  # noqa: E402
from SlicerDeepRegLib.pipeline.template import make_template  # noqa: E402
from SlicerDeepRegLib.preparation.resample import resample  # noqa: E402
from SlicerDeepRegLib.processes.current import prepare_process  # noqa: E402
from SlicerDeepRegLib.types import Grid, Image, Request, Result, Series, Transform  # noqa: E402

DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data")) / "open"
#: Left and right thalamus, caudate, putamen and pallidum.
DEEP = ("10", "49", "11", "50", "12", "51", "13", "52")
#: So many hippocampi make a template.
COHORT = 12
#: How far from the right start, mm: too far for the images alone.
BAD_START_MM = {"ct_lung": (-35.0, 35.0, -35.0), "afids": (40.0, -30.0, 30.0)}


def points_of(path: Path) -> np.ndarray:
    return load_points(str(path), "points").positions_lps_mm


def table(heading: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    lines = ["| " + " | ".join(heading) + " |", "| " + " | ".join("---" for _ in heading) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]


def landmarks() -> list[str]:
    """Four pairs at the largest errors of a bad start; the error of the others, with and without them."""
    rows = []
    afids = DATA / "templates" / "afids"
    for name, fixed, moving, points in (
        (
            "ct_lung",
            DATA / "ct_lung" / "fixed_ct.nii.gz",
            DATA / "ct_lung" / "moving_ct.nii.gz",
            (DATA / "ct_lung" / "fixed_points_lps_mm.csv", DATA / "ct_lung" / "moving_points_lps_mm.csv"),
        ),
        (
            "afids",
            DATA / "templates" / "mni152_2009a_t1.nii.gz",
            DATA / "templates" / "colin27_t1.nii.gz",
            (
                afids / "fixed_mni152_2009a_points_lps_mm.csv",
                afids / "moving_colin27_mricron_points_lps_mm.csv",
            ),
        ),
    ):
        places, partners = (points_of(path) for path in points)
        start = np.eye(4)
        start[:3, 3] = BAD_START_MM[name]
        errors = np.linalg.norm(apply_matrix(start, places) - partners, axis=1)
        chosen = np.argsort(-errors)[:4]
        held = tuple(str(n + 1) for n in range(len(places)) if n not in chosen)
        for guided in (None, 1.0, 0.0):
            request = Request(
                str(fixed),
                str(moving),
                linear="none",
                initial=Transform(start),
                fixed_points=places,
                moving_points=partners,
                guide_points_mm=guided,
                held_points=held if guided is not None else (),
            )
            result = register(request)
            after = np.array(result.metrics["after"]["tre_by_point_mm"])
            others = np.delete(after, chosen)
            how = "none" if guided is None else "exactly" if guided == 0 else f"to {guided:g} mm"
            rows.append(
                (
                    name,
                    f"{np.delete(errors, chosen).mean():.1f}",
                    how,
                    f"{others.mean():.2f}",
                    f"{after[chosen].mean():.2f}",
                    f"{result.metrics['after']['digital_folds_percent']:.4f}",
                    f"{result.metrics['after']['jacobian_min']:.3f}",
                )
            )
            print(rows[-1], flush=True)
    head = ("pair", "start, mm", "4 landmarks guide", "TRE of the others, mm", "of the four, mm", "folds %", "min J")
    return ["#### Landmarks", "", *table(head, rows)]


def structures() -> list[str]:
    """Eight deep structures guide; the overlap of these, and of the others."""
    rows, folder = [], DATA / "brain_patients"
    for fixed, moving in ("ab", "ba"):
        for names in ((), DEEP):
            result = register(
                Request(
                    str(folder / f"{fixed}_t1.nii.gz"),
                    str(folder / f"{moving}_t1.nii.gz"),
                    fixed_labels=str(folder / f"{fixed}_aseg.nii.gz"),
                    moving_labels=str(folder / f"{moving}_aseg.nii.gz"),
                    guide_structures=names,
                )
            )
            dice = {str(label): value for label, value in result.metrics["after"]["dice_by_label"].items()}
            others = [value for label, value in dice.items() if label not in DEEP]
            after = result.metrics["after"]
            rows.append(
                (
                    f"{fixed} <- {moving}",
                    len(names) or "none",
                    f"{np.mean([dice[label] for label in DEEP]):.3f}",
                    f"{np.mean(others):.3f}",
                    f"{after['digital_folds_percent']:.4f}",
                    f"{after['sdlogj']:.3f}",
                    f"{result.seconds['method']:.0f}",
                )
            )
            print(rows[-1], flush=True)
    head = ("pair", "guiding", "Dice of the 8", "Dice of the others", "folds %", "SDlogJ", "method s")
    return ["#### Structures", "", *table(head, rows)]


def excluded() -> list[str]:
    """A lesion painted into one image, and the new lesions of a patient with multiple sclerosis."""
    rows: list[tuple[object, ...]] = []
    folder = DATA / "moved_contrasts" / "t1_flair"
    fixed = load(str(DATA / "brain_multicontrast" / "t1.nii.gz"), "fixed image")
    truth = [points_of(path) for path in sorted(folder.glob("*points*.csv"))]
    moving = str(next(folder.glob("moving*.nii.gz")))
    center = truth[0][np.argmin(np.linalg.norm(truth[0] - np.median(truth[0], axis=0) - [25, 0, 10], axis=1))]
    away = np.linalg.norm(voxel_centers_lps(fixed.grid) - center, axis=-1)
    lesion = away < 12
    spoiled = dataclasses.replace(fixed, values=np.where(lesion, 20, fixed.values).astype(np.float32))
    mask = Image(lesion.astype(np.uint8), fixed.grid, "lesion")
    outside = np.linalg.norm(truth[0] - center, axis=1) > 14
    for name, image, given in (
        ("without lesion", fixed, None),
        ("lesion compared", spoiled, None),
        ("lesion excluded", spoiled, mask),
    ):
        result = register(Request(image, moving, fixed_excluded=given, pair="person"))
        errors = np.linalg.norm(fixed_to_moving(result.transform, truth[0]) - truth[1], axis=1)
        near = outside & (np.linalg.norm(truth[0] - center, axis=1) < 30)
        rows.append((name, f"{errors[outside].mean():.2f}", f"{errors[near].mean():.2f}", _grown(result, lesion)))
        print(rows[-1], flush=True)
    first = table(
        ("T1 <- FLAIR, moved", "error outside, mm", "within 30 mm of it, mm", "volume of the lesion, times"), rows
    )
    rows = []
    folder = DATA / "ms_two_visits"
    fixed = load(str(folder / "study2_FLAIR.nii.gz"), "fixed image")
    new = _in_visit(load(str(folder / "gt.nii.gz"), "labels", straight=False), fixed, folder)
    for name, given in (("compared", None), ("excluded", Image(new.astype(np.uint8), fixed.grid, "new lesions"))):
        result = register(
            Request(fixed, str(folder / "study1_FLAIR.nii.gz"), fixed_excluded=given, pair="person", similarity="lncc")
        )
        rows.append((name, int(new.sum()), _grown(result, new)))
        print(rows[-1], flush=True)
    second = table(("new lesions, visit 2 <- visit 1", "voxels", "volume of the lesions, times"), rows)
    return ["#### What is excluded", "", *first, *second]


def _grown(result: Result, where: np.ndarray) -> str:
    field = result.transform.field
    if field is None:
        return "1 (linear)"
    return f"{float(jacobian_of_field(field, result.fixed.grid)[where].mean()):.3f}"


def _in_visit(common: Image, visit: Image, folder: Path) -> np.ndarray:
    """Return the lesions of the common space at the voxels of the second visit."""
    to_visit = sitk.ReadTransform(str(folder / "study2_FLAIR_to_common_space.txt"))
    inverse = to_visit.GetInverse()
    matrix = np.eye(4)
    matrix[:3, 3] = inverse.TransformPoint((0.0, 0.0, 0.0))
    for c, unit in enumerate(np.eye(3)):
        matrix[:3, c] = np.array(inverse.TransformPoint(unit.tolist())) - matrix[:3, 3]
    found: np.ndarray = resample(common, visit.grid, matrix, sitk.sitkNearestNeighbor, outside=0) > 0
    bright = visit.values[found].mean() / visit.values[visit.values > np.percentile(visit.values, 60)].mean()
    print(f"new lesions: {found.sum()} voxels, {bright:.2f} times as bright as the rest", flush=True)
    return found


def corrections() -> list[str]:
    """One correction of 4.6 mm in a pair of brains: seconds and what is left."""
    rows, folder = [], DATA / "brain_oasis"
    fixed, moving = (str(folder / f"{name}_t1.nii.gz") for name in ("fixed", "moving"))
    base = register(Request(fixed, moving, measure=False))
    grid: Grid = base.fixed.grid
    place = apply_matrix(grid.ijk_to_lps, np.array([[60.0, 100, 110]]))
    partner = fixed_to_moving(base.transform, place + [[4.0, 1.0, -2.0]])
    images = load(fixed, "fixed image"), load(moving, "moving image")
    for preset in ("fast", "standard"):
        shown: list[float] = []
        began = time.perf_counter()
        request = Request(
            *images,
            preset=preset,
            continued=base.transform,
            similarity="lncc",
            pair="people",
            fixed_points=place,
            moving_points=partner,
            guide_points_mm=0.5,
        )

        def show(found: Result, began: float = began, shown: list[float] = shown) -> None:
            shown.append(time.perf_counter() - began)

        result = register(request, show=show)
        after = result.metrics["after"]
        rows.append(
            (
                preset,
                f"{shown[0]:.1f}",
                f"{result.seconds['method']:.1f}",
                f"{after['guided_tre_mm']:.2f}",
                f"{after['digital_folds_percent']:.4f}",
                f"{after['inverse_error_mm']:.3f}",
            )
        )
        print(rows[-1], flush=True)
    head = ("preset", "seconds until shown", "method s", "left at the place, mm", "folds %", "inverse error, mm")
    return ["#### Corrections (brain_oasis, 4.6 mm at one place)", "", *table(head, rows)]


def series() -> list[str]:
    """The segmentation of one frame of a heart brought to the others, ours and by ANTs."""
    folder, reference = DATA / "cardiac_4d", 4
    images = sitk.ReadImage(str(folder / "img4d.nii.gz"))
    labels = sitk.ReadImage(str(folder / "seg4d_resliced.nii.gz"))
    frames = [from_sitk(images[:, :, :, n], f"frame {n}") for n in range(images.GetSize()[3])]
    given = [from_sitk(labels[:, :, :, n], f"labels {n}") for n in range(len(frames))]
    given = [dataclasses.replace(one, values=one.values.astype(np.int32)) for one in given]
    rows = []
    for chain in ("reference", "neighbor"):
        request = Request(frames[0], frames[0], linear="none", pair="people", similarity="lncc", measure=False)
        began = time.perf_counter()
        found = register_series(Series(frames, reference, request, given[reference], chain=chain), given)
        dice = [one.measured["dice"] for one in found if one.number != reference]
        rows.append((f"svf, {chain}", f"{np.mean(dice):.3f}", f"{min(dice):.3f}", f"{time.perf_counter() - began:.0f}"))
        print(rows[-1], flush=True)
    rows.append(_ants(frames, given, reference))
    return ["#### Series (7 frames of a heart)", "", *table(("method", "Dice", "lowest", "seconds"), rows)]


def _ants(frames: list[Image], given: list[Image], reference: int) -> tuple[object, ...]:
    try:
        import ants
    except ImportError:
        return ("ANTs SyN", "not installed", "", "")
    from SlicerDeepRegLib.metrics.labels import dice_by_label

    dice, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:

        def read(image: Image) -> object:
            write_image(image, Path(folder) / "image.nii.gz")
            return ants.image_read(str(Path(folder) / "image.nii.gz"))

        moving, labels = read(frames[reference]), read(given[reference])
        for number, frame in enumerate(frames):
            if number == reference:
                continue
            fixed = read(frame)
            found = ants.registration(fixed, moving, "SyNOnly", initial_transform="identity")
            brought = ants.apply_transforms(fixed, labels, found["fwdtransforms"], interpolator="nearestNeighbor")
            ants.image_write(brought, str(Path(folder) / "brought.nii.gz"))
            values = load(str(Path(folder) / "brought.nii.gz"), "labels", straight=False).values
            dice.append(float(np.mean(list(dice_by_label(given[number].values, values.astype(np.int32)).values()))))
    row = (
        "ANTs SyN, each frame",
        f"{np.mean(dice):.3f}",
        f"{min(dice):.3f}",
        f"{time.perf_counter() - began:.0f}",
    )
    print(row, flush=True)
    return row


def template() -> list[str]:
    """Two templates of the same hippocampi that began with people of different size: whether they are alike."""
    files = sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))[:COHORT]
    images = [load(str(file), file.name) for file in files]
    labels = [load(str(DATA / "hippocampus" / "labels" / file.name), "labels", straight=False) for file in files]
    labels = [dataclasses.replace(one, values=one.values.astype(np.int32)) for one in labels]
    ml = [(one.values > 0).sum() * abs(np.linalg.det(one.grid.ijk_to_lps[:3, :3])) / 1000 for one in labels]
    starts = int(np.argmin(ml)) + 1, int(np.argmax(ml)) + 1
    request = Request(images[0], images[0], pair="people", preset="fast")
    rows: list[tuple[object, ...]] = [
        ("the people", "", f"{np.mean(ml):.2f} ({min(ml):.2f} to {max(ml):.2f})", "", "", "")
    ]
    for start in starts:
        began = time.perf_counter()
        for made in make_template(images, request, labels, rounds=4, start=start):
            if made.labels is None:
                raise ValueError("the cohort has labels")
            volume = (made.labels.values > 0).sum() * abs(np.linalg.det(made.labels.grid.ijk_to_lps[:3, :3])) / 1000
            seconds = f"{time.perf_counter() - began:.0f}"
            figures = f"{volume:.2f}", f"{made.change_mm:.2f}", f"{made.dice:.3f}", seconds
            rows.append((f"begun with {ml[start - 1]:.2f} ml", made.number, *figures))
            print(rows[-1], flush=True)
    head = ("template", "round", "volume, ml", "from the mean shape, mm", "Dice with most", "seconds")
    return [f"#### A template of {COHORT} hippocampi", "", *table(head, rows)]


PARTS: dict[str, Callable[[], list[str]]] = {
    "landmarks": landmarks,
    "structures": structures,
    "excluded": excluded,
    "corrections": corrections,
    "series": series,
    "template": template,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    prepare_process()
    for name in options.only:
        lines = PARTS[name]()
        if options.write:
            where = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
            command = f"Command: `python benchmarks/guided.py --only {name} --write`. Date: {datetime.date.today()}."
            machine = f"Machine: {where}, torch {torch.__version__}."
            put(f"guided-{name}", f"Guidance: {name}", [f"{command} {machine}", "", *lines])
        else:
            print("\n".join(lines))


if __name__ == "__main__":
    main()
