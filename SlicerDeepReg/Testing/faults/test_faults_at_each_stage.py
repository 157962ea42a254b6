"""A fault at each stage of a registration: nothing of the user's lost or changed, nothing left, the next run works.

The quick set strikes in the middle, and a few times while files are written; the slow one at every stage.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case
from helpers.command_line import options
from helpers.requests import fast_request
from helpers.waiting import end_of_job, wait_for_event
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.methods.niftyreg import PROGRAMS
from SlicerDeepRegLib.processes.folders import sweep
from SlicerDeepRegLib.worker import client as client_module
from SlicerDeepRegLib.worker.client import WorkerClient

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, and sends signals")
INJECT = Path(__file__).with_name("inject.py")
LIBRARY = str(Path(client_module.__file__).resolve().parents[2])
STAGES = ("reading", "linear", "search", "scale 1/4", "scale 1/2", "inverse", "warping", "measuring", "done", "writing")
#: What the quick set takes.
FEW = {
    ("kill", "scale 1/4"),
    ("interrupt", "scale 1/4"),
    ("memory of torch", "scale 1/4"),
    ("GPU lost", "scale 1/4"),
    ("clock", "scale 1/4"),
    ("terminate", "writing"),
    ("disk full", "writing"),
    ("memory of numpy", "linear"),
    ("output removed", "linear"),
    ("output is a file", "linear"),
    ("inputs removed", "inverse"),
}
#: Fault: exit code, and what is said. Where the code is 0 the result must be that of a run without the fault.
FAULTS = {
    "kill": (-9, ""),
    "interrupt": (2, "interrupted; nothing was written"),
    "terminate": (2, "interrupted; nothing was written"),
    "memory of numpy": (2, "memory ran out"),
    "memory of torch": (2, "memory ran out"),
    "memory of ITK": (2, "memory ran out"),
    "memory of the GPU": (2, "GPU ran out of memory.*--device"),
    "GPU lost": (2, "GPU stopped working.*--device"),
    "clock": (0, ""),
    "disk full": (2, "could not be written.*Free some space"),
    "output removed": (0, ""),
    "output is a file": (2, "cannot be written|could not be written"),
    "inputs removed": (0, ""),
}
#: What takes away what the run is about to read, or what it is writing to, is no fault of the run's: it writes while it
#: measures, and everything may be there when that is done. While it writes at the end nothing computes on the GPU.
SENSELESS = {
    ("output removed", "measuring"),
    ("output removed", "done"),
    ("output removed", "writing"),
    ("disk full", "done"),
    ("output is a file", "writing"),
    ("inputs removed", "reading"),
    ("memory of the GPU", "writing"),
    ("GPU lost", "writing"),
}
#: The worker writes with numpy alone.
SENSELESS_THERE = {("memory of torch", "writing"), ("memory of ITK", "writing"), ("GPU lost", "writing")}


def cases():
    for fault in FAULTS:
        for stage in STAGES:
            if (fault, stage) not in SENSELESS:
                yield pytest.param(fault, stage, marks=[] if (fault, stage) in FEW else [pytest.mark.slow])


class Zygote:
    """``programs``: a folder of programs that are found first."""

    def __init__(self, programs):
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        environment = {**os.environ, "PYTHONPATH": LIBRARY, "OMP_NUM_THREADS": "1", "PATH": path}
        self.process = subprocess.Popen(
            [sys.executable, str(INJECT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
        )

    def run(self, arguments, fault, stage, folder):
        job = {"arguments": list(map(str, arguments)), "fault": fault, "stage": stage, "folder": str(folder)}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


#: Stands in for NiftyReg's, and would go on for minutes.
PROGRAM = """#!{python}
import time
print("begun", flush=True)
time.sleep(120)
"""


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    programs = tmp_path_factory.mktemp("programs")
    for name in PROGRAMS:
        (programs / name).write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
        (programs / name).chmod(0o755)
    opened = Zygote(programs)
    yield opened
    opened.process.stdin.close()
    opened.process.wait(60)
    opened.process.stdout.close()


class Location:
    """Inputs, an output folder that holds results of before and a file of the user's, and a temporary folder."""

    def __init__(self, folder):
        case = Case("oblique-LPS")
        self.inputs, self.output, self.temporary = folder / "images", folder / "output", folder / "temporary"
        for path in (self.inputs, self.output, self.temporary):
            path.mkdir()
        write_image(case.fixed, self.inputs / "fixed.nrrd")
        write_image(case.moving, self.inputs / "moving.nrrd")
        (self.output / "notes.txt").write_text("mine")
        (self.output / "result.json").write_text("of before")
        self.before = self.all()

    def all(self):
        """Every file but what the command printed, and its bytes; folders too."""
        found = {}
        for path in sorted(self.inputs.parent.rglob("*")):
            if path.name not in ("out.txt", "err.txt"):
                found[str(path.relative_to(self.inputs.parent))] = path.read_bytes() if path.is_file() else None
        return found

    def run(self, zygote, fault=None, stage=""):
        arguments = ["register", "--fixed", self.inputs / "fixed.nrrd", "--moving", self.inputs / "moving.nrrd"]
        arguments += ["--output", self.output, "--preset", "fast", "--device", "cpu", "--linear", "rigid"]
        return zygote.run(arguments, fault, stage, self.temporary)

    def digests(self):
        return json.loads((self.output / "result.json").read_text(encoding="utf-8"))["outputs_sha256"]


