"""Arguments of the command ``slicerdeepreg``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

COMMAND = (sys.executable, "-m", "SlicerDeepRegLib")


def options(**values: Any) -> list[str]:
    """Return ``--fixed-mask mask.nrrd --quiet`` for ``fixed_mask="mask.nrrd", quiet=True``; False leaves one out."""
    arguments = []
    for name, value in values.items():
        if value is not False:
            arguments.append(f"--{name.replace('_', '-')}")
        if not isinstance(value, bool):
            arguments.append(str(value))
    return arguments


def run_command(
    *arguments: Any, environment: dict[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; ``more`` goes to ``subprocess.run``."""
    call = [*COMMAND, *[str(argument) for argument in arguments]]
    return subprocess.run(call, env=environment, capture_output=True, encoding="utf-8", check=False, **more)
