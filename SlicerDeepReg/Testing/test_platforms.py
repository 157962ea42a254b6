"""What is done otherwise on Windows and macOS, as far as it can be faked here."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.comparison import cell
from SlicerDeepRegLib.processes import current, launch
from SlicerDeepRegLib.worker.client import WorkerClient


class PretendedProcess:
    """A worker that says nothing and lives until it is ended."""

    def __init__(self, command, **options):
        self.command, self.options, self.pid, self.returncode = command, options, 4321, None
        self.stdin, self.stdout, self.stderr = io.BytesIO(), io.BytesIO(), io.BytesIO()

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self.returncode = 1
        return 1


def test_on_windows_the_worker_has_no_window_and_is_ended_with_its_children(monkeypatch):
    started, ended = [], []

    def start(command, **options):
        started.append(PretendedProcess(command, **options))
        return started[-1]

    monkeypatch.setattr(launch, "POSIX", False)
    monkeypatch.setenv("SystemRoot", r"D:\Windows")
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ended.append((command, options)))
    client = WorkerClient([r"C:\Users\Zoë\Slicer 5.8\bin\PythonSlicer.exe"])
    client.start()
    options = started[0].options
    assert options["creationflags"] == 0x08000000 | 0x00000200 and not options["start_new_session"]
    assert started[0].command[0] == r"C:\Users\Zoë\Slicer 5.8\bin\PythonSlicer.exe" and "shell" not in options
    folder = client.folder
    client.close()
    assert ended[0][0][0] == r"D:\Windows\System32\taskkill.exe"  # not one that lies in the working folder
    assert ended[0][0][1:] == ["/F", "/T", "/PID", "4321"] and ended[0][1]["creationflags"] == 0x08000000
    assert not folder.exists()


@pytest.mark.parametrize(
    "platform, variable, expected",
    [
        ("win32", "APPDATA", ("SlicerDeepReg", "models")),
        ("darwin", None, ("Library", "Application Support", "SlicerDeepReg", "models")),
        ("linux", "XDG_DATA_HOME", ("SlicerDeepReg", "models")),
    ],
)
def test_added_models_lie_where_the_system_keeps_such_data(monkeypatch, tmp_path, platform, variable, expected):
    monkeypatch.delenv("SLICERDEEPREG_MODELS", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert catalog.user_models_folder() == tmp_path.joinpath(*expected)


def test_memory_is_only_tuned_where_glibc_is(monkeypatch):
    def none(name):
        raise AssertionError(f"{name} was opened")

    monkeypatch.setattr(current.ctypes, "CDLL", none)
    for platform in ("win32", "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        current.tune_memory()
        current.give_back_memory()


def test_peak_memory_on_macos_comes_in_bytes(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2_000_000_000))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cell._peak_gb() == pytest.approx(2.0)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cell._peak_gb() == pytest.approx(2048.0)


def test_a_crash_on_windows_is_told_by_its_code():
    """There are no signals there: an access violation is 0xC0000005."""
    assert "exit code 3221225477" in launch.describe_exit(0xC0000005)
