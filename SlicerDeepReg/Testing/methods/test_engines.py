"""The classical engines: in our convention, with their inverse, and what is said where they are missing or crash."""

import importlib.util
import os
import stat
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cases import Case
from helpers.paths import LIBRARY
from SlicerDeepRegLib.files.transforms import to_sitk_inverse, to_sitk_transform
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed
from SlicerDeepRegLib.methods import engine_process, engine_worker, lddmm, niftyreg
from SlicerDeepRegLib.methods.base import Context
from SlicerDeepRegLib.methods.engine import StraightPair
from SlicerDeepRegLib.methods.lddmm import solver
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.processes.folders import private_folder
from SlicerDeepRegLib.processes.launch import module_command
from SlicerDeepRegLib.types import Canceled, InputError, Request

#: What part of the linear stage's error, which is 0.75 mm on average, each may leave on the synthetic pair.
LEAVES = {
    "demons": 0.7,
    "demons:fast-symmetric": 0.7,
    "lddmm": 0.75,
    "lddmm:gaussian": 0.75,
    "ants": 0.85,
    "elastix": 0.7,
}
#: elastix' defaults are for whole heads and bodies.
SETTINGS = {"elastix": {"grid_mm": 8, "cross_correlation": 1, "iterations": 400, "resolutions": 3}}


def installed(name):
    if name == "ants":
        return importlib.util.find_spec("ants") is not None
    if name == "elastix":
        try:
            metadata.distribution("itk-elastix")
        except metadata.PackageNotFoundError:
            return False
    return True


def head_points(case):
    kji = np.argwhere(case.fixed.values > 30)[::7]
    return apply_matrix(case.fixed.grid.ijk_to_lps, kji[:, ::-1].astype(float))


@pytest.mark.parametrize("geometry", ["oblique-LPS", pytest.param("LPS-RAS", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(LEAVES))
def test_it_finds_the_known_transform_with_its_inverse(name, geometry):
    if not installed(name):
        pytest.skip(f'{name} is not installed: pip install "SlicerDeepReg[{name}]"')
    case = Case(geometry)
    result = register(Request(case.fixed, case.moving, method=name, device="cpu", settings=SETTINGS.get(name, {})))
    points = head_points(case)
    truth = fixed_to_moving(case.transform, points)
    linear = np.linalg.norm(apply_matrix(result.stages[0].linear_lps, points) - truth, axis=1).mean()
    found = fixed_to_moving(result.transform, points)
    assert np.linalg.norm(found - truth, axis=1).mean() < LEAVES[name] * linear
    assert np.linalg.norm(moving_to_fixed(result.transform, found) - points, axis=1).max() < 0.3
    there, back = to_sitk_transform(result.transform), to_sitk_inverse(result.transform)
    some = points[::50]
    assert np.abs([there.TransformPoint(p) for p in some.tolist()] - found[::50]).max() < 0.05
    assert np.abs([back.TransformPoint(p) for p in found[::50].tolist()] - some).max() < 0.35
    assert result.stages[-1].name == name and result.stages[-1].seconds > 0


def test_missing_engines_say_how_to_install_them(monkeypatch):
    case = Case("LPS-RAS")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    for name, text in (("ants", r"SlicerDeepReg\[ants\]"), ("elastix", r"SlicerDeepReg\[elastix\]")):
        with pytest.raises(InputError, match=text):
            register(Request(case.fixed, case.moving, method=name, device="cpu"))
    with pytest.raises(InputError, match="reg_f3d and reg_transform not found on the path"):
        register(Request(case.fixed, case.moving, method="niftyreg", device="cpu"))


@pytest.mark.parametrize("name", ["demons", "lddmm"])
def test_different_contrasts_are_refused_by_what_compares_intensities(name):
    case = Case("LPS-RAS")
    with pytest.raises(InputError, match="images of one modality"):
        register(Request(case.fixed, case.moving, method=name, similarity="mind", device="cpu"))


# ------------------------------------------------------------------ in a process of its own


def program(*lines):
    return [sys.executable, "-c", "\n".join(lines)]


@pytest.mark.parametrize(
    "lines, text",
    [
        (["import os, signal", "os.kill(os.getpid(), signal.SIGSEGV)"], "crashed .SIGSEGV"),
        (["import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"], "memory ran out"),
        (
            ["print('not this'); print('a metric of nothing')", "raise SystemExit(3)"],
            "code 3.*a metric of nothing",
        ),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_crash_is_an_error_with_its_last_words(tmp_path, lines, text):
    with pytest.raises(InputError, match=text):
        engine_process.run_engine(program(*lines), "The engine", lambda progress: None, tmp_path)


def test_a_program_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="could not be started"):
        engine_process.run_engine([str(tmp_path / "nothing")], "The engine", lambda progress: None, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="asks POSIX for the process")
def test_a_cancel_ends_the_engine_at_once(tmp_path):
    def report(progress):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="utf-8"):
            raise Canceled

    began = time.monotonic()
    lines = ["import os, time", f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))", "time.sleep(60)"]
    with pytest.raises(Canceled):
        engine_process.run_engine(program(*lines), "The engine", report, tmp_path)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), 0)


