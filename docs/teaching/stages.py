"""Lesson 4: what a stage, a scale or a cascade adds.

    python docs/teaching/stages.py [--output DIR]

Registers a slice that is turned, shifted and bent, and measures the distance to the true field after each stage of the
optimization; then a network in one pass, and in a second pass that begins with the field of the first.
"""

from lesson import run
from SlicerDeepRegLib.teaching.lessons import LESSONS


def look(pair, results):
    """The distance to the truth after each stage, as a bar."""
    print("Distance to the truth (TRE) as given, and after each stage of the optimization:")
    stages = [("as given", results[0].metrics["before"]["tre_mm"])]
    stages += [(stage.name, stage.metrics["tre_mm"]) for stage in results[0].stages]
    for name, tre_mm in stages:
        print(f"  {name:<10} {tre_mm:5.2f} mm  {'#' * round(4 * tre_mm)}")
    for one, result in list(zip(LESSONS["stages"].tries, results))[1:]:
        print(f"{one.title}: {result.metrics['after']['tre_mm']:.2f} mm")


if __name__ == "__main__":
    run("stages", look, __doc__)
