"""Fixtures: synthetic pairs in every geometry, the real images, and the panel on the stand-in for Slicer's desktop."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("helpers")

from helpers.cases import Case  # noqa: E402
from helpers.geometry import GEOMETRIES  # noqa: E402
from helpers.paths import DATA, LIBRARY  # noqa: E402


def panel_trouble() -> str:
    """Return what is missing to test the panel here, or ""."""
    try:
        from slicer_stand_in.requirements import missing
    except ModuleNotFoundError:
        return "slicer-stand-in is not installed (pip install --editable stand_in)"
    return missing()


#: Without Qt's libraries the panel cannot be tested; this is said at the top of the report.
collect_ignore_glob = ["panel/*"] if panel_trouble() else []


def pytest_report_header() -> str:
    trouble = panel_trouble()
    return f"THE PANEL IS NOT TESTED: {trouble}. 'make setup' names the packages." if trouble else "panel: tested"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"needs the real images of {DATA} (set DEEPREG_DATA to the folder that holds 'open')")
    return DATA


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


# ------------------------------------------------------------------ the panel on the stand-in for Slicer's desktop


@pytest.fixture
def desktop(tmp_path):
    """Slicer's desktop, as far as the panel needs it, without a screen."""
    from slicer_stand_in.desktop import Desktop  # PySide6, which only these tests need

    with Desktop(tmp_path / "slicer") as opened:
        yield opened


@pytest.fixture(scope="session")
def synthetic_case() -> Case:
    return Case("oblique-LPS")


@pytest.fixture
def pair(desktop, synthetic_case):
    """(fixed, moving) volume nodes in the scene."""
    from SlicerDeepRegLib.mrml.nodes import add_volume

    scene = desktop.host.scene
    return add_volume(scene, synthetic_case.fixed, "fixed"), add_volume(scene, synthetic_case.moving, "moving")


@pytest.fixture(scope="session")
def lent_workers():
    """The class of the panel's client, whose processes go from test to test; those that are left end at the end."""
    from helpers.lent_worker import LentWorkerClient

    yield LentWorkerClient
    LentWorkerClient.end_all()


@pytest.fixture
def widget(request, desktop, pair, lent_workers, monkeypatch):
    """The module opened with a pair in the scene, fast on the CPU; tests of the process are marked own_worker."""
    from SlicerDeepRegLib.worker import client

    if request.node.get_closest_marker("own_worker") is None:
        monkeypatch.setattr(client, "WorkerClient", lent_workers)
    opened = desktop.open_module(LIBRARY / "SlicerDeepReg.py")
    opened.panel.parameters.preset = "fast"
    opened.panel.parameters.device = "cpu"
    opened.panel.parameters.linear = "center"  # two thirds of the time of so small a pair are the linear stage's
    return opened


@pytest.fixture
def pretended(widget):
    """The panel's client replaced; the real one is closed."""
    from helpers.panel import PretendedClient

    session = widget.logic.session
    session.client.close()
    session.client = PretendedClient()
    return session.client
