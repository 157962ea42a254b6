"""Quality, CPU seconds and peak memory of ours and of the peers, in one run; writes benchmarks/RESULTS.md.

Every method runs in a process of its own with two threads, from images in memory to a transform; reading,
writing and measuring are not counted. All transforms are measured by the same code.

    python benchmarks/run.py                      everything
    python benchmarks/run.py --only svf-fast ants-syn
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

THREADS = 2
for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data")) / "open"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
#: What was measured last, so that --only can measure single rows again.
METRICS_FILE = ROOT / "benchmarks" / "work" / "metrics.json"
THIRTY = "2 3 4 7 8 10 11 12 13 14 15 16 17 18 24 28 31 41 42 43 46 47 49 50 51 52 53 54 60 63"
CASES = {
    "brain_oasis": {"fixed": "fixed_t1", "moving": "moving_t1", "labels": ("fixed_aseg", "moving_aseg")},
    "ct_lung": {"fixed": "fixed_ct", "moving": "moving_ct", "points": True, "mask": "fixed_lungmask"},
    "brain2d_oasis": {"fixed": "fixed_t1", "moving": "moving_atlas_t1", "labels": ("fixed_aseg", "moving_atlas_aseg")},
    "head2d_multimodal": {"fixed": "fixed", "moving": "moving"},
}
#: Networks fitted to the pair with the steps of their cards: at half resolution, a single slice at its own.
FITTED = tuple(f"{name}-fit" for name in ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph"))
REFINED = ("wavemorph-fit-refined",)
OURS = ("linear", "svf-fast", "svf-standard", "svf-thorough")
PEERS = ("ants-syn", "sitk-demons", "elastix-bspline", "convexadam")
PLAN = {
    "brain_oasis": OURS + FITTED + REFINED + PEERS,
    "ct_lung": OURS + ("ants-syn", "elastix-bspline"),
    "brain2d_oasis": (*OURS[:3], "fmirnet-fit"),
    "head2d_multimodal": OURS[:3],
}


def path(case, name):
    return DATA / CASES.get(case, {}).get("folder", case) / f"{name}.nii.gz"


# ------------------------------------------------------------------ methods: case -> sitk transform, timer


def align_images(fixed, moving, model):
    """Return the (4, 4) linear transform between two images, fixed to moving points, LPS mm."""
    from SlicerDeepRegLib.methods import Context, linear_method
    from SlicerDeepRegLib.settings import NoSettings
    from SlicerDeepRegLib.types import ImagePair

    return linear_method(model).run(ImagePair(fixed, moving), np.eye(4), NoSettings(), Context()).linear_lps


def ours(method):
    """Register by ours; returns the transform and (CPU seconds, wall seconds) of register() alone."""

    def run(case):
        from SlicerDeepRegLib.files.images import read_image
        from SlicerDeepRegLib.files.transforms import to_sitk_transform
        from SlicerDeepRegLib.pipeline import register
        from SlicerDeepRegLib.processes.current import prepare_process
        from SlicerDeepRegLib.types import Request, Transform

        prepare_process()
        fixed, moving = (read_image(path(case, CASES[case][side])) for side in ("fixed", "moving"))
        with Timer() as timer:
            if method == "linear":
                transform = Transform(align_images(fixed, moving, "affine"))
            else:
                result = register(Request(fixed, moving, device="cpu", measure=False, **asked(method, fixed)))
                transform = result.transform
                steps = next((stage for stage in result.stages if stage.name == "instance optimization"), None)
                if steps is not None:
                    timer.more = {"steps": len(steps.curve), "step_s": steps.seconds / len(steps.curve)}
        if method != "linear":  # register() looks for the peak of each part anew
            timer.peak_gb = max(timer.peak_gb, result.most_gb() or 0)
        timer.with_inverse = transform
        return to_sitk_transform(transform, fixed.dimensions), timer

    return run


def asked(method, fixed):
    """What a request of that row asks for; trained:NAME and trained:NAME:STEPS are models, the second refined."""
    if method.startswith("trained:"):
        _, name, steps = f"{method}:0".split(":")[:3]
        return {"method": name, "preset": "standard", "settings": {"refine": int(steps)}}
    if method in FITTED + REFINED:
        name, preset = method.split("-fit")[0], "standard" if fixed.grid.is_planar else "fast"
        return {"method": name, "preset": preset, "settings": {"refine": 40} if method in REFINED else {}}
    return {"method": "svf", "preset": method.split("-")[1]}


def sitk_affine(fixed, moving):
    transform = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(transform, True)
    method.Execute(fixed, moving)
    return transform


def read_pair(case):
    return [sitk.ReadImage(str(path(case, CASES[case][side])), sitk.sitkFloat32) for side in ("fixed", "moving")]


def sitk_demons(case):
    """Diffeomorphic demons after an affine, histograms matched, three levels."""
    fixed, moving = read_pair(case)
    with Timer() as timer:
        affine = sitk_affine(fixed, moving)
        moved = sitk.HistogramMatching(sitk.Resample(moving, fixed, affine), fixed, 256, 15, True)
        field = None
        for shrink, iterations in ((4, 50), (2, 50), (1, 30)):
            small = [
                sitk.Shrink(sitk.SmoothingRecursiveGaussian(p, shrink / 2), [shrink] * 3) if shrink > 1 else p
                for p in (fixed, moved)
            ]
            demons = sitk.DiffeomorphicDemonsRegistrationFilter()
            demons.SetNumberOfIterations(iterations)
            demons.SetStandardDeviations(1.0)
            if field is not None:
                field = sitk.Resample(field, small[0], sitk.Transform(), sitk.sitkLinear)
                field = demons.Execute(small[0], small[1], field)
            else:
                field = demons.Execute(*small)
        transform = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(sitk.Image(field))])
    return transform, timer


def ants_syn(case):
    import ants

    fixed, moving = (ants.image_read(str(path(case, CASES[case][side]))) for side in ("fixed", "moving"))
    with Timer() as timer:
        found = ants.registration(fixed, moving, type_of_transform="SyN", random_seed=1)
    with tempfile.TemporaryDirectory() as folder:
        composed = ants.apply_transforms(fixed, moving, found["fwdtransforms"], compose=os.path.join(folder, "all"))
        field = sitk.Cast(sitk.ReadImage(composed), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(field), timer


def elastix_bspline(case):
    import itk

    fixed, moving = (itk.imread(str(path(case, CASES[case][side])), itk.F) for side in ("fixed", "moving"))
    with Timer() as timer:
        parameters = itk.ParameterObject.New()
        for kind in ("translation", "affine", "bspline"):
            parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind))
        # Threads by the environment: its own argument for them ends the process (itk-elastix 0.25.4).
        _, found = itk.elastix_registration_method(fixed, moving, parameter_object=parameters)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # transformix leaves deformationField.nii where it runs
        field = itk.transformix_deformation_field(moving, found)
        itk.imwrite(field, os.path.join(folder, "field.mha"))
        vectors = sitk.ReadImage(os.path.join(folder, "field.mha"), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(vectors), timer


def convexadam(case):
    """ConvexAdam with MIND and its defaults, after the same affine as the demons."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    torch.set_num_threads(THREADS)
    fixed, moving = read_pair(case)
    with Timer() as timer:
        affine = sitk_affine(fixed, moving)
        moved = sitk.Resample(moving, fixed, affine)
        steps = convex_adam_pt(
            torch.from_numpy(sitk.GetArrayFromImage(fixed)),
            torch.from_numpy(sitk.GetArrayFromImage(moved)),
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
    steps = np.asarray(steps, np.float64)[..., ::-1] * np.array(fixed.GetSpacing())  # k, j, i voxels to i, j, k mm
    direction = np.array(fixed.GetDirection()).reshape(3, 3)
    field = sitk.GetImageFromArray(np.ascontiguousarray(steps @ direction.T), isVector=True)
    field.CopyInformation(fixed)
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)]), timer


