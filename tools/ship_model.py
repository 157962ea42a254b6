"""Put a trained model among those that come with the product: small weights, card, what it says of a synthetic pair.

    python tools/ship_model.py RUNS/msrd-net-small msrd-net-brain --as int8 --figures RUNS/figures/msrd-net-small.json \
        --title "MSRD-Net, brains" --good-for "T1 brains of two people." --limits "Not tumors." \
        --credits "SynthSeg's label maps (Apache-2.0)" "IXI (CC BY-SA 3.0)" --machine "2 cores of AMD EPYC"

The folder is one of `slicerdeepreg train`. Refused are models that are worse than their linear start in any of the
figures (benchmarks/weights.py --evaluate), weights that lose more than 0.002 Dice by being stored small (of a network
that segments, more than that part of its labels, or Dice on --brain), and more than 50 MB of models.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("SlicerDeepReg", "SlicerDeepReg/Testing", "tools")]

import list_scripts  # noqa: E402
from helpers import shipped  # noqa: E402
from helpers.phantom import Phantom, carried, phantom  # noqa: E402
from SlicerDeepRegLib.catalog import CARD_FILE, SEGMENTATION_CARD, SET_ASIDE, WEIGHTS_FILE, cards  # noqa: E402
from SlicerDeepRegLib.files.atomic import whole_folder  # noqa: E402
from SlicerDeepRegLib.files.images import read_image  # noqa: E402
from SlicerDeepRegLib.files.weights import STORAGES, file_sha256, read_weights, smaller, write_weights  # noqa: E402
from SlicerDeepRegLib.methods import declared_names  # noqa: E402
from SlicerDeepRegLib.metrics.labels import dice_by_label  # noqa: E402
from SlicerDeepRegLib.models.brain_atlas import ATLAS_FILE, read_atlas  # noqa: E402
from SlicerDeepRegLib.networks.size import parameters  # noqa: E402
from SlicerDeepRegLib.preparation.resample import resample  # noqa: E402
from SlicerDeepRegLib.preparation.single import grid_by_recipe, unit_values  # noqa: E402
from SlicerDeepRegLib.types import InputError  # noqa: E402

MOST_BYTES = 50_000_000
#: How much Dice the storage may cost. Of a network that segments: the part of what it labels that may change.
MOST_DICE = 0.002
LICENSE = "Apache-2.0; the credits name the data that the weights were trained on"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="the output folder of a training")
    parser.add_argument("name", help="of the model, for menus and --method")
    parser.add_argument("--as", dest="storage", choices=STORAGES, required=True)
    parser.add_argument("--title", help="for people (default: the name)")
    parser.add_argument("--good-for", required=True, help="one sentence: which images it is good for")
    parser.add_argument("--order", type=int, default=100, help="its place in menus; 1 is the first (default: 100)")
    parser.add_argument("--limits", required=True, help="one sentence: what it is not good for")
    parser.add_argument("--credits", nargs="+", required=True, help="whose data it was trained on, with the licenses")
    parser.add_argument("--regime", help="what it was trained for, as cards name it")
    parser.add_argument("--machine", help="which computer it was trained on")
    parser.add_argument("--figures", type=Path, help="what benchmarks/weights.py --evaluate wrote of it")
    parser.add_argument(
        "--brain",
        nargs=2,
        type=Path,
        metavar=("IMAGE", "LABELS"),
        help="of a network that segments: measure the Dice that is lost here, not the part of the labels that change",
    )
    parser.add_argument("--models", type=Path, default=shipped.MODELS, help="where models lie")
    options = parser.parse_args(arguments)
    try:
        folder = ship(options)
    except InputError as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return 2
    print(
        f"{folder}: {(folder / WEIGHTS_FILE).stat().st_size / 1e6:.1f} MB, {_size(options.models) / 1e6:.1f} MB in all"
    )
    return 0


def ship(options: argparse.Namespace) -> Path:
    """Write the model's folder, the list of models and that of CMake; returns the folder.

    Raises:
        InputError: the training cannot be shipped; then nothing was changed.
    """
    values, card_file = _trained(options.trained)
    if options.brain and card_file != SEGMENTATION_CARD:
        raise InputError("--brain belongs to a network that segments. Leave it out.")
    place = options.models / options.name
    check_name(options.name)
    figures = read_figures(options.figures) if options.figures else {}
    arrays = read_weights(options.trained / WEIGHTS_FILE)
    network = shipped.network_of(values, options.trained)
    stored = smaller(arrays, options.storage, transposed_weights(network))
    with whole_folder(place, SET_ASIDE) as folder:
        checksum = write_weights(folder / WEIGHTS_FILE, stored)
        if "atlas" in values:
            shutil.copyfile(options.trained / ATLAS_FILE, folder / ATLAS_FILE)
        total = _size(options.models, without=options.name) + _size(folder)
        if total > MOST_BYTES:
            raise InputError(f"All models would have {total / 1e6:.1f} MB; {MOST_BYTES / 1e6:.0f} MB are allowed.")
        restored, pair = read_weights(folder / WEIGHTS_FILE), phantom()
        change, cost = storage_cost(network, arrays, restored, pair)
        if options.brain:
            cost = dice_lost(network, arrays, restored, *brain(*options.brain, values))
        print(f"As {options.storage}: changes up to {change:.3g} on the synthetic pair, loses {cost:.5f} Dice.")
        if cost > MOST_DICE:
            raise InputError(
                f"{options.name} as {options.storage} loses {cost:.4f} Dice; {MOST_DICE} may be lost."
                f"{' Ship it as float16.' if options.storage == 'int8' else ''}"
            )
        recorded = shipped.record(shipped.said(network, restored, pair))
        recorded["storage"] = {"as": options.storage, "largest_change": change, "dice_lost": cost}
        told = _card(values, options, checksum, parameters(network), figures)
        for file, content in ((card_file, told), (shipped.RECORD_FILE, recorded)):
            text = json.dumps(content, indent=2, ensure_ascii=False)
            text = re.sub(r"\[[^\[\]{}\"]+\]", lambda numbers: " ".join(numbers[0].split()), text)  # a row for a voxel
            (folder / file).write_text(text + "\n", encoding="utf-8")
        for path in folder.iterdir():
            path.chmod(0o644)  # private until here; everyone may read what is installed
        folder.chmod(0o755)
    shipped.write_list(options.models)
    if options.models == shipped.MODELS:
        (list_scripts.ROOT / "CMakeLists.txt").write_text(list_scripts.text(), encoding="utf-8")
    return place


def check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(f"The name of a model is of letters, digits, - and _; it is {name!r}.")
    if name in declared_names() or (name in cards() and cards()[name].network == name):
        raise InputError(f"{name} is the name of a method or a network. Give the model another name.")


def storage_cost(
    network: torch.nn.Module, arrays: Mapping[str, np.ndarray], restored: Mapping[str, np.ndarray], pair: Phantom
) -> tuple[float, float]:
    """Measure on one pair what a network loses when its weights are stored small.

    Returns:
        The largest change of the displacement (voxels; of a network that segments, of a score), and the mean Dice that
        is lost: how much less the moved labels overlap, or the part of what is labeled whose label changes.
    """
    before, after = shipped.said(network, dict(arrays), pair), shipped.said(network, dict(restored), pair)
    change = float(np.abs(after - before).max())
    if before.shape[0] == 3 and hasattr(network, "estimate"):
        overlaps = [np.mean(list(_dice(pair, displacement).values())) for displacement in (before, after)]
        return change, float(overlaps[0] - overlaps[1])
    labels = [scores.argmax(0) for scores in (before, after)]
    labeled = np.count_nonzero(labels[0] | labels[1])
    return change, float(np.count_nonzero(labels[0] != labels[1]) / max(1, labeled))


def dice_lost(
    network: torch.nn.Module,
    arrays: Mapping[str, np.ndarray],
    restored: Mapping[str, np.ndarray],
    image: np.ndarray,
    true: np.ndarray,
) -> float:
    """Measure how much mean Dice a network that segments loses on an image (0..1) with labels (its classes)."""
    pair = Phantom(image, image, true, true, np.zeros((3, *image.shape), np.float32))
    overlaps = []
    for weights in (arrays, restored):
        seen = shipped.said(network, dict(weights), pair).argmax(0).astype(np.int32)
        by_label = dice_by_label(true, seen)  # without those that are missed
        overlaps.append(np.mean([by_label.get(label, 0.0) for label in np.unique(true).tolist() if label]))
    return float(overlaps[0] - overlaps[1])


def brain(image_path: Path, labels_path: Path, values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return an image as the network takes it, (K, J, I) of 0..1, and its labels there as numbers of classes."""
    image, labels = read_image(image_path, "image"), read_image(labels_path, "labels")
    grid = grid_by_recipe(image, values["recipe"])
    there = resample(labels, grid, interpolator=sitk.sitkNearestNeighbor, outside=0).astype(np.int32)
    classes = np.zeros(there.shape, np.int32)
    for number, label in enumerate(values["classes"]):
        classes[there == label] = number
    return unit_values(image, grid), classes


