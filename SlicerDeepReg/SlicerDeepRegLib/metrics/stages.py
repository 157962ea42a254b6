"""What the stages of a registration are called, and what they measured, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import METRICS

#: How what only stages measure is written, by its name.
FORMS = {
    "rotation_deg": "rotation {:.1f} degrees",
    "volume_factor": "volume times {:.3f}",
    "largest_mm": "largest displacement {:.1f} mm",
    "gain": "images closer by {:.3g}",
    "loss_before": "loss {:.4g}",
    "loss_after": "then {:.4g}",
    "smoothing_rounds": "smoothed {} times against folds",
    "steps": "{} steps",
    "taken_back_percent": "taken back in {:.1f}% of the image",
    "metric": "metric {:.4g}",
}


def stage_title(name: str) -> str:
    """Return what people read in place of a stage's name: "scale 1/4" is "1/4 resolution"."""
    name = re.sub(r"scale 1$", "full resolution", name.replace("svf alone", "velocity-field optimization alone"))
    return re.sub(r"scale (1/[\d.]+)", r"\1 resolution", name)


def stage_values(metrics: Mapping[str, Any]) -> str:
    """Return a stage's single numbers in words, with units, separated by commas."""
    parts = []
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name == "smoothing_rounds" and value == 0:
            continue
        if name in METRICS:
            metric = METRICS[name]
            unit = metric.unit if metric.unit == "%" else f" {metric.unit}"
            parts.append(f"{metric.title}: {metric.form.format(value)}{unit}".rstrip())
        else:
            parts.append(FORMS.get(name, f"{name.replace('_', ' ')} {{:.4g}}").format(value))
    return ", ".join(parts)
