"""Several contrasts of one person, and pairs of all kinds: ours by default, beside ANTs and elastix.

    python benchmarks/contrasts.py                          everything; prints the tables
    python benchmarks/contrasts.py --write                  and puts them into RESULTS.md
    python benchmarks/contrasts.py --only t1-t2 afids       measure these rows again and keep the others
    python benchmarks/contrasts.py --methods ours           measure this method again and keep the others
    python benchmarks/contrasts.py --only --write           measure nothing, write what was measured last
    python benchmarks/contrasts.py --only hippocampus --trials 1

Every method runs on every case in a process of its own with two threads, from images in memory to a transform; seconds
are those of the CPU, of the registration alone. The pairs and what is known of them are described in the README of
../shared/data. Known motions change the geometry of the moving image, not its voxels.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import run  # sets the threads: before SimpleITK, torch and ANTs
import SimpleITK as sitk
from results import put
from scipy.spatial.transform import Rotation
from SlicerDeepRegLib.anatomy import STRUCTURES
from SlicerDeepRegLib.files.images import read_image, to_sitk
from SlicerDeepRegLib.files.points import read_points
from SlicerDeepRegLib.files.transforms import to_sitk_transform
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.metrics.content import above_background
from SlicerDeepRegLib.metrics.labels import dice_by_label
from SlicerDeepRegLib.metrics.regularity import regularity_metrics
from SlicerDeepRegLib.types import Field, Grid, Image

HEADING = "Several contrasts of one person, and pairs of all kinds"
#: What was measured last, so that single rows can be measured again.
METRICS_FILE = run.ROOT / "benchmarks" / "work" / "contrasts.json"
METHODS = ("given", "rigid", "ours", "ants", "elastix")
#: The package that a peer needs.
PACKAGES = {"ants": "antspyx", "elastix": "itk-elastix"}
MOTIONS, PAIRS = 4, 20
#: Of a known motion, from and to: degrees about an axis through the center of the moving image, and mm.
DEGREES, SHIFT_MM = (5.0, 15.0), (5.0, 15.0)
#: Mean distance of the AFIDs before registration: tells whether they are read rightly.
AFIDS_MM = 4.80
#: Points of a head whose published transform is known.
HEAD_POINTS = 2000
#: How far the two ways of applying a transform of ANTs may differ on average.
SAME_MM = 0.25


# ------------------------------------------------------------------ cases


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """A pair and what is known of it.

    Attributes:
        here, there: (N, 3) matching points of the fixed and the moving image, LPS mm; or None.
        labels: of the fixed and the moving image; or empty.
        wanted: the labels to average.
    """

    fixed: Image
    moving: Image
    here: np.ndarray | None = None
    there: np.ndarray | None = None
    labels: tuple[Image, ...] = ()
    wanted: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """A row: what it is called, and how to read each of its trials.

    Attributes:
        read: the trial of a number from 0.
        trials: how many there are.
        metric: what is compared, "error_mm" or "dice".
        syn: the type of transform that ANTs is asked for.
    """

    title: str
    read: Callable[[int], Trial]
    trials: int = 1
    metric: str = "error_mm"
    syn: str = "SyNRA"


def image(folder, name):
    return read_image(run.DATA / folder / f"{name}.nii.gz")


def points(folder, name):
    return read_points(run.DATA / folder / f"{name}.csv").positions_lps_mm


def aligned(folder, fixed, moving, inside, number):
    """A pair on one grid whose truth is the identity."""
    here = points(f"moved_contrasts/{inside}", "fixed_points")
    return Trial(image(folder, fixed), image(folder, moving), here, here)


def moved(folder, fixed, moving, inside, number):
    """The same pair after a known motion of the moving image."""
    pair = aligned(folder, fixed, moving, inside, number)
    truth = motion(pair.moving.grid, seed=number + 1)
    grid = Grid(pair.moving.grid.size_ijk, truth @ pair.moving.grid.ijk_to_lps)
    there = apply_matrix(truth, pair.here)
    return dataclasses.replace(pair, moving=dataclasses.replace(pair.moving, grid=grid), there=there)


def motion(grid, seed):
    """A random (4, 4) rigid motion about the center of a grid, LPS mm."""
    random = np.random.default_rng(seed)
    axis, way = (v / np.linalg.norm(v) for v in random.standard_normal((2, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(axis * np.deg2rad(random.uniform(*DEGREES))).as_matrix()
    shift = way * random.uniform(*SHIFT_MM)
    matrix[:3, 3] = grid.center_lps_mm + shift - matrix[:3, :3] @ grid.center_lps_mm
    return matrix


def warped(folder, fixed, made, number):
    """A pair whose moving image was made by a smooth deformation."""
    here, there = (points(f"moved_contrasts/{made}", f"{side}_points") for side in ("fixed", "moving"))
    return Trial(image(folder, fixed), image(f"moved_contrasts/{made}", "moving"), here, there)


def afids(number):
    here = points("templates/afids", "fixed_mni152_2009a_points_lps_mm")
    there = points("templates/afids", "moving_colin27_mricron_points_lps_mm")
    given = np.linalg.norm(here - there, axis=1).mean()
    if abs(given - AFIDS_MM) > 0.005:
        raise ValueError(f"the AFIDs are {given:.2f} mm apart as given, and should be {AFIDS_MM:.2f}")
    return Trial(image("templates", "mni152_2009a_t1"), image("templates", "colin27_t1"), here, there)


def visits(name, number):
    """An image of either visit, to the FLAIR of the first, against the published transforms."""
    fixed, moving = image("ms_two_visits", "study1_FLAIR"), image("ms_two_visits", name)
    shown = np.argwhere(above_background(fixed.values))
    chosen = shown[np.random.default_rng(0).choice(len(shown), HEAD_POINTS, replace=False)]
    here = apply_matrix(fixed.grid.ijk_to_lps, chosen[:, ::-1])
    return Trial(fixed, moving, here, apply_matrix(published(name), here))


def published(name):
    """The published (4, 4) transform from points of the first FLAIR to points of an image of either visit, LPS mm.

    Each file X_to_Y.txt maps points of Y to points of X, as ITK resamples X into Y. So T1 and T2 of the first visit
    are I, the second FLAIR is C2 inv(C1), and T1 and T2 of the second visit are I C2 inv(C1). This way was told from
    the others by our rigid transform and by the mutual information (64 bins, inside the head; as given, rigid, this
    way, the best of the others): second FLAIR 0.36 mm from our rigid one against 10.3 and more, and 0.384, 1.253,
    1.256, 0.386; second T1 0.98 mm against 2.00 (I inverted) and more, and 0.270, 0.532, 0.550, 0.459; second T2 1.03
    mm against 1.85, and 0.243, 0.553, 0.585, 0.536; first T2 1.03 mm against 1.68, and 0.643, 0.590, 0.623, 0.562.
    Only of the first T1, which moved by less than a voxel, is the inverse nearer to our rigid one (0.87 mm against
    1.04); the mutual information says the same as of the others (0.568, 0.549, 0.576, 0.552). I and C are affine: T2
    is stretched by 1.0 to 1.6 percent along z, which no rigid transform can follow.
    """
    study, contrast = name.split("_")
    matrix = np.eye(4)
    if contrast != "FLAIR":
        matrix = matrix_of(f"{name}_intrastudy_to_FLAIR")
    if study == "study2":
        first, second = (matrix_of(f"study{n}_FLAIR_to_common_space") for n in (1, 2))
        matrix = matrix @ second @ np.linalg.inv(first)
    return matrix


def matrix_of(name):
    """The (4, 4) matrix of a linear ITK transform."""
    transform = sitk.ReadTransform(str(run.DATA / "ms_two_visits" / f"{name}.txt"))
    origin = np.array(transform.TransformPoint([0.0] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()], 1)
    matrix[:3, 3] = origin
    return matrix


def hippocampus(number):
    folder = run.DATA / "hippocampus"
    names = sorted(file.name for file in (folder / "images").glob("*.nii.gz"))
    random = np.random.default_rng(0)
    fixed, moving = [random.choice(len(names), 2, replace=False) for _ in range(number + 1)][-1]
    images, labels = ([read_image(folder / kind / names[n]) for n in (fixed, moving)] for kind in ("images", "labels"))
    return Trial(*images, labels=tuple(labels), wanted=(1, 2))


def patients(fixed, moving, number):
    images, labels = (
        [image("brain_patients", f"{name}_{kind}") for name in (fixed, moving)] for kind in ("t1", "aseg")
    )
    return Trial(*images, labels=tuple(labels), wanted=tuple(s.number for s in STRUCTURES))


def contrasts(name, title, *pair):
    """The two rows of a pair whose truth is the identity."""
    return {
        name: Case(f"{title}, as given", functools.partial(aligned, *pair)),
        f"{name}-moved": Case(f"{title}, known motions", functools.partial(moved, *pair), MOTIONS),
    }


BRAIN, HEAD = "brain_multicontrast", "ct_mr_head"
CASES = {
    **contrasts("t1-t2", "brain_multicontrast T1 <- T2", BRAIN, "t1", "t2", "t1_flair"),
    **contrasts("t1-flair", "brain_multicontrast T1 <- FLAIR", BRAIN, "t1", "flair", "t1_flair"),
    **contrasts("flair-t2", "brain_multicontrast FLAIR <- T2", BRAIN, "flair", "t2", "t1_flair"),
    **contrasts("ct-t1", "ct_mr_head CT <- T1", HEAD, "ct", "t1", "ct_t1"),
    "warped-t1-flair": Case("moved_contrasts T1 <- FLAIR", functools.partial(warped, BRAIN, "t1", "t1_flair")),
    "warped-t1-t2": Case("moved_contrasts T1 <- T2", functools.partial(warped, BRAIN, "t1", "t1_t2")),
    "warped-ct-t1": Case("moved_contrasts CT <- T1", functools.partial(warped, HEAD, "ct", "ct_t1")),
    "afids": Case("AFIDs, MNI152 2009a <- Colin27", afids),
    **{
        f"ms-{name.lower().replace('_', '-')}": Case(
            f"ms_two_visits study1_FLAIR <- {name}", functools.partial(visits, name)
        )
        for name in ("study1_T1W", "study1_T2W", "study2_FLAIR", "study2_T1W", "study2_T2W")
    },
    "hippocampus": Case("hippocampus, random pairs", hippocampus, PAIRS, "dice", "SyN"),
    "patients-ab": Case("brain_patients a <- b", functools.partial(patients, "a", "b"), 1, "dice", "SyN"),
    "patients-ba": Case("brain_patients b <- a", functools.partial(patients, "b", "a"), 1, "dice", "SyN"),
}


# ------------------------------------------------------------------ methods: trial, case -> what was found


@dataclasses.dataclass(eq=False)
class Found:
    """A transform from points of the fixed image to points of the moving one, LPS mm, and what it took.

    Attributes:
        told: what else a row says: what the pair was taken for, and the metric.
    """

    transform: sitk.Transform
    seconds: float | None = None
    told: dict = dataclasses.field(default_factory=dict)

    def moved(self, here):
        """Where points of the fixed image are in the moving one."""
        return np.array([self.transform.TransformPoint(point) for point in here.tolist()])

    def warped_labels(self, trial):
        """The moving labels on the fixed grid, (K, J, I)."""
        labels = to_sitk(trial.labels[1])
        return sitk.GetArrayFromImage(
            sitk.Resample(labels, to_sitk(trial.fixed), self.transform, sitk.sitkNearestNeighbor, 0.0)
        )


@dataclasses.dataclass(eq=False)
class FoundByAnts(Found):
    """The same, applied by ANTs itself to points and labels.

    Attributes:
        files: its list of forward transforms. It pulls the moving image onto the fixed grid, and takes points of the
            fixed image to the moving one.
    """

    files: tuple[str, ...] = ()

    def moved(self, here):
        import ants
        import pandas

        table = ants.apply_transforms_to_points(3, pandas.DataFrame(here, columns=list("xyz")), list(self.files))
        there = table[["x", "y", "z"]].to_numpy()
        # The composed field is what pulls the image: points go its way, or this measures something else.
        apart = np.linalg.norm(there - super().moved(here), axis=1).mean()
        assert apart < SAME_MM, f"ANTs takes points and the image different ways, {apart:.2f} mm apart"
        return there

    def warped_labels(self, trial):
        import ants

        fixed, labels = ants_image(trial.fixed), ants_image(trial.labels[1])
        found = ants.apply_transforms(fixed, labels, list(self.files), interpolator="nearestNeighbor")
        return found.numpy().T


def given(trial, case):
    return Found(sitk.Transform(3, sitk.sitkIdentity))


def ours(trial, case, **asked):
    """Register as a request without further wishes does."""
    from SlicerDeepRegLib.pipeline import register
    from SlicerDeepRegLib.processes.current import prepare_process
    from SlicerDeepRegLib.types import Request

    prepare_process()
    with run.Timer() as timer:
        result = register(Request(trial.fixed, trial.moving, device="cpu", measure=False, **asked))
    told = {"kind": result.provenance["pair"]["kind"], "metric": result.provenance["similarity"]}
    return Found(to_sitk_transform(result.transform), timer.cpu_s, told)


def ants_image(picture):
    import ants

    grid = picture.grid
    return ants.from_numpy(
        picture.values.astype(np.float32).T,
        origin=grid.origin_lps_mm.tolist(),
        spacing=grid.spacing_mm.tolist(),
        direction=grid.direction,
    )


def ants_syn(trial, case):
    import ants

    fixed, moving = ants_image(trial.fixed), ants_image(trial.moving)
    with run.Timer() as timer:
        found = ants.registration(fixed, moving, type_of_transform=case.syn, random_seed=1)
    files = found["fwdtransforms"]
    composed = ants.apply_transforms(fixed, moving, files, compose=os.path.join(tempfile.gettempdir(), "all"))
    vectors = sitk.Cast(sitk.ReadImage(composed), sitk.sitkVectorFloat64)
    return FoundByAnts(sitk.DisplacementFieldTransform(vectors), timer.cpu_s, files=tuple(files))


def itk_image(picture):
    import itk

    converted = itk.image_from_array(picture.values.astype(np.float32))
    converted.SetOrigin(picture.grid.origin_lps_mm.tolist())
    converted.SetSpacing(picture.grid.spacing_mm.tolist())
    converted.SetDirection(itk.matrix_from_array(np.ascontiguousarray(picture.grid.direction)))
    return converted


def elastix(trial, case):
    """Its default maps of parameters, rigid and B-spline."""
    import itk

    fixed, moving = itk_image(trial.fixed), itk_image(trial.moving)
    with run.Timer() as timer:
        parameters = itk.ParameterObject.New()
        for kind in ("rigid", "bspline"):
            parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind))
        # Threads by the environment: its own argument for them ends the process (itk-elastix 0.25.4).
        _, found = itk.elastix_registration_method(fixed, moving, parameter_object=parameters)
    before, file = os.getcwd(), os.path.join(tempfile.gettempdir(), "field.mha")
    os.chdir(tempfile.gettempdir())  # transformix leaves deformationField.nii where it runs
    itk.imwrite(itk.transformix_deformation_field(moving, found), file)
    os.chdir(before)
    return Found(sitk.DisplacementFieldTransform(sitk.ReadImage(file, sitk.sitkVectorFloat64)), timer.cpu_s)


REGISTER = {
    "given": given,
    "rigid": functools.partial(ours, method="rigid"),
    "ours": ours,
    "ants": ants_syn,
    "elastix": elastix,
}


def is_installed(method):
    try:
        metadata.version(PACKAGES.get(method, "numpy"))
    except metadata.PackageNotFoundError:
        return False
    return True


# ------------------------------------------------------------------ measuring


def measure(trial, found):
    """The metrics of one trial."""
    metrics = {"seconds": found.seconds, **found.told}
    if trial.here is not None:
        metrics["error_mm"] = float(np.linalg.norm(found.moved(trial.here) - trial.there, axis=1).mean())
    if trial.labels:
        first = trial.labels[0].values.astype(np.int32)
        dice = dice_by_label(first, found.warped_labels(trial).astype(np.int32))
        metrics["dice"] = float(np.mean([dice.get(n, 0.0) for n in trial.wanted]))
        metrics["sdlogj"] = regularity_metrics(field_of(found.transform, trial.fixed), first > 0)["sdlogj"]
    return metrics


def field_of(transform, fixed):
    """The displacements of a SimpleITK transform at the voxels of an image."""
    grid = to_sitk(fixed)
    vectors = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    )
    return Field(sitk.GetArrayFromImage(vectors).astype(np.float32), fixed.grid)


def one(case, method, trials):
    """The metrics of each trial of a case, measured in this process."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(run.THREADS)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # ANTs leaves its transforms there
        for number in range(trials):
            try:
                trial = CASES[case].read(number)
                found.append(measure(trial, REGISTER[method](trial, CASES[case])))
            except Exception as error:  # the other trials are to be measured
                found.append({"error": f"{type(error).__name__}: {error}"})
        tempfile.tempdir = None
    return found