def _dice(pair: Phantom, displacement: np.ndarray) -> dict[int, float]:
    return dice_by_label(pair.fixed_labels.astype(np.int32), carried(pair.moving_labels, displacement).astype(np.int32))


def transposed_weights(network: torch.nn.Module) -> set[str]:
    """Return the names of the weights whose output channels lie along the second axis."""
    kinds = (torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    return {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, kinds)}


def _trained(folder: Path) -> tuple[dict[str, Any], str]:
    """Return what the card of a training says, and the name of its file."""
    card_file = next((name for name in (CARD_FILE, SEGMENTATION_CARD) if (folder / name).is_file()), None)
    if card_file is None or not (folder / WEIGHTS_FILE).is_file():
        raise InputError(f"{folder} has no card and weights. Give the output folder of a training that has a model.")
    values = json.loads((folder / card_file).read_text(encoding="utf-8"))
    if file_sha256(folder / WEIGHTS_FILE) != values.get("sha256"):
        raise InputError(
            f"The weights in {folder} are not those of its {card_file}. Let the training write them again."
        )
    if "atlas" in values:
        read_atlas(folder / ATLAS_FILE, values["atlas"])
    if values["dimensions"] not in (3, [3]):
        raise InputError(f"{folder} has a model of slices. Only models of volumes are recorded and tested.")
    return values, card_file


