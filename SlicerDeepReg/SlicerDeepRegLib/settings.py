"""The numbers of each method, as dataclasses that are read without torch: the panel makes its controls from them.

A field's metadata holds what a control needs: ``title``, ``low``, ``high``, and ``text`` that explains it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping

from .types import InputError


def _number(default, low, high, title: str, text: str):
    return field(default=default, metadata={"low": low, "high": high, "title": title, "text": text})


@dataclass(frozen=True)
class SVFSettings:
    """The numbers of `svf`. Lengths are in voxels of the level, along its finest axis."""

    regularity_lncc: float = _number(
        1.6, 0.05, 20.0, "Regularity, same contrast", "Weight of the diffusion energy per voxel. More is smoother."
    )
    regularity_mind: float = _number(
        1.6, 0.05, 20.0, "Regularity, other contrast", "The same, where images of different contrast are compared."
    )
    window_radius: float = _number(
        4.0, 1.0, 12.0, "Window radius (voxels)", "Of the local correlation. Smaller follows finer detail and noise."
    )
    step: float = _number(0.3, 0.02, 2.0, "First step (voxels)", "Length of the first step of each scale.")
    final_step: float = _number(
        0.1, 0.01, 1.0, "Final step (fraction)", "The last step of a scale, as a part of the first."
    )
    damping: float = _number(
        0.03, 0.0001, 1.0, "Damping", "Gradients much smaller than this hardly move anything: noise is not amplified."
    )
    gradient_sigma: float = _number(
        0.5, 0.0, 5.0, "Gradient smoothing (voxels)", "Gaussian smoothing of the gradient, before the step is made."
    )
    step_sigma: float = _number(
        1.5, 0.5, 5.0, "Step smoothing (voxels)", "Gaussian smoothing of each step. More is smoother and folds less."
    )
    min_intensity_std: float = _number(
        0.12,
        0.01,
        1.0,
        "Minimum intensity deviation",
        "Smallest deviation assumed between matched intensities, 0 to 1.",
    )
    mind_weight: float = _number(10.0, 0.1, 100.0, "MIND weight", "Factor of the loss between different contrasts.")
    search_cell: int = _number(
        6, 3, 16, "Search cell (voxels)", "Size of a cell of the first search for large motion, in voxels of the image."
    )
    search_radius: int = _number(4, 1, 6, "Search radius (cells)", "How many cells that search looks each way.")
    min_jacobian: float = _number(
        0.02, 0.0, 0.5, "Minimum Jacobian", "The deformation is smoothed where it would compress below this."
    )
    repair_reach: int = _number(
        4, 1, 12, "Repair reach (voxels)", "How far around such locations; doubled when five rounds were not enough."
    )


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is fitted to the pair. A card may have other defaults."""

    instance_steps: int = _number(
        200,
        0,
        5000,
        "Instance optimization steps",
        "How often the network is improved on this pair; it may stop early.",
    )
    learning_rate: float = _number(5e-4, 1e-6, 0.1, "Learning rate", "Of Adam; it falls to a tenth while fitting.")
    regularity: float = _number(1.0, 0.0, 100.0, "Regularity", "Weight of the diffusion. More is smoother.")
    instance_seconds: float = _number(
        0.0,
        0.0,
        1e6,
        "Fitting time limit (s)",
        "Fitting ends when these are over, if steps are left; 0 for no such end.",
    )
    refine: int = _number(
        0,
        0,
        500,
        "Refine steps",
        "How many steps of velocity-field optimization follow at each of its two finest scales; 0 for none.",
    )


@dataclass(frozen=True)
class DemonsSettings:
    """SimpleITK's demons."""

    iterations: int = _number(50, 1, 1000, "Iterations", "At each of the coarser scales; the finest has 0.6 of them.")
    sigma: float = _number(1.0, 0.3, 10.0, "Field smoothing (voxels)", "Of the displacement, after each step.")
    update_sigma: float = _number(0.0, 0.0, 10.0, "Step smoothing (voxels)", "Of each step; 0 for none.")


@dataclass(frozen=True)
class ElastixSettings:
    """elastix' B-splines; its own defaults unless said."""

    resolutions: int = _number(4, 1, 8, "Resolutions", "From coarse to fine, each twice as fine.")
    grid_mm: float = _number(10.0, 1.0, 100.0, "Control points (mm)", "Distance of the control points at the end.")
    iterations: int = _number(256, 1, 5000, "Iterations", "At each resolution.")
    samples: int = _number(2048, 100, 100000, "Samples", "Voxels that are compared in each iteration.")
    cross_correlation: int = _number(0, 0, 1, "Cross correlation", "1 for correlation instead of mutual information.")


