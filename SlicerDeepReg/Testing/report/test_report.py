"""The report: everything in it, nothing of the patient's, one file, and a PDF."""

import base64
import html
import re

import numpy as np
import pytest
from helpers.cases import Case
from SlicerDeepRegLib.files.jsonable import jsonable
from SlicerDeepRegLib.metrics.stages import stage_title
from SlicerDeepRegLib.metrics.structures import structures_of
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.report import paper
from SlicerDeepRegLib.report.content import Picture, content_of
from SlicerDeepRegLib.report.facts import facts_of
from SlicerDeepRegLib.report.page import VERDICTS, page
from SlicerDeepRegLib.types import Image, InputError, Request

#: A red picture of 2 x 1.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP4z8AAQv8ZAA73Af/BVGGuAAAAAElFTkSuQmCC"
)


@pytest.fixture(scope="module")
def result():
    case = Case("oblique-LPS")
    fixed = Image(case.fixed.values, case.fixed.grid, "Doe^Jane 1961")
    moving = Image(case.moving.values, case.moving.grid, "Doe^Jane 1961 follow-up")
    labels = [Image((one.values > 50).astype(np.int16) * 2, one.grid, "labels") for one in (fixed, moving)]
    given = {"fixed_labels": labels[0], "moving_labels": labels[1]}
    return register(Request(fixed, moving, preset="fast", device="cpu", **given))


def test_structures_are_those_of_the_metrics(result):
    (row,) = structures_of(result.metrics, {2: "core"})
    assert row["name"] == "core" and row["dice"]["after"] == pytest.approx(result.metrics["after"]["dice"])
    assert row["dice"]["before"] < row["dice"]["after"]
    ml = np.prod(result.fixed.grid.spacing_mm) / 1000
    assert row["fixed_ml"] == pytest.approx((result.fixed_labels.values == 2).sum() * ml)
    assert row["warped_ml"] == pytest.approx((result.warped_labels.values == 2).sum() * ml)
    i, j, k = (result.fixed.grid.lps_to_ijk @ [*row["lps_mm"], 1])[:3].round().astype(int)
    assert result.fixed_labels.values[k, j, i] == 2
    assert structures_of(jsonable(result.metrics), {2: "core"}) == [row]  # as they come through JSON
    assert structures_of({"after": {}}) == []


def test_everything_is_on_the_page_and_no_other_file_is_needed(result):
    facts = facts_of(result, {2: "core"})
    text = html.unescape(page(content_of(facts, [Picture(PNG, "Seen so")])))
    for light in facts["statuses"]:
        assert light["name"] in text and light["value"] in text and light["rule"] in text
    for stage in result.stages:
        assert stage_title(stage.name) in text
    for title, values in facts["table"]:
        assert title in text and values[-1] in text
    for expected in ("core", "Seen so", result.provenance["versions"]["torch"], *facts["references"], *VERDICTS):
        assert expected in text
    assert facts["sha256"]["fixed"] in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert base64.b64encode(PNG).decode() in text and text.count("<svg") >= 2  # curves and structures
    assert "http" not in re.sub(r"https?://doi\.org\S*", "", text)


def test_names_stay_out_unless_asked_for(result):
    facts = facts_of(result)
    facts["notes"] = ["Doe^Jane 1961 follow-up is registered where something puts it; Doe^Jane 1961 stays."]
    neutral = page(content_of(facts))
    assert "Doe" not in neutral and "1961" not in neutral
    assert "the moving image is registered where something puts it; the fixed image stays." in neutral
    assert "Doe^Jane 1961 follow-up registered to Doe^Jane 1961" in page(content_of(facts, identifiers=True))


def test_names_of_what_belongs_to_the_images_stay_out_too(result):
    facts = facts_of(result)
    facts["names"]["moving segmentation"] = "Doe^Jane 1961 structures"
    facts["notes"] = ["Doe^Jane 1961 structures was segmented automatically."]
    text = page(content_of(facts))
    assert "Doe" not in text and "the moving segmentation was segmented automatically" in text


def test_a_short_name_is_not_taken_out_of_words_and_numbers(result):
    facts = facts_of(result)
    facts["names"] = {"fixed": "1", "moving": "CT"}
    facts["notes"] = ["CT was resampled to 1.5 mm; CTA is another, 0.15 too; volume 1 stays."]
    text = page(content_of(facts))
    assert facts["notes"][0] in text
    facts["names"] = {"fixed": "head", "moving": "CTA"}
    assert "header head; CTA2 CTA" not in page(content_of({**facts, "notes": ["header head; CTA2 CTA"]}))
    assert "header the fixed image; CTA2 the moving image" in page(
        content_of({**facts, "notes": ["header head; CTA2 CTA"]})
    )


def test_text_of_others_is_text_on_the_page(result):
    facts = facts_of(result, {2: "<script>alert(1)</script>"})
    assert "<script" not in page(content_of(facts))


def test_the_pdf_holds_the_same_words(result, tmp_path):
    fpdf = pytest.importorskip("fpdf")
    assert fpdf and paper.can_write()
    content = content_of(facts_of(result, {2: "core \u2192 \u5fc3"}), [Picture(PNG, "Seen so")])
    paper.write_pdf(content, tmp_path / "report.pdf")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF") and data.count(b"/Type /Page\n") >= 2
    assert b"/Subtype /Image" in data


def test_without_fpdf_the_pdf_is_refused_with_what_to_do(result, tmp_path, monkeypatch):
    monkeypatch.setattr(paper.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        paper.write_pdf(content_of(facts_of(result)), tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())
