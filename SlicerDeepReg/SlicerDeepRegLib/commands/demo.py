"""``slicerdeepreg demo``: the main job on a pair that needs no download, or on two images of the user's.

The pair is the MNI152 template that nilearn ships (moving) and a patient made from it (fixed) by an affine
map, a smooth deformation, another contrast, a bias field and noise, on a grid of its own. So the true
transform is known, and the error of the registration is measured in millimeters.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage

from ..geometry.points import fixed_to_moving, voxel_centers_lps
from ..types import OUTPUT_FILES, PRESETS, Field, Grid, Image, InputError, Request, Result, Transform
from .report import write_report
from .slicer_side import check_slicer, write_scene

SEED = 20
LARGEST_MM = 9.0
SMOOTHNESS_MM = 22.0


@dataclass(frozen=True, eq=False)
class KnownPair:
    """A synthetic pair: the fixed image is the moving one seen through ``truth``."""

    fixed: Image
    moving: Image
    fixed_labels: Image
    moving_labels: Image
    truth: Transform


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo", help="register a synthetic pair (or yours) and write report.html and scene.mrb", description=__doc__
    )
    parser.add_argument("--fixed", metavar="F", help="your fixed image, instead of the synthetic patient")
    parser.add_argument("--moving", metavar="M", help="your moving image, instead of the template")
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("demo"), help="default: %(default)s")
    parser.add_argument("--preset", choices=PRESETS, default=Request.preset, help="default: %(default)s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Register, write the folder, and print where the report and the scene are; return 0."""
    from ..files.results import check_output, output_folder, write_result
    from ..processes.current import prepare_process
    from .register import check_outputs, registered

    prepare_process()
    check_slicer()
    if bool(options.fixed) != bool(options.moving):
        raise InputError("Give both --fixed and --moving, or neither.")
    start = time.perf_counter()
    known: KnownPair | None = None
    if options.fixed:
        request = Request(options.fixed, options.moving, preset=options.preset)
    else:
        known = synthetic_pair()
        request = Request(
            known.fixed,
            known.moving,
            preset=options.preset,
            fixed_labels=known.fixed_labels,
            moving_labels=known.moving_labels,
        )
    if options.fixed:
        check_outputs(options.output, request, pictures=True)
    else:
        check_output(options.output, [], OUTPUT_FILES.values())
    result = registered(request)
    truth = error_against_truth(known, result) if known is not None else {}
    with output_folder(options.output) as folder:
        write_result(result, folder)
        pictures = write_scene(result, folder)
        write_report(result, folder, pictures, identifiers=True, truth=truth)
    _tell(result, truth, options.output, time.perf_counter() - start)
    return 0


def _tell(result: Result, truth: dict[str, Any], output: Path, seconds: float) -> None:
    from ..metrics.table import table

    print(table(result.metrics))
    for title, value in truth.items():
        print(f"{title}: {value}")
    print(f"Report: {output / 'report.html'}")
    print(f"Scene:  {output / 'scene.mrb'}  (drop it onto 3D Slicer)")
    print(f"{seconds:.0f} s in all")


