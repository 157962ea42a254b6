"""The results of a lesson on a sheet: a table as text, and a picture (matplotlib, the extra "compare")."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..geometry.points import displacement_at, voxel_centers_lps
from ..metrics import METRICS
from ..types import Result
from .lessons import SHOWN, Lesson
from .pairs import RANGE

#: The Jacobian's colors go from a quarter to four times the volume; what is folded has a color of its own.
LOG_LIMIT, FOLD = np.log(4.0), "#ff00ff"
GRID_MM = 10.0


def table(lesson: Lesson, results: Sequence[Result]) -> str:
    """The metrics of a lesson's registrations as a table in Markdown, with what they were before any."""
    titles = [METRICS[name].heading for name in SHOWN]
    titles = [title.replace("|", "\\|") for title in titles]  # a bar would begin another column
    lines = ["| | " + " | ".join(titles) + " | seconds |", "|---|" + "---|" * (len(SHOWN) + 1)]
    before = results[0].metrics["before"]
    rows = [("as given", before, "")]
    rows += [
        (one.title, result.metrics["after"], f"{sum(result.seconds.values()):.1f}")
        for one, result in zip(lesson.tries, results)
    ]
    for title, metrics, seconds in rows:
        values = [metrics.get(name) for name in SHOWN]
        shown = ["-" if value is None else f"{value:.3g}" for value in values]
        lines.append(f"| {title} | " + " | ".join(shown) + f" | {seconds} |")
    return "\n".join(lines)


def picture(lesson: Lesson, results: Sequence[Result], path: Path) -> bool:
    """Draw a row for each registration: warped with the grid, what is left, change of volume.

    Returns:
        Whether it was drawn: False without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    rows = len(results) + 1
    figure = Figure(figsize=(8.2, 2.75 * rows), layout="constrained")
    axes = figure.subplots(rows, 3)
    fixed, moving = _axial(results[0].fixed.values), _axial(results[0].moving.values)
    _gray(axes[0, 0], fixed, "fixed")
    _gray(axes[0, 1], moving, f"moving: TRE {results[0].metrics['before']['tre_mm']:.1f} mm")
    _difference(axes[0, 2], moving - fixed, "moving - fixed")
    for row, one, result in zip(axes[1:], lesson.tries, results):
        _gray(
            row[0],
            _axial(result.warped.values),
            f"{one.title}\ngrid x + u(x), TRE {result.metrics['after']['tre_mm']:.2f} mm",
        )
        _grid(row[0], result)
        _difference(row[1], _axial(result.warped.values) - fixed, "warped - fixed\n")
        drawn = _jacobian(row[2], _axial(result.jacobian.values), "change of volume\n(magenta: folded)")
    bar = figure.colorbar(drawn, ax=axes[1:, 2], shrink=0.8 / max(1, rows - 2), ticks=np.log([0.25, 0.5, 1, 2, 4]))
    bar.ax.set_yticklabels(["1/4", "1/2", "1", "2", "4"])
    figure.savefig(path, dpi=80)
    return True


def _axial(values: np.ndarray) -> np.ndarray:
    """The middle slice; the lessons' grids are in LPS, so its rows run from front to back as on a screen."""
    return np.asarray(values[values.shape[0] // 2], float)


def _plain(axis, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def _gray(axis, values: np.ndarray, title: str) -> None:
    axis.imshow(values, cmap="gray", vmin=RANGE[0], vmax=RANGE[1])
    _plain(axis, title)


def _difference(axis, values: np.ndarray, title: str) -> None:
    axis.imshow(values, cmap="RdBu_r", vmin=-RANGE[1] / 2, vmax=RANGE[1] / 2)
    _plain(axis, title)


def _jacobian(axis, values: np.ndarray, title: str):
    from matplotlib import colormaps

    colors = colormaps["RdBu_r"].with_extremes(bad=FOLD)
    shown = np.ma.masked_where(values <= 0, np.log(np.maximum(values, 1e-6)))
    drawn = axis.imshow(shown, cmap=colors, vmin=-LOG_LIMIT, vmax=LOG_LIMIT)
    _plain(axis, title)
    return drawn


def _grid(axis, result: Result) -> None:
    """Lines that are straight in the fixed image, as ``x + u(x)`` bends them."""
    grid = result.fixed.grid
    points = voxel_centers_lps(grid)[grid.shape_kji[0] // 2]
    there = points + displacement_at(result.transform.field, points.reshape(-1, 3)).reshape(points.shape)
    columns, rows = _in_pixels(there, grid)
    step = max(1, round(GRID_MM / grid.spacing_mm[0]))
    for lines in (zip(columns[::step], rows[::step]), zip(columns.T[::step], rows.T[::step])):
        for across, down in lines:
            axis.plot(across, down, color="#ffd400", linewidth=0.6)
    axis.set_xlim(-0.5, grid.size_ijk[0] - 0.5)
    axis.set_ylim(grid.size_ijk[1] - 0.5, -0.5)


def _in_pixels(points_lps_mm: np.ndarray, grid) -> list[np.ndarray]:
    ijk = points_lps_mm @ grid.lps_to_ijk[:3, :3].T + grid.lps_to_ijk[:3, 3]
    return [ijk[..., 0], ijk[..., 1]]
