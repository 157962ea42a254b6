"""A report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from .content import Content, Picture, Table

COLORS = {"green": "#1d7f3a", "amber": "#a86400", "red": "#b3261e", "gray": "#5b6472"}
SAID = {"green": "within", "amber": "look", "red": "stop", "gray": "not measured"}
VERDICTS = ("May be used", "May be used with the limits below", "Must not be used")

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin:2rem 0 .6rem}
table{border-collapse:collapse} td,th{padding:.25rem .9rem;border-bottom:1px solid #d9dee7;text-align:right}
td:first-child,th:first-child{text-align:left;padding-left:0}
.words td,.words th{text-align:left;overflow-wrap:anywhere}
figure{margin:1rem 0} img{width:100%;background:#000;display:block} figcaption{color:#4a5568;font-size:.92rem}
.sum{color:#4a5568;margin-top:0} .verdict{font-size:1.15rem;padding:.6rem .9rem;border-left:.5rem solid}
.small{color:#4a5568;font-size:.88rem} .curves{display:flex;gap:2rem;flex-wrap:wrap}
svg text{font-size:11px;fill:#1c2330}
.sign{border:1px solid #98a2b3;padding:.8rem 1.2rem;break-inside:avoid} .sign label{display:block;margin:.3rem 0}
.sign textarea{width:100%;height:5rem;font:inherit} .sign input[type=text]{font:inherit;width:20rem;max-width:100%}
"""


def page(content: Content) -> str:
    """The page."""
    body = [
        f"<h1>{_safe(content.title)}</h1>",
        f'<p class="sum">{_safe(content.summary)}</p>',
        f'<p class="verdict" style="border-color:{COLORS[content.verdict.color]}">{_safe(content.verdict.value)}</p>',
        _lights(content),
    ]
    body += [f"<p>Note: {_safe(note)}</p>" for note in content.warnings]
    for name in ("metrics", "truth"):
        if name in content.tables:
            body.append(_table(content.tables[name]))
    if content.pictures:
        body.append("<h2>Pictures</h2>")
        body += [_figure(picture) for picture in content.pictures]
    for name in ("structures", "locations"):
        if name in content.tables:
            body.append(_table(content.tables[name]))
            if name == "structures":
                body.append(_bars(content))
    body.append(_table(content.tables["stages"], words=True))
    if content.curves:
        body.append(
            '<div class="curves">' + "".join(_curve(name, values) for name, values in content.curves) + "</div>"
        )
    body += [_table(content.tables["method"], words=True), _sign()]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_safe(content.title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _safe(text: str) -> str:
    return html.escape(str(text))


def _lights(content: Content) -> str:
    lines = []
    for light in content.statuses:
        said = f'<b style="color:{COLORS[light.color]}">&#9679; {SAID[light.color]}</b>'
        rule = f'<span class="small">{_safe(light.rule)}</span>'
        lines.append(f"<tr><td>{_safe(light.name)}</td><td>{said}</td><td>{_safe(light.value)}<br>{rule}</td></tr>")
    head = "<tr><th>Judged</th><th></th><th>Found, and what would be within tolerance</th></tr>"
    return f'<table class="words"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'


def _table(table: Table, words: bool = False) -> str:
    head = "".join(f"<th>{_safe(cell)}</th>" for cell in table.heading)
    head = f"<thead><tr>{head}</tr></thead>" if any(table.heading) else ""
    body = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in line) + "</tr>" for line in table.lines)
    kind = ' class="words"' if words else ""
    return f"<h2>{_safe(table.title)}</h2><table{kind}>{head}<tbody>{body}</tbody></table>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = _safe(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _bars(content: Content) -> str:
    """Dice of each structure: a pale bar before, a dark one after."""
    if not content.bars:
        return ""
    left, width, line = 190, 420, 26
    parts: list[str] = []
    for number, (name, before, after) in enumerate(content.bars):
        top = number * line
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{_safe(name[:28])}</text>')
        for value, y, color in ((before, top + 3, "#b6bfcc"), (after, top + 12, "#2458a6")):
            if value is not None:
                parts.append(f'<rect x="{left}" y="{y}" width="{value * width:.1f}" height="8" fill="{color}"/>')
    height = len(content.bars) * line + 20
    for tick in (0, 0.5, 1):
        x = left + tick * width
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{height - 18}" stroke="#d9dee7"/>')
        parts.append(f'<text x="{x}" y="{height - 4}" text-anchor="middle">{tick:g}</text>')
    caption = "Dice of each structure: pale before, dark after."
    picture = (
        f'<svg width="{left + width + 20}" height="{height}" role="img" aria-label="{caption}">{"".join(parts)}</svg>'
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _curve(name: str, values: Sequence[float]) -> str:
    width, height = 220, 70
    low, high = min(values), max(values)
    scale = (height - 6) / (high - low) if high > low else 0
    step = width / max(1, len(values) - 1)
    points = " ".join(f"{n * step:.1f},{3 + (high - value) * scale:.1f}" for n, value in enumerate(values))
    caption = f"{_safe(name)}: loss {values[0]:.4g} to {values[-1]:.4g} in {len(values)} steps"
    line = f'<polyline points="{points}" fill="none" stroke="#2458a6" stroke-width="1.5"/>'
    return (
        f'<figure><svg width="{width}" height="{height}" role="img" aria-label="{caption}">{line}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _sign() -> str:
    choices = "".join(f'<label><input type="radio" name="verdict"> {_safe(text)}</label>' for text in VERDICTS)
    return (
        f'<h2>Verdict</h2><div class="sign">{choices}<label>Comment<textarea></textarea></label>'
        '<label>Name and date <input type="text"></label></div>'
        '<p class="small">Not a medical device: the verdict is the reader\'s.</p>'
    )
