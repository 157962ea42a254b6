"""The worked examples of CONTRIBUTING.md, as files."""

from __future__ import annotations

import re

from .paths import PROJECT


def example_files(folder: str) -> dict[str, str]:
    """Return the text of the examples under a folder of the library (or of "Resources"), by the name of their file."""
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {path[len(folder) + 1 :]: body for path, body in blocks if path.startswith(f"{folder}/")}
