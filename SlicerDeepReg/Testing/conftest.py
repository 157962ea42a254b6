"""Fixtures: small synthetic pairs in every geometry, and the real images beside the project where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.types import Field, Grid, Image, Transform

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DEEPREG_DATA", PROJECT.parent / "shared" / "data")) / "open"


def qt_trouble() -> str:
    """What Qt misses here, or "" where the tests of the panel can run."""
    try:
        import PySide6.QtWidgets  # noqa: F401
    except ModuleNotFoundError:
        return "PySide6 is not installed"
    except ImportError as error:
        if "cannot open shared object" in str(error):
            return str(error)
        raise
    return ""


#: Without Qt's libraries the panel cannot be tested; this is said at the top of the report.
collect_ignore_glob = ["panel/*", "bench/*"] if qt_trouble() else []


def pytest_report_header() -> str:
    trouble = qt_trouble()
    return f"THE PANEL IS NOT TESTED: {trouble}. 'make setup' names the packages." if trouble else "panel: tested"


@pytest.fixture
def shared_data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"needs the real images of {DATA} (set DEEPREG_DATA to the folder that holds 'open')")
    return DATA


def rotation(degrees) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def make_grid(size_ijk, spacing_mm, direction, center_lps_mm=(0.0, 0.0, 0.0)) -> Grid:
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(direction, float) * np.asarray(spacing_mm, float)
    matrix[:3, 3] = np.asarray(center_lps_mm) - matrix[:3, :3] @ ((np.asarray(size_ijk) - 1) / 2)
    return Grid(tuple(size_ijk), matrix)


LPS, RAS, LAS = np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
OBLIQUE = rotation([25, -18, 12])
#: Fixed and moving geometry: size, spacing and direction all differ. LAS and the last are left-handed.
GEOMETRIES = {
    "LPS-RAS": (((30, 34, 28), (2.0, 2.0, 2.2), LPS), ((40, 30, 36), (1.8, 2.5, 2.0), RAS)),
    "RAS-LAS": (((30, 34, 28), (2.0, 2.0, 2.2), RAS), ((38, 34, 30), (2.0, 2.1, 2.4), LAS)),
    "oblique-LPS": (((28, 36, 22), (2.1, 1.7, 3.1), OBLIQUE), ((40, 36, 36), (2.0, 2.0, 2.0), LPS)),
    "LIA-oblique": (
        ((34, 30, 32), (2.0, 2.0, 2.0), np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])),
        ((30, 42, 34), (2.4, 1.9, 2.1), rotation([-10, 30, 5])),
    ),
    "left-handed oblique": (
        ((30, 30, 30), (2.0, 2.2, 2.4), OBLIQUE @ np.diag([1.0, 1.0, -1.0])),
        ((36, 36, 36), (2.0, 2.0, 2.0), rotation([0, 15, -20]) @ np.diag([-1.0, 1.0, 1.0])),
    ),
}


def texture(points_lps_mm: np.ndarray) -> np.ndarray:
    """A smooth asymmetric picture on a black background, as a function of the place: values 0 to about 100."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    head = 1 / (1 + np.exp((np.sqrt((x / 24) ** 2 + (y / 28) ** 2 + (z / 22) ** 2) - 1) * 8))
    detail = 60 + 18 * np.sin(x / 4.5 + 0.4) * np.cos(y / 5.5) + 14 * np.sin(z / 4 + x / 9) + 6 * np.cos(y / 3.5 + 1)
    return head * detail


def smooth_field(grid: Grid, largest_mm: float = 4.0) -> Field:
    """An asymmetric displacement that does not fold, in LPS mm."""
    x, y, z = np.moveaxis(voxel_centers_lps(grid), -1, 0)
    vectors = np.stack(
        [np.sin(y / 15 + 0.3) * np.cos(z / 18), 0.8 * np.cos(x / 16) * np.sin(z / 14), 0.7 * np.sin(x / 17 - y / 20)],
        -1,
    )
    return Field((largest_mm * vectors / np.linalg.norm(vectors, axis=-1).max()).astype(np.float32), grid)


AFFINE = np.eye(4)
AFFINE[:3, :3] = rotation([6, -5, 8]) @ np.diag([1.06, 0.95, 1.03])
AFFINE[:3, 3] = [2.5, -3.0, 1.5]


class Case:
    """Fixed and moving images in two geometries, and a transform between them."""

    def __init__(self, name: str) -> None:
        fixed, moving = GEOMETRIES[name]
        fixed_grid, moving_grid = make_grid(*fixed), make_grid(*moving, center_lps_mm=(1.0, -2.0, 0.5))
        self.transform = Transform(AFFINE, smooth_field(fixed_grid))
        self.moving = Image(texture(voxel_centers_lps(moving_grid)).astype(np.float32), moving_grid, "moving")
        self.fixed = Image(self._seen_from(fixed_grid).astype(np.float32), fixed_grid, "fixed")

    def _seen_from(self, grid: Grid) -> np.ndarray:
        points = voxel_centers_lps(grid).reshape(-1, 3) + self.transform.field.displacement_lps_mm.reshape(-1, 3)
        return texture(apply_matrix(AFFINE, points)).reshape(grid.shape_kji)


@pytest.fixture(params=sorted(GEOMETRIES))
def case(request) -> Case:
    return Case(request.param)


@pytest.fixture
def plain_case() -> Case:
    return Case("oblique-LPS")


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A place for added models that is nobody's; asked for before the panel, it is its worker's too."""
    from SlicerDeepRegLib import catalog

    monkeypatch.setenv("SLICERDEEPREG_MODELS", str(tmp_path / "models"))
    catalog.refresh()
    yield tmp_path / "models"
    monkeypatch.undo()
    catalog.refresh()


# ------------------------------------------------------------------ the panel on the bench


@pytest.fixture
def bench(tmp_path):
    """Slicer's desktop, as far as the panel needs it, without a screen."""
    from bench import Bench  # PySide6, which only these tests need

    with Bench(tmp_path / "slicer") as opened:
        yield opened


@pytest.fixture(scope="session")
def synthetic_case() -> Case:
    return Case("oblique-LPS")


@pytest.fixture
def pair(bench, synthetic_case):
    """(fixed, moving) volume nodes in the scene."""
    from SlicerDeepRegLib.mrml.nodes import add_volume

    scene = bench.host.scene
    return add_volume(scene, synthetic_case.fixed, "fixed"), add_volume(scene, synthetic_case.moving, "moving")


@pytest.fixture
def widget(bench, pair):
    """The module opened with a pair in the scene, fast on the CPU."""
    opened = bench.open_module(PROJECT / "SlicerDeepReg" / "SlicerDeepReg.py")
    opened.panel.parameters.preset = "fast"
    opened.panel.parameters.device = "cpu"
    return opened


@pytest.fixture
def pretended(widget):
    """The panel's client replaced; the real one is closed."""
    from panel.on_bench import PretendedClient

    session = widget.logic.session
    session.client.close()
    session.client = PretendedClient()
    return session.client
