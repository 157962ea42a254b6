"""A report in a folder: the page, and a PDF by fpdf2, which is optional: ``pip install "SlicerDeepReg[report]"``."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import InputError
from .content import Content, Picture, Table
from .page import COLORS, MEANINGS, VERDICTS, page

if TYPE_CHECKING:
    from fpdf import FPDF

NO_FPDF = (
    'A PDF needs fpdf2, which is not installed: pip install "SlicerDeepReg[report]" (or fpdf2). The page report.html '
    "can be printed from a browser instead."
)
_MARGIN, _LINE = 15, 4.6


def can_write() -> bool:
    """Return whether fpdf2 is installed."""
    return importlib.util.find_spec("fpdf") is not None


#: The files that a report may have.
FILES = ("report.html", "report.pdf")


def write_report(content: Content, folder: Path) -> list[str]:
    """Write report.html and, where fpdf2 is installed, report.pdf into a folder; return the names of the files.

    Raises:
        OSError: the folder cannot be written to.
    """
    (folder / "report.html").write_text(page(content), encoding="utf-8")
    if not can_write():
        return ["report.html"]
    write_pdf(content, folder / "report.pdf")
    return ["report.html", "report.pdf"]


def write_pdf(content: Content, path: Path) -> None:
    """Write the report as A4 pages.

    Raises:
        InputError: fpdf2 is not installed.
    """
    if not can_write():
        raise InputError(NO_FPDF)
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_margin(_MARGIN)
    pdf.set_auto_page_break(True, _MARGIN)
    pdf.set_title(_latin(content.title))
    pdf.set_creator("SlicerDeepReg")
    pdf.add_page()
    _heading(pdf, content.title, 15)
    _paragraph(pdf, content.summary)
    pdf.set_text_color(COLORS[content.verdict.color])
    _paragraph(pdf, content.verdict.value, 11)
    pdf.set_text_color(0)
    lines = [(status.name, MEANINGS[status.color], status.value, status.rule) for status in content.statuses]
    _table(pdf, Table("", ("Measure", "Status", "Value", "Tolerance"), tuple(lines)), (26, 24, 60, 70))
    for note in content.warnings:
        _paragraph(pdf, f"Note: {note}")
    for name in ("metrics", "truth"):
        if name in content.tables:
            _table(pdf, content.tables[name])
    for picture in content.pictures:
        _picture(pdf, picture)
    for name in ("structures", "locations"):
        if name in content.tables:
            _table(pdf, content.tables[name])
    _table(pdf, content.tables["stages"], (28, 20, 70, 62))
    _curves(pdf, content)
    _table(pdf, content.tables["method"], (50, 130))
    _sign(pdf)
    pdf.output(str(path))


def _latin(text: str) -> str:
    """Return the text in the characters that the standard PDF fonts have."""
    return str(text).replace("\u2192", "to").replace("\u2026", "...").encode("latin-1", "replace").decode("latin-1")


def _heading(pdf: FPDF, text: str, size: int = 12) -> None:
    if pdf.will_page_break(25):
        pdf.add_page()
    pdf.set_font("Helvetica", "B", size)
    pdf.ln(2)
    pdf.multi_cell(0, size * 0.5, _latin(text), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1)


def _paragraph(pdf: FPDF, text: str, size: int = 9) -> None:
    pdf.set_font("Helvetica", "", size)
    pdf.multi_cell(0, size * 0.5, _latin(text), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1)


def _table(pdf: FPDF, table: Table, widths: Sequence[int] = ()) -> None:
    from fpdf.fonts import FontFace

    if table.title:
        _heading(pdf, table.title)
    pdf.set_font("Helvetica", "", 8)
    aligned = "LEFT" if widths else ("LEFT", *("RIGHT" for _ in table.heading[1:]))
    with pdf.table(
        line_height=_LINE,
        text_align=aligned,
        col_widths=tuple(widths) or None,
        headings_style=FontFace(emphasis="BOLD"),
        borders_layout="HORIZONTAL_LINES",
        first_row_as_headings=any(table.heading),
    ) as drawn:
        for line in ([table.heading] if any(table.heading) else []) + list(table.lines):
            row = drawn.row()
            for cell in line:
                row.cell(_latin(cell))
    pdf.ln(2)


def _picture(pdf: FPDF, picture: Picture) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(picture.png)) as opened:
        height = pdf.epw * opened.height / opened.width
    height = min(height, pdf.eph / 2 - 15)  # two of the highest on a page
    if pdf.will_page_break(height + 12):
        pdf.add_page()
    pdf.image(io.BytesIO(picture.png), w=pdf.epw, h=height, keep_aspect_ratio=True)
    pdf.ln(1)
    _paragraph(pdf, picture.caption, 8)


def _curves(pdf: FPDF, content: Content) -> None:
    width, height = 55.0, 16.0
    for start in range(0, len(content.curves), 3):
        if pdf.will_page_break(height + 10):
            pdf.add_page()
        top = pdf.get_y()
        for place, (name, values) in enumerate(content.curves[start : start + 3]):
            left = _MARGIN + place * (width + 6)
            low, high = min(values), max(values)
            scale = height / (high - low) if high > low else 0
            step = width / max(1, len(values) - 1)
            pdf.set_draw_color(36, 88, 166)
            pdf.polyline([(left + n * step, top + (high - value) * scale) for n, value in enumerate(values)])
            pdf.set_font("Helvetica", "", 7)
            pdf.set_xy(left, top + height + 1)
            pdf.cell(width, 3, _latin(f"{name}: loss {values[0]:.4g} to {values[-1]:.4g}, {len(values)} steps"))
        pdf.set_xy(_MARGIN, top + height + 6)
    pdf.set_draw_color(0)


def _sign(pdf: FPDF) -> None:
    if pdf.will_page_break(62):
        pdf.add_page()
    _heading(pdf, "Verdict")
    for text in VERDICTS:
        y = pdf.get_y()
        pdf.rect(_MARGIN, y, 4, 4)
        pdf.set_x(_MARGIN + 7)
        pdf.set_font("Helvetica", "", 9)
        pdf.cell(0, 4, _latin(text), new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)
    _paragraph(pdf, "Comment:")
    pdf.rect(_MARGIN, pdf.get_y(), pdf.epw, 22)
    pdf.set_y(pdf.get_y() + 25)
    _paragraph(pdf, "Name, date, signature: ____________________________________________")
    _paragraph(pdf, "Not a medical device: the verdict is up to the reader.", 8)
