"""What the lessons share: register what a lesson tries, print the table, draw the picture."""

import argparse
from pathlib import Path

from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.teaching.lessons import LESSONS
from SlicerDeepRegLib.teaching.pairs import PAIRS
from SlicerDeepRegLib.teaching.sheet import picture, table


def run(name, look, about, arguments=None):
    """Run a lesson from the command line.

    Args:
        name: of the lesson.
        look: called with the pair and the results, to print what the lesson is about.
        about: the help of the command.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("lesson"), help="folder for the picture (lesson)")
    options = parser.parse_args(arguments)
    lesson = LESSONS[name]
    pair = PAIRS[lesson.pair]()
    print(f"{lesson.title}. {lesson.question}\n")
    results = []
    for one in lesson.tries:
        results.append(register(one.request(pair)))
        print(f"registered: {one.title}", flush=True)
    print(f"\n{table(lesson, results)}\n")
    look(pair, results)
    print(f"\n{lesson.learned}")
    options.output.mkdir(parents=True, exist_ok=True)
    if picture(lesson, results, options.output / f"{name}.png"):
        print(f"Picture: {options.output / name}.png")
    else:
        print("No picture: it needs matplotlib (pip install matplotlib).")
    return results