def in_process(case, method, trials):
    """The same from a process of its own."""
    try:
        found = run.in_process("--one", case, method, str(trials), script=str(Path(__file__).resolve()))
    except subprocess.TimeoutExpired:
        found = {"error": "took more than an hour"}
    except (json.JSONDecodeError, IndexError):
        found = {"error": "said nothing that can be read"}
    return [found] if isinstance(found, dict) else found


# ------------------------------------------------------------------ the tables


FORMS = {"error_mm": "{:.2f}", "dice": "{:.3f}", "sdlogj": "{:.3f}", "seconds": "{:.0f}"}
WORST = {"error_mm": max, "dice": min}
#: Heading of a column, the method and what of it; "" is what the case compares.
COLUMNS = {
    "error_mm": (
        ("before", "given", ""),
        ("rigid", "rigid", ""),
        ("ours", "ours", ""),
        ("taken for", "ours", "kind"),
        ("metric", "ours", "metric"),
        ("ours CPU s", "ours", "seconds"),
        ("ANTs SyNRA", "ants", ""),
        ("ANTs CPU s", "ants", "seconds"),
        ("elastix", "elastix", ""),
        ("elastix CPU s", "elastix", "seconds"),
    ),
    "dice": (
        ("before", "given", ""),
        ("rigid", "rigid", ""),
        ("ours", "ours", ""),
        ("taken for", "ours", "kind"),
        ("metric", "ours", "metric"),
        ("ours SDlogJ", "ours", "sdlogj"),
        ("ours CPU s", "ours", "seconds"),
        ("ANTs SyN", "ants", ""),
        ("ANTs SDlogJ", "ants", "sdlogj"),
        ("ANTs CPU s", "ants", "seconds"),
        ("elastix", "elastix", ""),
        ("elastix SDlogJ", "elastix", "sdlogj"),
        ("elastix CPU s", "elastix", "seconds"),
    ),
}
TITLES = {"error_mm": "Mean error in mm", "dice": "Mean Dice"}


