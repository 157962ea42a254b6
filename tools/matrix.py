"""The quick tests in every Python that is found here, with the oldest and the newest packages. Run by `make matrix`.

    python tools/matrix.py [--pythons 3.9 3.13 ...] [--tests PATH ...] [--keep]

A row for each Python from 3.9 to 3.13 that is on the path, beside this one, under ~/.pyenv, or named in
DEEPREG_PYTHONS (paths, separated as in PATH), and each set of versions that has wheels for it. A Python without
slicer-core (3.9) runs what needs no scene. TORCH in the environment names the newest torch, as for make.
Ends with 0 when every row passed, 1 when one failed, 3 when none could run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
#: Name: (pip's arguments, Pythons that there are wheels for).
SETS = {
    "oldest": (("numpy<2", "torch==2.2.2", "SimpleITK==2.3.1"), ("3.9", "3.10", "3.11")),
    "newest": (("numpy>=2", os.environ.get("TORCH", "torch>=2.5")), PYTHONS),
}
#: The newest torch with wheels for them, for the Pythons that the newest of all has left behind.
LAST_TORCH = {"3.9": "torch==2.8.0"}
#: Without slicer-core: rooms that know no scene and no panel.
WITHOUT_SLICER = ("commands", "files", "geometry", "losses", "methods", "metrics", "networks", "preparation", "warping")
SUMMARY = re.compile(r"\d+ (?:passed|failed|error)")


def version_of(python):
    """ "3.11" for an interpreter; None where it cannot be run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def candidates():
    """Paths of interpreters that may be there, the likeliest first."""
    yield from filter(None, os.environ.get("DEEPREG_PYTHONS", "").split(os.pathsep))
    yield sys.executable
    for version in PYTHONS:
        found = shutil.which(f"python{version}")
        if found:
            yield found
        for pattern in (f"{version}.*/bin/python", f"{version}.*/python.exe"):
            yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob(pattern)))


def found():
    """One interpreter for each version: {"3.11": path}."""
    pythons = {}
    for python in candidates():
        version = version_of(python)
        if version in PYTHONS:
            pythons.setdefault(version, python)
    return pythons


def run(command, log, **more):
    log.write(f"$ {' '.join(map(str, command))}\n")
    log.flush()
    return subprocess.run(command, stdout=log, stderr=log, check=False, **more).returncode


def row(python, version, name, folder, tests):
    """Install and test one of them; returns what to say of it, and whether it passed."""
    wanted = list(SETS[name][0])
    if name == "newest" and version in LAST_TORCH:
        wanted[-1] = LAST_TORCH[version]
    with_slicer = version != "3.9"
    log_path = folder / f"{version}-{name}.txt"
    environment = folder / f"{version}-{name}"
    binary = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    extras = "demo,compare,dicom,report" if with_slicer else "compare,dicom,report"
    needed = [*wanted, "pytest>=7.4", "pytest-xdist>=3.3", "hypothesis>=6.80"]
    # One call: pip must not raise one of the pinned versions for another package.
    install = [binary, "-m", "pip", "install", "--quiet", *needed, "--editable", f"{PROJECT}[{extras}]"]
    with open(log_path, "w", encoding="utf-8") as log:
        if run([python, "-m", "venv", environment], log):
            return f"no venv module; see {log_path}", None
        if run(install, log):
            return f"could not be installed; see {log_path}", False
        paths = tests or [
            str(PROJECT / "SlicerDeepReg" / "Testing" / room) for room in WITHOUT_SLICER + (("mrml",) * with_slicer)
        ]
        # As in the Makefile: two processes with one thread each take half the time of one with two.
        spread = ["-n", "2", "--dist", "loadscope"]
        command = [binary, "-m", "pytest", "-q", "-p", "no:cacheprovider", *spread, "-m", "not slow", *paths]
        code = run(command, log, cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = [line for line in log_path.read_text("utf-8", "replace").splitlines() if SUMMARY.search(line)]
    return (lines[-1].strip("= ") if lines else f"no tests ran; see {log_path}"), code == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="*", default=PYTHONS, help="versions to take (default: all)")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--tests", nargs="*", default=(), help="paths to test instead of the quick set")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deepreg-matrix-"))
    pythons, passed = found(), []
    for version in PYTHONS:
        if version not in options.pythons:
            continue
        if version not in pythons:
            print(f"{version}          not found here")
            continue
        for name in options.sets:
            if version not in SETS[name][1]:
                continue
            said, good = row(pythons[version], version, name, folder, list(options.tests))
            passed += [good] if good is not None else []
            print(f"{version}  {name:<7} { {True: 'ok  ', False: 'FAIL', None: '-   '}[good] }  {said}", flush=True)
            if not options.keep:
                shutil.rmtree(folder / f"{version}-{name}", ignore_errors=True)
    print(f"Logs: {folder}")
    return 3 if not passed else 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
