"""Which packages a file imports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def third_parties(path: Path) -> set[str]:
    """The packages outside the library and the standard library that a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)
