"""The figures of a result as papers print them: a montage of three planes, and the overlap of each structure.

Drawn by Pillow, which Slicer has; PNG for slides, and PDF, which holds the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.atomic import whole_file
from ..preparation.planes import ALONE, grid_step_mm, names_of, plane
from ..types import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

#: Pixels of the longest side of a panel, of what is between panels, and of a line of text.
SIDE, GAP, LINE = 220, 8, 22
#: The Jacobian's colors go from a quarter to four times the volume.
LIMIT = np.log(4.0)
INK, PAPER, RULE = (28, 35, 48), (255, 255, 255), (217, 222, 231)
BEFORE_COLOR, AFTER_COLOR = (150, 160, 175), (44, 111, 187)
RED, BLUE, FOLD, LINES = (178, 24, 43), (33, 102, 172), (255, 0, 255), (232, 179, 58)
DPI = 150
#: The files that ``write_figures`` may write.
FILES = ("montage.png", "montage.pdf", "structures.png", "structures.pdf")
COLUMNS = (
    ("fixed", "fixed"),
    ("linear", "moving, before"),
    ("warped", "moving, after"),
    ("difference_before", "difference, before"),
    ("difference", "difference, after"),
    ("grid", "grid"),
    ("jacobian", "volume change"),
)
_SIDES = "Axial and coronal: the patient's right is on the left. Sagittal: anterior is on the left."


def write_figures(planes: Mapping[str, np.ndarray], structures: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Write montage.png and .pdf, and where there are structures structures.png and .pdf; return the names.

    Args:
        planes: see ``preparation.planes.planes_of``: "fixed", "warped", "jacobian", and where it is known "linear", the
            moving image before.
        structures: rows of ``metrics.structures.structures_of``.

    Raises:
        InputError: Pillow is not installed. OSError: the folder cannot be written to.
    """
    try:
        import PIL  # noqa: F401 - said in words, before any work
    except ImportError:
        raise InputError("Figures need Pillow, which is not installed: pip install pillow.") from None
    pictures = {"montage": montage(planes)}
    measured = [row for row in structures if row["dice"]["after"] is not None]
    if measured:
        pictures["structures"] = overlaps(measured)
    names = []
    for name, picture in pictures.items():
        for ending, kind in ((".png", "PNG"), (".pdf", "PDF")):
            with whole_file(folder / f"{name}{ending}") as private, open(private, "wb") as stream:
                picture.save(stream, kind, **({"resolution": DPI} if kind == "PDF" else {"dpi": (DPI, DPI)}))
            names.append(f"{name}{ending}")
    return names


# ------------------------------------------------------------------ the montage


def montage(planes: Mapping[str, np.ndarray]) -> Picture:
    """Draw fixed, moving before and after, differences, grid and Jacobian: a row for each plane, one scale for all."""
    from PIL import Image, ImageDraw

    names = names_of(planes)
    columns = [(key, title) for key, title in COLUMNS if _known(planes, names[0], key)]
    limits = {
        key: _limits([planes[f"{n}.{key}"] for n in names if f"{n}.{key}" in planes]) for key in ("fixed", "warped")
    }
    shown = {name: plane(planes, name) for name in names}
    step_mm = grid_step_mm(next(iter(shown.values())))
    scale = SIDE / max(side for one in shown.values() for side in _extent_mm(one))
    rows = [(name, [_panel(key, one, limits, step_mm, scale) for key, _ in columns]) for name, one in shown.items()]
    wide = max(panel.shape[1] for _, panels in rows for panel in panels)
    width = LINE + len(columns) * (wide + GAP)
    height = LINE + sum(panels[0].shape[0] + GAP for _, panels in rows) + 6 * LINE
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, (key, title) in enumerate(columns):
        text = f"{title}, {step_mm:g} mm" if key == "grid" else title
        _text(draw, (LINE + number * (wide + GAP) + wide / 2, LINE / 2), text, anchor="mm")
    top = LINE
    for name, panels in rows:
        for number, panel in enumerate(panels):
            left = LINE + number * (wide + GAP) + (wide - panel.shape[1]) // 2
            picture.paste(Image.fromarray(panel), (left, top))
        _sideways(picture, "" if name == ALONE else name, top, panels[0].shape[0])
        top += panels[0].shape[0] + GAP
    _legend(picture, draw, top)
    if ALONE not in names:
        _text(draw, (LINE, top + 5.3 * LINE), _SIDES, anchor="lm")
    return picture


def _known(planes: Mapping[str, np.ndarray], name: str, key: str) -> bool:
    needs = {"grid": "across_mm", "difference": "warped", "difference_before": "linear"}.get(key, key)
    return f"{name}.{needs}" in planes