METHODS = {name: ours(name) for name in OURS + FITTED + REFINED}
METHODS |= {
    "ants-syn": ants_syn,
    "sitk-demons": sitk_demons,
    "elastix-bspline": elastix_bspline,
    "convexadam": convexadam,
}


class Timer:
    """CPU and wall seconds of a block, and the peak memory of the process when it ends."""

    with_inverse = None  # our transform, whose inverse is measured too
    more = {}  # metrics of a network's fit

    def __enter__(self):
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error):
        self.cpu_s = time.process_time() - self._cpu
        self.wall_s = time.perf_counter() - self._wall
        self.peak_gb = peak_gb()


def peak_gb():
    """The most memory this process has held. Not ru_maxrss on Linux: that starts from the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


# ------------------------------------------------------------------ measuring


def measure(case, transform, with_inverse=None):
    """The metrics of a fixed-to-moving SimpleITK transform, by the same code for every method."""
    from SlicerDeepRegLib.files.images import from_sitk, read_image
    from SlicerDeepRegLib.files.points import read_points
    from SlicerDeepRegLib.metrics.intensities import similarity_metrics
    from SlicerDeepRegLib.metrics.labels import dice_by_label
    from SlicerDeepRegLib.metrics.regularity import inverse_metrics, regularity_metrics
    from SlicerDeepRegLib.metrics.surfaces import surface_by_label
    from SlicerDeepRegLib.types import Field

    info = CASES[case]
    fixed_picture = sitk.ReadImage(str(path(case, info["fixed"])))
    moving_picture = sitk.ReadImage(str(path(case, info["moving"])), sitk.sitkFloat32)
    fixed = from_sitk(fixed_picture, "fixed")
    warped = sitk.Resample(moving_picture, fixed_picture, transform, sitk.sitkLinear, 0.0)
    metrics = {}
    mask = fixed.values > fixed.values.min()
    if "labels" in info:
        labels = [sitk.ReadImage(str(path(case, name))) for name in info["labels"]]
        moved = sitk.Resample(labels[1], labels[0], transform, sitk.sitkNearestNeighbor, 0)
        first, second = (np.squeeze(sitk.GetArrayFromImage(p)).astype(np.int32) for p in (labels[0], moved))
        mask = (sitk.GetArrayFromImage(labels[0]) > 0).reshape(fixed.grid.shape_kji)
        wanted = [int(n) for n in THIRTY.split()]
        dice = dice_by_label(first, second)
        spacing = [s for s, n in zip(labels[0].GetSpacing()[::-1], labels[0].GetSize()[::-1]) if n > 1]
        keep = np.isin(first, wanted) * first, np.isin(second, wanted) * second
        hd95 = surface_by_label(keep[0], keep[1], tuple(spacing))["hd95"]
        metrics["dice"] = float(np.mean([dice[n] for n in wanted if n in dice]))
        metrics["hd95_mm"] = float(np.mean(list(hd95.values())))
    if "mask" in info:
        mask = read_image(path(case, info["mask"])).values > 0
    if "points" in info:
        there, here = (
            read_points(DATA / case / f"{side}_points_lps_mm.csv").positions_lps_mm for side in ("moving", "fixed")
        )
        errors = [np.linalg.norm(np.array(transform.TransformPoint(p.tolist())) - q) for p, q in zip(here, there)]
        metrics["tre_mm"], metrics["tre_max_mm"] = float(np.mean(errors)), float(np.max(errors))
    values = [
        np.asarray(v, np.float32) for v in (fixed.values, from_sitk(warped, "").values.reshape(fixed.values.shape))
    ]
    scaled = [np.clip((v - np.percentile(v, 0.1)) / np.ptp(np.percentile(v, [0.1, 99.9])), 0, 1) for v in values]
    metrics["ncc"] = similarity_metrics(*scaled, mask)["ncc"]
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        fixed_picture.GetSize(),
        fixed_picture.GetOrigin(),
        fixed_picture.GetSpacing(),
        fixed_picture.GetDirection(),
    )
    vectors = sitk.GetArrayFromImage(field)
    vectors = np.concatenate([vectors, np.zeros((*vectors.shape[:-1], 3 - vectors.shape[-1]))], -1)
    metrics.update(
        regularity_metrics(Field(vectors.reshape(*fixed.values.shape, 3).astype(np.float32), fixed.grid), mask)
    )
    if with_inverse is not None:
        metrics.update(inverse_metrics(with_inverse, mask, grid=fixed.grid))
    return metrics


def one(case, method):
    """Run one method on one case in this process; returns its metrics."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    transform, timer = (METHODS.get(method) or ours(method))(case)
    metrics = {"cpu_s": timer.cpu_s, "wall_s": timer.wall_s, "peak_gb": timer.peak_gb, **timer.more}
    metrics.update(measure(case, transform, timer.with_inverse))
    return metrics


