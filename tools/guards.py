"""Takes the guards against faults away one by one and shows that a test notices. Run by `make guards`.

    python tools/guards.py [--only WORD ...] [--jobs 2]

Each guard is a change of the source, made in a copy of the extension, and the test that must fail then. A guard that no
test misses, or whose text is not in the source any more, is a failure. Ends with 0 when each was noticed to be gone.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIBRARY, TESTS = "SlicerDeepReg/SlicerDeepRegLib", "SlicerDeepReg/Testing"
FAULTS = "faults/test_faults_at_each_stage.py"
RUN = f"{FAULTS}::test_nothing_is_lost_or_left_and_the_next_run_works"
WORKER = f"{FAULTS}::test_the_worker_says_it_and_does_the_next_job"
#: A test that waits for what never comes must say so before.
MOST_S = 600
#: Guard: (tests that must fail without it, [(file, text of the guard, text in its place), ...]).
GUARDS = {
    # What a killed process leaves, and what runs on.
    "what a killed run left goes with the next": (
        f"{RUN}[kill-writing]",
        [("private.py", "            sweep(prefix, parent)\n", "            pass\n")],
    ),
    "a private folder in use is locked": (
        "test_private.py",
        [("private.py", "        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)", "        pass")],
    ),
    "a folder of the user's is not taken for a private one": (
        "test_private.py",
        [("private.py", " and _MADE.fullmatch(path.name[len(prefix) :])", "")],
    ),
    "an engine of ours ends with a killed run": (
        f"{FAULTS}::test_an_engine_ends_with_a_run_that_does[kill-ants-ANTs SyN]",
        [("methods/engines_apart.py", "    end_with_parent()", "    pass")],
    ),
    "a program of others ends with a killed run": (
        f"{FAULTS}::test_an_engine_ends_with_a_run_that_does",
        [("methods/niftyreg.py", "apart.run_foreign(", "apart.run(")],
    ),
    "the worker ends when its client does": (
        "worker/test_worker.py::test_a_client_that_is_killed_leaves_no_process_and_no_file",
        [("worker/serve.py", "        os._exit(0)  #", "        pass  #")],
    ),
    "the worker's files go when its client is killed": (
        "worker/test_worker.py::test_a_client_that_is_killed_leaves_no_process_and_no_file",
        [("worker/serve.py", "        shutil.rmtree(self._folder, ignore_errors=True)\n", "")],
    ),
    "a worker that died is noticed": (
        "worker/test_worker.py::test_killed_at_any_stage_is_reported_and_the_next_job_runs[start]",
        [("worker/client.py", "        elif not self._process.alive:", "        elif False:")],
    ),
    "a worker that hangs is ended": (
        "worker/test_worker.py::test_a_hung_worker_is_ended_with_its_children",
        [("worker/client.py", "time.monotonic() - self._process.last_heard > SILENCE_S", "False")],
    ),
    "a cancel that is not answered ends the worker": (
        "worker/test_worker.py::test_a_worker_that_does_not_answer_a_cancel_is_ended",
        [("worker/client.py", "time.monotonic() - since > PATIENCE_S", "False")],
    ),
    "a temporary folder that was taken away is made again": (
        f"{FAULTS}::test_the_temporary_folder_taken_away_is_said",
        [("worker/client.py", " and not self._process.folder.is_dir():", " and False:")],
    ),
    # Interrupts.
    "Ctrl-C is answered in words": (
        f"{RUN}[interrupt-scale 1/4]",
        [("commands/__init__.py", "except (KeyboardInterrupt, Canceled):", "except Canceled:")],
    ),
    "a polite kill ends a run like Ctrl-C": (
        f"{RUN}[terminate-writing]",
        [("process.py", "    signal.signal(signal.SIGTERM, _interrupt)", "    pass")],
    ),
    # The output folder, and disks.
    "results are written beside first": (
        f"{RUN}[terminate-writing]",
        [("files/results.py", "        yield private.path", "        yield path")],
    ),
    "an output folder that was removed is made again": (
        f"{RUN}[output removed-linear]",
        [("files/results.py", "        path.mkdir(parents=True, exist_ok=True)", "        pass")],
    ),
    "an output that became a file is said": (
        f"{RUN}[output is a file-linear]",
        [
            (
                "files/results.py",
                '    except OSError as error:\n        raise InputError(\n            f"The output folder',
                '    except PermissionError as error:\n        raise InputError(\n            f"The output folder',
            )
        ],
    ),
    "inputs are digested before they can go": (
        f"{RUN}[inputs removed-inverse]",
        [
            ("pipeline.py", "    checksums = {name: checksum(source) for name, source in _sources(request)}\n", ""),
            ("pipeline.py", "_provenance(checksums,", "_provenance({n: checksum(s) for n, s in _sources(request)},"),
        ],
    ),
    "room for a result is reserved": (
        f"{RUN}[disk full-writing]",
        [("files/results.py", "    _reserve(folder, [amount for amount in amounts if amount])\n", "")],
    ),
    "an image that ITK cut short without a word is noticed": (
        "files/test_images.py::test_a_disk_that_fills_up_is_an_error_and_leaves_no_file",
        [
            (
                "files/images.py",
                "        fault = nifti.fault_of(path) if nifti.is_nifti(path) else header_fault_of(path)\n    except",
                "        fault = None\n    except",
            )
        ],
    ),
    "an image is written beside first": (
        "files/test_images.py::test_a_disk_that_fills_up_is_an_error_and_leaves_no_file",
        [
            (
                "files/images.py",
                '    with private_folder(".unfinished-", path.parent) as folder:\n',
                "    for folder in [path.parent]:\n",
            )
        ],
    ),
    "a disk too small is said before any work": (
        "commands/test_register.py::test_a_small_disk_is_noticed_before_any_work",
        [("files/results.py", "    if free < needed:", "    if False:")],
    ),
    "a temporary disk too small is said before any work": (
        "worker/test_worker.py::test_a_full_disk_is_said_before_any_work",
        [("worker/client.py", "    if free < needed:", "    if False:")],
    ),
    "a disk that fills up under the worker is said": (
        f"{WORKER}[disk full-writing]",
        [("worker/serve.py", "    except OSError as error:", "    except FileExistsError as error:")],
    ),
    # Memory.
    "memory is estimated before any work": (
        "preparation/test_checks.py",
        [("preparation/checks.py", "    if needed <= free_bytes:", "    if True:")],
    ),
    "too little memory of a GPU gives a smaller plan": (
        "worker/test_worker.py::test_a_small_gpu_gets_the_smaller_plan",
        [("worker/serve.py", "            if not smaller:", "            if True:")],
    ),
    "memory that runs out in numpy is said": (
        f"{RUN}[memory of numpy-linear]",
        [("commands/__init__.py", "    except MemoryError:", "    except ZeroDivisionError:")],
    ),
    "memory that runs out in torch is said": (
        f"{RUN}[memory of torch-scale 1/4]",
        [("device.py", "    if any(words in text for words in _NO_MEMORY):", "    if False:")],
    ),
    "memory that runs out in ITK is said": (
        f"{RUN}[memory of ITK-writing]",
        [("files/images.py", '    if "allocate memory" in str(error):', "    if False:")],
    ),
    "memory that runs out on a GPU is said": (
        f"{RUN}[memory of the GPU-linear]",
        [("device.py", "        return DeviceMemoryError(", "        return RuntimeError(")],
    ),
    "memory that runs out under the worker is said": (
        f"{WORKER}[memory of torch-scale 1/4]",
        [("worker/serve.py", "    except MemoryError:", "    except ZeroDivisionError:")],
    ),
    # A lost GPU, and clocks.
    "a lost GPU is said": (
        f"{RUN}[GPU lost-scale 1/4]",
        [("device.py", "        return DeviceLostError(", "        return RuntimeError(")],
    ),
    "the process that lost a GPU is ended": (
        f"{WORKER}[GPU lost-scale 1/4]",
        [("worker/client.py", 'event.get("reason") == "device"', "False")],
    ),
    "what waits behind a lost GPU is told": (
        f"{FAULTS}::test_a_lost_gpu_ends_what_waits_behind_it_in_words",
        [("worker/client.py", 'self._end("device") if self._requests else []', "[]")],
    ),
    "a clock that jumps is no silence": (
        f"{FAULTS}::test_a_clock_that_jumps_ends_no_job",
        [("worker/client.py", "time.monotonic()", "time.time()")],
    ),
    "seconds are not those of a clock that jumps": (
        f"{RUN}[clock-scale 1/4]",
        [("pipeline.py", "time.perf_counter()", "time.time()")],
    ),
    # What strangers may have made.
    "a job's array is a file of its folder": (
        "test_security.py::test_an_archive_or_a_name_cannot_leave_its_folder",
        [("worker/protocol.py", "    if Path(name).name != name:", "    if False:")],
    ),
    "a job's name is no path": (
        "fuzz/test_fuzz.py",
        [("worker/protocol.py", " and Path(job).name == job else None", " else None")],
    ),
    "arrays hold no pickle": (
        "test_security.py",
        [
            (
                "worker/protocol.py",
                'mmap_mode="r" if mapped else None, allow_pickle=False',
                'mmap_mode="r" if mapped else None, allow_pickle=True',
            )
        ],
    ),
    "torch's files hold only weights": (
        "test_security.py",
        [("methods/torch_files.py", "weights_only=True", "weights_only=False")],
    ),
    "names of patients stay out of a report": (
        "report/test_report.py",
        [("report/content.py", "    names = [] if identifiers else sorted(", "    names = [] if True else sorted(")],
    ),
    # The same again.
    "a repeat computes on as many threads": (
        "commands/test_repeat.py::test_it_computes_on_as_many_threads_as_then",
        [("commands/repeat.py", '    use_threads(described["provenance"].get("threads"))\n', "")],
    ),
    "a repeat takes no other inputs": (
        "commands/test_repeat.py::test_inputs_that_moved_are_named_and_others_refused",
        [("commands/repeat.py", "        if checksum(path) != digest:", "        if False:")],
    ),
}


def changed(changes, folder):
    """Make the changes in a copy; what is wrong with them, or ""."""
    for name, guard, instead in changes:
        path = folder / LIBRARY / name
        text = path.read_text(encoding="utf-8")
        if guard not in text:
            return f"{name} holds no {guard.strip()!r}"
        path.write_text(text.replace(guard, instead), encoding="utf-8")
    return ""


def wrong_with(name):
    """What is wrong: "" where a test failed without the guard."""
    tests, changes = GUARDS[name]
    with tempfile.TemporaryDirectory(prefix="deepreg-guard-") as scratch:
        folder = Path(scratch)
        shutil.copytree(PROJECT / "SlicerDeepReg", folder / "SlicerDeepReg", ignore=shutil.ignore_patterns("__pyca*"))
        for file in ("pyproject.toml", "CMakeLists.txt", "README.md"):
            shutil.copy(PROJECT / file, folder)
        wrong = changed(changes, folder)
        if wrong:
            return wrong
        environment = {**os.environ, "PYTHONPATH": str(folder / "SlicerDeepReg"), "OMP_NUM_THREADS": "1"}
        environment.setdefault("DEEPREG_DATA", str(PROJECT.parent / "shared" / "data"))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow"]
        command.append(str(folder / TESTS / tests))
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=MOST_S
            )
        except subprocess.TimeoutExpired:
            return f"its test did not end in {MOST_S} s"
    if done.returncode == 1 and " failed" in done.stdout:
        return ""
    return f"no test failed: {(done.stdout.strip().splitlines() or [done.stderr])[-1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="guards whose names hold one of these")
    parser.add_argument("--jobs", type=int, default=2, help="at once (default: %(default)s)")
    options = parser.parse_args()
    names = [name for name in GUARDS if any(word in name for word in options.only)]
    bad, began = 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, wrong in zip(names, pool.map(wrong_with, names)):
            bad += bool(wrong)
            print(f"{'BAD ' if wrong else 'ok  '}{name}{': ' * bool(wrong)}{wrong}", flush=True)
    print(f"{len(names) - bad} of {len(names)} guards are noticed to be gone; {time.monotonic() - began:.0f} s.")
    return 1 if bad or not names else 0


if __name__ == "__main__":
    sys.exit(main())
