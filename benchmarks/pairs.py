"""What pairs of all kinds are found to be: the three numbers of ``methods/evidence.py`` after the rigid alignment.

    python benchmarks/pairs.py            prints the table
    python benchmarks/pairs.py --write    and puts it into RESULTS.md

The images lie in ../shared/data (or in $DEEPREG_DATA). The last column says what is true, as far as it is known.
"""

from __future__ import annotations

import argparse
import datetime
import random
import time

import numpy as np
import run  # sets the threads: before SimpleITK and torch
from results import put
from SlicerDeepRegLib.files.images import read_image
from SlicerDeepRegLib.methods import Context, linear_method
from SlicerDeepRegLib.methods.evidence import look_at
from SlicerDeepRegLib.types import ImagePair

#: Fixed and moving image, and what they show.
PAIRS = [
    ("brain_multicontrast/t1", "brain_multicontrast/t2", "visit, two contrasts"),
    ("brain_multicontrast/t1", "brain_multicontrast/flair", "visit, two contrasts"),
    ("brain_multicontrast/flair", "brain_multicontrast/t2", "visit, two contrasts"),
    ("ms_two_visits/study1_FLAIR", "ms_two_visits/study1_T1W", "visit, two contrasts"),
    ("ms_two_visits/study1_T1W", "ms_two_visits/study1_T2W", "visit, two contrasts"),
    ("ms_two_visits/study1_FLAIR", "ms_two_visits/study2_FLAIR", "two visits, one contrast"),
    ("ms_two_visits/study1_T1W", "ms_two_visits/study2_T1W", "two visits, one contrast"),
    ("ms_two_visits/study1_T2W", "ms_two_visits/study2_T2W", "two visits, one contrast"),
    ("ms_two_visits/study1_FLAIR", "ms_two_visits/study2_T2W", "two visits, two contrasts"),
    ("brain_multicontrast/t1", "moved_contrasts/t1_flair/moving", "one person, moved, two contrasts"),
    ("brain_multicontrast/t1", "moved_contrasts/t1_t2/moving", "one person, moved, two contrasts"),
    ("ct_lung/fixed_ct", "ct_lung/moving_ct", "one person, breathing, one contrast"),
    ("ct_mr_head/ct", "ct_mr_head/t1", "templates of CT and T1"),
    ("ct_mr_head/ct", "moved_contrasts/ct_t1/moving", "templates of CT and T1, moved"),
    ("ct_mr_head/ct", "templates/mni152_2009a_t1", "templates of CT and T1"),
    ("templates/mni152_2009a_t1", "templates/colin27_t1", "two people, one contrast"),
    ("brain_oasis/fixed_t1", "brain_oasis/moving_t1", "two people, one contrast"),
    ("brain_patients/a_t1", "brain_patients/b_t1", "two people, one contrast"),
    ("brain_multicontrast/t1", "brain_patients/a_t1", "two people, one contrast"),
    ("free_brains/cc0_t1", "free_brains/bsd2_t1", "two people, one contrast"),
    ("brain2d_oasis/fixed_t1", "brain2d_oasis/moving_atlas_t1", "slices of two people, one contrast"),
    ("brain_patients/a_t1", "brain_multicontrast/t2", "two people, two contrasts"),
    ("brain_patients/a_t1", "brain_multicontrast/flair", "two people, two contrasts"),
    ("templates/mni152_2009a_t1", "free_brains/cc0_stroke_t2", "two people, two contrasts"),
    ("head2d_multimodal/fixed", "head2d_multimodal/moving", "a slice in two contrasts"),
]
HIPPOCAMPI, HEADING = 8, "What the pair is"


def rows():
    """Yield the names and files of every pair, and what it shows."""
    for fixed, moving, truth in PAIRS:
        files = [run.DATA / f"{name}.nii.gz" for name in (fixed, moving)]
        yield f"{fixed} <- {moving}", files, truth
    crops, draw = sorted((run.DATA / "hippocampus" / "images").iterdir()), random.Random(1)
    for number in range(HIPPOCAMPI):
        yield f"hippocampus, pair {number + 1}", draw.sample(crops, 2), "two people, one contrast"


def row(name, files, truth):
    """Return a line of the table."""
    pair = ImagePair(*map(read_image, files))
    method = linear_method("rigid")
    linear = method.run(pair, np.eye(4), method.presets["standard"], Context()).linear_lps
    began = time.perf_counter()
    seen = look_at(pair, linear, "cpu")
    seconds = time.perf_counter() - began
    sharpness = "" if seen.sharpness is None else f"{seen.sharpness:.2f}"
    found = f"{seen.kind}, {seen.modality}: {seen.metric(seen.kind)}"
    return f"| {name} | {seen.moved:.2f} | {sharpness} | {seen.sign:.2f} | {found} | {seconds:.1f} | {truth} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    lines = [
        f"`python benchmarks/pairs.py --write`, {datetime.date.today()}; {run.THREADS} threads, rigid alignment first. "
        f"Machine: {run.machine()}.",
        "",
        "| pair | moved | sharpness | sign | found: kind, modality: metric | s | it shows |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for named in rows():
        lines.append(row(*named))
        print(lines[-1], flush=True)
    if options.write:
        put("pairs", HEADING, lines)


if __name__ == "__main__":
    main()