def in_process(*arguments, script=__file__):
    """The JSON that a script prints as its last line when started with the arguments."""
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, encoding="utf-8", check=False, timeout=3600
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


# ------------------------------------------------------------------ the linear stage on known motions


def linear_metrics():
    """Errors of the linear stage on known motions of brain_oasis, and its correlation on two subjects."""
    from SlicerDeepRegLib.files.images import read_image
    from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
    from SlicerDeepRegLib.preparation.resample import resample
    from SlicerDeepRegLib.types import Image

    lines = []
    fixed = read_image(path("brain_oasis", "fixed_t1"))
    points = voxel_centers_lps(fixed.grid)[::4, ::4, ::4][fixed.values[::4, ::4, ::4] > 0]
    center = points.mean(0)
    for model, degrees, shift, scale in (
        ("rigid", (10, -8, 5), (10, -5, 8), (1, 1, 1)),
        ("rigid", (30, 0, 0), (0, 40, 0), (1, 1, 1)),
        ("rigid", (-20, 15, 15), (25, -20, 22), (1, 1, 1)),
        ("affine", (0, 0, 30), (40, 0, 0), (1.15, 1, 0.9)),
        ("affine", (15, -15, 20), (-20, 25, 20), (0.85, 1.1, 1.15)),
    ):
        turn = sitk.Euler3DTransform()
        turn.SetRotation(*np.deg2rad(degrees).tolist())
        truth = np.eye(4)
        truth[:3, :3] = np.array(turn.GetMatrix()).reshape(3, 3) @ np.diag(scale)
        truth[:3, 3] = center + shift - truth[:3, :3] @ center
        # The moved copy shows, at T(x), what the brain shows at x.
        values = resample(fixed, _box(fixed.grid, truth), np.linalg.inv(truth), outside=0)
        moving = Image(values, _box(fixed.grid, truth), "moved")
        with Timer() as timer:
            matrix = align_images(fixed, moving, model)
        error = np.linalg.norm(apply_matrix(matrix, points) - apply_matrix(truth, points), axis=1).mean()
        name = f"{model}: {'/'.join(map(str, degrees))} degrees, {'/'.join(map(str, shift))} mm, scale {scale}"
        lines.append([name, f"{error:.2f} mm", f"{timer.cpu_s:.0f}"])
    case = "brain_native_to_aligned"
    fixed, moving = read_image(path(case, "fixed_aligned_t1")), read_image(path(case, "moving_native_t1"))
    inside = fixed.values > 0
    with Timer() as timer:
        affine = align_images(fixed, moving, "affine")
    for name, matrix, seconds in (("as given", np.eye(4), "-"), ("affine", affine, f"{timer.cpu_s:.0f}")):
        moved = resample(moving, fixed.grid, matrix, outside=0)
        value = np.corrcoef(fixed.values[inside], moved[inside])[0, 1]
        lines.append([f"{case}, {name}: correlation in the fixed brain", f"{value:.3f}", seconds])
    return lines


