"""How many threads have a processor of their own."""

import os
import subprocess
import sys

import pytest
from SlicerDeepRegLib.processes import load


@pytest.fixture
def undecided(monkeypatch):
    for name in load.DECIDED_BY:
        monkeypatch.delenv(name, raising=False)


def meter(monkeypatch, processors, seconds, used):
    """One that saw other programs use the processors for so long."""
    times = iter([(100.0, 50.0), (100.0 + seconds, 50.0 + used)])
    monkeypatch.setattr(load, "_times", lambda: next(times))
    monkeypatch.setattr(load.time, "monotonic", lambda: 100.0 + seconds)
    monkeypatch.setattr(load.os, "cpu_count", lambda: processors)
    return load.LoadMeter()


@pytest.mark.parametrize(
    ("processors", "used", "most", "free"),
    [(2, 0.0, 2, 2), (2, 1.0, 2, 1), (2, 0.4, 2, 2), (2, 2.0, 2, 1), (16, 3.1, 8, 8), (8, 3.1, 8, 5), (2, -0.1, 2, 2)],
)
def test_what_others_use_is_left_to_them(monkeypatch, undecided, processors, used, most, free):
    assert meter(monkeypatch, processors, 1.0, used).free_threads(most) == free
    assert meter(monkeypatch, processors, 2.0, 2 * used).free_threads(most) == free


def test_the_users_choice_stands(monkeypatch, undecided):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert meter(monkeypatch, 2, 1.0, 2.0).free_threads(2) == 2


def test_where_nothing_is_known_all_are_used(monkeypatch, undecided):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert load.LoadMeter().free_threads(7) == 7


def test_busy_programs_are_seen(undecided):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        assert load.LoadMeter().free_threads(os.cpu_count()) <= max(1, os.cpu_count() // 2)
    finally:
        for process in busy:
            process.kill()
            process.wait()
