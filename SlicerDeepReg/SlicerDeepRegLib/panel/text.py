"""Text of others (names of nodes and segments, cards, messages with them) in widgets that would read it as HTML."""

from __future__ import annotations

import html

import slicer.util
from slicer.i18n import tr as _


def as_text(text: str) -> str:
    """Return what labels, tooltips and message boxes show as this text, letter by letter.

    Qt takes text for HTML where it looks like it; that which could is escaped, and marked as HTML.
    """
    if "<" not in text and "&" not in text:
        return text
    return f"<span>{escaped(text)}</span>"


def escaped(text: str) -> str:
    """Return the text as a part of HTML."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def show_error(text: str, detail: str = "") -> None:
    """Display an error."""
    more = {"detailedText": detail} if detail else {}
    slicer.util.errorDisplay(as_text(text), windowTitle=_("DeepReg"), **more)
