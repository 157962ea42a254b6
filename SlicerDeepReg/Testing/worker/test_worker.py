"""The worker process and its client: results alike, cancel, death, silence, old and missing torch, nothing left."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import Case
from helpers.images import noise_image
from helpers.requests import fast_request, request
from helpers.waiting import has_ended, wait_for_event, wait_until
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import DeviceMemoryError, Image, InputError
from SlicerDeepRegLib.worker import client as client_module
from SlicerDeepRegLib.worker import connection, protocol
from SlicerDeepRegLib.worker.client import WorkerClient
from SlicerDeepRegLib.worker.serve import register_with_smaller_plans

pytestmark = pytest.mark.skipif(os.name != "posix", reason="looks into /proc")
LIBRARY = Path(client_module.__file__).resolve().parents[2]


@pytest.fixture
def client():
    opened = WorkerClient()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


def long_request(case):
    """Work for at least ten seconds: a volume of 100 voxels a side."""
    image = noise_image(dataclasses.replace(case.fixed.grid, size_ijk=(100, 100, 100)), "noise")
    return request(image, image, preset="thorough")


def test_the_result_is_that_of_register(client, case):
    asked = fast_request(case, measure=True, fixed_points=[[0.0, 0, 0]], moving_points=[[1.0, 0, 0]])
    job = client.submit(asked)
    events = wait_for_event(client, "done", job=job)
    there, here = events[-1]["result"], register(asked)
    assert {"ready", "devices", "progress"} <= {e["kind"] for e in events}
    (first,) = [e["result"] for e in events if e["kind"] == "shown"]
    assert events[-1]["is_shown"] and first.metrics == {} and np.array_equal(first.warped.values, there.warped.values)
    assert len(list((client.folder / job).glob("warped*.npy"))) == 1  # written once
    measured = [e["metrics"] for e in events if e["kind"] == "measured"]
    assert "tre_mm" in measured[0] and "ncc" not in measured[0] and "ncc" in measured[-1]  # what is quick comes first
    assert {**there.metrics["after"], **measured[-1]} == there.metrics["after"]
    assert np.allclose(there.warped.values, here.warped.values, atol=1e-3)
    assert np.allclose(there.jacobian.values, here.jacobian.values, atol=0.05)
    points = np.random.default_rng(0).normal(0, 8, (50, 3))
    assert np.abs(fixed_to_moving(there.transform, points) - fixed_to_moving(here.transform, points)).max() < 0.05
    assert [s.name for s in there.stages] == [s.name for s in here.stages]
    assert there.metrics["after"]["ncc"] == pytest.approx(here.metrics["after"]["ncc"], abs=0.01)
    assert sum(len(e["losses"]) for e in events if e["kind"] == "progress") > 50
    assert any(device["name"] == "cpu" for device in client.devices)
    folder = client.folder
    client.release(job)
    assert not list(folder.iterdir())
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_voxels_that_are_not_finite_are_counted_in_a_note_that_comes_back(client, case):
    moving = dataclasses.replace(case.moving, values=case.moving.values.copy())
    moving.values[tuple(n // 2 for n in moving.values.shape)] = np.nan
    moving.values[0, 0] = np.inf
    asked = dataclasses.replace(fast_request(case, measure=True), moving=moving)
    job = client.submit(asked)
    result = wait_for_event(client, "done", job=job)[-1]["result"]
    count = 1 + moving.values.shape[2]
    (note,) = [one for one in result.notes if "NaN" in one]
    assert f"has {count} voxels that are NaN or infinite" in note and "ignored in the comparison" in note
    for image in (result.warped, result.jacobian):
        assert np.isfinite(image.values).all()
    assert result.metrics["after"]["ncc"] > 0.97


def test_request_and_result_survive_the_hand_over(case, tmp_path):
    labels = Image((case.moving.values > 50).astype(np.int16), case.moving.grid, "labels")
    asked = fast_request(case, moving_labels=labels, fixed_labels=Image(case.fixed.values > 50, case.fixed.grid))
    back = protocol.read_request(
        protocol.parse(protocol.line("x", r=protocol.write_request(asked, tmp_path)))["r"], tmp_path
    )
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        first, second = getattr(asked, name), getattr(back, name)
        assert (first.values == second.values).all() and first.values.dtype == second.values.dtype
        assert first.grid.same_as(second.grid, 1e-12)
    result = register(back)
    values = protocol.parse(protocol.line("x", r=protocol.write_result(result, protocol.Arrays(tmp_path))))["r"]
    again = protocol.read_result(values, tmp_path, asked)
    assert (again.warped_labels.values == result.warped_labels.values).all()
    assert again.stages[-1].curve == pytest.approx(result.stages[-1].curve)
    assert again.peak_gb == result.peak_gb and set(result.peak_gb["computer"]) == set(result.seconds)
    assert all(0.05 < peak < 50 for peak in result.peak_gb["computer"].values())
    assert result.most_gb() == max(result.peak_gb["computer"].values()) and result.most_gb("gpu") is None
    with pytest.raises(ValueError, match="not a file of"):
        protocol.read_result({**values, "field": {**values["field"], "array": "../x.npy"}}, tmp_path, asked)


def test_cancel_is_quick_and_the_next_job_runs(client, case):
    client.start()
    wait_for_event(client, "devices")
    job = client.submit(long_request(case))
    wait_for_event(client, "progress", job=job)
    time.sleep(1.0)
    pid, start = client.pid, time.monotonic()
    client.cancel(job)
    wait_for_event(client, "canceled", job=job)
    assert time.monotonic() - start < 1.0
    assert not client.busy
    again = client.submit(fast_request(case))
    wait_for_event(client, "done", job=again)
    assert client.pid == pid or has_ended(pid)


def test_a_job_that_waits_is_canceled_alone(client, case):
    first = client.submit(long_request(case))
    wait_for_event(client, "progress", job=first)
    waiting = client.submit(fast_request(case))
    pid = client.pid
    client.cancel(waiting)
    events = wait_for_event(client, "canceled", job=waiting)
    time.sleep(1.0)  # longer than a job that runs may take to stop
    events += client.poll()
    assert client.pid == pid and not has_ended(pid)
    assert {event["kind"] for event in events if event.get("job") == first} <= {"progress"}
    wait_for_event(client, "progress", job=first)


def test_a_job_after_a_canceled_one_does_not_wait_for_it(client, case):
    job = client.submit(long_request(case))
    wait_for_event(client, "progress", job=job)
    os.kill(client.pid, signal.SIGSTOP)  # it will not answer
    client.cancel(job)
    again = client.submit(fast_request(case))
    wait_for_event(client, "done", job=again)


def test_a_result_that_was_removed_is_said_and_the_next_job_runs(client, case, monkeypatch):
    def removed(*arguments):
        raise FileNotFoundError("warped.npy")

    with monkeypatch.context() as patched:
        patched.setattr(protocol, "read_result", removed)
        job = client.submit(fast_request(case))
        said = wait_for_event(client, "failed", job=job)[-1]
    assert said["reason"] == "disk" and "warped.npy" in said["text"] and not client.busy
    wait_for_event(client, "done", job=client.submit(fast_request(case)))


def test_a_folder_that_cannot_be_made_is_said(case, monkeypatch):
    def full(prefix):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(connection, "PrivateFolder", full)
    with pytest.raises(InputError, match="No space left"):
        WorkerClient().submit(fast_request(case))


def test_a_job_whose_process_died_is_told_of_also_where_another_is_begun_first(client, case):
    first = client.submit(long_request(case))
    os.kill(client.pid, signal.SIGKILL)
    assert wait_until(lambda: has_ended(client.pid), 10)
    second = client.submit(fast_request(case))
    assert "died" in [event["kind"] for event in client.poll() if event.get("job") == first]
    wait_for_event(client, "done", job=second)


def test_a_worker_that_does_not_answer_a_cancel_is_ended(client, case):
    job = client.submit(long_request(case))
    wait_for_event(client, "progress", job=job)
    pid, folder = client.pid, client.folder
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    client.cancel(job)
    wait_for_event(client, "canceled", job=job)
    assert time.monotonic() - start < 1.0
    client.close()
    assert has_ended(pid) and not folder.exists()


SELDOM = [pytest.param(name, marks=pytest.mark.slow) for name in ("reading", "linear", "measuring")]


@pytest.mark.parametrize("stage", ["start", "scale 1/4", *SELDOM])
def test_killed_at_any_stage_is_reported_and_the_next_job_runs(client, case, stage):
    # Two hundred structures: there is time to be killed while they are measured.
    labels = Image((np.arange(case.fixed.values.size) % 200).reshape(case.fixed.values.shape), case.fixed.grid)
    moving = Image(np.resize(labels.values, case.moving.values.shape), case.moving.grid)
    linear = "rigid" if stage == "linear" else "center"
    asked = fast_request(case, measure=True, fixed_labels=labels, moving_labels=moving, linear=linear)
    if stage == "start":
        client.start()
        job = client.submit(asked)
    else:
        job = client.submit(asked)
        seen = []
        while not any(e.get("stage") == stage for e in seen):
            seen = wait_for_event(client, "progress", "done", job=job)
            assert seen[-1]["kind"] != "done", f"the stage {stage} was not seen"
    pid, folder = client.pid, client.folder
    os.kill(pid, signal.SIGKILL)
    event = wait_for_event(client, "died", "done", job=job)[-1]
    assert event["kind"] == "died" and "memory ran out" in event["text"]
    again = client.submit(fast_request(case))
    wait_for_event(client, "done", job=again)
    assert has_ended(pid) and not folder.exists()


def test_a_crash_gives_its_last_words(client, case):
    job = client.submit(long_request(case))
    wait_for_event(client, "progress", job=job)
    os.kill(client.pid, signal.SIGSEGV)
    event = wait_for_event(client, "died", job=job)[-1]
    assert "SIGSEGV" in event["text"]
    assert "Segmentation fault" in event["last_words"]  # faulthandler says where


def test_slicers_launcher_hides_the_signal(tmp_path):
    """PythonSlicer ends with 1 and a line of its own where the Python below it was killed."""
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\necho 'error: [python] exit abnormally - Report the problem.' >&2\nexit 1\n")
    launcher.chmod(0o755)
    client = WorkerClient([str(launcher)])
    try:
        client.start()
        assert "memory ran out" in wait_for_event(client, "died")[-1]["text"]
    finally:
        client.close()


def test_a_hung_worker_is_ended_with_its_children(client, case, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_S", 3.0)
    job = client.submit(long_request(case))
    wait_for_event(client, "progress", job=job)
    pid = client.pid
    os.kill(pid, signal.SIGSTOP)
    assert "did not answer" in wait_for_event(client, "died", job=job)[-1]["text"]
    client.close()
    assert has_ended(pid)


def test_what_cannot_be_registered_is_said(client, case):
    constant = Image(np.zeros_like(case.fixed.values), case.fixed.grid, "empty")
    job = client.submit(fast_request(case, preset="fast"))
    bad = client.submit(request(constant, case.moving))
    event = wait_for_event(client, "failed", job=bad)[-1]
    assert event["reason"] == "input" and "constant" in event["text"]
    assert job != bad and not client.busy


def fake_torch(folder, version, text=""):
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text(text)
    (folder / f"torch-{version}.dist-info").mkdir()
    about = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
    (folder / f"torch-{version}.dist-info" / "METADATA").write_text(about)
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    "version, content, said",
    [
        ("2.4.0", "raise ImportError('no torch here')", "no torch here"),
        ("1.8.1+cpu", "", "torch>=2.2,<3 (1.8.1+cpu is installed)"),
    ],
)
def test_torch_missing_or_too_old_is_said(tmp_path, version, content, said):
    environment = fake_torch(tmp_path, version, content)
    # The library's own folder comes first on the path; the pretended torch must win over the real one only.
    client = WorkerClient(environment=environment)
    try:
        client.start()
        assert said in wait_for_event(client, "no_torch")[-1]["text"]
    finally:
        client.close()


def test_another_version_is_refused(client, monkeypatch):
    monkeypatch.setattr(protocol, "PROTOCOL", 99)
    client.start()
    assert "Restart Slicer" in wait_for_event(client, "no_torch")[-1]["text"]
    assert not client.running


def test_python_that_is_not_there(tmp_path):
    client = WorkerClient([str(tmp_path / "no python")])
    with pytest.raises(InputError, match="could not be started"):
        client.start()
    client.close()


def test_a_full_disk_is_said_before_any_work(client, case, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="Free some space"):
        client.submit(fast_request(case))
    assert not client.busy and not list(client.folder.iterdir())


def test_a_client_that_is_killed_leaves_no_process_and_no_file(tmp_path):
    code = (
        "import sys, time; from SlicerDeepRegLib.worker.client import WorkerClient; c = WorkerClient(); c.start();"
        "print(c.pid, c.folder, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, encoding="utf-8")
    pid, folder = parent.stdout.readline().split()
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: has_ended(pid) and not Path(folder).exists(), 20)
    parent.stdout.close()


def test_a_folder_with_spaces_accents_and_chinese(tmp_path, monkeypatch, case):
    folder = tmp_path / "données du 病人 1"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    client = WorkerClient()
    try:
        job = client.submit(fast_request(case))
        wait_for_event(client, "done", job=job)
        assert client.folder.parent == folder
    finally:
        client.close()
    assert not list(folder.iterdir())


def test_a_small_gpu_gets_the_smaller_plan(case, tmp_path):
    tried = []

    def pretended(asked, report):
        tried.append(asked.preset)
        if asked.preset != "fast":
            raise DeviceMemoryError("too small")
        return register(asked)

    result = register_with_smaller_plans(fast_request(case, preset="thorough"), None, pretended)
    assert tried == ["thorough", "standard", "fast"]
    assert "fast was used" in result.notes[-1]
    values = protocol.parse(protocol.line("x", r=protocol.write_result(result, protocol.Arrays(tmp_path))))["r"]
    received = protocol.read_result(values, tmp_path, fast_request(case, preset="thorough"))
    assert received.request.preset == "fast"

    def never(asked, report):
        raise DeviceMemoryError("too small")

    with pytest.raises(DeviceMemoryError):
        register_with_smaller_plans(fast_request(case), None, never)


def test_starting_again_and_again_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = WorkerClient()
    pids = []
    for _ in range(5):
        client.start()
        pids.append(client.pid)
        client.stop()
    client.close()
    assert all(has_ended(pid) for pid in pids) and not list(tmp_path.iterdir())