def _box(grid, truth):
    """A grid that holds the whole moved image."""
    from SlicerDeepRegLib.geometry.points import apply_matrix
    from SlicerDeepRegLib.types import Grid

    size = np.array(grid.size_ijk) - 1
    corners = apply_matrix(truth @ grid.ijk_to_lps, np.array(list(np.ndindex(2, 2, 2))) * size)
    low, high = corners.min(0), corners.max(0)
    matrix = np.eye(4)
    matrix[:3, 3] = low
    return Grid(tuple(np.ceil(high - low).astype(int) + 1), matrix)


# ------------------------------------------------------------------ the page


COLUMNS = {
    "dice": ("Dice", "{:.3f}"),
    "hd95_mm": ("HD95 mm", "{:.2f}"),
    "tre_mm": ("TRE mm", "{:.2f}"),
    "tre_max_mm": ("largest", "{:.1f}"),
    "ncc": ("NCC", "{:.3f}"),
    "folds_percent": ("folds %", "{:.4f}"),
    "ndv_percent": ("NDV %", "{:.5f}"),
    "sdlogj": ("SDlogJ", "{:.3f}"),
    "jacobian_min": ("min J", "{:.3f}"),
    "inverse_error_mm": ("inverse mm", "{:.3f}"),
    "inverse_over_tenth_mm_percent": ("> 0.1 mm %", "{:.1f}"),
    "cpu_s": ("CPU s", "{:.1f}"),
    "wall_s": ("wall s", "{:.1f}"),
    "peak_gb": ("peak GB", "{:.2f}"),
    "steps": ("steps", "{:.0f}"),
    "step_s": ("s / step", "{:.2f}"),
}