def _limits(planes: Sequence[np.ndarray]) -> tuple[float, float]:
    together = np.concatenate([values[np.isfinite(values)] for values in planes])
    if not len(together):
        return 0.0, 1.0
    low, high = np.percentile(together, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _extent_mm(one: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return how wide and how high a plane is, mm."""
    tall, wide = one["fixed"].shape
    return float(wide * one["spacing_mm"][0]), float(tall * one["spacing_mm"][1])


def _panel(
    key: str, one: Mapping[str, np.ndarray], limits: Mapping[str, tuple[float, float]], step_mm: float, scale: float
) -> np.ndarray:
    """Return a panel, (height, width, 3) uint8, with so many pixels a millimeter."""
    scaled = {
        name: _unit(one[name], limits["fixed" if name == "fixed" else "warped"])
        for name in ("fixed", "linear", "warped")
        if name in one
    }
    if key in scaled:
        return _gray(_enlarged(np.nan_to_num(scaled[key]), one, scale))
    if key.startswith("difference"):
        other = scaled["linear" if key.endswith("before") else "warped"]
        return _diverging(_enlarged(np.nan_to_num(other - scaled["fixed"]), one, scale))  # no data is no difference
    if key == "jacobian":
        values = _enlarged(one["jacobian"], one, scale)
        panel = _diverging(np.log(np.maximum(values, 1e-6)) / LIMIT)
        panel[values <= 0] = FOLD
        return panel
    panel = _gray(0.5 * _enlarged(np.nan_to_num(scaled["warped"]), one, scale))
    panel[_lines(one, step_mm, scale, panel.shape[:2])] = LINES
    return panel


def _unit(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    unit: np.ndarray = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return unit


def _enlarged(values: np.ndarray, one: Mapping[str, np.ndarray], scale: float) -> np.ndarray:
    """Return an array with pixels of one size in both directions, linearly."""
    from PIL import Image

    tall, wide = values.shape
    size = (max(1, round(wide * one["spacing_mm"][0] * scale)), max(1, round(tall * one["spacing_mm"][1] * scale)))
    enlarged: np.ndarray = np.asarray(
        Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, Image.Resampling.BILINEAR)
    )
    return enlarged


def _gray(unit: np.ndarray) -> np.ndarray:
    return np.repeat((255 * np.clip(unit, 0, 1)).astype(np.uint8)[..., None], 3, -1)


def _diverging(amount: np.ndarray) -> np.ndarray:
    """Return colors of -1 to 1: blue, white at 0, red."""
    amount = np.clip(amount, -1, 1)[..., None]
    white, red, blue = (np.array(color, float) for color in (PAPER, RED, BLUE))
    mixed = np.where(amount > 0, white + amount * (red - white), white - amount * (blue - white))
    return mixed.round().astype(np.uint8)


def _lines(one: Mapping[str, np.ndarray], step_mm: float, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return where lines of the moving image's space, a step apart, are taken to by the transform."""
    y, x = np.mgrid[: shape[0], : shape[1]] / scale
    found = np.zeros(shape, bool)
    for base, key in ((x, "across_mm"), (y, "down_mm")):
        number = np.floor((base + _enlarged(one[key], one, scale)) / step_mm)
        found[:, 1:] |= number[:, 1:] != number[:, :-1]
        found[1:] |= number[1:] != number[:-1]
    return found


def _legend(picture: Picture, draw: ImageDraw, top: int) -> None:
    """Draw what the colors mean, below the montage."""
    from PIL import Image

    long = 200
    bar = np.broadcast_to(np.linspace(-1, 1, long), (10, long))
    for number, (title, labels) in enumerate(
        (
            ("difference of intensities, moving minus fixed, part of the range", ("-1", "0", "1")),
            ("change of volume, fixed to moving; magenta: folding", ("1/4", "1", "4")),
        )
    ):
        y = top + 4 + number * 2 * LINE
        picture.paste(Image.fromarray(_diverging(bar)), (LINE, y))
        for part, label in zip((0, 0.5, 1), labels):
            _text(draw, (LINE + part * long, y + 12), label, anchor="mt")
        _text(draw, (LINE + long + 2 * GAP, y + 4), title, anchor="lm")


def _sideways(picture: Picture, text: str, top: int, height: int) -> None:
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (height, LINE), PAPER)
    _text(ImageDraw.Draw(strip), (height / 2, LINE / 2), text, anchor="mm")
    picture.paste(strip.rotate(90, expand=True), (0, top))


def _text(draw: ImageDraw, place: tuple[float, float], text: str, anchor: str) -> None:
    draw.text(place, text, fill=INK, font=_font(), anchor=anchor)


def _font() -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(13)
    except TypeError:  # Pillow before 10.1 has one small font
        return ImageFont.load_default()


# ------------------------------------------------------------------ the structures


def overlaps(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw the Dice of each structure before and after, the largest gain first; guided ones are marked."""
    from PIL import Image, ImageDraw

    def gain(row: Mapping[str, Any]) -> float:
        before = row["dice"]["before"]
        return float(row["dice"]["after"] - (before if before is not None else 0))

    ordered = sorted(rows, key=gain, reverse=True)
    name_width, plot, right = 240, 480, 60
    width, height = name_width + plot + right, (len(ordered) + 4) * LINE
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    _text(draw, (name_width + plot / 2, LINE / 2), "Dice of each structure", anchor="mm")
    bottom = (len(ordered) + 1.5) * LINE
    for tenth in range(0, 11, 2):
        x = name_width + plot * tenth / 10
        draw.line((x, LINE, x, bottom), fill=RULE)
        _text(draw, (x, bottom + 4), f"{tenth / 10:g}", anchor="mt")
    for number, row in enumerate(ordered):
        y = (number + 1.5) * LINE
        guided = " (guided)" if row.get("guided") else ""
        _text(draw, (name_width - GAP, y), f"{row['name']}{guided}"[:34], anchor="rm")
        after, before = row["dice"]["after"], row["dice"]["before"]
        end = name_width + plot * after
        if before is not None:
            start = name_width + plot * before
            draw.line((start, y, end, y), fill=RULE, width=4)
            draw.ellipse((start - 4, y - 4, start + 4, y + 4), fill=BEFORE_COLOR)
        draw.ellipse((end - 5, y - 5, end + 5, y + 5), fill=AFTER_COLOR)
        _text(draw, (name_width + plot + GAP, y), f"{after:.2f}", anchor="lm")
    y = bottom + 1.6 * LINE
    for x, color, text in ((name_width, BEFORE_COLOR, "before"), (name_width + 110, AFTER_COLOR, "after")):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=color)
        _text(draw, (x + 10, y), text, anchor="lm")
    return picture