def cell(found, name, method):
    """What a cell says of the trials of a method."""
    if not found:
        return "-" if is_installed(method) else "not installed"
    values = [trial[name] for trial in found if trial.get(name) is not None]
    failed = sum("error" in trial for trial in found)
    if not values:
        return "failed" if failed else "-"
    if name in ("kind", "metric"):
        counts = collections.Counter(values).most_common()
        return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} {count}" for value, count in counts)
    said = FORMS[name].format(np.mean(values))
    if len(found) > 1 and name in WORST:
        said += f" ({FORMS[name].format(WORST[name](values))})"
    return f"{said}, {failed} failed" if failed else said


def row(case, by_method):
    """The cells of a case."""
    info = CASES[case]
    count = max((len(found) for found in by_method.values()), default=0)
    title = info.title if info.trials == 1 else f"{info.title} ({count})"
    cells = [cell(by_method.get(method), what or info.metric, method) for _, method, what in COLUMNS[info.metric]]
    return [title, *cells]


def tables(metrics):
    """The lines of Markdown for all cases that something is known of."""
    lines = []
    for kind, columns in COLUMNS.items():
        rows = [row(case, metrics[case]) for case in CASES if CASES[case].metric == kind and metrics.get(case)]
        if rows:
            heading = ["fixed <- moving", *(title for title, _, _ in columns)]
            lines += [f"### {TITLES[kind]}", "", *run.table(heading, rows).splitlines(), ""]
    return lines


