"""NiftyReg's free-form deformation by its programs ``reg_f3d`` and ``reg_transform``, where they are on the path.

Modat et al. 2010, doi:10.1016/j.cmpb.2009.09.002. It is not on PyPI: see github.com/KCL-BMEIS/niftyreg.
"""

from __future__ import annotations

import shutil
from typing import List

import numpy as np
import SimpleITK as sitk
import torch

from ..catalog import Card
from ..processes.folders import private_folder
from ..types import InputError
from . import engine_process
from .engine import Engine, arrays, in_voxels, picture

PROGRAMS = ("reg_f3d", "reg_transform")


class NiftyReg(Engine):
    """B-splines with bending energy; "velocity" in the card's configuration asks for its velocities (reg_f3d -vel)."""

    one_contrast = False
    bytes_per_voxel = 250

    def available(self) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise InputError(
                f"NiftyReg is not installed: {' and '.join(missing)} not found on the path. It is no Python package; "
                "build it from github.com/KCL-BMEIS/niftyreg and add its bin folder to PATH."
            )

    def find(self, pair, device: torch.device, report, settings):
        fixed, moving, _, spacing_mm = arrays(pair)
        with private_folder("slicerdeepreg-") as folder:
            for what, values in (("fixed", fixed), ("moving", moving)):
                sitk.WriteImage(picture(values, spacing_mm), str(folder / f"{what}.nii.gz"))
            for command in self._commands(settings, spacing_mm, pair.similarity):
                program = [shutil.which(command[0]), *command[1:]]
                engine_process.run_program(program, self.card.title, report, folder)
            positions = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "deformation.nii.gz")))
        return in_voxels(_displacements(positions, fixed, spacing_mm), spacing_mm, device), None, {}, ()

    def _commands(self, settings, spacing_mm, similarity: str) -> List[List[str]]:
        register = ["reg_f3d", "-ref", "fixed.nii.gz", "-flo", "moving.nii.gz", "-cpp", "grid.nii.gz"]
        register += ["-res", "warped.nii.gz", "-maxit", str(settings.iterations), "-be", str(settings.bending)]
        register += ["-sx", str(-abs(settings.grid_voxels))]  # negative: in voxels
        if similarity != "mind" and settings.cross_correlation:
            register += ["-lncc", "0", "5"]
        if self.card.configuration.get("velocity"):
            register.append("-vel")
        return [register, ["reg_transform", "-ref", "fixed.nii.gz", "-def", "grid.nii.gz", "deformation.nii.gz"]]


def _displacements(positions: np.ndarray, fixed: np.ndarray, spacing_mm) -> np.ndarray:
    """(..., n) mm along the axes, from the positions that reg_transform writes: RAS mm, of the moving image.

    The pictures have straight axes in LPS, so x and y are the other way round in NIfTI's RAS. SimpleITK turns vectors
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


def for_card(card: Card) -> NiftyReg:
    """The method of that card."""
    return NiftyReg(card)
