"""Write docs/models.md and the block diagrams in docs/models/ from the cards and the networks themselves.

    python tools/models_page.py

A diagram is what one pass through the network did: each box is a block that ran, placed by its resolution (down) and by
what it had to wait for (right); each line is a tensor that went from one to the other. Nothing is drawn by hand.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SlicerDeepReg"))

from SlicerDeepRegLib.catalog import Card, cards, is_shipped  # noqa: E402
from SlicerDeepRegLib.experiments.papers import Row, papers  # noqa: E402
from SlicerDeepRegLib.experiments.printed import AS_GIVEN, in_form, shown_figure, title_of  # noqa: E402
from SlicerDeepRegLib.methods import methods  # noqa: E402
from SlicerDeepRegLib.models.weights import built  # noqa: E402
from SlicerDeepRegLib.networks.size import parameters  # noqa: E402

SHAPE = (160, 192, 224)
#: Ends the title of a block whose tensors have their channels last, as tokens of a transformer do: (B, voxels, C).
TOKENS = ", tokens"
COLORS = {"warp": "#f3d9a4", "head": "#c9e4c5", "phi": "#c9e4c5", "image": "#e3e6ec"}
FILL, INK, LINE = "#cfdff2", "#1c2330", "#7a8699"
#: Of a box, and between two of them, in pixels.
WIDE, HIGH, GAP = 96, 34, 12


@dataclass
class Box:
    """One block of a diagram.

    Attributes:
        title: of the block. shape: of its output, (B, C, K, J, I) or, of tokens, (B, C, voxels).
        sources: the boxes that its input came from, by number.
        parameters: trained numbers; 0 where a block with the same weights came before.
        times: how many blocks of one kind follow each other here.
    """

    title: str
    shape: tuple[int, ...]
    sources: set[int]
    parameters: int = 0
    times: int = 1


class Trace(TorchFunctionMode):
    """Follow each tensor of a pass from the block that it came from, through everything that torch does in between.

    Args:
        network: whose modules are the blocks. titles: by patterns of the names of its modules, see ``Card``.
    """

    def __init__(self, network: torch.nn.Module, titles: Mapping[str, str]) -> None:
        super().__init__()
        self.boxes: list[Box] = []
        self.sources = WeakTensorKeyDictionary()
        self.depth, self.seen = 0, set()
        for name, module in network.named_modules():
            title = next((text for pattern, text in titles.items() if re.fullmatch(pattern, name)), None)
            if title:
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave(title, parameters(module)))

    def add(self, title: str, tensor: torch.Tensor, sources: Collection[int] = (), size: int = 0) -> None:
        """Add the box whose output is that tensor."""
        shape = tuple(tensor.shape)
        if title.endswith(TOKENS):
            title, shape = title.removesuffix(TOKENS), (shape[0], shape[-1], *shape[1:-1])
        self.boxes.append(Box(title, shape, set(sources), size))
        self.sources[tensor] = {len(self.boxes) - 1}

    def _enter(self, module: torch.nn.Module, inputs: tuple) -> None:
        self.depth += 1

    def _leave(self, title: str, size: int) -> Callable:
        def done(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            self.depth -= 1
            if not self.depth:
                counted = 0 if module in self.seen else size  # a block that runs again has its weights already
                self.seen.add(module)
                self.add(title, output, self._sources_of(inputs), counted)

        return done

    def __torch_function__(self, function: Callable, types: Any, arguments: tuple = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        sources = self._sources_of((arguments, keywords or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.sources[value] = sources
        if function is torch.nn.functional.grid_sample and not self.depth:
            self.add("warp", result, sources)
        return result

    def _sources_of(self, values: Any) -> set[int]:
        sources: set[int] = set()
        for value in values.values() if isinstance(values, dict) else values:
            if isinstance(value, torch.Tensor):
                sources |= self.sources.get(value, set())
            elif isinstance(value, (tuple, list, dict)):
                sources |= self._sources_of(value)
        return sources


def traced(name: str) -> list[Box]:
    """Return the boxes of one pass through a network."""
    drawn = cards()[name].diagram
    with torch.device("meta"):
        network = built(cards()[name], **drawn.get("configuration", {}))
        moving, fixed = torch.empty(1, 1, *SHAPE), torch.empty(1, 1, *SHAPE)
    trace = Trace(network, drawn["blocks"])
    trace.add("moving", moving)
    trace.add("fixed", fixed)
    with trace:  # with gradients: positions are then made of new tensors, which can be followed
        network(moving, fixed)
    if len(trace.boxes) <= 5 or not all(box.sources for box in trace.boxes[2:]):
        raise SystemExit(f"{name}: its diagram has too few blocks, or one that comes from nowhere. See its card.")
    return merged(trace.boxes)


def merged(boxes: list[Box]) -> list[Box]:
    """Return the boxes with blocks of one kind that follow each other at one resolution as one, "block x 2"."""
    kept: list[Box] = []
    numbers: dict[int, int] = {}
    for number, box in enumerate(boxes):
        sources = {numbers[source] for source in box.sources}
        same = [source for source in sources if (kept[source].title, kept[source].shape) == (box.title, box.shape)]
        if same and same[0] == max(sources) and box.title not in ("warp", "join"):
            before = kept[same[0]]
            before.times += 1
            before.parameters += box.parameters
            before.sources |= sources - {same[0]}
            numbers[number] = same[0]
        else:
            numbers[number] = len(kept)
            kept.append(dataclasses.replace(box, sources=sources))
    return kept


def layout(boxes: list[Box]) -> tuple[list[int], list[int], list[int]]:
    """Return column, row and place in the cell of each box: by what it waits for, and by its resolution."""
    columns, rows, taken, places = [], [], {}, []
    for box in boxes:
        if len(box.shape) == 3:  # tokens: at the resolution of what they were made of
            row = max(rows[source] for source in box.sources)
        else:
            row = round(SHAPE[2] / box.shape[-1]).bit_length() - 1
        columns.append(max((columns[source] + 1 for source in box.sources), default=0))
        rows.append(row)
        places.append(taken.get((columns[-1], row), 0))
        taken[columns[-1], row] = places[-1] + 1
    return columns, rows, places


def diagram(name: str) -> str:
    """Return the diagram of a network as SVG."""
    boxes = traced(name)
    columns, rows, places = layout(boxes)
    deep = [max([p for r, p in zip(rows, places) if r == row], default=-1) + 1 for row in range(max(rows) + 1)]
    tops, y = [], 30
    for count in deep:
        tops.append(y)
        y += count * (HIGH + 6) + (26 if count else 0)
    x_of = [64 + column * (WIDE + GAP) for column in columns]
    y_of = [tops[row] + place * (HIGH + 6) for row, place in zip(rows, places)]
    parts = []
    for row, count in enumerate(deep):
        if count:
            label = "1" if row == 0 else f"1/{2**row}"
            parts.append(f'<text x="14" y="{tops[row] + 21}" class="scale">{label}</text>')
    for number, box in enumerate(boxes):
        for source in sorted(box.sources):
            parts.append(_line(x_of[source] + WIDE, y_of[source] + HIGH / 2, x_of[number], y_of[number] + HIGH / 2))
    parts += [_drawn(box, x, top) for box, x, top in zip(boxes, x_of, y_of)]
    width = 64 + (max(columns) + 1) * (WIDE + GAP)
    style = (
        f"text{{font-family:sans-serif;fill:{INK}}}.name{{font-size:11px}}"
        f".small{{font-size:9px;fill:#4a5568}}.scale{{font-size:12px;font-weight:bold}}"
        f"path{{fill:none;stroke:{LINE};stroke-width:1.1}}rect{{stroke:{LINE};stroke-width:.8}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 6}" viewBox="0 0 {width} {y + 6}">'
        f'<style>{style}</style><rect width="{width}" height="{y + 6}" fill="#fff" style="stroke:none"/>'
        f'<text x="14" y="16" class="small">resolution</text>{"".join(parts)}</svg>\n'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = max(10, (x2 - x1) / 2) if y1 != y2 or x2 - x1 > 2 * GAP else 0
    return f'<path d="M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"/>'


def _drawn(box: Box, x: float, y: float) -> str:
    color = COLORS.get("image" if box.title in ("moving", "fixed") else box.title, FILL)
    title = html.escape(box.title) + (f" x {box.times}" if box.times > 1 else "")
    channels = f"{box.shape[-1 if len(box.shape) == 3 else 1]} ch"
    size = f", {box.parameters / 1e6:.2f} M" if box.parameters >= 5000 else ""
    if 0 < box.parameters < 5000:
        size = f", {box.parameters}"
    voxels = " x ".join(map(str, box.shape[2:] if len(box.shape) > 3 else box.shape[1:2]))
    middle = f'x="{x + WIDE / 2:.0f}" text-anchor="middle"'
    return (
        f"<g><title>{title}: {channels}, {voxels} voxels, {box.parameters} parameters</title>"
        f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="4" fill="{color}"/>'
        f'<text {middle} y="{y + 14}" class="name">{title}</text>'
        f'<text {middle} y="{y + 27}" class="small">{channels}{size}</text></g>'
    )


# ------------------------------------------------------------------ the page


#: Columns of the comparison that say nothing of one network's quality.
NOT_SHOWN = ("Method", "Parameters", "G MAC", "n")
FITTED = (
    "Fitted to one pair from a random start (brains at half resolution, a single slice at its own): this says nothing "
    "about other pairs."
)


def measured() -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of benchmarks/RESULTS.md by case and method, as values by the names of their columns."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    case: str | None = None
    heading: list[str] | None = None
    for line in (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(("## ", "### ")):
            case, heading = line[4:].strip() if line.startswith("### ") else None, None
        elif line.startswith("| ") and case:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]  # |J| is written with \| in it
            if heading is None:
                heading = cells
            elif not set(cells[0]) <= {"-"}:
                rows[case, cells[0]] = dict(zip(heading, cells))
    return rows


def page() -> str:
    """Return the text of docs/models.md."""
    rows, networks = measured(), [card for card in cards().values() if card.network == card.name]
    lines = [(ROOT / "tools" / "models_page.md").read_text(encoding="utf-8").rstrip("\n"), ""]
    networks.sort(key=lambda card: (card.verified is not None, card.name))  # the five, and then the baselines
    for title, part in (
        ("The five", [card for card in networks if card.verified is None]),
        ("The baselines of their papers", [card for card in networks if card.verified]),
    ):
        lines += [f"### {title}", ""]
        lines.append("| name | parameters | operations, as tables count | multiply-accumulates | images |")
        lines.append("| --- | --- | --- | --- | --- |")
        for card in part:
            axes = " and ".join(f"{n}D" for n in card.dimensions)
            size = f"{card.parameters / 1e6:.3f} M | {card.operations / 1e9:.2f} G"
            products = f"{card.multiply_accumulates / 1e9:.2f} G"
            lines.append(f"| [`{card.name}`](#{card.name}) | {size} | {products} | {axes} |")
        lines.append("")
    lines += trained() + hippocampi() + engines()
    for card in networks:
        lines += section(card, rows)
    return "\n".join(lines) + "\n"


def trained() -> list[str]:
    """Return the table of the models that come with weights."""
    models = [card for card in cards().values() if card.weights and is_shipped(card.name)]
    lines = ["### Trained models", ""]
    if not models:
        return [*lines, "No weights come with this version.", ""]
    lines += ["| name | good for | not good for | trained on | shown | license and data |", "|" + " --- |" * 6]
    for card in models:
        data = " ".join([card.license + ".", *card.credits])
        cells = (f"`{card.name}`", card.good_for, card.limits, card.trained_on, card.shown or "-", data)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def hippocampi() -> list[str]:
    """Return the tables of all networks on one data set with one budget, as far as they were run."""
    done = json.loads((ROOT / "benchmarks" / "hippocampus.json").read_text(encoding="utf-8"))
    described = papers()["hippocampus"]
    lines = [
        "### All networks on one data set, with one budget",
        "",
        "Crops of the hippocampi of 200 people (Medical Decathlon, task 4), 48 x 64 x 48 voxels of 1 mm: 160 people to "
        "train on, 20 to validate on, 20 to test on, the same for all. 4,000 steps of one pair, or until validation "
        "has not improved for 2,000; each network's loss; AMSGrad from 5e-4 on, decaying, gradients clipped "
        "to a norm of 1, intensities matched, no augmentation. `benchmarks/hippocampus.py` runs what is missing, "
        "the cheap networks first (some 260 hours of one core for everything; a GPU is used where there is one), and "
        "`--write` brings it here by way of `benchmarks/hippocampus.json`.",
        "",
        "What it shows: which network learns most from the same pairs in the same steps. What it does not show: what "
        "each would reach on whole brains, in its own protocol, or with longer training. The crops are not aligned, "
        "which favors networks that take large motions.",
        "",
    ]
    left: list[str] = []
    for name, table in described.tables.items():
        rows = [(row, done[f"{name}/{row.title}"]) for row in table.rows if f"{name}/{row.title}" in done]
        left += [f"{row.title} ({name})" for row in table.rows if f"{name}/{row.title}" not in done]
        if rows:
            heading = [title_of(metric) for metric in table.metrics]
            lines += [
                f"**{table.title}**",
                "",
                f"| method | {' | '.join(h.replace('|', chr(92) + '|') for h in heading)} | steps |",
            ]
            lines.append("| --- |" + " --- |" * (len(heading) + 1))
            first = [(AS_GIVEN, done[f"{name}/{AS_GIVEN}"])] if f"{name}/{AS_GIVEN}" in done else []
            for title, values in [*first, *((row.title, values) for row, values in rows)]:
                cells = [_figure(metric, values.get(metric)) for metric in table.metrics]
                lines.append(f"| {title} | {' | '.join(cells)} | {values.get('steps', '')} |")
            lines.append("")
    count = sum(len(table.rows) for table in described.tables.values())
    return [*lines, f"{count - len(left)} of {count} rows were run; the others need more hours than there were.", ""]


def _figure(metric: str, values: list[float | None] | None) -> str:
    """Return a mean with its deviation as text."""
    if not values or values[0] is None:
        return ""
    mean, deviation, count = values
    return in_form(metric, mean, deviation if count > 1 else None)


def paper_tables(card: Card) -> list[str]:
    """Return every row of the tables of a network's paper: what builds it, and the paper's figures."""
    described = papers().get(card.name)
    if described is None:
        return []
    lines = ["", "### The tables of its paper, row by row", ""]
    lines += [
        f"`slicerdeepreg paper {card.name} TABLE --data NAME=PATH --output DIR` trains, evaluates and prints a table, "
        "the paper's figures beside; [training.md](training.md#the-papers-tables) says how. Every row is built. None "
        "was run on the paper's data, which are not at hand: each was run to the end on small volumes with one step "
        "(`pytest -m slow SlicerDeepReg/Testing/experiments`). Rows that the hippocampi repeat are in the table above.",
        "",
    ]
    for name, table in described.tables.items():
        where = ", ".join(described.data[test].title for test in table.test)
        lines += [f"**{name}: {table.title}** ({where})", ""]
        columns = [(test, metric) for test in table.test for metric in table.metrics]
        columns = [c for c in columns if any(c[1] in row.published.get(c[0], {}) for row in table.rows)]
        several = len(table.test) > 1
        titles = [f"{title_of(m)}{f', {t}' if several else ''}".replace("|", "\\|") for t, m in columns]
        lines += [f"| row | built as | {''.join(f'{title}, paper | ' for title in titles)}".rstrip()]
        lines.append("| --- | --- |" + " --- |" * len(titles))
        for row in table.rows:
            figures = [shown_figure(row.published.get(t, {}).get(m)) for t, m in columns]
            lines.append(f"| {row.title} | {_built(row)} |{''.join(f' {figure} |' for figure in figures)}")
        lines += ["", *([table.note, ""] if table.note else [])]
    return lines


def _built(row: Row) -> str:
    parts = [f"`{row.method}`", *(f"`--set {name}={value}`" for name, value in row.set.items())]
    if row.joint:
        alone = " alone" if row.joint.get("alone") else ""
        parts.append(f"`--joint {row.joint['network']}`{alone}, r = {row.joint['ratio']:g}")
    if row.regularity_factor != 1:
        parts.append(f"{row.regularity_factor:g} times its regularity")
    return ", ".join(parts)


def engines() -> list[str]:
    """Return the table of the methods that are no networks of ours."""
    lines = ["### Other methods", "", "| name | what it is | variants |", "| --- | --- | --- |"]
    for card in (method.card for method in methods().values()):
        if card.network is None:
            variants = ", ".join(f"`{card.name}:{name}`" for name in card.variants)
            lines.append(f"| `{card.name}` | {card.summary} {card.references[0]} | {variants} |")
    return lines


def section(card: Card, rows: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    """Return the section of one network."""
    lines = ["", f'<a id="{card.name}"></a>', f"## {card.title}", "", card.summary, ""]
    lines += [f"- {reference}" for reference in card.references]
    if card.verified:
        lines += ["", "### How it was compared with its public code", "", card.verified]
    lines += ["", f"![One pass through {card.title}](models/{card.name}.svg)", ""]
    lines += [card.diagram["note"], ""]
    if card.published:
        lines += ["### What is reported of it, and what can be compared", "", "| metric | reported | here |"]
        lines += ["| --- | --- | --- |"]
        lines += [f"| {row['what']} | {row['value']} | {row['comparable']} |" for row in card.published]
    lines += paper_tables(card)
    lines += ["", "### What was measured here", "", *ours(card, rows)]
    lines += ["", "### What the paper leaves open, and what was chosen", ""]
    lines += [f"- {text}" for text in card.left_open]
    lines += ["", "### Variants", "", "| ask for | what it is | parameters |", "| --- | --- | --- |"]
    for variant, values in card.variants.items():
        lines.append(f"| `{card.name}:{variant}` | {values['title']} | {values['parameters'] / 1e6:.3f} M |")
    return lines


def ours(card: Card, rows: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    """Return the rows of RESULTS.md that show this network fitted, beside the linear stage it began from."""
    lines = []
    for case in ("brain_oasis", "brain2d_oasis"):
        fitted = rows.get((case, f"{card.name}-fit"))
        if fitted:
            wanted = ("Dice", "HD95 mm", "NDV %", "SDlogJ", "CPU s", "peak GB")
            shown = [name for name in wanted if name in fitted]
            lines += [f"| {case} | {' | '.join(shown)} |", "| --- |" + " --- |" * len(shown)]
            for label, row in (("linear stage alone", rows[case, "linear"]), ("fitted to the pair", fitted)):
                lines.append(f"| {label} | {' | '.join(row.get(name, '-') for name in shown)} |")
            lines.append("")
    lines += beside_others(card, rows)
    if not lines:
        return ["Nothing yet."]
    return [*lines, f"Command and machine: [benchmarks/RESULTS.md](../benchmarks/RESULTS.md). {FITTED}"]


def beside_others(card: Card, rows: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    """Return its rows in the comparison of every method, where all networks were fitted for the same seconds."""
    lines = []
    for (case, method), row in rows.items():
        if ", networks fitted for" in case and method.split("/")[0].split(":")[0] == card.name:
            shown = [name for name, value in row.items() if value and name not in NOT_SHOWN]
            lines += [f"{case} (`{method}`):", ""]
            lines += [f"| {' | '.join(shown)} |", "|" + " --- |" * len(shown)]
            lines += [f"| {' | '.join(row[name] for name in shown)} |", ""]
    return lines


def main() -> None:
    folder = ROOT / "docs" / "models"
    folder.mkdir(exist_ok=True)
    for card in cards().values():
        if card.network == card.name:
            (folder / f"{card.name}.svg").write_text(diagram(card.name), encoding="utf-8")
    (ROOT / "docs" / "models.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
