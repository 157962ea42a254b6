"""Write docs/teaching/README.md and its images: python tools/teaching_pages.py docs/teaching

Runs the script of each lesson and puts its output below the lesson's text.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from SlicerDeepRegLib.teaching.lessons import LESSONS, Lesson

HEAD = """# Six lessons

Each takes a few minutes, on a synthetic pair: a head whose true deformation is known, so that the distance to the
truth can be measured. They need neither data, nor a network connection, nor a GPU.

- In Slicer: on the page *Lessons* of the module choose one and click *Start*; *Next* goes on, *End lesson* removes
  what it added. What a step asks for is on that page: sliders for opacity, deformation amount and the registrations of
  the lesson, and large text for a projector.
- From a shell: `python docs/teaching/NAME.py --output DIR` prints the metrics and writes the image. The scripts are
  short and meant to be read and changed; the registrations of each lesson are in
  `SlicerDeepRegLib/teaching/lessons.py`.

One more script goes further: `field_forming.py` trains a small network and shows its field as it forms
([forming.png](forming.png)).
"""


def about(number: int, lesson: Lesson) -> str:
    """Return the text of a lesson, without measurements."""
    lines = [f"## {number}. {lesson.title}", "", f"*{lesson.question}* `python docs/teaching/{lesson.name}.py`", ""]
    lines += [f"{n}. {step.text}" for n, step in enumerate(lesson.steps, start=1)]
    return "\n".join([*lines, "", f"**Take-home message:** {lesson.learned}"])


def main(folder: Path) -> None:
    """Run every lesson and write the page."""
    parts = [HEAD]
    for number, lesson in enumerate(LESSONS.values(), start=1):
        with tempfile.TemporaryDirectory() as work:
            call = [sys.executable, str(folder / f"{lesson.name}.py"), "--output", work]
            said = subprocess.run(call, capture_output=True, encoding="utf-8", check=True).stdout
            picture = Path(work) / f"{lesson.name}.png"
            picture.replace(folder / picture.name)
        lines = said.splitlines()
        table = [line for line in lines if line.startswith("|")]
        after = lines[lines.index(table[-1]) + 1 : lines.index(lesson.learned)]
        parts += [about(number, lesson), "\n".join(table), "```\n" + "\n".join(after).strip() + "\n```"]
        parts.append(f"![{lesson.title}]({picture.name})")
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    parts.append(f"*Measured by `make teaching` on the CPU ({machine}); seconds differ elsewhere.*")
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
