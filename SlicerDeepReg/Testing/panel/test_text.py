"""Names of nodes and what a card says are shown letter by letter, also where Qt would take them for HTML."""

import re

import pytest
from helpers.panel import MODULE

NAME = "T1 <img src=x> & <b>bold</b>"


def seen(text):
    """What Qt shows of a label's, a tooltip's or a message's text."""
    from PySide6.QtGui import Qt, QTextDocument

    if not Qt.mightBeRichText(text):
        return text
    document = QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


@pytest.mark.parametrize("text", [NAME, "plain", "1 < 2", "a &lt; b", "Tom & Jerry", "two\n<i>lines"])
def test_text_is_shown_as_it_is(desktop, text):
    from SlicerDeepRegLib.panel.text import as_text

    assert seen(as_text(text)).replace("\u2028", "\n") == text


def test_names_with_markup_are_shown_as_they_are(desktop, widget, pair):
    panel, ui = widget.panel, widget.ui
    pair[0].SetName(NAME)
    parent = desktop.host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "<u>turn</u>")
    pair[0].SetAndObserveTransformNodeID(parent.GetID())
    panel.update()
    assert "under <u>turn</u>;" in seen(ui.findingsLabel.text)
    assert "under <u>turn</u>;" in seen(ui.fixedTitle.toolTip)
    panel.context.say(f"Registering {NAME}")
    assert seen(ui.stageLabel.text) == f"Registering {NAME}"
    panel.context.error(f"{NAME} is wrong.")
    assert seen(desktop.messages[-1]) == f"{NAME} is wrong."
    panel.context.display.explain(f"Saved {NAME}")
    assert seen(ui.legendLabel.text) == f"Saved {NAME}"


def test_messages_are_displayed_in_one_place():
    """slicer.util.errorDisplay takes HTML: nothing but the function that escapes may call it."""
    folder = MODULE.parent / "SlicerDeepRegLib" / "panel"
    callers = [path.name for path in folder.rglob("*.py") if re.search(r"\berrorDisplay\(", path.read_text("utf-8"))]
    assert callers == ["text.py"]
