"""Pictures of a comparison: box plots, and a montage for each pair; needs matplotlib (the extra "compare")."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..preparation.planes import ALONE, grid_step_mm, names_of, plane
from .request import Cell
from .table import Row, by_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

#: Intensities shown as black and as white.
Limits = tuple[float, float]
#: Left, right, bottom and top of an image, mm.
Extent = tuple[float, float, float, float]
INK = "#1c2330"
#: How far the Jacobian's colors go: from a quarter to four times the volume.
LOG_LIMIT = np.log(4.0)
#: How each plane lies.
ORIENTED = {
    "axial": "axial; patient's right is on the left, anterior is up",
    "coronal": "coronal; patient's right is on the left, superior is up",
    "sagittal": "sagittal; anterior is on the left, superior is up",
    ALONE: "as it is stored",
}


def available() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(
    cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]], rows: Sequence[Row], folder: Path
) -> dict[str, Path]:
    """Draw everything of a comparison; returns the files by title, in the order of the report."""
    files = box_plots(rows, by_structure(cells, outcomes, "dice_by_label"), folder)
    for pair in dict.fromkeys(cell.pair.name for cell in cells):
        own = [cell for cell in cells if cell.pair.name == pair]
        planes = [(cell.method.label, _planes(folder / "cells" / f"{cell.file_name}.npz")) for cell in own]
        files.update(montages(pair, {label: values for label, values in planes if values is not None}, folder))
    return files


def box_plots(
    rows: Sequence[Row], structures: Mapping[str, Mapping[str, Sequence[float | None]]], folder: Path
) -> dict[str, Path]:
    """Draw boxes of the pairs and of the structures; returns the files by title.

    Args:
        structures: Dice of each pair, by structure and method.
    """
    _without_screen()
    files = {}
    for title, path in (
        ("Dice of each pair", _box_of_pairs(rows, "dice", "Dice", folder / "dice.png")),
        ("Dice of each structure", _box_of_structures(structures, folder / "structures.png")),
        ("Landmark error of each pair", _box_of_pairs(rows, "tre_mm", "TRE (mm)", folder / "tre.png")),
    ):
        if path is not None:
            files[title] = path
    return files


def montages(pair: str, planes: Mapping[str, Mapping[str, np.ndarray]], folder: Path) -> dict[str, Path]:
    """Draw a pair in each plane, a row for each method; returns the files by title.

    Args:
        planes: by method, see ``preparation.planes.planes_of``: "fixed", "linear", "warped", "jacobian", and the shift.
    """
    _without_screen()
    files = {}
    for name in names_of(next(iter(planes.values()))) if planes else []:
        done = {label: plane(values, name) for label, values in planes.items()}
        shown = "" if name == ALONE else f", {name}"
        files[f"{pair}: the same slice by every method{shown}"] = _montage(pair, name, done, folder)
    return files


def loss_curves(curves: Mapping[str, Sequence[tuple[int, float]]], title: str, path: Path) -> Path | None:
    """Draw the loss of each training over its steps; None where there is none.

    Args:
        curves: by training, (step, loss).
        title: of the axis.
    """
    import matplotlib.pyplot as plt

    _without_screen()
    known = {label: curve for label, curve in curves.items() if len(curve) > 1}
    if not known:
        return None
    figure, axes = plt.subplots(figsize=(8, 4.2))
    for label, curve in known.items():
        steps, losses = np.array(curve).T
        width = max(1, len(losses) // 50)
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        axes.plot(steps[width - 1 :], smooth, label=label, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.grid(color="#d9dee7")
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _saved(figure, path)


def _without_screen() -> None:
    import matplotlib

    matplotlib.use("Agg")


def _saved(figure: Figure, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return path


def _box_of_pairs(rows: Sequence[Row], name: str, title: str, path: Path) -> Path | None:
    """Draw a box for each method over the pairs, the pairs as points."""
    import matplotlib.pyplot as plt

    known = [(row.label, [v for v in row.values.get(name, ()) if v is not None]) for row in rows]
    known = [(label, values) for label, values in known if values]
    if not known:
        return None
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(known) + 1.2))
    _boxes(axes, known)
    axes.set_xlabel(title)
    return _saved(figure, path)


def _boxes(axes: Axes, known: Sequence[tuple[str, Sequence[float]]]) -> None:
    places = range(len(known), 0, -1)
    style = {"color": INK, "linewidth": 1}
    axes.boxplot(
        [values for _, values in known],
        positions=list(places),
        orientation="horizontal",
        widths=0.6,
        showfliers=False,
        medianprops={"color": "#c0392b", "linewidth": 1.6},
        boxprops=style,
        whiskerprops=style,
        capprops=style,
    )
    for place, (_, values) in zip(places, known):
        offsets = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0]
        axes.plot(values, place + np.array(offsets), "o", ms=3, color="#2c6fbb", alpha=0.7)
    axes.set_yticks(list(places), [label for label, _ in known])
    axes.grid(axis="x", color="#d9dee7")
    axes.set_axisbelow(True)


def _box_of_structures(structures: Mapping[str, Mapping[str, Sequence[float | None]]], path: Path) -> Path | None:
    """One panel for each structure, a box for each method, all on one scale."""
    import matplotlib.pyplot as plt

    if not structures:
        return None
    methods = list(next(iter(structures.values())))
    wide = min(5, len(structures))
    deep = -(-len(structures) // wide)
    size = (3.2 * wide, (0.22 * len(methods) + 0.7) * deep)
    figure, panels = plt.subplots(
        deep, wide, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for place, panel in enumerate(panels.flat):
        if place >= len(structures):
            panel.set_visible(False)
            continue
        structure = list(structures)[place]
        known = [(method, [v for v in structures[structure][method] if v is not None]) for method in methods]
        known = [(method, values or [np.nan]) for method, values in known]  # one place for each method in every panel
        _boxes(panel, known)
        panel.set_title(structure if not structure.isdecimal() else f"structure {structure}", fontsize=9)
        panel.tick_params(labelsize=7)
    figure.supxlabel("Dice", fontsize=9)
    return _saved(figure, path)


# ------------------------------------------------------------------ montage


def _montage(pair: str, name: str, done: Mapping[str, Mapping[str, np.ndarray]], folder: Path) -> Path:
    """Draw a row for each method: warped, difference to fixed, the grid, and the Jacobian; one scale for all."""
    import matplotlib.pyplot as plt

    first = next(iter(done.values()))
    tall, wide = first["fixed"].shape
    ratio = tall * first["spacing_mm"][1] / (wide * first["spacing_mm"][0])
    figure, panels = plt.subplots(
        len(done) + 1, 4, figsize=(10, 2.5 * ratio * (len(done) + 1) + 0.9), squeeze=False, layout="constrained"
    )
    limits = _limits(first["fixed"]), _limits(first["linear"])
    step_mm = grid_step_mm(first)
    titles = ("image", "minus fixed", f"grid, {step_mm:g} mm", "Jacobian")
    for place, title in enumerate(titles):  # the last two have nothing in the row of the fixed image
        panels[0 if place < 2 else 1, place].set_title(title, fontsize=10)
    jacobian: AxesImage | None = None
    for row, (label, values) in enumerate([("fixed", None), *done.items()]):
        for panel in panels[row]:
            panel.set_xticks([])
            panel.set_yticks([])
            for side in panel.spines.values():
                side.set_visible(False)
        panels[row, 0].set_ylabel(label, fontsize=9)
        extent = (0, wide * first["spacing_mm"][0], tall * first["spacing_mm"][1], 0)
        if values is None:
            _gray(panels[row, 0], first["fixed"], limits[0], extent)
            _difference(
                panels[row, 1], _scaled(first["linear"], limits[1]) - _scaled(first["fixed"], limits[0]), extent
            )
            panels[row, 1].set_xlabel("before the deformation", fontsize=8)
            panels[row, 2].set_visible(False)
            panels[row, 3].set_visible(False)
            continue
        _gray(panels[row, 0], values["warped"], limits[1], extent)
        _difference(panels[row, 1], _scaled(values["warped"], limits[1]) - _scaled(values["fixed"], limits[0]), extent)
        _grid(panels[row, 2], values, limits[1], extent, step_mm)
        jacobian = _jacobian(panels[row, 3], values["jacobian"], extent)
    if jacobian is None:
        raise ValueError("no method is shown in this montage")
    bar = figure.colorbar(jacobian, ax=panels[:, 3], shrink=0.5, location="right", ticks=np.log([0.25, 0.5, 1, 2, 4]))
    bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    bar.set_label("volume, moving to fixed (black: 0 or less)", fontsize=8)
    figure.suptitle(f"{pair}: {ORIENTED[name]}", fontsize=10)
    ending = "" if name in ("axial", ALONE) else f"-{name}"
    return _saved(figure, folder / f"montage-{pair}{ending}.png")


def _planes(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _limits(plane: np.ndarray) -> Limits:
    low, high = np.percentile(plane, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _scaled(plane: np.ndarray, limits: Limits) -> np.ndarray:
    return np.clip((plane - limits[0]) / (limits[1] - limits[0]), 0, 1)


def _gray(panel: Axes, plane: np.ndarray, limits: Limits, extent: Extent) -> None:
    panel.imshow(plane, cmap="gray", vmin=limits[0], vmax=limits[1], extent=extent)


def _difference(panel: Axes, plane: np.ndarray, extent: Extent) -> None:
    panel.imshow(plane, cmap="RdBu_r", vmin=-1, vmax=1, extent=extent)


def _grid(panel: Axes, values: Mapping[str, np.ndarray], limits: Limits, extent: Extent, step_mm: float) -> None:
    """Draw lines of the moving image's space, a step apart, where the transform takes them."""
    panel.imshow(values["warped"], cmap="gray", vmin=limits[0], vmax=2 * limits[1] - limits[0], extent=extent)
    if "across_mm" not in values:
        return
    tall, wide = values["warped"].shape
    across, down = values["spacing_mm"]
    x, y = np.meshgrid((np.arange(wide) + 0.5) * across, (np.arange(tall) + 0.5) * down)
    for base, shift in ((x, values["across_mm"]), (y, values["down_mm"])):
        levels = np.arange(0, base.max(), step_mm)
        panel.contour(x, y, base + shift, levels=levels, colors="#e8b23a", linewidths=0.6)


def _jacobian(panel: Axes, plane: np.ndarray, extent: Extent) -> AxesImage:
    import matplotlib

    colors = matplotlib.colormaps["RdBu_r"].with_extremes(bad="black")
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.where(plane > 0, np.log(plane), np.nan)
    return panel.imshow(shown, cmap=colors, vmin=-LOG_LIMIT, vmax=LOG_LIMIT, extent=extent)
