"""Lesson 6: what landmarks add.

    python docs/teaching/guidance.py [--output DIR]

Registers a slice that is far away by the images alone, with three landmarks and with four, and measures the distance to
the truth at the landmarks that did not guide.
"""

from lesson import run
from SlicerDeepRegLib.teaching.lessons import LESSONS


def look(pair, results):
    """The distance to the truth of the landmarks that were held out, and of those that guided."""
    print(f"{len(pair.fixed_points)} landmarks; distance to the truth (TRE):")
    for one, result in zip(LESSONS["guidance"].tries, results):
        after = result.metrics["after"]
        guided = f", guiding ones {after['guided_tre_mm']:.2f} mm" if one.guide else ""
        print(f"  {one.title:<18} held out {after['tre_mm']:6.2f} mm{guided}")


if __name__ == "__main__":
    run("guidance", look, __doc__)
