"""Whether the linear stage finds images that are turned, halved, cropped and put elsewhere.

    python benchmarks/starts.py            prints the table
    python benchmarks/starts.py --write    and puts it into RESULTS.md

The truth of a row is the rigid alignment of the same pair as it was given: the image is then turned about its center,
or a part of it is put elsewhere, and the alignment is looked for again. Of two people a part may rightly lie up to
some mm from where the whole puts it. Points are voxels of the fixed image that both show.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import sys
import time

import numpy as np
import run  # sets the threads: before SimpleITK and torch
from results import put
from scipy.spatial.transform import Rotation
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.types import Grid, Request

HEADING = "Turned images, halves and crops: where the linear stage starts"
PAIRS = {
    "brain_multicontrast T1 <- T2": ("brain_multicontrast/t1", "brain_multicontrast/t2"),
    "brain_multicontrast T1 <- FLAIR": ("brain_multicontrast/t1", "brain_multicontrast/flair"),
    "ct_mr_head CT <- T1": ("ct_mr_head/ct", "ct_mr_head/t1"),
    "ct_lung": ("ct_lung/fixed_ct", "ct_lung/moving_ct"),
    "brain_oasis": ("brain_oasis/fixed_t1", "brain_oasis/moving_t1"),
    "brain_patients a <- b": ("brain_patients/a_t1", "brain_patients/b_t1"),
    "free_brains": ("free_brains/cc0_t1", "free_brains/bsd2_t1"),
    "MNI152 <- Colin27": ("templates/mni152_2009a_t1", "templates/colin27_t1"),
}
#: Rotation vectors in degrees.
TURNS = ((90, 0, 0), (0, -90, 0), (0, 0, 180), (180, 0, 0), (0, 45, 0), (36, 38, 29), (-58, 72, 77))
#: From and to, of the size along i, j and k.
PARTS = {
    "lower half": ((0, 0, 0), (1, 1, 0.5)),
    "upper half": ((0, 0, 0.5), (1, 1, 1)),
    "side": ((0.5, 0, 0), (1, 1, 1)),
    "crop": ((0.35, 0.35, 0.25), (0.55, 0.55, 0.45)),
    "crop 2": ((0.25, 0.45, 0.4), (0.45, 0.65, 0.6)),
}
SHIFT_MM = (63.0, -50.0, 81.0)
POINTS = 2000


def turned(image, degrees):
    """The image turned about its center and shifted, and the (4, 4) motion."""
    motion, center = np.eye(4), image.grid.center_lps_mm
    motion[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    motion[:3, 3] = center + [15, -20, 30] - motion[:3, :3] @ center
    return dataclasses.replace(image, grid=Grid(image.grid.size_ijk, motion @ image.grid.ijk_to_lps)), motion


def part(image, low, high):
    """The voxels of a part as an image of its own, put elsewhere, and the (4, 4) motion."""
    size = np.array(image.grid.size_ijk)
    low, high = np.round(size * low).astype(int), np.round(size * high).astype(int)
    motion, matrix = np.eye(4), image.grid.ijk_to_lps.copy()
    motion[:3, 3] = SHIFT_MM
    matrix[:3, 3] = apply_matrix(matrix, low[None].astype(float))[0] + SHIFT_MM
    values = image.values[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1]))]
    return dataclasses.replace(image, values=values, grid=Grid(values.shape[::-1], matrix)), motion


def rigid(fixed, moving):
    """The (4, 4) rigid transform and the seconds that it took."""
    from SlicerDeepRegLib.pipeline import register

    begun = time.perf_counter()
    result = register(Request(fixed, moving, method="rigid", device="cpu", measure=False))
    return result.transform.linear_lps, time.perf_counter() - begun


def error_mm(found, truth, fixed, moving):
    """The mean distance at bright points of the fixed image that the moving one shows; "-" where it shows none."""
    shown = np.argwhere(fixed.values > np.percentile(fixed.values, 60))
    chosen = shown[np.random.default_rng(0).choice(len(shown), POINTS)]
    points = apply_matrix(fixed.grid.ijk_to_lps, chosen[:, ::-1].astype(float))
    there = apply_matrix(moving.grid.lps_to_ijk @ truth, points)
    points = points[((there > 0) & (there < np.array(moving.grid.size_ijk) - 1)).all(1)]
    if not len(points):
        return "-"
    return f"{np.linalg.norm(apply_matrix(found, points) - apply_matrix(truth, points), axis=1).mean():.2f}"


def rows():
    """The cells of each pair."""
    for title, names in PAIRS.items():
        fixed, moving = (read_image(run.DATA / f"{name}.nii.gz") for name in names)
        as_given, seconds = rigid(fixed, moving)
        errors = []
        for degrees in TURNS:
            other, motion = turned(moving, degrees)
            errors.append(error_mm(rigid(fixed, other)[0], motion @ as_given, fixed, other))
        cells = [title, f"{seconds:.1f}", max(errors, key=float)]
        for box in PARTS.values():
            other, motion = part(moving, *box)
            cells.append(error_mm(rigid(fixed, other)[0], motion @ as_given, fixed, other))
        other, motion = part(fixed, *PARTS["crop"])
        truth = as_given @ np.linalg.inv(motion)
        cells.append(error_mm(rigid(other, moving)[0], truth, other, moving))
        print(cells, file=sys.stderr, flush=True)
        yield cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    if not run.DATA.is_dir():
        sys.exit(f"The benchmark needs the images of {run.DATA}; set DEEPREG_DATA to the folder that holds 'open'.")
    headings = ["fixed <- moving", "s", f"the worst of {len(TURNS)} turns", *PARTS, "crop of the fixed image"]
    lines = run.table(headings, list(rows())).splitlines()
    print("\n".join(lines))
    if options.write:
        about = (
            f"Command: `python benchmarks/starts.py --write`. Date: {datetime.date.today()}. Machine: {run.machine()}. "
            f"{run.THREADS} threads. Mean distance in mm from the rigid alignment of the whole images as they were "
            "given, where both show something; s: wall seconds of that one, measuring left out. Turns of 45 to 180 "
            f"degrees with a shift; parts put {np.linalg.norm(SHIFT_MM):.0f} mm away. Where the images differ by more "
            "than a motion (all but the first two rows) a part may rightly lie some mm from where the whole puts it: "
            "people differ, and lungs breathe."
        )
        put("starts", HEADING, [about, "", *lines])


if __name__ == "__main__":
    main()
