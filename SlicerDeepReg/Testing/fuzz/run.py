"""Feed the readers with changed bytes: python -m fuzz.run --count 100000  (from SlicerDeepReg/Testing)

A process for each target reads one file after another with little memory and a time limit; when it dies, its last input
is a finding and another process goes on behind it. Exit code 0: nothing but refusals in words.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: Bytes that a reader may have in all, that a file may have, and seconds that one input may take.
MEMORY, FILE, SECONDS = 3 << 30, 1 << 26, 20


def feed(name, first, last, folder):
    """Read inputs ``first`` to ``last`` of a target here; prints each that was not refused in words."""
    from SlicerDeepRegLib.types import InputError

    from fuzz.targets import TARGETS, examples, mutated

    read, known = TARGETS[name][1], examples(name, folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    for number in range(first, last):
        random = np.random.default_rng([number, *name.encode()])
        suffix, data = known[random.integers(len(known))]
        path = Path(folder) / f"input{suffix}"
        path.write_bytes(mutated(data, random))
        (Path(folder).parent / f"{name}.at").write_text(str(number))
        signal.alarm(SECONDS)
        try:
            read(path)
        except InputError as error:
            if len(str(error)) < 20:
                print(f"{name} {number}: refused without words: {error!r}", flush=True)
        except BaseException as error:  # whatever it is, it is a finding
            last_lines = traceback.format_exc().strip().splitlines()[-3:]
            print(f"{name} {number}: {type(error).__name__}: {' | '.join(last_lines)}"[:400], flush=True)
        finally:
            signal.alarm(0)
        path.unlink(missing_ok=True)
        left = [file.name for file in Path(folder).iterdir()]
        if left:
            print(f"{name} {number}: left {left}", flush=True)
            for file in Path(folder).iterdir():
                file.unlink()


def fuzz(name, count, start=0, most=20):
    """The findings over ``count`` inputs of a target, at most ``most``, as lines."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        folder, first = Path(work) / "in", start
        folder.mkdir()
        while first < start + count and len(found) < most:
            call = [sys.executable, "-m", "fuzz.run", "--feed", name, str(first), str(start + count), str(folder)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(call, env=environment, capture_output=True, encoding="utf-8", check=False)
            found += [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
            if done.returncode == 0:
                break
            at = Path(work) / f"{name}.at"
            if not at.is_file():
                found.append(f"{name}: did not start: {done.stderr[-300:]}")
                break
            number = int(at.read_text(encoding="utf-8"))
            found.append(f"{name} {number}: died with {done.returncode}: {done.stderr.strip()[-200:]}")
            first = number + 1
            for file in folder.iterdir():
                file.unlink()
    return found


def main():
    if "--feed" in sys.argv:
        name, first, last, folder = sys.argv[2:6]
        feed(name, int(first), int(last), folder)
        return
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="inputs in all, shared by the targets")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    findings = []
    for name in options.targets:
        found = fuzz(name, options.count // len(options.targets), options.start)
        print(f"{name}: {options.count // len(options.targets)} inputs, {len(found)} findings", flush=True)
        print("".join(f"  {line}\n" for line in found), end="", flush=True)
        findings += found
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
