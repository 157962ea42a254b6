"""What must never be in the product: code in data, shells, the network unasked, patients' names in the wrong places."""

import ast
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import Case
from helpers.command_line import options, run_command
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.types import Image, Request
from SlicerDeepRegLib.worker.client import WorkerClient

LIBRARY = Path(__file__).resolve().parents[1] / "SlicerDeepRegLib"
SOURCES = [*sorted(LIBRARY.rglob("*.py")), LIBRARY.parent / "SlicerDeepReg.py"]
#: What opens the network; what runs code that is in data, or a shell.
NETWORK = {"socket", "urllib", "requests", "http"}
FORBIDDEN = {
    "pickle",
    "cPickle",
    "dill",
    "shelve",
    "marshal",
    "joblib",
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "tempfile.mktemp",
    "torch.jit.load",
}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(text):
    """What of a source runs code that is in data, starts a shell, or opens the network."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.split(".")[0] in FORBIDDEN | NETWORK]
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        if name in FORBIDDEN:
            found.append(name)
        if isinstance(given.get("shell"), ast.Constant) and given["shell"].value:
            found.append("shell=True")
        if name == "torch.load" and not getattr(given.get("weights_only"), "value", False):
            found.append("torch.load without weights_only")
        if name in ("np.load", "numpy.load") and getattr(given.get("allow_pickle"), "value", None) is not False:
            found.append("np.load with pickle")
    return found


def test_torch_files_are_read_in_one_place():
    """The one that asks for a PyTorch that can do so safely."""
    benchmarks = (LIBRARY.parents[1] / "benchmarks").rglob("*.py")
    found = [path.name for path in (*SOURCES, *benchmarks) if "torch.load(" in path.read_text(encoding="utf-8")]
    assert found == ["torch_files.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_runs_what_is_in_data_or_opens_the_network(path):
    # The first names pickle's error, to catch it; the second allows nothing but arrays (files/test_datasets.py).
    allowed = {"pickle"} if path.name in ("torch_files.py", "datasets.py") else set()
    assert set(dangers(path.read_text(encoding="utf-8"))) <= allowed


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "eval(x)",
        "subprocess.run(x, shell=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert dangers(text)


#: Put before a program: every attempt to reach beyond this process's own files ends it.
BLOCK = """
import socket, sys
def refuse(*given, **more):
    sys.stderr.write("NETWORK\\n")
    raise OSError("the network is closed")
socket.getaddrinfo = socket.create_connection = refuse
class Closed(socket.socket):
    def connect(self, address):
        if self.family != getattr(socket, "AF_UNIX", None):
            refuse()
        return super().connect(address)
    connect_ex = connect
    def bind(self, address):
        if address[0] != "::1":  # urllib3, which pydicom imports where it is installed, probes for IPv6 so
            refuse()
        super().bind(address)
socket.socket = Closed
"""


def closed(folder):
    """An environment in which Python has no network."""
    (folder / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def write_pair(folder):
    case = Case("oblique-LPS")
    write_image(case.fixed, folder / "DOE_JANE_fixed.nii.gz")
    write_image(case.moving, folder / "DOE_JANE_moving.nii.gz")
    return case


def test_a_registration_and_the_worker_need_no_network(tmp_path):
    """The commands that people use, and the process behind the panel, with sockets that refuse."""
    environment = closed(tmp_path)
    tried = subprocess.run(
        [sys.executable, "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9')"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "NETWORK" in tried.stderr  # the guard guards
    write_pair(tmp_path)
    call = options(
        fixed=tmp_path / "DOE_JANE_fixed.nii.gz",
        moving=tmp_path / "DOE_JANE_moving.nii.gz",
        output=tmp_path / "out",
        preset="fast",
        device="cpu",
        report=True,
    )
    done = run_command("register", *call, environment=environment)
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stderr
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "DOE_JANE" not in report and str(tmp_path) not in report
    listed = run_command("models", environment=environment)
    assert listed.returncode == 0 and "svf" in listed.stdout and "NETWORK" not in listed.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes; its temporary folder is the user's own")
def test_the_workers_folder_is_private_and_knows_no_names(tmp_path, monkeypatch):
    case, old = Case("oblique-LPS"), os.umask(0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    client = WorkerClient([sys.executable])
    try:
        fixed = Image(case.fixed.values, case.fixed.grid, "DOE^JANE 1961")
        client.submit(Request(fixed, case.moving, preset="fast", device="cpu"))
        made = list(tmp_path.iterdir())
        assert made and all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in made)
        names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
        assert not [name for name in names if "DOE" in name or "JANE" in name]
    finally:
        os.umask(old)
        client.close()
    assert not list(tmp_path.iterdir())


def test_an_archive_or_a_name_cannot_leave_its_folder(tmp_path):
    """Arrays of the worker are named by plain names; anything else is refused, not followed."""
    from SlicerDeepRegLib.worker import protocol

    np.save(tmp_path / "outside.npy", np.zeros((2, 2, 2)))
    inside = tmp_path / "job"
    inside.mkdir()
    values = protocol.write_request(Request(*[Case("oblique-LPS").fixed] * 2), inside)
    for name in ("../outside.npy", str(tmp_path / "outside.npy"), "..\\outside.npy"):
        values["fixed"] = {**values["moving"], "array": name}
        with pytest.raises((ValueError, OSError)):
            protocol.read_request(json.loads(json.dumps(values)), inside)


class _Evil:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_an_array_that_holds_an_object_is_refused_and_nothing_of_it_runs(tmp_path):
    """A pickle in a .npy file is what NumPy would run, were it allowed to."""
    from SlicerDeepRegLib.worker import protocol

    values = protocol.write_request(Request(*[Case("oblique-LPS").fixed] * 2), tmp_path)
    evil = np.empty((2, 2, 2), object)
    evil[:] = _Evil(tmp_path / "ran")
    np.save(tmp_path / values["fixed"]["array"], evil, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle|Python objects"):
        protocol.read_request(json.loads(json.dumps(values)), tmp_path)
    assert not (tmp_path / "ran").exists()