def introduction():
    """What stands above the tables."""
    return [
        f"Command: `python benchmarks/contrasts.py --write`. Date: {datetime.date.today()}. Machine: {run.machine()}. "
        f"{run.THREADS} threads.",
        "",
        "Default settings throughout; seconds are those of the CPU, of the registration alone, the mean of the trials. "
        "Where a row has several trials (their number stands behind it), the mean and in parentheses the worst. "
        "Known motions: "
        f"{DEGREES[0]:.0f} to {DEGREES[1]:.0f} degrees about a random axis through the center of the moving image and "
        f"{SHIFT_MM[0]:.0f} to {SHIFT_MM[1]:.0f} mm, of its geometry. The truth of ms_two_visits are the published "
        f"affine transforms, at {HEAD_POINTS} points of the head. ANTs: SyNRA with mutual information on pairs with "
        "points, SyN on those with labels; elastix: its rigid and B-spline parameter maps. Dice is the mean over the "
        "32 labels of brain_patients, and over labels 1 and 2 of the hippocampus; SDlogJ inside the fixed labels.",
        "",
    ]


# ------------------------------------------------------------------ the command


def measure_all(options):
    """Measure what is asked for; returns the trials by case and method, those of before among them."""
    known = METRICS_FILE.exists() and not options.trials
    is_part = options.only is not None or options.methods is not None
    metrics = json.loads(METRICS_FILE.read_text(encoding="utf-8")) if known and is_part else {}
    for case in CASES if options.only is None else options.only:
        for method in METHODS if options.methods is None else options.methods:
            if not is_installed(method):
                continue
            print(f"{case}: {method} ...", file=sys.stderr, flush=True)
            trials = min(CASES[case].trials, options.trials or CASES[case].trials)
            found = metrics.setdefault(case, {})[method] = in_process(case, method, trials)
            print(f"  {found}", file=sys.stderr, flush=True)
            if not options.trials:  # after every one: all take hours
                METRICS_FILE.parent.mkdir(exist_ok=True)
                METRICS_FILE.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    return metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=tuple(CASES), metavar="CASE", help="measure these cases alone")
    parser.add_argument("--methods", nargs="*", choices=METHODS, metavar="NAME", help=f"of {', '.join(METHODS)}")
    parser.add_argument(
        "--trials", type=int, metavar="N", help="at most so many motions or pairs of a case; for a look, not kept"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    parser.add_argument("--cases-list", action="store_true", help="say which cases there are")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "METHOD", "TRIALS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cases_list:
        print("\n".join(f"{name:20s} {case.title} ({case.trials})" for name, case in CASES.items()))
        return
    if not run.DATA.is_dir():
        sys.exit(f"The benchmark needs the images of {run.DATA}; set DEEPREG_DATA to the folder that holds 'open'.")
    if options.one:
        print(json.dumps(one(*options.one[:2], int(options.one[2]))))
        return
    if options.trials is not None and (options.trials < 1 or options.write):
        parser.error("--trials must be 1 or more, and what it measures is not written into RESULTS.md")
    lines = tables(measure_all(options))
    print("\n".join(lines))
    if options.write:
        put("contrasts", HEADING, [*introduction(), *lines])


if __name__ == "__main__":
    main()
