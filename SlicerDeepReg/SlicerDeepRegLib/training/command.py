"""``slicerdeepreg train``: from a folder of scans, or from none, to a model for the menu."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..catalog import STRUCTURES_NETWORK, cards
from ..types import DEVICES, InputError
from .dataset.pairs import PAIRINGS
from .plan import DECAYS, OPTIMIZERS, PRECISIONS

#: What torch would have to be imported for; a test compares them with what is known there.
KINDS, AUGMENTATIONS, SEGMENTATIONS = ("mixed", "brains", "shapes"), ("none", "light", "strong"), ("fcn", "unet")
#: The process ended before the training did; the same command with --resume goes on.
UNFINISHED = 3


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        argument_default=argparse.SUPPRESS,  # every default stands in TrainingRequest
        help="train a network on scans or on synthetic pairs",
        description="Train a network and write a model that 'slicerdeepreg models add' takes. It can be stopped at any "
        "moment (Ctrl-C, a signal, --limit) and goes on with --resume; then the exit code is 3. On several GPUs: "
        "torchrun --nproc-per-node N -m SlicerDeepRegLib train ... See docs/training.md.",
    )
    networks = [name for name, card in cards().items() if card.network == name]
    parser.add_argument(
        "--network",
        required=True,
        metavar="NAME",
        help=f"{', '.join(networks)}; or NAME:VARIANT; or structures, which segments brains (--label-maps)",
    )
    parser.add_argument("--output", metavar="MODEL", type=Path, help="folder for model, checkpoint, log and pictures")
    _add_data(parser.add_argument_group("data"))
    _add_joint(parser.add_argument_group("joint registration and segmentation"))
    _add_schedule(parser.add_argument_group("schedule (what is not given is as the schedule says)"))
    _add_keeping(parser.add_argument_group("validation, keeping, machine"))
    parser.set_defaults(run=run)


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", metavar="PATH", type=Path, help="a folder of images, a CSV, or a dataset.json")
    group.add_argument(
        "--synthetic", nargs="?", const="mixed", choices=KINDS, help="synthetic pairs instead of data (default: mixed)"
    )
    for name, example in (("images", "*/norm.nii.gz"), ("labels", "*/labels.nii.gz"), ("masks", "*/mask.nii.gz")):
        group.add_argument(f"--{name}", metavar="PATTERN", help=f"{name} in the folder, for example '{example}'")
    group.add_argument("--pairs", dest="pairing", choices=PAIRINGS, help="which pairs are made of the images")
    group.add_argument("--atlas", metavar="NAME", help="the image that --pairs from-atlas or to-atlas means")
    group.add_argument(
        "--size", dest="size_ijk", nargs="+", type=int, metavar="N", help="cut or pad to N voxels along i, j(, k)"
    )
    group.add_argument(
        "--resample", action="store_true", help="resample the images to --size N voxels instead of cutting them"
    )
    group.add_argument("--voxel-mm", type=float, metavar="MM", help="resample to voxels of that size")
    for name, value, text in (("match", True, "match"), ("no-match", False, "do not match")):
        text = f"{text} the moving image's intensities to the fixed one's"
        group.add_argument(f"--{name}", dest="match", action="store_const", const=value, help=text)
    group.add_argument("--orientation", metavar="RAS", help="turn volumes so that i, j, k grow these ways")
    group.add_argument(
        "--label-maps",
        type=Path,
        metavar="FOLDER",
        help="label maps of whole brains, FreeSurfer's numbers, one file for each person: images are painted on them; "
        "with --data, real pairs of one contrast are mixed in",
    )
    group.add_argument(
        "--real-part",
        type=float,
        metavar="P",
        help="with --label-maps and --data: part of the steps that are made of the images in --data (default: 0.5)",
    )
    group.add_argument(
        "--prepare-only",
        action="store_true",
        help="bring the label maps into one frame, relate them, keep that in DIR (--cache), and stop",
    )
    group.add_argument("--dimensions", type=int, choices=(2, 3), help="dimensions of synthetic and label-map pairs")
    group.add_argument("--cache", type=Path, metavar="DIR", help="where prepared images are kept (default: in MODEL)")
    group.add_argument("--on-bad-image", choices=("stop", "skip"), help="an image that cannot be used (default: stop)")
    group.add_argument("--augment", choices=AUGMENTATIONS)
    group.add_argument("--mirror", metavar="AXES", help="axes mirrored half of the time, of 'ijk'")


def _add_joint(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--joint", choices=SEGMENTATIONS, help="train this segmentation network together with it")
    group.add_argument("--alone", action="store_true", help="train only the segmentation network")
    group.add_argument("--ratio", type=float, metavar="R", help="fraction of the images of a series that are annotated")
    group.add_argument("--slices", choices=("i", "j", "k"), help="cut volumes into slices along that axis")
    group.add_argument("--segmentation-weight", type=float, metavar="X", help="of its loss (default: 1)")


def _add_schedule(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--schedule", metavar="NAME", help="of the network's paper, or general; see --schedules")
    group.add_argument("--schedules", action="store_true", help="print the schedules of the network and stop")
    for name, text in (
        ("epochs", "passes over the pairs"),
        ("steps", "optimization steps, instead of --epochs"),
    ):
        group.add_argument(f"--{name}", type=int, metavar="N", help=text)
    group.add_argument("--batch", type=int, metavar="N", help="pairs of one process at once")
    group.add_argument("--accumulate", type=int, metavar="N", help="batches of one step (default: 1)")
    group.add_argument("--optimizer", choices=OPTIMIZERS)
    group.add_argument("--learning-rate", type=float, metavar="X")
    group.add_argument("--decay", choices=DECAYS, help="poly: (1 - step / steps)^0.9")
    group.add_argument("--regularity", type=float, metavar="X", help="weight of smoothness in the paper's loss")
    for name, text in (("image", "the paper's loss"), ("label", "overlap of labels"), ("field", "the known field")):
        group.add_argument(f"--{name}-weight", type=float, metavar="X", help=f"weight of {text}")
    group.add_argument("--clip", type=float, metavar="X", help="clip the norm of the gradient to X; 0: do not")
    group.add_argument(
        "--set",
        dest="changed",
        action="append",
        metavar="NAME=VALUE",
        help="an argument of the network (--set stages=5), or of its loss (--set loss.agreement=1)",
    )
    group.add_argument("--ema", type=float, metavar="X", help="keep a running mean of the weights, as 0.999")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="auto (default): that of the GPU; on a CPU the faster of fp32 and bf16",
    )
    group.add_argument("--start", type=Path, metavar="MODEL", help="weights to start from")
    group.add_argument("--seed", type=int, metavar="N")


def _add_keeping(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", metavar="NAME", help="of the model (default: the output folder's)")
    group.add_argument(
        "--validation", type=float, metavar="X", help="part of the images held out (default: the schedule's, or 0.1)"
    )
    group.add_argument("--validation-pairs", type=int, metavar="N", help="validate on N of them at most (default: 20)")
    for name, default in (("validate", 500), ("checkpoint", 500), ("log", 10)):
        group.add_argument(f"--{name}-every", type=int, metavar="STEPS", help=f"default: {default}")
    group.add_argument("--patience", type=int, metavar="N", help="end after N validations without a better one")
    group.add_argument("--surfaces", action="store_true", help="compute HD95 at every validation, not only at the last")
    group.add_argument("--limit", dest="limit_minutes", type=float, metavar="MINUTES", help="stop after so long")
    group.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files too")
    group.add_argument("--resume", action="store_true", help="go on with the training in MODEL")
    group.add_argument("--device", choices=DEVICES)
    group.add_argument("--workers", type=int, metavar="N", help="processes that read images (default: as many as help)")


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; returns 0 when the training finished, 3 when it stopped and can go on."""
    from ..processes.current import keep_children_safe, tune_memory

    tune_memory()
    keep_children_safe()
    asked = vars(options)
    if "schedules" in asked:
        from ..catalog import card
        from .schedules import describe_schedules

        print(describe_schedules(card(options.network)))
        return 0
    if "prepare_only" in asked:
        return _prepare(asked)
    if "output" not in asked:
        raise InputError("Say where the model goes: --output MODEL.")
    from .start import TrainingRequest, train

    names = set(TrainingRequest.__dataclass_fields__)
    given = {name: value for name, value in asked.items() if name in names}
    if "size_ijk" in given:
        given["size_ijk"] = tuple(given["size_ijk"])
    if "changed" in given:
        given["changed"] = tuple(given["changed"])
    request = TrainingRequest(**given, skip_bad=asked.get("on_bad_image") == "skip")
    try:
        ended = train(request, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("Stopped at once. The last checkpoint, if there is one, is kept: --resume goes on from it.")
        return UNFINISHED
    if not ended.finished:
        print(f"Stopped at step {ended.step} by {ended.why}. The same command with --resume goes on.", flush=True)
        return UNFINISHED
    print(f"Done at step {ended.step} ({ended.why}). The model: {options.output}")
    if not request.alone and request.network != STRUCTURES_NETWORK:
        print(f"To use it: slicerdeepreg models add {options.output}")
    if request.joint:
        where = options.output / "segmentation"
        print(f"To segment with it: slicerdeepreg segment --model {where} --image IMAGE --output LABELS.nii.gz")
    return 0


def _prepare(asked: dict[str, Any]) -> int:
    """Prepare label maps and say how far the structures of each lie from those of the mean."""
    if "label_maps" not in asked or "cache" not in asked:
        raise InputError("--prepare-only prepares label maps for trainings: give --label-maps FOLDER and --cache DIR.")
    from ..device import choose
    from .inputs import related_label_maps

    folder, cache = asked["label_maps"], asked["cache"]
    say = lambda text: print(text, flush=True)  # noqa: E731
    maps, _ = related_label_maps(folder, cache, choose(asked.get("device", "auto")), say)
    for one in maps:
        shown = "whole head" if one.whole_head else "brain alone"
        print(f"{one.name}: {shown}, centers of structures {one.residual_mm:.1f} mm from the mean ones")
    print(f"Kept in {cache}: give the same --label-maps and --cache to train.")
    return 0
