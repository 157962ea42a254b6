"""How regular a deformation is: folds, their volume, and the spread of volume change."""

from __future__ import annotations

from typing import Dict, Optional

import numpy as np

from ..contracts import Field
from ..geometry.jacobian import jacobian_of_field, non_diffeomorphic_volume


def regularity_figures(field: Optional[Field], mask: np.ndarray) -> Dict[str, float]:
    """|J| <= 0, NDV, SDlogJ and the range of |J| inside a mask, of the field alone (without the linear part).

    Args:
        field: the displacement, or None for a linear transform (no figures).
        mask: (K, J, I) bool on the field's grid.
    """
    if field is None:
        return {}
    jacobian = jacobian_of_field(field)[mask].astype(np.float64)
    ndv, failing = non_diffeomorphic_volume(field, mask)
    return {
        "folds_percent": float(100 * np.mean(jacobian <= 0)),
        "ndv_percent": ndv,
        "digital_folds_percent": failing,
        "sdlogj": float(np.log(np.maximum(jacobian, 1e-9)).std()),
        "sdlogj_learn2reg": float(np.log(np.clip(jacobian + 3, 1e-9, 1e9)).std()),
        "jacobian_min": float(jacobian.min()),
        "jacobian_max": float(jacobian.max()),
    }
