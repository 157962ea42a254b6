"""Target registration error."""

from __future__ import annotations

import numpy as np

from ..geometry.points import fixed_to_moving
from ..types import Transform


def target_registration_errors(
    transform: Transform, fixed_points_lps_mm: np.ndarray, moving_points_lps_mm: np.ndarray
) -> np.ndarray:
    """Compute how far ``T`` of each fixed landmark is from its moving landmark, (N,) mm."""
    differences_lps_mm = fixed_to_moving(transform, fixed_points_lps_mm) - moving_points_lps_mm
    errors_mm: np.ndarray = np.linalg.norm(differences_lps_mm, axis=1)
    return errors_mm