@pytest.fixture(scope="module")
def without_a_fault(zygote, tmp_path_factory):
    """What comes out, and every stage that is passed: those of this file must be among them."""
    place = Location(tmp_path_factory.mktemp("without"))
    done = place.run(zygote)
    assert done["code"] == 0, done["err"]
    seen = re.findall(r"% +(.+)$", done["err"], re.M)
    assert set(STAGES) - {"reading", "writing"} <= set(seen), seen
    return place.digests()


@pytest.mark.parametrize("fault, stage", cases())
def test_nothing_is_lost_or_left_and_the_next_run_works(zygote, without_a_fault, tmp_path, fault, stage):
    place = Location(tmp_path)
    done = place.run(zygote, fault, stage)
    code, words = FAULTS[fault]
    assert done["code"] == code, done["err"]
    assert not done["left"]
    if code == 2:
        assert re.search(words, done["err"]) and "Traceback" not in done["err"]
    if code == 0:
        assert place.digests() == without_a_fault
        seconds = json.loads((place.output / "result.json").read_text(encoding="utf-8"))["seconds"]
        assert all(0 <= part < 100 for part in seconds.values())
    elif fault == "output is a file":
        assert place.output.read_text(encoding="utf-8") == "now a file"
        return
    elif fault == "kill":  # nobody can clean up after that, but nothing else may have changed
        after = {name: kept for name, kept in place.all().items() if "/.unfinished-" not in name}
        assert after == place.before
    else:
        assert place.all() == place.before
    if fault == "inputs removed":
        return
    again = place.run(zygote)
    assert again["code"] == 0 and place.digests() == without_a_fault
    assert not [name for name in place.all() if "unfinished" in name or name.startswith("temporary/")]
    if fault != "output removed":
        assert (place.output / "notes.txt").read_text(encoding="utf-8") == "mine"


# ------------------------------------------------------------------ the worker

WORKER_FAULTS = {
    "memory of numpy": ("memory", "Memory ran out"),
    "memory of torch": ("memory", "Memory ran out"),
    "memory of ITK": ("memory", "Memory ran out"),
    "GPU lost": ("device", "GPU stopped working"),
    "disk full": ("disk", "Free some space"),
}


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


@pytest.fixture(scope="module")
def order(tmp_path_factory):
    return tmp_path_factory.mktemp("order") / "fault"


@pytest.fixture(scope="module")
def client(order):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    opened = WorkerClient([sys.executable, str(INJECT), str(order)], environment)
    yield opened
    opened.close()


def worker_cases():
    for fault in WORKER_FAULTS:
        for stage in STAGES:
            if (fault, stage) not in SENSELESS_THERE:
                yield pytest.param(fault, stage, marks=[] if (fault, stage) in FEW else [pytest.mark.slow])


