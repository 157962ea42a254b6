"""Leave the tests of the stand-in out where Qt is missing; the report says so at its top."""

from __future__ import annotations

from slicer_stand_in.requirements import missing

collect_ignore_glob = ["test_*.py"] if missing() else []


def pytest_report_header() -> str:
    reason = missing()
    return f"THE STAND-IN IS NOT TESTED: {reason}." if reason else "stand-in: tested"
