"""A result as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any, Dict, List

from ..catalogue import card
from ..contracts import SIMILARITIES, Result
from ..metrics.table import STATES, rows

#: Picture file, and what a reader should look for in it.
CAPTIONS = {
    "fixed.png": "Fixed image, three planes through one point. Outlines are the labels, where there are some.",
    "moving_before.png": "Moving image before registration, on the same planes.",
    "warped_after.png": "Moving image after registration. Each structure should lie where it lies in the fixed image.",
    "difference_before.png": "Moving minus fixed before, each scaled to its display range. Black is no difference.",
    "difference_after.png": "Moving minus fixed after. Edges in red and blue are what was not brought together.",
    "grid.png": "The deformation drawn as a grid on the warped image. Lines must not cross.",
    "jacobian.png": "Change of volume from fixed to moving: white none, red the moving structure is larger than the "
    "fixed one, blue smaller; 0 or less would be a fold.",
}

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin:2rem 0 .6rem}
table{border-collapse:collapse} td,th{padding:.25rem .9rem;border-bottom:1px solid #d9dee7;text-align:right}
td:first-child,th:first-child{text-align:left;padding-left:0} tbody td:last-child{font-weight:600}
figure{margin:1rem 0} img{width:100%;background:#000;display:block} figcaption{color:#4a5568;font-size:.92rem}
.sum{color:#4a5568;margin-top:0} .cols{display:flex;gap:4rem;flex-wrap:wrap}
"""


def write_report(result: Result, folder: Path, pictures: List[str], truth: Dict[str, Any]) -> None:
    """Write report.html into ``folder``, the pictures found there inside it.

    Args:
        truth: further figures as title to text.
    """
    body = [
        f"<h1>{html.escape(result.moving.name)} registered to {html.escape(result.fixed.name)}</h1>",
        f'<p class="sum">{html.escape(_summary(result))}</p>',
        "<h2>Figures</h2>",
        _table(["", *[title for _, title in STATES]], [[title, *values] for title, values in rows(result.figures)]),
    ]
    if truth:
        body += ["<h2>Against the known truth</h2>", _table(["", ""], list(truth.items()))]
    body += ["<h2>Pictures</h2>"] if any(name in CAPTIONS for name in pictures) else []
    body += [_figure(folder / name, CAPTIONS[name]) for name in pictures if name in CAPTIONS]
    body += [
        '<div class="cols"><div><h2>Stages</h2>',
        _table(["stage", "seconds", ""], [[s.name, f"{s.seconds:.1f}", s.note] for s in result.stages]),
        "</div><div><h2>Time</h2>",
        _table(["part", "seconds"], [[part, f"{seconds:.1f}"] for part, seconds in result.seconds.items()]),
        "</div></div><h2>How it was made</h2>",
        _table(["", ""], _provenance(result)),
    ]
    body += [f"<p>Note: {html.escape(note)}</p>" for note in result.notes]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Registration report</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _summary(result: Result) -> str:
    method = card(result.request.method)
    total = sum(result.seconds.get(part, 0) for part in ("linear", "prepare", "method"))
    return (
        f"{method.title}, {result.request.effort} effort, {result.request.linear} linear stage, "
        f"{_similarity(result)}, on {result.provenance['device']}: {total:.0f} s to register."
    )


def _similarity(result: Result) -> str:
    name = result.provenance["similarity"]
    return name.upper() if name in SIMILARITIES else name


def _provenance(result: Result) -> List[List[str]]:
    entries = [[name, version] for name, version in result.provenance["versions"].items()]
    entries.append(["System", result.provenance["platform"]])
    entries += [
        [f"SHA-256 of {name.replace('_', ' ')}", value[:16] + "…"]
        for name, value in result.provenance["sha256"].items()
    ]
    return entries


def _table(heading: List[str], lines: List[Any]) -> str:
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in heading)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
