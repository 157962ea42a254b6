"""Lesson 3: folding, and how a diffeomorphism prevents it.

    python docs/teaching/folding.py [--output DIR]

Two kinds of demons with the same forces and the same smoothing. One adds each step to the field; the other composes it,
as an exponential. Then it shows in one dimension, in four lines, why that makes the difference.
"""

import numpy as np
from lesson import run
from SlicerDeepRegLib.teaching.lessons import LESSONS


def look(pair, results):
    """Folds of each method, and the reason on a line of points."""
    for one, result in zip(LESSONS["folding"].tries, results):
        metrics = result.metrics["after"]
        print(
            f"{one.title:<15} smallest Jacobian {metrics['jacobian_min']:6.2f}, |J| <= 0 in "
            f"{metrics['folds_percent']:.2f} %, by the digital criterion {metrics['digital_folds_percent']:.2f} %"
        )
    x = np.linspace(0.0, 1.0, 1001)
    step = 0.04 * np.sin(2 * np.pi * 2 * x)  # one step of 4 % that does not fold
    added = x + 8 * step
    composed = x
    for _ in range(8):
        composed = composed + np.interp(composed, x, step)
    print(f"A line, 8 steps added:    {(np.diff(added) <= 0).mean():.0%} of it runs backwards")
    print(f"A line, 8 steps composed: {(np.diff(composed) <= 0).mean():.0%} of it runs backwards")


if __name__ == "__main__":
    run("folding", look, __doc__)
