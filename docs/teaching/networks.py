"""Lesson 5: networks against optimization.

    python docs/teaching/networks.py [--output DIR]

One pair, four ways: the field optimized; a network fitted to the pair for 20 and for 100 steps; and optimization that
goes on from the network's field. Then it times what a trained network would do: one pass, without any fitting.
"""

import time

import torch
from lesson import run
from SlicerDeepRegLib.networks import build
from SlicerDeepRegLib.teaching.lessons import LESSONS


def look(pair, results):
    """Seconds and truth of each way, and the seconds of one pass."""
    for one, result in zip(LESSONS["networks"].tries, results):
        seconds = result.seconds["method"]
        print(f"{one.title:<24} {seconds:5.1f} s, {result.metrics['after']['tre_mm']:.2f} mm from the truth")
    moving, fixed = (torch.as_tensor(one.values)[None] / 135.0 for one in (pair.moving, pair.fixed))
    network = build("fmirnet", dimensions=2, scales=1).eval()
    with torch.no_grad():
        network(moving, fixed)  # the first pass warms up
        start = time.perf_counter()
        network(moving, fixed)
    print(f"One pass of that network takes {time.perf_counter() - start:.3f} s: what a trained one would need.")


if __name__ == "__main__":
    run("networks", look, __doc__)
