"""What a result says of how it was made."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from .. import device as devices
from ..types import OUTPUT_FILES, POINT_FIELDS, Image, Request, Source


def files_and_images_of(request: Request) -> dict[str, Source]:
    """Return what a result was made from, by what the request calls it: images, and files of anything else.

    Of a result that was continued it is the transform.
    """
    found: dict[str, Any] = {**request.sources, "initial": request.initial_file}
    found |= {name: getattr(request, name) for name in (*POINT_FIELDS, "continued")}
    sources: dict[str, Source] = {}
    for name, one in found.items():
        if isinstance(one, (str, os.PathLike)):
            path = os.fspath(one)
            if name == "continued" and os.path.isdir(path):
                path = os.path.join(path, OUTPUT_FILES["transform"])
            if name != "continued" or os.path.exists(path):  # whoever reads it says that it is missing
                sources[name] = path
        elif isinstance(one, Image):
            sources[name] = one
    return sources


def where_it_ran() -> dict[str, Any]:
    """Return the versions of what computes, and the platform."""
    return {
        "versions": {
            "SlicerDeepReg": __version__,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "SimpleITK": sitk.Version.VersionString(),
            "numpy": np.__version__,
        },
        "platform": platform.platform(),
    }


def provenance(
    checksums: dict[str, str], device: torch.device, similarity: str, pair: Mapping[str, Any]
) -> dict[str, Any]:
    """Return versions, device, threads, the metric that was used, what the pair was taken for and checksums."""
    return {
        **where_it_ran(),
        "device": devices.describe(device),
        "threads": torch.get_num_threads(),
        "similarity": similarity,
        "pair": dict(pair),
        "sha256": checksums,
    }
