"""Mixed jobs through one worker: memory, threads and files stay flat, and results are equal to the first's.

A dozen, and 200, both with ``-m slow``. DEEPREG_JOBS=N takes another number.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case
from helpers.requests import request
from helpers.waiting import end_of_job, wait_for_event
from SlicerDeepRegLib.files.results import digests
from SlicerDeepRegLib.types import Image
from SlicerDeepRegLib.worker import client as client_module
from SlicerDeepRegLib.worker.client import WorkerClient

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
JOBS = int(os.environ.get("DEEPREG_JOBS", "200"))


def requests():
    """Every kind of job by name; what is asked of it."""
    plain = Case("oblique-LPS")
    fixed, moving = plain.fixed, plain.moving
    labels = [Image((image.values > 50).astype(np.int16), image.grid, "labels") for image in (fixed, moving)]
    mask = Image((fixed.values > 5).astype(np.uint8), fixed.grid, "mask")
    grid = dataclasses.replace(fixed.grid, size_ijk=(64, 60, 1))
    random = np.random.default_rng(1)
    slices = [Image(random.random((1, 60, 64)).astype(np.float32), grid, "slice") for _ in "12"]
    noise = random.random((90, 90, 90)).astype(np.float32)
    large = Image(noise, dataclasses.replace(fixed.grid, size_ijk=(90, 90, 90)), "noise")
    constant = Image(np.zeros_like(fixed.values), fixed.grid, "empty")

    def small(fixed, moving, preset="fast", linear="none", **options):
        return request(fixed, moving, preset=preset, linear=linear, **options)

    return {
        "plain": small(fixed, moving),
        "rigid with labels": small(fixed, moving, linear="rigid", fixed_labels=labels[0], moving_labels=labels[1]),
        "masked, MIND": small(fixed, moving, fixed_mask=mask, similarity="mind"),
        "demons": small(fixed, moving, method="demons"),
        "slices": small(*slices),
        "a network, fitted": small(fixed, moving, method="voxelmorph", settings={"instance_steps": 3}),
        "refused": small(constant, moving),
        "canceled": small(large, large, preset="thorough"),
        "standard": small(fixed, moving, preset="standard"),
    }


def state(pid):
    """Megabytes in memory, threads and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    value = dict(line.split(":", 1) for line in status.splitlines())
    memory, threads = (int(value[name].split()[0]) for name in ("VmRSS", "Threads"))
    return memory / 1024, threads, len(os.listdir(f"/proc/{pid}/fd"))


def outcome(client, job, cancel):
    """How a job ended: the digests of its result, or what it was refused with."""
    if cancel:
        wait_for_event(client, "progress", job=job, seconds=120)
        client.cancel(job)
    event = end_of_job(client, job)
    if event["kind"] != "done":
        return event["kind"], event.get("text", "")
    result_digests = digests(event["result"])
    client.release(job)
    return result_digests


def soak(count):
    """Run so many jobs; returns what is to be judged: first results, differences, states of the worker and of us."""
    asked, first, different, states = requests(), {}, [], []
    client = WorkerClient(environment={**os.environ, "OMP_NUM_THREADS": "1"})
    names = list(asked)
    try:
        client.start()
        pid = client.pid
        for number in range(count):
            name = names[number % len(names)]
            found = outcome(client, client.submit(asked[name]), name == "canceled")
            if first.setdefault(name, found) != found:
                different.append((number, name, found))
            assert client.pid == pid, f"the worker ended at job {number} ({name})"
            files = len(list(client.folder.iterdir()))
            if name == names[0]:  # always at the same place of the round
                states.append((number, *state(pid), files, len(os.listdir("/proc/self/fd"))))
    finally:
        client.close()
    return first, different, states


def check(first, different, states):
    assert not different
    assert first["refused"][0] == "failed" and "constant" in first["refused"][1]
    assert first["canceled"][0] == "canceled"
    kinds = [name for name in first if isinstance(first[name], dict)]
    assert len(kinds) == len(first) - 2, first
    assert all(row[4] == 0 for row in states)  # nothing is left in the private folder


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a busy machine a worker may answer a cancel late: here it must not be ended for that."""
    monkeypatch.setattr(client_module, "PATIENCE_S", 60.0)


@pytest.mark.slow
def test_a_round_and_again_gives_the_same():
    first, different, states = soak(len(requests()) + 4)
    check(first, different, states)


@pytest.mark.slow
def test_memory_threads_and_files_are_flat_over_many_jobs(tmp_path):
    first, different, states = soak(JOBS)
    Path(os.environ.get("DEEPREG_SOAK", tmp_path / "soak.json")).write_text(json.dumps(states))
    check(first, different, states)
    settled = states[len(states) // 4 :]  # the first rounds fill pools
    assert len(settled) >= 5
    numbers, memory = np.array([row[0] for row in settled]), np.array([row[1] for row in settled])
    growth = np.polyfit(numbers, memory, 1)[0] * (numbers[-1] - numbers[0])
    # A filter of ITK that a callback kept alive was 36 MB over these.
    assert growth < 8, f"the worker grew by {growth:.0f} MB"
    for column, what in ((2, "threads"), (3, "open files"), (5, "open files of the client")):
        assert settled[-1][column] <= settled[0][column], what