def synthetic_pair() -> KnownPair:
    """Return the template and the synthetic patient made from it.

    Raises:
        InputError: nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError as error:
        raise InputError(
            "The template of the demo needs nilearn, which is not installed. Install it with: pip install nilearn. Or "
            "give two images of your own: --fixed FILE --moving FILE"
        ) from error
    template = _from_nibabel(load_mni152_template(resolution=1), "MNI152 T1")
    gray = load_mni152_gm_template(resolution=1).get_fdata()
    white = load_mni152_wm_template(resolution=1).get_fdata()
    tissue = np.where(np.maximum(gray, white) > 0.5, np.where(white > gray, 2, 1), 0).astype(np.int16)
    labels = Image(np.ascontiguousarray(tissue.T), template.grid, "MNI152 tissues (1 gray, 2 white)")
    return pair_from(template, labels)


def _from_nibabel(picture: Any, name: str) -> Image:
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI affines are RAS
    values = np.ascontiguousarray(np.asarray(picture.get_fdata(), np.float32).T)
    return Image(values, Grid(values.shape[::-1], to_lps @ picture.affine), name)


def pair_from(template: Image, labels: Image, seed: int = SEED) -> KnownPair:
    """Make a patient from a template by a transform that is returned as the truth.

    Args:
        template: of any size; its background is 0.
        labels: on the template's grid.
    """
    from ..preparation.resample import warp_image, warp_labels

    random = np.random.default_rng(seed)
    grid = _patient_grid(template.grid)
    field = _smooth_field(grid, random)
    truth = Transform(_affine(template.grid), field)
    empty = Image(np.zeros(grid.shape_kji, np.float32), grid, "Patient made from the template")
    fixed = warp_image(template, empty, truth)
    fixed_labels = warp_labels(labels, empty, truth)
    values = _patient_contrast(fixed.values, grid, random)
    return KnownPair(
        Image(values, grid, empty.name),
        template,
        Image(fixed_labels.values, grid, "Patient's tissues"),
        labels,
        truth,
    )


def _patient_grid(template: Grid) -> Grid:
    """Return a grid of sagittal slices of 1.2 mm, slightly rotated, as a scanner might produce."""
    spacing_mm = np.array([1.0, 1.0, 1.2])
    extent_mm = np.array(template.size_ijk) * template.spacing_mm
    left, posterior, superior = np.eye(3)
    turn = _rotation([2.0, -3.0, 4.0])
    axes = turn @ np.stack([posterior, -superior, left], axis=1)
    size = np.ceil(extent_mm[[1, 2, 0]] * 1.02 / spacing_mm).astype(int)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing_mm
    matrix[:3, 3] = template.center_lps_mm + [7.0, -5.0, 9.0] - matrix[:3, :3] @ ((size - 1) / 2)
    return Grid(tuple(size), matrix)


def _affine(template: Grid) -> np.ndarray:
    """Return patient to template: about 9 degrees, 4 % larger, and a shift, about the template's center."""
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation([6.0, -4.0, 5.0]) @ np.diag([1.05, 0.98, 1.04])
    center = template.center_lps_mm
    matrix[:3, 3] = center + [-6.0, 4.0, -8.0] - matrix[:3, :3] @ center
    return matrix


def _rotation(degrees: list[float]) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def _smooth_field(grid: Grid, random: np.random.Generator) -> Field:
    """Make a random displacement, smooth over ``SMOOTHNESS_MM``, at most ``LARGEST_MM``; it does not fold."""
    coarse = [max(4, int(np.ceil(n * s / (SMOOTHNESS_MM / 2)))) for n, s in zip(grid.size_ijk, grid.spacing_mm)][::-1]
    parts = []
    for _ in range(3):
        noise = scipy.ndimage.gaussian_filter(random.standard_normal(coarse), 2.0)
        parts.append(scipy.ndimage.zoom(noise, np.array(grid.shape_kji) / coarse, order=3, mode="nearest"))
    field = np.stack(parts, axis=-1).astype(np.float32)
    return Field(field * np.float32(LARGEST_MM / np.linalg.norm(field, axis=-1).max()), grid)


def _patient_contrast(values: np.ndarray, grid: Grid, random: np.random.Generator) -> np.ndarray:
    """Simulate another scanner: gamma, a bias field of 20 %, noise of 2 %; the background stays 0."""
    top = float(values.max())
    along = [np.linspace(-1, 1, n) for n in grid.shape_kji]
    k, j, i = np.meshgrid(*along, indexing="ij", sparse=True)
    bias = 1 + 0.2 * (0.6 * k - 0.5 * j * i + 0.4 * i)
    changed = 900 * (values / top) ** 1.25 * bias + random.normal(0, 18, values.shape)
    return np.where(values > 0.02 * top, np.clip(changed, 1, None), 0).astype(np.float32)


def error_against_truth(known: KnownPair, result: Result, step: int = 3) -> dict[str, str]:
    """Return the error of the transform against the true one, over the brain, in mm, as text."""
    chosen = known.fixed_labels.values[::step, ::step, ::step] > 0
    points = voxel_centers_lps(known.fixed.grid)[::step, ::step, ::step][chosen]
    there = fixed_to_moving(known.truth, points)
    rows = {}
    for name, transform in (
        ("as given", Transform(np.eye(4))),
        ("after linear alignment", Transform(result.transform.linear_lps)),
        ("result", result.transform),
    ):
        error = np.linalg.norm(fixed_to_moving(transform, points) - there, axis=1)
        rows[f"True error in the brain, {name}"] = (
            f"{error.mean():.2f} mm mean, {np.percentile(error, 95):.2f} mm at the 95th percentile"
        )
    return rows
