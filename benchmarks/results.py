"""The place of a benchmark's lines in RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def put(name: str, heading: str, lines: Sequence[str]) -> None:
    """Replace what stands between the marks of a name; where there are none yet, begin a section at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block, text = "\n".join([begin, *lines, end]), RESULTS.read_text(encoding="utf-8")
    if begin in text:
        text = text[: text.index(begin)] + block + text[text.index(end) + len(end) :]
    else:
        text = f"{text.rstrip()}\n\n## {heading}\n\n{block}\n"
    RESULTS.write_text(text, encoding="utf-8")
