"""What a result says of how it was made."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from .. import device as devices


def provenance(checksums: dict[str, str], device: torch.device, similarity: str) -> dict[str, Any]:
    """Return versions, device, threads, the metric that was used and the inputs' checksums."""
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
        "sha256": checksums,
    }
