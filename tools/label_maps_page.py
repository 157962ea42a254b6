"""Draw the pairs that are painted on label maps, and measure them: docs/label-maps.png and docs/label-maps.md.

python tools/label_maps_page.py FOLDER --cache DIR [--only PREFIX]
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from SlicerDeepRegLib.anatomy import STRUCTURES, TISSUES  # noqa: E402
from SlicerDeepRegLib.training.inputs import related_label_maps  # noqa: E402
from SlicerDeepRegLib.training.label_maps.contrast import TABLES  # noqa: E402
from SlicerDeepRegLib.training.label_maps.paint import PaintSettings  # noqa: E402
from SlicerDeepRegLib.training.label_maps.source import (  # noqa: E402
    FOR_SEGMENTATION,
    LabelMapSettings,
    LabelMapSource,
    grid_size,
)
from SlicerDeepRegLib.training.sources import Batch  # noqa: E402
from SlicerDeepRegLib.training.validation import mean_metrics, metrics_of  # noqa: E402
from SlicerDeepRegLib.warping.sample import warp  # noqa: E402

DOCS = Path(__file__).resolve().parent.parent / "docs"
VOXEL_MM, MEASURED = 3.0, 12
#: Part of the pairs that show one person, and the positions of the pairs that are drawn.
KINDS, DRAWN = {"two people": 0.0, "one person": 1.0}, {"two people": (0, 1, 2, 3), "one person": (0, 1)}
#: Settings that say how the two images of a pair differ.
OF_PAIRS = ("one_person", "same_contrast", "apart")
HEADINGS = ("Moving", "Fixed", "Structures, moving", "Structures, fixed", "Moving ones, warped", "Field, grid")
COLORS = np.array([(0, 0, 0), *(structure.color for structure in STRUCTURES)], np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="label maps, one file for each person")
    parser.add_argument("--cache", type=Path, required=True, help="where prepared maps are kept")
    parser.add_argument("--only", default="", help="draw and measure people whose files begin so")
    options = parser.parse_args()
    device = torch.device("cpu")
    maps, velocities = related_label_maps(options.folder, options.cache, device, print)
    chosen = [n for n, one in enumerate(maps) if one.name.startswith(options.only)]
    sources = {
        kind: LabelMapSource(
            [maps[n] for n in chosen],
            velocities[chosen],
            grid_size(VOXEL_MM),
            VOXEL_MM,
            0,
            LabelMapSettings(one_person=part),
        )
        for kind, part in KINDS.items()
    }
    rows, lines = [], []
    for kind, source in sources.items():
        pairs = list(source.batches([[n] for n in range(MEASURED)], device))
        rows += [(kind, pairs[n]) for n in DRAWN[kind]]
        lines.append(measured(kind, pairs))
    draw(rows)
    (DOCS / "label-maps.md").write_text(page(lines), encoding="utf-8")


def draw(rows: list[tuple[str, Batch]]) -> None:
    """Draw the middle coronal slice of each pair: up is up, the patient's left is on the right."""
    figure, axes = plt.subplots(len(rows), len(HEADINGS), figsize=(8.4, 1.45 * len(rows)), constrained_layout=True)
    for line, (kind, pair) in zip(axes, rows):
        middle = pair["moving"].shape[3] // 2
        warped = warp(pair["moving_labels"].float(), pair["displacement"], mode="nearest").long()
        for axis, image in zip(line, (pair["moving"], pair["fixed"])):
            axis.imshow(image[0, 0, :, middle].numpy(), cmap="gray", vmin=0, vmax=1)
        for axis, labels in zip(line[2:], (pair["moving_labels"], pair["fixed_labels"], warped)):
            axis.imshow(COLORS[labels[0, 0, :, middle].numpy()], interpolation="nearest")
        u = pair["displacement"][0, :, :, middle].numpy()
        inside = pair["inside"][0, 0, :, middle].numpy() > 0
        k, i = np.mgrid[: u.shape[1], : u.shape[2]]
        x, z = (np.where(inside, n + u[c], np.nan) for n, c in ((i, 0), (k, 2)))
        line[5].plot(x[::4].T, z[::4].T, color="black", linewidth=0.5)
        line[5].plot(x[:, ::4], z[:, ::4], color="black", linewidth=0.5)
        line[5].set_aspect("equal")
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlim(u.shape[2] - 0.5, -0.5)
            axis.set_ylim(-0.5, u.shape[1] - 0.5)
        contrast = "one contrast" if bool(pair["same_contrast"]) else "two contrasts"
        line[0].set_ylabel(f"{kind},\n{contrast}", fontsize=7)
    for axis, heading in zip(axes[0], HEADINGS):
        axis.set_title(heading, fontsize=7)
    path = DOCS / "label-maps.png"
    figure.savefig(path, dpi=90)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(96)  # a third of the bytes
    small.save(path, optimize=True)


