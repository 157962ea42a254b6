"""NiftyReg's free-form deformation by its programs ``reg_f3d`` and ``reg_transform``, where they are on the path.

Modat et al. 2010, doi:10.1016/j.cmpb.2009.09.002. It is not on PyPI: see github.com/KCL-BMEIS/niftyreg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..catalog import Card
from ..processes.folders import private_folder
from ..processes.launch import find_program, module_command
from ..settings import number
from ..types import PRESETS, Finding
from . import engine_process
from .base import Context
from .engine import Displacement, Engine, StraightPair, straight_image

PROGRAMS = ("reg_f3d", "reg_transform")


@dataclass(frozen=True)
class NiftyRegSettings:
    """The numbers of NiftyReg's free-form deformation."""

    iterations: int = number(300, 1, 5000, "Iterations", "At each level, at most.")
    bending: float = number(0.001, 0.0, 1.0, "Bending energy", "Weight of the bending energy.")
    grid_voxels: float = number(5.0, 1.0, 50.0, "Control points (voxels)", "Distance of the control points at the end.")
    cross_correlation: int = number(1, 0, 1, "Cross correlation", "1 for local correlation, 0 for mutual information.")


class NiftyReg(Engine):
    """B-splines with bending energy; "velocity" in the configuration asks for its velocities (reg_f3d -vel)."""

    bytes_per_voxel = 250
    presets = {preset: NiftyRegSettings() for preset in PRESETS}
    card = Card(
        name="niftyreg",
        title="NiftyReg (free-form deformation)",
        summary="NiftyReg's B-splines with bending energy, by its programs reg_f3d and reg_transform where they are on "
        "the path; one modality or several.",
        references=(
            "Modat M, Ridgway GR, Taylor ZA, Lehmann M, Barnes J, Hawkes DJ, Fox NC, Ourselin S. Fast free-form "
            "deformation using graphics processing units. Comput Methods Programs Biomed 2010, 98(3): 278-284. "
            "doi:10.1016/j.cmpb.2009.09.002",
        ),
        license="BSD (NiftyReg, of its own)",
        dimensions=(2, 3),
        year=2010,
        configuration={"velocity": False},
        variants={"velocity": {"title": "velocities (reg_f3d -vel)", "configuration": {"velocity": True}}},
    )

    def missing(self) -> Finding | None:
        """See :class:`~.base.Method`."""
        absent = [name for name in PROGRAMS if find_program(name) is None]
        if not absent:
            return None
        return Finding(
            "error",
            f"NiftyReg is not installed: {' and '.join(absent)} not found on the path.",
            "It is not a Python package; build it from github.com/KCL-BMEIS/niftyreg and add its bin folder to PATH.",
            "method",
        )

    def find(self, pair: StraightPair, settings: NiftyRegSettings, context: Context) -> Displacement:
        """See :class:`~.engine.Engine`."""
        with private_folder("slicerdeepreg-") as folder:
            for role, values in (("fixed", pair.fixed), ("moving", pair.moving)):
                sitk.WriteImage(straight_image(values, pair.spacing_mm), str(folder / f"{role}.nii.gz"))
            for command in self._commands(settings, pair.one_modality):
                program = module_command("processes.supervise", str(find_program(command[0])), *command[1:])
                engine_process.run_engine(program, self.title, context.progress, folder, context.threads)
            positions = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "deformation.nii.gz")))
        return Displacement(_displacements(positions, pair.fixed, pair.spacing_mm))

    def _commands(self, settings: NiftyRegSettings, one_modality: bool) -> list[list[str]]:
        register = ["reg_f3d", "-ref", "fixed.nii.gz", "-flo", "moving.nii.gz", "-cpp", "grid.nii.gz"]
        register += ["-res", "warped.nii.gz", "-maxit", str(settings.iterations), "-be", str(settings.bending)]
        register += ["-sx", str(-abs(settings.grid_voxels))]  # negative: in voxels
        if one_modality and settings.cross_correlation:
            register += ["-lncc", "0", "5"]
        if self.card.configuration["velocity"]:
            register.append("-vel")
        return [register, ["reg_transform", "-ref", "fixed.nii.gz", "-def", "grid.nii.gz", "deformation.nii.gz"]]


def _displacements(positions: np.ndarray, fixed: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return (..., n) mm along the axes, from the positions that reg_transform writes: RAS mm, of the moving image.

    The images have straight axes in LPS, so x and y are the other way round in NIfTI's RAS. SimpleITK turns vectors
    of a NIfTI file with the vector intent into LPS itself, and leaves positions of others as they are: whichever it was
    is seen at the first voxel, whose position is nearly nought, from the sign of the others.
    """
    axes = fixed.ndim
    vectors = np.asarray(positions, np.float64).reshape(*fixed.shape, -1)[..., :axes]
    index = np.moveaxis(np.indices(fixed.shape)[::-1], 0, -1) * np.array(spacing_mm)
    for c in range(min(2, axes)):
        if np.sum(vectors[..., c] * index[..., c]) < 0:
            vectors[..., c] *= -1
    return vectors - index


METHODS = (NiftyReg(),)
