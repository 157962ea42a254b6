"""Train a small registration network in 2D in a few minutes on a CPU, and watch the field form.

    python docs/teaching/field_forming.py --output forming [--steps 600]

Everything a training needs is here, in the open: pairs, network, loss, step. Each pair is made, so the true field is
known; the network never sees it. It is told two things alone: the warped image should look like the fixed one, and
the field should be smooth. On four pairs that it is not trained on we measure how far its field is from the true one,
and draw one of them: moving, fixed, warped, difference (gray is none), the bent grid, and the Jacobian (blue shrinks,
red grows, black is a fold). The last row is the true field.

Things to try: a regularity of 0 (the grid tears) or of 30 (nothing moves); --network-scales 1 (large motion is lost);
same_contrast=0 (the loss compares what cannot be compared); more steps.
"""

import argparse
from pathlib import Path

import torch
from SlicerDeepRegLib.losses.regularity import diffusion
from SlicerDeepRegLib.losses.similarity import LNCC
from SlicerDeepRegLib.networks import build
from SlicerDeepRegLib.training.synthetic import SyntheticSettings, synthetic_pairs
from SlicerDeepRegLib.training.validation import image_row, mean_metrics, metrics_of, write_image_rows
from SlicerDeepRegLib.warping.sample import warp

SHAPE, DEVICE, DRAWN = (64, 64), torch.device("cpu"), 6
#: Pairs of one contrast, with shapes of noise that move by a few voxels.
PAIRS = SyntheticSettings(kind="shapes", same_contrast=1, thick=0, motion=((16, 2.0), (32, 3.0)), labels=12)


def look(network, held_out):
    """Metrics of the held-out pairs, and two rows of pictures of one: by the network, and by the true field."""
    each = []
    with torch.no_grad():
        for pair in held_out:
            batch = {"moving": pair.moving, "fixed": pair.fixed, "displacement": pair.displacement}
            batch.update(moving_labels=pair.moving_labels, fixed_labels=pair.fixed_labels, inside=pair.inside)
            found = network(pair.moving, pair.fixed).displacement
            each.append(metrics_of(batch, found, (1.0, 1.0), surfaces=False))
    return mean_metrics(each), image_row(batch, found), image_row(batch, pair.displacement)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("forming"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--regularity", type=float, default=1.0)
    parser.add_argument("--network-scales", type=int, default=3, help="of FMIRNet: 1, 2 or 3")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    network = build("fmirnet", dimensions=2, scales=options.network_scales)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    held_out = [synthetic_pairs(SHAPE, [10**6 + n], DEVICE, PAIRS) for n in range(4)]
    rows = []
    for step in range(options.steps + 1):
        if step % max(1, options.steps // DRAWN) == 0:
            metrics, row, truth = look(network, held_out)
            rows.append(row)
            print(
                f"step {step:4d}: distance to the true field {metrics['epe_voxels']:.2f} voxels "
                f"(at the start {metrics['epe_voxels_before']:.2f}), "
                f"Dice {metrics['dice']:.3f}, folds {metrics['folds_percent']:.2f} %"
            )
        pair = synthetic_pairs(SHAPE, range(8 * step, 8 * step + 8), DEVICE, PAIRS)  # never the same ones
        field = network(pair.moving, pair.fixed).displacement
        alike = LNCC(pair.fixed, [4, 4])(warp(pair.moving, field))
        loss = alike + options.regularity * diffusion(field)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write_image_rows([*rows, truth], options.output / "forming.png")
    print(f"Each row is a moment of the training, the last is the true field: {options.output / 'forming.png'}")


if __name__ == "__main__":
    main()
