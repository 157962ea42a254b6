"""Run the quick tests with every Python found here, and with the oldest and the newest packages. Run by `make matrix`.

    python tools/matrix.py [--pythons 3.9 3.13 ...] [--sets oldest newest] [--tests PATH ...] [--keep]

There is one row for each Python from 3.9 to 3.13 and each set of packages that has wheels for it. Interpreters are
looked for on the path, under ~/.pyenv, and in DEEPREG_PYTHONS (paths, separated as in PATH); this one is used too. A
Python without slicer-core (3.9) runs the tests that need no scene. TORCH in the environment names the newest torch.
Exit code: 0 if every row passed, 1 if one failed, 3 if none could run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True)
class PackageSet:
    """Pinned packages to test with.

    Attributes:
        requirements: arguments of pip install.
        pythons: the versions of Python that all of them have wheels for.
    """

    requirements: tuple[str, ...]
    pythons: tuple[str, ...]


SETS = {
    "oldest": PackageSet(("numpy<2", "torch==2.2.2", "SimpleITK==2.3.1"), ("3.9", "3.10", "3.11")),
    "newest": PackageSet(("numpy>=2", os.environ.get("TORCH", "torch>=2.5")), PYTHONS),
}
#: The newest torch with wheels for a Python that later releases of torch have dropped.
LAST_TORCH = {"3.9": "torch==2.8.0"}
#: Folders of tests that need neither a scene nor the panel: what a Python without slicer-core runs.
WITHOUT_SLICER = (
    "checks",
    "commands",
    "comparison",
    "experiments",
    "files",
    "geometry",
    "losses",
    "methods",
    "metrics",
    "networks",
    "preparation",
    "processes",
    "similarity",
    "warping",
    "worker",
)
#: The last line that pytest prints.
SUMMARY = re.compile(r"\d+ (?:passed|failed|error)")


def version_of(python: str) -> str | None:
    """Return the version of an interpreter, such as "3.11", or None if it cannot be run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def candidates() -> Iterator[str]:
    """Yield paths of interpreters that may exist, the preferred ones first."""
    yield from filter(None, os.environ.get("DEEPREG_PYTHONS", "").split(os.pathsep))
    yield sys.executable
    for version in PYTHONS:
        path = shutil.which(f"python{version}")
        if path:
            yield path
        for pattern in (f"{version}.*/bin/python", f"{version}.*/python.exe"):
            yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob(pattern)))


def interpreters() -> dict[str, str]:
    """Return one interpreter for each version: {"3.11": path}."""
    paths: dict[str, str] = {}
    for path in candidates():
        version = version_of(path)
        if version in PYTHONS:
            paths.setdefault(version, path)
    return paths


def run(command: list[str], log: TextIO, folder: Path | None = None, environment: dict[str, str] | None = None) -> int:
    """Run a command with its output appended to ``log`` and return its exit code."""
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    return subprocess.run(command, stdout=log, stderr=log, check=False, cwd=folder, env=environment).returncode


def run_row(python: str, version: str, name: str, folder: Path, tests: list[str]) -> tuple[str, bool | None]:
    """Install and test one row of the matrix.

    Returns:
        The summary to print, and whether the tests passed (None if this Python cannot make environments).
    """
    requirements = list(SETS[name].requirements)
    if name == "newest" and version in LAST_TORCH:
        requirements[-1] = LAST_TORCH[version]
    with_slicer = version != "3.9"
    log_path = folder / f"{version}-{name}.txt"
    environment = folder / f"{version}-{name}"
    binary = str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")
    extras = "demo,compare,report" if with_slicer else "compare,report"
    requirements += ["pytest>=7.4", "pytest-xdist>=3.3", "hypothesis>=6.80"]
    # A single call, because a second one could upgrade a pinned package.
    install = [binary, "-m", "pip", "install", "--quiet", *requirements, "--editable", f"{PROJECT}[{extras}]"]
    rooms = [*WITHOUT_SLICER, "mrml"] if with_slicer else list(WITHOUT_SLICER)
    paths = tests or [str(PROJECT / "SlicerDeepReg" / "Testing" / room) for room in rooms]
    # As in the Makefile: two processes with one thread each take half the time of one process with two.
    pytest = [binary, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadscope"]
    with open(log_path, "w", encoding="utf-8") as log:
        if run([python, "-m", "venv", str(environment)], log):
            return f"no venv module; see {log_path}", None
        if run(install, log):
            return f"could not be installed; see {log_path}", False
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = run([*pytest, "-m", "not slow", *paths], log, folder=PROJECT, environment=one_thread)
    lines = [line for line in log_path.read_text("utf-8", "replace").splitlines() if SUMMARY.search(line)]
    return (lines[-1].strip("= ") if lines else f"no tests ran; see {log_path}"), code == 0


def main() -> int:
    """Test every row that was asked for, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="*", default=PYTHONS, help="versions of Python (default: all)")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS), help="package sets (default: all)")
    parser.add_argument("--tests", nargs="*", default=(), help="paths to test instead of the quick tests")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deepreg-matrix-"))
    labels = {True: "ok  ", False: "FAIL", None: "-   "}
    pythons = interpreters()
    outcomes = []
    for version in PYTHONS:
        if version not in options.pythons:
            continue
        if version not in pythons:
            print(f"{version}          not found")
            continue
        for name in options.sets:
            if version not in SETS[name].pythons:
                continue
            summary, passed = run_row(pythons[version], version, name, folder, list(options.tests))
            if passed is not None:
                outcomes.append(passed)
            print(f"{version}  {name:<7} {labels[passed]}  {summary}", flush=True)
            if not options.keep:
                shutil.rmtree(folder / f"{version}-{name}", ignore_errors=True)
    print(f"Logs: {folder}")
    if not outcomes:
        return 3
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