@dataclass(frozen=True)
class AntsSettings:
    """ANTs' SyN; antspyx' own defaults unless said."""

    cross_correlation: int = _number(0, 0, 1, "Cross correlation", "1 for local correlation (slow), 0 for information.")
    radius: int = _number(4, 1, 10, "Radius (voxels)", "Of the windows of the local correlation.")
    step: float = _number(0.2, 0.01, 1.0, "Step (voxels)", "Length of a gradient step.")
    flow_sigma: float = _number(3.0, 0.0, 10.0, "Step smoothing", "Of the gradient, as ANTs counts it.")
    total_sigma: float = _number(0.0, 0.0, 10.0, "Field smoothing", "Of the whole field, as ANTs counts it.")


@dataclass(frozen=True)
class NiftyRegSettings:
    """NiftyReg's free-form deformation."""

    iterations: int = _number(300, 1, 5000, "Iterations", "At each level, at most.")
    bending: float = _number(0.001, 0.0, 1.0, "Bending energy", "Weight of the bending energy.")
    grid_voxels: float = _number(
        5.0, 1.0, 50.0, "Control points (voxels)", "Distance of the control points at the end."
    )
    cross_correlation: int = _number(1, 0, 1, "Cross correlation", "1 for local correlation, 0 for mutual information.")


@dataclass(frozen=True)
class LddmmSettings:
    """LDDMM. Lengths are in voxels of the scale."""

    times: int = _number(8, 2, 50, "Steps in time", "How many velocities the path has.")
    iterations: int = _number(60, 1, 2000, "Iterations", "At each scale, at most; it may stop early.")
    sigma: float = _number(0.02, 0.001, 1.0, "Intensity error", "What difference of intensities (0 to 1) is let be.")
    alpha: float = _number(10.0, 0.01, 100.0, "Smoothness (Sobolev)", "Weight of the Laplacian. More is smoother.")
    width: float = _number(3.0, 0.3, 30.0, "Width (Gaussian)", "Of the Gaussian kernel, where the variant has one.")
    step: float = _number(0.5, 0.01, 5.0, "Step", "Longest step of a velocity; halved where the energy would grow.")


#: What differs from the defaults, by method and preset.
_BY_PRESET: Dict[str, Dict[str, Any]] = {
    "svf": {
        "thorough": SVFSettings(
            regularity_lncc=0.75,
            regularity_mind=1.0,
            min_intensity_std=0.08,
            gradient_sigma=1.5,
            step_sigma=1.2,
            repair_reach=2,
        )
    }
}
_DEFAULTS: Dict[str, Any] = {"svf": SVFSettings(), "network": NetworkSettings()}
_DEFAULTS.update(demons=DemonsSettings(), elastix=ElastixSettings(), ants=AntsSettings())
_DEFAULTS.update(niftyreg=NiftyRegSettings(), lddmm=LddmmSettings())


def settings_for(module: str, preset: str, changed: Mapping[str, Any] = (), defaults: Mapping[str, Any] = ()):
    """The settings of a method at an preset, some of them changed; None for a method without settings.

    ``defaults`` are those of the method's card, where they differ from its module's.

    Raises:
        InputError: a setting that the method does not have, or a value out of its range.
    """
    if module not in _DEFAULTS:
        if changed:
            raise InputError(f"The method {module} has no settings; {', '.join(changed)} cannot be changed.")
        return None
    chosen = _BY_PRESET.get(module, {}).get(preset, _DEFAULTS[module])
    known = {f.name: f for f in dataclasses.fields(chosen)}
    values = {}
    for name, value in {**dict(defaults), **dict(changed)}.items():
        if name not in known:
            raise InputError(f"There is no setting {name!r}. The settings of {module} are: {', '.join(known)}.")
        values[name] = _checked(known[name], value)
    return dataclasses.replace(chosen, **values)


def fields_of(module: str) -> List[dataclasses.Field]:
    """The settings that a method has, in order; none for a method without."""
    return list(dataclasses.fields(_DEFAULTS[module])) if module in _DEFAULTS else []


def _checked(setting: dataclasses.Field, value: Any):
    low, high = setting.metadata["low"], setting.metadata["high"]
    try:
        number = type(setting.default)(float(value))
    except (TypeError, ValueError):
        raise InputError(f"{setting.name} must be a number from {low} to {high}; it was {value!r}.") from None
    if number != float(value) or not low <= number <= high:
        whole = "a whole number" if isinstance(setting.default, int) else "a number"
        raise InputError(f"{setting.name} must be {whole} from {low} to {high}; it was {value}.")
    return number
