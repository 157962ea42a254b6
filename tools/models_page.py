"""Write docs/models.md and the block diagrams in docs/models/ from the cards and the networks themselves.

    python tools/models_page.py

A diagram is what one pass through the network did: each box is a block that ran, placed by its resolution (down) and by
what it had to wait for (right); each line is a tensor that went from one to the other. Nothing is drawn by hand.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SlicerDeepReg"))

from SlicerDeepRegLib.catalog import card, cards  # noqa: E402
from SlicerDeepRegLib.models.weights import built  # noqa: E402
from SlicerDeepRegLib.networks.size import parameters  # noqa: E402

SHAPE = (160, 192, 224)
#: After the name of a block whose tensors have their channels last.
TOKENS = ", tokens"
#: What is one box of a network: the blocks that its paper names, as patterns of where they stand in the network.
BLOCKS = {
    "msrd-net": {
        r"encoder\.\d": "MSR",
        r"fusions\.\d": "SRF",
        r"attentions\.[234]": "Dilformer",
        r"up\.\d": "up",
        r"heads\.\d": "head",
    },
    "unfolding": {
        r"fidelity\.0\.down\.\d": "conv",
        r"fidelity\.0\.transformer\.\d": "transformer",
        r"fidelity\.0\.up\.\d": "up, join",
        r"fidelity\.0\.last": "conv",
        r"fidelity\.0\.head": "head",
        r"fidelity\.[12]": "TransUNet",
        r"denoising\.\d": "DnCNN",
    },
    "caml": {
        r"passes\.\d\.embed": "patches",
        r"passes\.\d\.encoder\.\d\.\d": "attention",
        r"passes\.\d\.decoder\.\d\.\d": "attention",
        r"passes\.\d\.merge\.\d": "merge",
        r"passes\.\d\.expand\.\d": "expand",
        r"passes\.\d\.finer\.\d": "pool (CAML)",
        r"passes\.\d\.skip\.\d": "RBSC",
        r"passes\.\d\.join\.\d": "join",
        r"passes\.\d\.spread": "spread",
        r"passes\.\d\.head": "head",
    },
    "fmirnet": {
        r"estimators\.\d\.down\.\d": "residual unit",
        r"estimators\.\d\.up\.\d": "up",
        r"estimators\.\d\.head": "phi",
        r"weigh": "attention",
    },
    "wavemorph": {
        r"stem": "stem",
        r"down\.\d": "MSWF",
        r"bottleneck\.\d": "ConvNeXt V2",
        r"up\.\d": "DySample",
        r"join\.\d": "join",
        r"head": "head",
    },
    "voxelmorph": {r"(encoder|decoder)\.\d\.\d": "conv", r"last\.\d": "conv", r"head": "head"},
    "cyclemorph": {r"down\.\d": "conv", r"up\.\d": "up, join", r"between": "conv", r"head": "head"},
    "lku-net": {
        r"enter": "conv",
        r"down\.\d": "large kernel",
        r"up\.\d": "up",
        r"join\.\d": "join",
        r"head": "head",
    },
    "vit-v-net": {
        r"levels\.\d": "conv",
        r"patches": "patches",
        r"transformer\.\d+": "transformer",
        r"enter": "conv",
        r"up\.\d": "join",
        r"head": "head",
    },
    "transmorph": {
        r"transformer\.embed": "patches",
        r"transformer\.stages\.\d\.blocks\.\d+": "Swin" + TOKENS,
        r"transformer\.merge\.\d": "merge" + TOKENS,
        r"skip_\w+": "conv",
        r"up\.\d": "up, join",
        r"head": "head",
    },
    "transmatch": {
        r"transformer\.embed": "patches",
        r"transformer\.stages\.\d\.blocks\.\d+": "Swin" + TOKENS,
        r"transformer\.merge\.\d": "merge" + TOKENS,
        r"matching\.\d\.blocks\.\d": "matching" + TOKENS,
        r"skip_\w+": "conv",
        r"up\.\d": "up, join",
        r"head": "head",
    },
    "pivit": {
        r"encoder\.\d": "conv",
        r"attend\.\d": "Swin, conv",
        r"refine\.\d": "conv",
        r"heads\.\d": "head",
    },
    "rdp-net": {
        r"encoder_(moving|fixed)\.(enter|down\.\d)": "residual",
        r"decode\.\d": "decode",
        r"again\.[123]": "again",
        r"up\.\d": "up",
        r"heads\.\d": "head",
    },
    "utsrmorph": {
        r"transformer\.embed": "patches",
        r"transformer\.stages\.\d\.blocks\.\d+": "fusion" + TOKENS,
        r"transformer\.stages\.\d\.overlapping": "overlapping" + TOKENS,
        r"transformer\.merge\.\d": "merge" + TOKENS,
        r"skip_\w+": "conv",
        r"up\.\d": "up, join",
        r"head": "head",
    },
    "h-sganet": {
        r"down\.\d": "conv",
        r"graphs\.[013]": "graph",
        r"attention": "attention",
        r"up\.\d": "join",
        r"head": "head",
    },
    "udrsnet": {
        r"networks\.\d\.down\.\d": "residual unit",
        r"networks\.\d\.up\.\d": "up",
        r"networks\.\d\.head": "head",
    },
}
BLOCKS["xmorpher"] = {
    pattern: title for pattern, title in BLOCKS["caml"].items() if "(" not in title or "RBSC" in title
}
#: What a reader of the diagram should know beside the boxes.
READING = {
    "msrd-net": "Both images are one batch, so each MSR box runs for both. Warp boxes take the moving features through "
    "the field so far, and put fields together.",
    "unfolding": "Three stages, each a TransUNet, drawn in full for the first, and a DnCNN; the moving image is warped "
    "by v before the next, and fields are put together by warps too.",
    "caml": "One run of the cascade; the second has the same boxes. The two streams are the two halves of one batch.",
    "fmirnet": "Three ResUNets, one for each scale; their fields are summed and weighed.",
    "wavemorph": "The fast size. Lines to the right are the skips.",
    "voxelmorph": "The warp boxes are the squarings of the velocity, at half resolution.",
    "cyclemorph": "Lines to the right are the skips.",
    "lku-net": "Lines to the right are the skips.",
    "vit-v-net": "Lines to the right are the skips; tokens are at 1/32.",
    "transmorph": "Lines to the right are the skips, those of two plain convolutions among them.",
    "transmatch": "Both images are one batch, and so are the two directions of matching.",
    "xmorpher": "The two streams are the two halves of one batch.",
    "pivit": "Both images are one batch. Warp boxes take moving features through the field, and put fields together.",
    "rdp-net": "Warp boxes take the moving features through the field, square velocities, and put fields together.",
    "utsrmorph": "Lines to the right are the skips.",
    "h-sganet": "Lines to the right are the skips.",
    "udrsnet": "Two cascades; the moving image is warped before the second.",
}
COLORS = {"warp": "#f3d9a4", "head": "#c9e4c5", "phi": "#c9e4c5", "image": "#e3e6ec"}
FILL, INK, LINE = "#cfdff2", "#1c2330", "#7a8699"


class Trace(TorchFunctionMode):
    """Which block each tensor came from, followed through everything that torch does in between."""

    def __init__(self, network, patterns):
        super().__init__()
        self.boxes, self.inside, self.seen = [], 0, set()
        self.hooks = []
        for place, module in network.named_modules():
            title = next((t for pattern, t in patterns.items() if re.fullmatch(pattern, place)), None)
            if title:
                self.hooks.append(module.register_forward_pre_hook(self._enter))
                self.hooks.append(module.register_forward_hook(self._leave(title, parameters(module))))

    def source(self, name, tensor):
        return self._box(name, tensor, set(), 0)

    def _box(self, title, tensor, sources, size):
        shape = tuple(tensor.shape)
        if title.endswith(TOKENS):
            title, shape = title.removesuffix(TOKENS), (shape[0], shape[-1], *shape[1:-1])
        self.boxes.append({"title": title, "shape": shape, "from": sources, "size": size})
        tensor.came_from = {len(self.boxes) - 1}
        return tensor

    def _enter(self, module, given):
        self.inside += 1

    def _leave(self, title, size):
        def done(module, given, found):
            self.inside -= 1
            if not self.inside:
                counted = 0 if module in self.seen else size  # a block that runs again has its weights already
                self.seen.add(module)
                self._box(title, found, _sources(given), counted)

        return done

    def __torch_function__(self, function, types, given=(), named=None):
        found = function(*given, **(named or {}))
        sources = _sources((given, named or {}))
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, torch.Tensor):
                one.came_from = sources
        if function is torch.nn.functional.grid_sample and not self.inside:
            self._box("warp", found, sources, 0)
        return found


def _sources(values):
    found = set()
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, torch.Tensor):
            found |= getattr(value, "came_from", set())
        elif isinstance(value, (tuple, list, dict)):
            found |= _sources(value)
    return found


def traced(name):
    """The boxes of one pass: title, shape, the boxes before, parameters."""
    configuration = {"cascades": 1} if name == "caml" else {}
    with torch.device("meta"):
        network = built(card(name), **configuration)
        moving, fixed = torch.empty(1, 1, *SHAPE), torch.empty(1, 1, *SHAPE)
    trace = Trace(network, BLOCKS[name])
    trace.source("moving", moving), trace.source("fixed", fixed)
    with trace:  # with gradients: positions are then made of new tensors, which can be followed
        network(moving, fixed)
    assert len(trace.boxes) > 5 and all(box["from"] for box in trace.boxes[2:]), name
    return merged(trace.boxes)


def merged(boxes):
    """Blocks of one kind that follow each other at one resolution as one box, "block x 2"."""
    kept, place = [], {}
    for number, box in enumerate(boxes):
        sources = {place[one] for one in box["from"]}
        same = [one for one in sources if kept[one]["title"] == box["title"] and kept[one]["shape"] == box["shape"]]
        if same and same[0] == max(sources) and box["title"] not in ("warp", "join"):
            before = kept[same[0]]
            before["times"] += 1
            before["size"] += box["size"]
            before["from"] |= sources - {same[0]}
            place[number] = same[0]
        else:
            place[number] = len(kept)
            kept.append({**box, "from": sources, "times": 1})
    return kept


def layout(boxes):
    """(column, row, place in the cell) of each box: by what it waits for, and by its resolution."""
    columns, rows, taken, locations = [], [], {}, []
    for box in boxes:
        column = max((columns[one] + 1 for one in box["from"]), default=0)
        if len(box["shape"]) == 3:  # tokens: at the resolution of what they were made of
            row = max(rows[one] for one in box["from"])
        else:
            row = round(SHAPE[2] / box["shape"][-1]).bit_length() - 1
        cell = taken.setdefault((column, row), 0)
        taken[column, row] += 1
        columns.append(column), rows.append(row), locations.append(cell)
    return columns, rows, locations


def diagram(name):
    """The pass as SVG."""
    boxes = traced(name)
    columns, rows, locations = layout(boxes)
    wide, high, gap = 96, 34, 12
    deep = [max([p for r, p in zip(rows, locations) if r == row], default=-1) + 1 for row in range(max(rows) + 1)]
    tops, y = [], 30
    for count in deep:
        tops.append(y)
        y += count * (high + 6) + (26 if count else 0)
    x_of = [64 + column * (wide + gap) for column in columns]
    y_of = [tops[row] + place * (high + 6) for row, place in zip(rows, locations)]
    parts = []
    for row, count in enumerate(deep):
        if count:
            label = "1" if row == 0 else f"1/{2**row}"
            parts.append(f'<text x="14" y="{tops[row] + 21}" class="scale">{label}</text>')
    for number, box in enumerate(boxes):
        for one in sorted(box["from"]):
            x1, y1, x2, y2 = x_of[one] + wide, y_of[one] + high / 2, x_of[number], y_of[number] + high / 2
            bend = max(10, (x2 - x1) / 2) if y1 != y2 or x2 - x1 > 2 * gap else 0
            parts.append(
                f'<path d="M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"/>'
            )
    parts += [_box(box, x, y0, wide, high) for box, x, y0 in zip(boxes, x_of, y_of)]
    width = 64 + (max(columns) + 1) * (wide + gap)
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


def _box(box, x, y, wide, high):
    color = COLORS.get("image" if box["title"] in ("moving", "fixed") else box["title"], FILL)
    title = html.escape(box["title"]) + (f" x {box['times']}" if box["times"] > 1 else "")
    channels = f"{box['shape'][-1 if len(box['shape']) == 3 else 1]} ch"
    size = f", {box['size'] / 1e6:.2f} M" if box["size"] >= 5000 else f", {box['size']}" if box["size"] else ""
    voxels = " x ".join(map(str, box["shape"][2:] if len(box["shape"]) > 3 else box["shape"][1:2]))
    middle = f'x="{x + wide / 2:.0f}" text-anchor="middle"'
    return (
        f"<g><title>{title}: {channels}, {voxels} voxels, {box['size']} parameters</title>"
        f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" rx="4" fill="{color}"/>'
        f'<text {middle} y="{y + 14}" class="name">{title}</text>'
        f'<text {middle} y="{y + 27}" class="small">{channels}{size}</text></g>'
    )


# ------------------------------------------------------------------ the page


def measured():
    """Rows of benchmarks/RESULTS.md by case and method, as name to value."""
    found, case, heading = {}, None, None
    for line in (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(("## ", "### ")):
            case, heading = line[4:].strip() if line.startswith("### ") else None, None
        elif line.startswith("| ") and case:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]  # |J| is written with \| in it
            if heading is None:
                heading = cells
            elif not set(cells[0]) <= {"-"}:
                found[case, cells[0]] = dict(zip(heading, cells))
    return found


def page():
    """The text of docs/models.md."""
    rows, networks = measured(), [one for one in cards().values() if one.network == one.name]
    lines = [(ROOT / "tools" / "models_page.md").read_text(encoding="utf-8").rstrip("\n"), ""]
    networks.sort(key=lambda one: (one.verified is not None, one.name))  # the five, and then those compared
    for title, part in (
        ("The five", [one for one in networks if one.verified is None]),
        ("Those that they are compared with", [one for one in networks if one.verified]),
    ):
        lines += [
            f"### {title}",
            "",
            "| name | parameters | operations, as tables count | multiply-accumulates | images |",
        ]
        lines += ["| --- | --- | --- | --- | --- |"]
        for one in part:
            axes = " and ".join(f"{n}D" for n in one.dimensions)
            size = [
                f"{one.parameters / 1e6:.3f} M",
                f"{one.operations / 1e9:.2f} G",
                f"{one.multiply_accumulates / 1e9:.2f} G",
            ]
            lines.append(f"| [`{one.name}`](#{one.name}) | {' | '.join(size)} | {axes} |")
        lines.append("")
    lines += engines()
    for one in networks:
        lines += section(one, rows)
    return "\n".join(lines) + "\n"


def engines():
    """The methods that are no networks."""
    lines = ["### Methods without training", "", "| name | what it is | variants |", "| --- | --- | --- |"]
    for one in cards().values():
        if one.network is None:
            variants = ", ".join(f"`{one.name}:{name}`" for name in one.variants)
            lines.append(f"| `{one.name}` | {one.summary} {one.references[0]} | {variants} |")
    return lines


def section(one, rows):
    lines = ["", f'<a id="{one.name}"></a>', f"## {one.title}", "", one.summary, ""]
    lines += [f"- {reference}" for reference in one.references]
    if one.verified:
        lines += ["", "### How it was compared with its public code", "", one.verified]
    lines += ["", f"![One pass through {one.title}](models/{one.name}.svg)", "", READING[one.name], ""]
    if one.published:
        lines += ["### What is reported of it, and what can be compared", "", "| figure | reported | here |"]
        lines += ["| --- | --- | --- |"]
        lines += [f"| {row['what']} | {row['value']} | {row['comparable']} |" for row in one.published]
    lines += ["", "### What was measured here", "", *ours(one, rows)]
    lines += ["", "### What the paper leaves open, and what was chosen", ""]
    lines += [f"- {text}" for text in one.left_open]
    lines += ["", "### Variants", "", "| ask for | what it is | parameters |", "| --- | --- | --- |"]
    for variant, values in one.variants.items():
        lines.append(f"| `{one.name}:{variant}` | {values['title']} | {values['parameters'] / 1e6:.3f} M |")
    return lines


def ours(one, rows):
    """The rows of RESULTS.md that show this network fitted, beside the linear stage it began from."""
    lines = []
    for case in ("brain_oasis", "brain2d_oasis"):
        found = rows.get((case, f"{one.name}-fit"))
        if found:
            wanted = ("Dice", "HD95 mm", "NDV %", "SDlogJ", "CPU s", "peak GB")
            shown = [name for name in wanted if name in found]
            lines += [f"| {case} | {' | '.join(shown)} |", "| --- |" + " --- |" * len(shown)]
            for label, row in (("linear stage alone", rows[case, "linear"]), ("fitted to the pair", found)):
                lines.append(f"| {label} | {' | '.join(row.get(name, '-') for name in shown)} |")
            lines.append("")
    lines += beside_others(one, rows)
    if not lines:
        return ["Nothing yet."]
    return [*lines, f"Command and machine: [benchmarks/RESULTS.md](../benchmarks/RESULTS.md). {FITTED}"]


def beside_others(one, rows):
    """Its rows in the comparison of every method, where all networks were fitted for the same seconds."""
    lines = []
    for (case, method), found in rows.items():
        if ", networks fitted for" in case and method.split("/")[0].split(":")[0] == one.name:
            shown = [
                name for name, value in found.items() if value and name not in ("Method", "Parameters", "G MAC", "n")
            ]
            lines += [f"{case} (`{method}`):", ""]
            lines += [f"| {' | '.join(shown)} |", "|" + " --- |" * len(shown)]
            lines += [f"| {' | '.join(found[name] for name in shown)} |", ""]
    return lines


FITTED = (
    "Fitted to one pair from a random start (brains at half resolution, a single slice at its own): this says nothing "
    "about other pairs."
)


def main():
    folder = ROOT / "docs" / "models"
    folder.mkdir(exist_ok=True)
    for one in cards().values():
        if one.network == one.name:
            (folder / f"{one.name}.svg").write_text(diagram(one.name), encoding="utf-8")
    (ROOT / "docs" / "models.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