@pytest.mark.parametrize("fault, stage", worker_cases())
def test_the_worker_says_it_and_does_the_next_job(client, order, case, fault, stage):
    asked = fast_request(case, linear="rigid", measure=True)
    client.start()
    pid = client.pid
    order.write_text(f"{fault}@{stage}")
    event = end_of_job(client, client.submit(asked))
    reason, words = WORKER_FAULTS[fault]
    assert event["kind"] == "failed" and event["reason"] == reason and words in event["text"]
    # In the process that lost a GPU nothing would run on it again.
    assert client.running != (fault == "GPU lost")
    if fault == "disk full":  # the limit stays with the process
        client.stop()
    assert not order.exists()
    job = client.submit(asked)
    event = end_of_job(client, job)
    assert event["kind"] == "done" and (client.pid == pid) == (fault not in ("GPU lost", "disk full"))
    assert np.isfinite(event["result"].warped.values).all()
    client.release(job)
    assert not list(client.folder.iterdir())


def test_a_lost_gpu_ends_what_waits_behind_it_in_words(client, order, case):
    asked = fast_request(case, linear="none")
    order.write_text("GPU lost@scale 1/4")
    first, second = client.submit(asked), client.submit(asked)
    events = wait_for_event(client, "done", "died", job=second)
    told = {event["job"]: event for event in events if event["kind"] in ("failed", "died")}
    assert told[first]["reason"] == "device"
    assert told[second]["kind"] == "died" and "before this registration began" in told[second]["text"]
    assert not client.busy and not client.running


def test_the_temporary_folder_taken_away_is_said(client, case):
    """By a cleaner of temporary files, in the middle of the job."""
    asked = fast_request(case, linear="rigid", measure=True)
    job = client.submit(asked)
    wait_for_event(client, "progress", job=job)
    shutil.rmtree(client.folder)
    event = end_of_job(client, job)
    assert event["kind"] == "failed" and event["reason"] == "disk"
    assert end_of_job(client, client.submit(asked))["kind"] == "done"


def test_a_clock_that_jumps_ends_no_job(client, case, monkeypatch):
    """The computer's clock is set, by days and back again, at work and after a cancel."""
    monkeypatch.setattr(client_module, "PATIENCE_S", 60.0)  # a busy machine may answer late
    real, jumps = time.time, np.random.default_rng(0)
    monkeypatch.setattr(time, "time", lambda: real() + jumps.choice([-1e9, 0.0, 1e9]))
    asked = fast_request(case, linear="rigid", measure=True)
    assert end_of_job(client, client.submit(asked))["kind"] == "done"
    pid = client.pid
    first = client.submit(asked)
    client.cancel(first)
    assert end_of_job(client, first)["kind"] == "canceled"
    assert end_of_job(client, client.submit(asked))["kind"] == "done" and client.pid == pid


# ------------------------------------------------------------------ engines in a process of their own


@pytest.mark.parametrize("method, title", [("ants", "ANTs SyN"), ("niftyreg", "NiftyReg (free-form deformation)")])
@pytest.mark.parametrize("fault", ["kill", "interrupt"])
def test_an_engine_ends_with_a_run_that_does(zygote, tmp_path, method, title, fault):
    """Each works in a process of its own, which would go on for minutes; a killed run's files go with the next."""
    case = Case("oblique-LPS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, tmp_path / f"{name}.nrrd")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    arguments = options(
        fixed=tmp_path / "fixed.nrrd",
        moving=tmp_path / "moving.nrrd",
        output=tmp_path / "out",
        method=method,
        preset="thorough",
        linear="none",
        device="cpu",
    )
    done = zygote.run(["register", *arguments], fault, f"{title} (1 s)", temporary)
    assert done["code"] == FAULTS[fault][0] and not done["left"], done["err"]
    assert (fault == "interrupt") != bool([path for path in temporary.iterdir() if path.is_dir()])
    sweep("slicerdeepreg-", temporary)
    assert not [path for path in temporary.iterdir() if path.is_dir()]
    assert not (tmp_path / "out").exists()