def table(heading, lines):
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def case_table(case, found):
    shown = [name for name in COLUMNS if any(name in f for f in found.values())]
    base = found.get("ants-syn") or found.get("elastix-bspline")
    heading = ["method", *[COLUMNS[name][0] for name in shown]] + (
        ["CPU s / ANTs SyN", "GB / ANTs SyN"] if base else []
    )
    lines = []
    for method, metrics in found.items():
        if "error" in metrics:
            lines.append([method, f"failed: {metrics['error']}"] + [""] * (len(heading) - 2))
            continue
        line = [method, *[COLUMNS[n][1].format(metrics[n]) if n in metrics else "-" for n in shown]]
        if base and "cpu_s" in base and "cpu_s" in metrics:
            line += [f"{metrics['cpu_s'] / base['cpu_s']:.2f}", f"{metrics['peak_gb'] / base['peak_gb']:.2f}"]
        lines.append(line + ["-"] * (len(heading) - len(line)))
    return f"### {case}\n\n{table(heading, lines)}\n"


def machine():
    names = ("torch", "SimpleITK", "numpy", "scipy", "antspyx", "itk-elastix", "convexAdam")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), model)
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}, " + ", ".join(
        versions
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "METHOD"))
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--only", nargs="*", help="measure these methods again and keep the other rows")
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"The benchmark needs the images of {DATA}; set DEEPREG_DATA to the folder that holds 'open'.")
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    if options.linear:
        print(json.dumps(linear_metrics()))
        return
    metrics = json.loads(METRICS_FILE.read_text(encoding="utf-8")) if options.only and METRICS_FILE.exists() else {}
    for case, methods in PLAN.items():
        found = metrics.setdefault(case, {"as given": measure_as_given(case)})
        for method in methods:
            if options.only and method not in options.only:
                continue
            print(f"{case}: {method} ...", file=sys.stderr, flush=True)
            found[method] = in_process("--one", case, method)
            print(f"  {found[method]}", file=sys.stderr, flush=True)
            METRICS_FILE.parent.mkdir(exist_ok=True)  # after every row: a run takes more than an hour
            METRICS_FILE.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    if not options.only or "linear stage" not in metrics:
        print("linear stage ...", file=sys.stderr, flush=True)
        metrics["linear stage"] = in_process("--linear")
    METRICS_FILE.parent.mkdir(exist_ok=True)
    METRICS_FILE.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    pages = [
        case_table(case, {m: metrics[case][m] for m in ("as given", *PLAN[case]) if m in metrics[case]})
        for case in PLAN
    ]
    pages.append(
        "### Linear alignment alone\n\n" + table(["motion", "mean error", "CPU s"], metrics["linear stage"]) + "\n"
    )
    write_page("\n".join(pages))


def measure_as_given(case):
    dimensions = sitk.ReadImage(str(path(case, CASES[case]["fixed"]))).GetDimension()
    metrics = measure(case, sitk.Transform(dimensions, sitk.sitkIdentity))
    return {
        name: value for name, value in metrics.items() if name in ("dice", "hd95_mm", "tre_mm", "tre_max_mm", "ncc")
    }


def write_page(page):
    """Put the tables between the marks of RESULTS.md; what is written by hand around them stays."""
    begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
    heading = (
        f"Command: `make benchmark`. Date: {datetime.date.today()}. Machine: {machine()}. {THREADS} threads.\n\n"
        "CPU seconds are those of the registration alone (linear alignment included), peak memory is that of the whole "
        "process. Dice and HD95 are means over 30 labels (brain) or those present (2D); folds, NDV and SDlogJ are "
        "those of the whole transform inside the fixed labels (brain) or lung mask, measured by the same code for "
        "every method. Inverse: the mean distance between points there, anywhere between voxel centers, and where "
        "they return to, and the percentage of those that miss by more than 0.1 mm.\n\n"
    )
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else f"# Results\n\n{begin}\n{end}\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    RESULTS.write_text(f"{before}{begin}\n{heading}{page}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