def measured(kind: str, pairs: list[Batch]) -> list[str]:
    """Return the mean metrics of the true fields of some pairs, as a row."""
    means = mean_metrics([metrics_of(pair, pair["displacement"], (VOXEL_MM,) * 3, surfaces=False) for pair in pairs])
    length = VOXEL_MM * means["epe_voxels_before"]
    return [kind, f"{length:.1f}", f"{means['dice_before']:.2f}", f"{means['dice']:.2f}", f"{means['ndv_percent']:.3f}"]


def page(lines: list[list[str]]) -> str:
    """Return the text of docs/label-maps.md."""
    measures = [["pairs", "mean displacement, mm", "Dice before", "Dice through the field", "NDV %"], *lines]
    contrasts = [["", *TISSUES], *([name, *map(str, values)] for name, values in TABLES.items())]
    settings = [["setting", "pairs to register", "images to segment"]]
    for kind, one, other in (
        (LabelMapSettings, LabelMapSettings(), FOR_SEGMENTATION),
        (PaintSettings, PaintSettings(), FOR_SEGMENTATION.paint),
    ):
        names = [f.name for f in dataclasses.fields(kind) if f.name != "paint"]
        settings += [
            [f"`{name}`", str(getattr(one, name)), "-" if name in OF_PAIRS else str(getattr(other, name))]
            for name in names
        ]
    size = " x ".join(map(str, grid_size(VOXEL_MM)[::-1]))
    tables = {"measures": measures, "contrasts": contrasts, "settings": settings}
    return TEXT.format(
        **{name: table(rows) for name, rows in tables.items()}, size=size, voxel=f"{VOXEL_MM:g}", count=MEASURED
    )


def table(rows: list[list[str]]) -> str:
    """Return rows as a table, the first as its head."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


TEXT = """# Pairs painted on label maps

This page is written by `python tools/label_maps_page.py FOLDER --cache DIR`, from a folder of label maps of whole
brains. `SlicerDeepReg/SlicerDeepRegLib/training/label_maps/` generates the pairs while a network is trained
(`slicerdeepreg train --label-maps FOLDER`, see [training.md](training.md)), each from one seed; they are never stored.
No scan is needed: people's anatomy comes from the label maps, and intensities are drawn.

![Painted pairs: images, structures, structures after warping, the field](label-maps.png)

*The middle coronal slice of six pairs, {size} voxels of {voxel} mm; the patient's left is on the right. Painted by this
project on label maps of SynthSeg (Billot et al., Apache-2.0).*

**One frame** (`frame.py`). Each map is brought to the mean person by the affine motion between the centers of 27
compact structures; orientation, voxel size and pose of its file do not matter. The midplane is x = 0.

**Between people** (`atlas.py`). Each map is registered to the mean of all maps and of their mirror images by a
stationary velocity field, once; the fields between two maps follow by composition. They are what a network learns,
whatever contrasts are painted. For one person under a known motion the field is exact.

**Painting** (`paint.py`, `contrast.py`). Both images of a pair share a pose and differ by a small motion; the fixed one
is also deformed. Classes are painted on voxels half as long and averaged, so that borders of tissues look as in a
scan. Half of the contrasts resemble those of a sequence, the others are random; left and right look alike. Then
lesions or a cavity, blur, a bias field, lower resolution, thick slices, noise, a cut field of view and gamma are
applied. Six of ten pairs are without what is around the brain; maps that do not have it make only such. Half of the
pairs are mirrored, structures included.

Measured on {count} pairs of each kind (means; the displacement is that inside the brain; labels are taken from the
nearest voxel, so that an exact field does not reach a Dice of 1):

{measures}

Means of the tissues in the contrasts that resemble those of a sequence; each draw shifts them by
0.06 (standard deviation) for a tissue and 0.03 for a structure:

{contrasts}

The settings, explained in `LabelMapSettings` and `PaintSettings`; parts are probabilities, lengths mm, angles degrees:

{settings}

`Testing/training/label_maps/` tests them on phantom heads: the frame for other orientations and poses, the fields
against the maps, what images show, that sides are exchanged in images, structures and fields alike, and that a pair
follows from its position alone.
"""

if __name__ == "__main__":
    main()
