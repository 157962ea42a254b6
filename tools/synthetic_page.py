"""Draw what the synthetic pairs are like, and measure it: docs/synthetic.png and docs/synthetic.md.

python tools/synthetic_page.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field  # noqa: E402
from SlicerDeepRegLib.training.synthetic import SyntheticPair, SyntheticSettings, synthetic_pairs  # noqa: E402
from SlicerDeepRegLib.training.validation import as_field, mean_metrics, metrics_of  # noqa: E402

DOCS = Path(__file__).resolve().parent.parent / "docs"
SHAPE, DRAWN, MEASURED = (80, 96, 80), 4, 24
HEADINGS = ("Moving", "Fixed", "Labels, moving", "Labels, fixed", "True field, grid", "Its Jacobian")


def main() -> None:
    device = torch.device("cpu")
    rows = [
        (kind, synthetic_pairs(SHAPE, [seed], device, SyntheticSettings(kind=kind)))
        for kind in ("brains", "shapes")
        for seed in range(DRAWN)
    ]
    draw(rows)
    lines = [measured(kind, device) for kind in ("brains", "shapes")]
    (DOCS / "synthetic.md").write_text(page(lines), encoding="utf-8")


def draw(rows: list[tuple[str, SyntheticPair]]) -> None:
    """Draw the middle slice of each pair."""
    figure, axes = plt.subplots(len(rows), len(HEADINGS), figsize=(11, 2.0 * len(rows)), constrained_layout=True)
    for line, (kind, pair) in zip(axes, rows):
        contrast = "one contrast" if bool(pair.same_contrast) else "two contrasts"
        middle = SHAPE[0] // 2
        images = [t[0, 0, middle].numpy() for t in (pair.moving, pair.fixed)]
        labels = [t[0, 0, middle].numpy() for t in (pair.moving_labels, pair.fixed_labels)]
        for axis, image in zip(line, images):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        for axis, image in zip(line[2:], labels):
            axis.imshow(image, cmap="nipy_spectral", vmin=0, vmax=20, interpolation="nearest")
        u = pair.displacement[0, :, middle].numpy()
        j, i = np.mgrid[: SHAPE[1], : SHAPE[2]]
        for step in range(0, SHAPE[1], 6):
            line[4].plot(i[step] + u[0, step], j[step] + u[1, step], color="black", linewidth=0.7)
        for step in range(0, SHAPE[2], 6):
            line[4].plot(i[:, step] + u[0, :, step], j[:, step] + u[1, :, step], color="black", linewidth=0.7)
        line[4].set_xlim(0, SHAPE[2])
        line[4].set_ylim(SHAPE[1], 0)
        line[4].set_aspect("equal")
        jacobian = jacobian_of_field(as_field(pair.displacement))[middle]
        shown = line[5].imshow(np.log2(np.maximum(jacobian, 0.01)), cmap="RdBu_r", vmin=-1, vmax=1)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(f"{kind},\n{contrast}", fontsize=9)
    for axis, heading in zip(axes[0], HEADINGS):
        axis.set_title(heading, fontsize=10)
    bar = figure.colorbar(shown, ax=axes[:, 5], shrink=0.3, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["half", "1", "twice"])
    figure.savefig(DOCS / "synthetic.png", dpi=80)


def measured(kind: str, device: torch.device) -> list[str]:
    """Return the mean metrics of pairs of a kind, as a row."""
    each, largest = [], []
    for seed in range(MEASURED):
        pair = synthetic_pairs(SHAPE, [1000 + seed], device, SyntheticSettings(kind=kind))
        batch = {name: getattr(pair, name) for name in ("moving", "fixed", "moving_labels", "fixed_labels", "inside")}
        batch["displacement"] = pair.displacement
        metrics = metrics_of(batch, pair.displacement, (1, 1, 1), surfaces=False)
        largest.append(float(pair.displacement.square().sum(1).sqrt().max()))
        each.append(
            {**metrics, "inside": float(pair.inside.mean()), "labels": len(torch.unique(pair.fixed_labels)) - 1}
        )
    means = mean_metrics(each)
    numbers = [means["epe_voxels_before"], np.mean(largest), np.max(largest), means["dice_before"]]
    shares = [f"{means['ndv_percent']:.4f}", f"{means['labels']:.1f}", f"{100 * means['inside']:.0f} %"]
    return [kind, *(f"{n:.2f}" for n in numbers), *shares]


def page(lines: list[list[str]]) -> str:
    """Return the text of docs/synthetic.md."""
    heading = ["kind", "mean displacement", "maximum, mean", "maximum, all", "Dice before"]
    heading += ["NDV %", "structures", "of the volume"]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (heading, ["---"] * len(heading), *lines))
    settings = "\n".join(
        f"| `{f.name}` | {getattr(SyntheticSettings(), f.name)} |" for f in dataclasses.fields(SyntheticSettings)
    )
    size = " x ".join(map(str, SHAPE))
    return TEXT.format(table=table, settings=settings, size=size, count=MEASURED)


TEXT = """# Synthetic pairs

This page is written by `python tools/synthetic_page.py`. `SlicerDeepReg/SlicerDeepRegLib/training/synthetic.py`
generates the pairs on the device that trains, each from one seed; they are never stored. No scan is needed, and none
was used.

![Synthetic pairs: images, labels, the true field and its Jacobian](synthetic.png)

*The middle slice of four pairs of each kind, {size} voxels.*

A label map is generated first: shapes of noise, or a brain-like structure (a folded ribbon of gray matter around
white matter, cerebrospinal fluid, ventricles, pairs of nuclei, a cerebellum, with or without skull) in any
orientation. The moving image shows it as it is, the fixed image through a smooth field without folds: the flow of
noise of three scales, and a small affine motion. Each structure gets an intensity: the same in both images of a pair
of one contrast, different ones otherwise. Then texture, blur, a bias field, lower resolution, thick slices, noise and
gamma are applied. The true field is known at every voxel, so images, labels and field can each be a loss.

Measured on {count} pairs of each kind of {size} voxels (means; displacement in voxels):

{table}

The settings and their defaults, explained in `SyntheticSettings`:

| setting | default |
| --- | --- |
{settings}

`Testing/training/test_synthetic.py` tests them: the size of the motion and its smoothness, the fractions of pairs,
the size of noise, bias, blur and texture, thick slices, one exponent per image, the positions of the parts of a
brain, and the field against another interpolation.

Weights trained on these pairs are measured on held-out pairs of the same kind, and on real brains in
[benchmarks/RESULTS.md](../benchmarks/RESULTS.md). Nothing else is claimed of them.
"""

if __name__ == "__main__":
    main()
