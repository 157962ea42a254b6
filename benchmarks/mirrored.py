"""Whether a moving image whose header reverses an axis is told from one that is right.

    python benchmarks/mirrored.py            prints the table
    python benchmarks/mirrored.py --write    and puts it into RESULTS.md

Each pair is aligned rigidly as it is, and with the voxels of the moving image reversed along right to left and along
front to back; then the mirror image of the moving one is aligned too (methods/linear/starts.py: mirrored_gain).
"""

from __future__ import annotations

import argparse
import datetime
import time

import numpy as np
import run  # sets the threads: before SimpleITK and torch
from results import put
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.methods.linear.optimize import optimize
from SlicerDeepRegLib.methods.linear.pair import LinearPair, frames_of
from SlicerDeepRegLib.methods.linear.starts import MIRRORED, best_start, mirrored_gain
from SlicerDeepRegLib.types import Image, ImagePair

HEADING = "Mirrored images"
#: What a pair shows, its fixed and its moving image.
PAIRS = (
    ("one head", "brain_multicontrast/t1", "brain_multicontrast/t2"),
    ("one head", "brain_multicontrast/t1", "brain_multicontrast/flair"),
    ("one head", "ms_two_visits/study1_T1W", "ms_two_visits/study2_T1W"),
    ("one head", "ms_two_visits/study1_FLAIR", "ms_two_visits/study2_T2W"),
    ("one head, CT and MR", "ct_mr_head/ct", "ct_mr_head/t1"),
    ("one slice, two contrasts", "head2d_multimodal/fixed", "head2d_multimodal/moving"),
    ("one chest", "ct_lung/fixed_ct", "ct_lung/moving_ct"),
    ("two hippocampi", "hippocampus/images/hippocampus_003", "hippocampus/images/hippocampus_004"),
    ("two hippocampi", "hippocampus/images/hippocampus_052", "hippocampus/images/hippocampus_053"),
    ("two hippocampi", "hippocampus/images/hippocampus_070", "hippocampus/images/hippocampus_075"),
    ("two people's heads", "brain_oasis/fixed_t1", "brain_oasis/moving_t1"),
    ("two people's heads", "brain_patients/a_t1", "brain_patients/b_t1"),
    ("two people's heads", "brain_patients/b_t1", "brain_patients/a_t1"),
    ("two people's heads", "free_brains/bsd2_t1", "free_brains/cc0_t1"),
    ("two people's heads", "templates/mni152_2009a_t1", "templates/colin27_t1"),
)


def reversed_along(image, axis):
    """Return an image with its voxels reversed along the axis of its grid that is nearest to one of LPS."""
    along = int(np.argmax(np.abs(image.grid.direction[axis])))
    return Image(np.flip(image.values, 2 - along).copy(), image.grid, image.name, image.dimensions)


def gain_of(fixed, moving):
    """Return the gain of the mirror image, and the CPU seconds that it took to find."""
    notes = []
    pair = LinearPair(ImagePair(fixed, moving), frames_of(fixed, moving, notes))
    start = best_start(pair, notes)
    found = optimize(start.pair, "rigid", start.transform, True, lambda part: None, [], notes)
    began = time.process_time()
    return mirrored_gain(start.pair, found), time.process_time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    lines = [
        f"Command: `python benchmarks/mirrored.py --write`. Date: {datetime.date.today()}. Machine: {run.machine()}. "
        f"Mutual information of the mirror image over that of the image; from {MIRRORED} on it is said.",
        "",
        "| shows | fixed <- moving | as it is | right and left reversed | front and back reversed | CPU s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for shows, fixed_name, moving_name in PAIRS:
        fixed, moving = (read_image(run.DATA / f"{name}.nii.gz") for name in (fixed_name, moving_name))
        found = [gain_of(fixed, one) for one in (moving, reversed_along(moving, 0), reversed_along(moving, 1))]
        gains = " | ".join(f"{gain:.2f}" for gain, _ in found)
        lines.append(f"| {shows} | {fixed_name} <- {moving_name.rpartition('/')[2]} | {gains} | {found[0][1]:.1f} |")
        print(lines[-1], flush=True)
    if options.write:
        put("mirrored", HEADING, lines)


if __name__ == "__main__":
    main()
