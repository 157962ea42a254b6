"""Look up known security advisories for the installed packages with pip-audit. Run by `make audit`.

Exit code: 0 if every package was looked up and none has an advisory, 1 if one has, 3 if a package could not be looked
up or the advisory database could not be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

#: The packages of this repository, which are not on PyPI.
OWN = {"slicerdeepreg", "slicer-stand-in"}


def summarize(dependencies: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print for the ``dependencies`` of pip-audit's JSON output."""
    dependencies = [dependency for dependency in dependencies if dependency["name"].lower() not in OWN]
    skipped = [dependency for dependency in dependencies if "skip_reason" in dependency]
    vulnerable = [dependency for dependency in dependencies if dependency.get("vulns")]
    lines = []
    for dependency in vulnerable:
        for advisory in dependency["vulns"]:
            fixed_in = ", ".join(advisory["fix_versions"]) or "no version"
            lines.append(f"{dependency['name']} {dependency['version']}: {advisory['id']}, fixed in {fixed_in}")
    lines += [f"{dependency['name']}: not looked up. {dependency['skip_reason']}" for dependency in skipped]
    looked_up = len(dependencies) - len(skipped)
    lines.append(
        f"{looked_up} of {len(dependencies)} packages were looked up, {len(vulnerable)} with a known advisory."
    )
    if vulnerable:
        return 1, lines
    if not looked_up:
        lines.append("The advisory database could not be reached, so nothing was checked. Try again with a network.")
    return (0 if looked_up and not skipped else 3), lines


def main() -> int:
    """Run pip-audit, print the summary, and return the exit code."""
    # The exit code of pip-audit is not enough: it is 0 also when no package could be looked up.
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit did not finish:\n{done.stderr.strip()[-2000:]}", file=sys.stderr)
        return 3
    code, lines = summarize(dependencies)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
