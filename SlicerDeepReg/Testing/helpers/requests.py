"""Requests of the tests: on the CPU, of a pair that is to be deformed, and else as ``Request`` has it unless the test
says otherwise.
"""

from __future__ import annotations

from typing import Any

from SlicerDeepRegLib.types import Image, Request

from .cases import Case


def request(fixed: Image, moving: Image, **options: Any) -> Request:
    """Return a request for that pair on the CPU, of two people and one modality; ``options`` are fields of it."""
    options.setdefault("device", "cpu")
    options.setdefault("pair", "people")
    options.setdefault("similarity", "lncc")
    return Request(fixed, moving, **options)


def fast_request(case: Case, **options: Any) -> Request:
    """Return a request for that pair with the preset "fast", from the centers of the images, and without metrics.

    The linear stage of the command takes two thirds of the time of so small a pair.
    """
    options.setdefault("preset", "fast")
    options.setdefault("linear", "center")
    options.setdefault("measure", False)
    return request(case.fixed, case.moving, **options)
