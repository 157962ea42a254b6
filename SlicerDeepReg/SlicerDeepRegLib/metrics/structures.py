"""Each structure before and after, from the metrics of a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def structures_of(
    metrics: Mapping[str, Mapping[str, Any]], names: Mapping[int, str] | None = None
) -> list[dict[str, Any]]:
    """Return a row for each label of either image, in order; none without labels.

    Args:
        metrics: of a ``Result``, by state; its keys may have become text on a way through JSON.
        names: of labels.

    Returns:
        label, name, lps_mm (a place inside it in the fixed image, or None), fixed_ml and warped_ml, and dice and
        hd95_mm, each {"before", "linear", "after"}, None where one of the images lacks it; guided, whether it guided
        the registration.
    """
    after = metrics.get("after", {})
    if "fixed_volume_by_label_ml" not in after:
        return []
    fixed, warped = (_by_number(after[f"{side}_volume_by_label_ml"]) for side in ("fixed", "warped"))
    locations = _by_number(after["center_by_label_lps_mm"])
    guided = {int(label) for label in after.get("guided_labels") or ()}
    rows = []
    for label in sorted({*fixed, *warped}):
        row: dict[str, Any] = {
            "label": label,
            "name": (names or {}).get(label, f"label {label}"),
            "lps_mm": locations.get(label),
        }
        row["guided"] = label in guided
        row["fixed_ml"], row["warped_ml"] = fixed.get(label), warped.get(label)
        for name, figure in (("dice", "dice_by_label"), ("hd95_mm", "hd95_by_label_mm")):
            row[name] = {
                state: _by_number(metrics.get(state, {}).get(figure) or {}).get(label)
                for state in ("before", "linear", "after")
            }
        rows.append(row)
    return rows


def structure_name(row: Mapping[str, Any]) -> str:
    """Return the name of a structure; of one that guided the registration with that, since its overlap says nothing."""
    return f"{row['name']} (guided)" if row.get("guided") else str(row["name"])


def _by_number(values: Mapping[Any, Any]) -> dict[int, Any]:
    return {int(label): value for label, value in values.items()}
