"""What a result says of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from .. import device as devices


def provenance(
    checksums: dict[str, str], device: torch.device, similarity: str, pair: Mapping[str, Any]
) -> dict[str, Any]:
    """Return versions, device, threads, the metric that was used, what the pair was taken for and checksums."""
    return {
        "versions": {
            "SlicerDeepReg": __version__,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "SimpleITK": sitk.Version.VersionString(),
            "numpy": np.__version__,
        },
        "platform": platform.platform(),
        "device": devices.describe(device),
        "threads": torch.get_num_threads(),
        "similarity": similarity,
        "pair": dict(pair),
        "sha256": checksums,
    }