# ------------------------------------------------------------------ what engines write to the temporary folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The user's temporary folder; engines are children, so they see it, too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


WRITES = ["import os, tempfile", "handle, path = tempfile.mkstemp()", "print(path, flush=True)"]


def test_an_engines_temporary_files_lie_in_its_own_folder(tmp_path, temporary):
    (tmp_path / "own").mkdir()
    engine_process.run_engine(program(*WRITES), "The engine", lambda progress: None, tmp_path / "own")
    written = Path((tmp_path / "own" / "log.txt").read_text(encoding="utf-8").strip())
    assert written.is_file() and tmp_path / "own" in written.parents and not list(temporary.iterdir())


def test_ants_leaves_no_warp_in_the_users_temporary_folder(temporary):
    if not installed("ants"):
        pytest.skip('ants is not installed: pip install "SlicerDeepReg[ants]"')
    seen = set()

    def report(progress):
        seen.update(path for path in temporary.rglob("*") if path.is_dir())

    image = np.random.default_rng(0).random((20, 20, 20), np.float32)
    values = {"metric": "mattes", "sampling": 32, "step": 0.2, "flow_sigma": 3.0}
    values.update(total_sigma=0.0, iterations=(2,))
    pair = StraightPair(image, np.roll(image, 1, 0), np.ones_like(image, bool), [1.0] * 3, True, "fast")
    found = engine_process.call("ants", "ANTs", pair, values, Context(progress=report))
    assert found["displacement"].shape == (20, 20, 20, 3)
    assert seen and not list(temporary.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("where", ["supervised", "engine_worker"])
def test_only_the_user_may_read_what_an_engine_writes(tmp_path, where, monkeypatch):
    if where == "supervised":
        made = tmp_path / "made"
        command = module_command("processes.supervise", *program(f"open({str(made)!r}, 'w').close()"))
        engine_process.run_engine(command, "The engine", lambda progress: None, tmp_path)
    else:
        made = tmp_path / "done.npz"
        (tmp_path / "values.json").write_text("{}")
        old = os.umask(0)
        monkeypatch.setattr(engine_worker, "end_with_parent", lambda: None)
        monkeypatch.setitem(engine_worker.FUNCTIONS, "nothing", lambda arrays, values: {"zero": np.zeros(1)})
        monkeypatch.setattr(sys, "argv", ["engine_worker", "nothing", str(tmp_path)])
        try:
            engine_worker.main()
        finally:
            os.umask(old)
    assert made.stat().st_mode & 0o77 == 0


@pytest.mark.skipif(os.name != "posix", reason="asks POSIX to kill it")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path, temporary):
    lines = [
        "from SlicerDeepRegLib.methods.engine_process import run_engine",
        "from SlicerDeepRegLib.processes.folders import private_folder",
        f"engine = {program(*WRITES, 'import time', 'time.sleep(60)')!r}",
        "with private_folder('slicerdeepreg-') as folder:",
        "    run_engine(engine, 'The engine', lambda progress: print(folder, flush=True), folder)",
    ]
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    killed = subprocess.Popen(program(*lines), stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    folder = Path(killed.stdout.readline().strip())
    end = time.monotonic() + 30
    while not list((folder / "temporary").glob("*")) and time.monotonic() < end:
        time.sleep(0.01)
    assert list((folder / "temporary").glob("*"))
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert folder.stat().st_mode & 0o77 == 0  # until then only its user can look into it
    with private_folder("slicerdeepreg-") as mine:
        assert list(temporary.iterdir()) == [mine]


def test_demons_are_stopped_by_a_cancel():
    case = Case("LPS-RAS")

    def report(progress):
        if progress.stage.startswith("level"):
            raise Canceled

    with pytest.raises(Canceled):
        register(Request(case.fixed, case.moving, method="demons", device="cpu"), report)


# ------------------------------------------------------------------ NiftyReg, by programs that stand in for it

STAND_IN = """#!{python}
import sys
import numpy as np
import SimpleITK as sitk
if sys.argv[0].endswith("reg_transform"):
    fixed = sitk.ReadImage("fixed.nii.gz")
    positions = np.moveaxis(np.indices(fixed.GetSize()[::-1])[::-1], 0, -1) * np.array(fixed.GetSpacing())
    moved = positions + np.array([2.0, -1.0, 0.5])[: positions.shape[-1]]
    picture = sitk.GetImageFromArray(moved, isVector=True)
    picture.CopyInformation(fixed)
    sitk.WriteImage(picture, sys.argv[-1])
else:
    assert "-lncc" in sys.argv and "moving.nii.gz" in sys.argv
    sitk.ReadImage("moving.nii.gz")
"""


@pytest.mark.skipif(os.name != "posix", reason="programs with a first line of their own")
def test_niftyreg_is_called_and_its_positions_are_understood(tmp_path, monkeypatch):
    for name in niftyreg.PROGRAMS:
        place = tmp_path / name
        place.write_text(STAND_IN.format(python=sys.executable))
        place.chmod(place.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    case = Case("LPS-RAS")
    result = register(Request(case.fixed, case.moving, method="niftyreg", linear="none", device="cpu"))
    along = np.array([2.0, -1.0, 0.5]) @ case.fixed.grid.direction.T  # along the axes of the voxels, in LPS
    assert np.allclose(result.transform.field.displacement_lps_mm[10, 10, 10], along, atol=0.02)


def test_positions_in_either_handedness_give_the_same():
    spacing, shape = [1.0, 2.0, 1.5], (4, 5, 6)
    index = np.moveaxis(np.indices(shape)[::-1], 0, -1) * np.array(spacing)
    wanted = np.random.default_rng(0).normal(0, 0.3, (*shape, 3))
    fixed = np.zeros(shape)
    for flips in ([1, 1, 1], [-1, -1, 1]):
        found = niftyreg._displacements((index + wanted) * np.array(flips), fixed, spacing)
        assert np.allclose(found, wanted)


# ------------------------------------------------------------------ LDDMM


def bumps(shape, shift):
    grids = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    center = [n / 2 for n in shape]
    moved = [g - c + (shift if axis == len(shape) - 1 else 0) for axis, (g, c) in enumerate(zip(grids, center))]
    return torch.exp(-sum(g**2 for g in moved) / 40)[None, None]


@pytest.mark.parametrize("kernel", ["sobolev", "gaussian"])
@pytest.mark.parametrize("shape", [(24, 28), (20, 22, 24)])
def test_lddmm_lowers_its_energy_and_its_maps_undo_each_other(shape, kernel):
    moving, fixed = bumps(shape, 0.0), bumps(shape, 2.5)
    settings = lddmm.LddmmSettings(iterations=40)
    velocities = [torch.zeros(1, len(shape), *shape) for _ in range(settings.times)]
    smoother = solver.Smoother(shape, kernel, settings, torch.device("cpu"))
    curve = []
    images = [moving, fixed, torch.ones_like(fixed)]
    found = solver.descend(images, velocities, smoother, settings.iterations, settings, lambda *_: None, curve)
    assert len(curve) > 5 and all(b <= a for a, b in zip(curve, curve[1:])) and curve[-1] < 0.3 * curve[0]
    forth, back = solver.flows(found)
    center = (0, 0, *[n // 2 for n in shape])
    assert float(forth[center]) == pytest.approx(2.4, abs=0.4)  # moving(x + 2.5 along i) = fixed(x)
    undone = solver.compose(back, forth)
    assert float(undone.abs().max()) < 0.12
    assert float(solver.determinant(forth).min()) > 0


def test_its_kernel_is_symmetric_and_smooths():
    settings = lddmm.LddmmSettings()
    smoother = solver.Smoother((12, 14), "sobolev", settings, torch.device("cpu"))
    torch.manual_seed(0)
    a, b = torch.randn(1, 1, 12, 14), torch.randn(1, 1, 12, 14)
    assert float((smoother(a) * b).sum()) == pytest.approx(float((a * smoother(b)).sum()), rel=1e-4)
    assert float(smoother(a).std()) < 0.3 * float(a.std())
    assert torch.allclose(smoother(torch.ones(1, 1, 12, 14)), torch.ones(1, 1, 12, 14), atol=1e-5)


def test_the_determinant_is_that_of_a_known_map():
    k, j, i = torch.meshgrid(*[torch.arange(8, dtype=torch.float32)] * 3, indexing="ij")
    displacement = torch.stack([0.1 * i + 0.2 * j, -0.1 * i, 0.3 * k])[None]
    matrix = np.array([[1.1, 0.2, 0], [-0.1, 1, 0], [0, 0, 1.3]])
    assert float(solver.determinant(displacement)[0, 0, 4, 4, 4]) == pytest.approx(np.linalg.det(matrix), abs=1e-5)


def test_straight_images_keep_their_axes():
    from SlicerDeepRegLib.methods.engine import straight_image
    from SlicerDeepRegLib.methods.inverse import in_voxels

    image = straight_image(np.zeros((4, 5, 6), np.float32), [1.0, 2.0, 3.0])
    assert image.GetSize() == (6, 5, 4) and image.GetSpacing() == (1.0, 2.0, 3.0)
    voxels = in_voxels(np.full((4, 5, 6, 3), 6.0), [1.0, 2.0, 3.0], torch.device("cpu"))
    assert voxels[0, :, 0, 0, 0].tolist() == [6.0, 3.0, 2.0]