def read_figures(path: Path) -> dict[str, Any]:
    """Return the figures of a model.

    Raises:
        InputError: it is worse than its linear start somewhere, or nothing can be compared.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        rows, compared = figures["pairs"], 0
        for pair, by_method in rows.items():
            linear = by_method["linear"].get("dice")
            for way in ("alone", "refined"):
                found = by_method.get(way, {})
                if "error" in found:
                    raise InputError(f"{path}: {way} failed on {pair} ({found['error']}). Evaluate the model again.")
                if linear is None or "dice" not in found:
                    continue
                compared += 1
                if not found["dice"] >= linear:
                    raise InputError(
                        f"The model is not shipped: on {pair} its Dice, {way}, is {found['dice']:.3f}, less than the "
                        f"{linear:.3f} of its linear start. Train it longer."
                    )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not what benchmarks/weights.py --evaluate writes ({error!r}).") from error
    if not compared:
        raise InputError(f"{path} has no Dice of the model beside that of its linear start. Evaluate the model again.")
    return figures


def _card(
    values: Mapping[str, Any], options: argparse.Namespace, checksum: str, counted: int, figures: Mapping[str, Any]
) -> dict[str, Any]:
    trained_on = values["trained_on"] + (f" ({options.machine})" if options.machine else "")
    told = {
        **values,
        "name": options.name,
        "title": options.title or options.name,
        "trained_on": trained_on,
        "good_for": options.good_for,
        "order": options.order,
        "limits": options.limits,
        "credits": options.credits,
        "license": LICENSE,
        "parameters": counted,
        "sha256": checksum,
    }
    if options.regime:
        told["regime"] = options.regime
    if figures:
        told["shown"] = " ".join(_shown(pair, row) for pair, row in figures["pairs"].items() if "dice" in row["linear"])
        told["shown"] += f" Measured by benchmarks/weights.py --evaluate, {figures['date']}, {figures['machine']}"
    return told


def _shown(pair: str, row: Mapping[str, Any]) -> str:
    each = [
        f"{way} {row[way]['dice']:.3f}" for way in ("linear", "alone", "refined", "svf") if "dice" in row.get(way, {})
    ]
    return f"{pair}: Dice {', '.join(each)}."


def _size(folder: Path, without: str = "") -> int:
    inside = (path for path in folder.rglob("*") if path.is_file())
    return sum(
        path.stat().st_size
        for path in inside
        if path.relative_to(folder).parts[0] != without and not path.relative_to(folder).parts[0].startswith(".")
    )


if __name__ == "__main__":
    sys.exit(main())
