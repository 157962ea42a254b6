"""Lesson 2: why a field must be smooth.

    python docs/teaching/regularity.py [--output DIR]

Registers one pair five times and changes one number only, the weight of smoothness. A method sees the similarity of the
images (NCC) alone. The distance to the true field (TRE) is what counts; it is known, because the pair is synthetic.
"""

from lesson import run
from SlicerDeepRegLib.teaching.lessons import LESSONS


def look(pair, results):
    """Return where similarity and truth are best, and by how much they tell weights apart."""
    weights = [one.settings["lncc.regularity"] for one in LESSONS["regularity"].tries]
    metrics = [result.metrics["after"] for result in results]
    by_truth = min(zip(weights, metrics), key=lambda pair: pair[1]["tre_mm"])
    print(f"Nearest to the truth: weight {by_truth[0]:g}, {by_truth[1]['tre_mm']:.2f} mm off.")
    print(f"Too little ({weights[0]:g}): {metrics[0]['tre_mm']:.2f} mm off, NCC {metrics[0]['ncc']:.3f}.")
    print(f"Too much ({weights[-1]:g}): {metrics[-1]['tre_mm']:.2f} mm off, NCC {metrics[-1]['ncc']:.3f}.")
    part = metrics[0]["tre_mm"] / by_truth[1]["tre_mm"] - 1
    seen = abs(metrics[0]["ncc"] - by_truth[1]["ncc"])
    print(f"Too little is {part:.0%} further off than the best, and the similarity differs by {seen:.4f}.")


if __name__ == "__main__":
    run("regularity", look, __doc__)
