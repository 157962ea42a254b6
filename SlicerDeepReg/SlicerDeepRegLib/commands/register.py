"""``slicerdeepreg register``: two images in, a registration out, as files."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .. import __version__
from ..methods import linear_methods
from ..methods.menu import WITH_WEIGHTS, line_of, menu
from ..metrics.table import table
from ..similarity import names as similarity_names
from ..similarity import similarities
from ..types import (
    DEVICES,
    MAX_UNCERTAINTY_RUNS,
    OUTPUT_FILES,
    PAIR_CHOICES,
    POINT_FIELDS,
    PRESETS,
    RESULT_OUTPUTS,
    STRUCTURE_CHOICES,
    Image,
    InputError,
    PointsSource,
    Progress,
    Request,
    Result,
    Source,
)
from .report import write_report
from .slicer_side import check_slicer, write_pictures, write_scene

if TYPE_CHECKING:
    from ..files.dicom import Series

DEFAULTS = {name: f.default for name, f in Request.__dataclass_fields__.items()}
#: The numbers of networks that have options of their own.
NUMBERS = {
    "instance_steps": "steps of instance optimization of a network on this pair",
    "refine": "steps of velocity-field optimization after a network, 0 for the network alone (default: as on its card)",
}


def _methods_help() -> str:
    """List the methods as menus do, those with trained weights with what they are good for."""
    parts = []
    for title, offered in menu().items():
        names = [m.name + (f" ({line_of(m)})" if title == WITH_WEIGHTS else "") for m in offered]
        parts.append(f"{title.lower()}: {', '.join(names)}")
    return "; ".join(parts).replace("%", "%%")


def _similarity_help() -> str:
    """Describe the metrics, from what they declare."""
    each = [f"{name} for images of {metric.modality} modality" for name, metric in similarities().items()]
    return f"similarity metric: {', '.join(each)}; auto chooses by the images"


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "register",
        help="register one image to another",
        description="Register MOVING to FIXED and write the warped image, the transform, its inverse, the Jacobian "
        "and the metrics to DIR. Images: NIfTI, NRRD, MetaImage, or a folder of DICOM slices; 2D or 3D.",
    )
    for name, text in (("fixed", "the image that stays"), ("moving", "the image that is warped onto it")):
        parser.add_argument(
            f"--{name}",
            required=True,
            nargs="+",
            metavar=name[0].upper(),
            help=f"{text}; several are contrasts on one grid (T1 FLAIR), compared at once by svf, in the same order",
        )
    parser.add_argument(
        "--contrast-weights",
        type=float,
        nargs="+",
        metavar="W",
        default=(),
        help="how much each contrast counts (default: all the same)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", type=Path, help="folder for the results")
    parser.add_argument(
        "--method",
        metavar="NAME",
        default=DEFAULTS["method"],
        help=f"how to register. {_methods_help()}. NAME:VARIANT for a variant, as 'slicerdeepreg models' lists them "
        "(default: %(default)s)",
    )
    for name, choices, text in (
        ("linear", linear_methods(), "linear part before the method"),
        ("preset", PRESETS, "how much work"),
        ("similarity", similarity_names(), _similarity_help()),
        (
            "pair",
            PAIR_CHOICES,
            "what the images show: visit, one person at one visit, which is aligned and not deformed; person, one "
            "person at another time, deformed stiffly; people, different people or an atlas; auto finds out",
        ),
        ("structures", STRUCTURE_CHOICES, "bring the structures of brains together, where both images show one"),
        ("device", DEVICES, "where to compute"),
    ):
        parser.add_argument(
            f"--{name}", choices=tuple(choices), default=DEFAULTS[name], help=f"{text} (default: %(default)s)"
        )
    for kind, text in (("mask", "image, above 0 where to compare"), ("labels", "label map"), ("points", "landmarks")):
        for side in ("fixed", "moving"):
            parser.add_argument(f"--{side}-{kind}", metavar="FILE", help=f"{side} {text}")
    _add_guidance(parser)
    for side in ("fixed", "moving"):
        parser.add_argument(
            f"--{side}-series",
            metavar="N",
            default="",
            help=f"which image of the {side} folder, if it contains several DICOM series: its number in the list that "
            "is then printed, or a series instance UID",
        )
    parser.add_argument(
        "--initial",
        metavar="FILE",
        help="start from a transform: ITK (.h5, .tfm, .txt, .mat) or a displacement field, FreeSurfer .lta, FSL .mat; "
        "or from the landmarks: landmarks (rigid), landmarks:similarity, landmarks:affine. With --linear none it stays "
        "as it is",
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="read data files that a header (.mhd, .nhdr) names outside its own folder",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a parameter of the method; may be given more than once",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="the weights of a method that comes without them (unigradicon, multigradicon); as --set weights=FILE",
    )
    for name, text in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{text}; as --set {name}=N")
    parser.add_argument(
        "--compare-svf",
        action="store_true",
        help="with a network: also run svf without it from the same linear alignment, and keep and measure what it "
        "finds as a stage of the result; as --set compare_svf=1",
    )
    parser.add_argument(
        "--uncertainty-runs",
        type=int,
        default=DEFAULTS["uncertainty_runs"],
        metavar="N",
        help=f"repeat it on N perturbed inputs (at most {MAX_UNCERTAINTY_RUNS}) and write uncertainty.nii.gz: the "
        "disagreement of the results in mm, on the voxels of the fixed image or on a coarser grid; registers N "
        "additional times",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        choices=RESULT_OUTPUTS,
        default=RESULT_OUTPUTS,
        metavar="OUTPUT",
        help=f"write only these, into the scene too, and result.json: {', '.join(RESULT_OUTPUTS)} (default: all)",
    )
    parser.add_argument("--scene", action="store_true", help="also write scene.mrb and pictures (needs slicer-core)")
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write report.html, and report.pdf where fpdf2 is installed; names of images stay out of it",
    )
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="also write the transform as a DICOM Deformable Spatial Registration, registration.dcm; both images must "
        "be folders of a DICOM series",
    )
    parser.add_argument(
        "--dicom-different-patients",
        action="store_true",
        help="as --dicom, also where the two series are of different patients; the object is filed under the patient "
        "of the fixed one",
    )
    parser.add_argument("--identifiers", action="store_true", help="call the images by their names in the report")
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave the names of files and images out of everything that is written: result.json, notes, scene (they "
        "are left out of the report anyway, but for --identifiers); such a result cannot be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--json", action="store_true", help="print the content of result.json instead of a table")
    parser.set_defaults(run=run)


def _add_guidance(parser: argparse.ArgumentParser) -> None:
    """Add the options of what the user knows, and of continuing a result."""
    group = parser.add_argument_group(
        "guidance",
        "What guides the registration; what does not guide is measured (velocity-field optimization, and networks with "
        "--refine)",
    )
    group.add_argument(
        "--guide-points",
        dest="guide_points_mm",
        nargs="?",
        type=float,
        const=1.0,
        metavar="MM",
        help="the landmarks guide, each to be met to about MM (default 1; 0 for exactly). A column uncertainty_mm in "
        "their .csv, or a description such as '2 mm' in Slicer, is a landmark's own",
    )
    group.add_argument(
        "--hold-out-points",
        dest="held_points",
        nargs="+",
        default=(),
        metavar="NAME",
        help="landmarks, by label or number, that do not guide, so that the error at them says something",
    )
    group.add_argument(
        "--obey-all-points", action="store_true", help="follow landmarks that contradict their neighbors, too"
    )
    group.add_argument(
        "--guide-structures",
        nargs="+",
        default=(),
        metavar="NAME",
        help="structures of the labels, by name or number, that guide ('all' for all); the others are measured",
    )
    for side in ("fixed", "moving"):
        group.add_argument(
            f"--{side}-surface",
            metavar="FILE",
            help=f"curve or surface of the {side} image that is to lie on the other one (.vtk, .vtp, .stl, .ply, .obj, "
            "or a curve of Slicer)",
        )
    for side in ("fixed", "moving"):
        group.add_argument(
            f"--{side}-excluded",
            metavar="FILE",
            help=f"mask of what the {side} image shows and the other does not (a tumor, a cavity): not compared there",
        )
    group.add_argument(
        "--fixed-rigid", metavar="FILE", help="labels on the fixed image (bones): each moves as one rigid body"
    )
    group.add_argument(
        "--continue",
        dest="continued",
        metavar="RESULT",
        help="go on from a result (its folder, or a transform), only around the landmarks, which correct it",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..processes.load import LoadMeter

    meter = LoadMeter()  # measures while torch is loaded
    from ..device import use_free_threads
    from ..files.anonymous import without_names
    from ..files.dicom import write_registration
    from ..files.results import ResultWriter, output_folder
    from ..processes.current import prepare_process

    prepare_process()
    request = _request(options)
    check_outputs(options.output, request, options.scene or options.report or options.identifiers)
    _check_names(options)
    if options.scene:
        check_slicer()
    series = None
    if options.dicom or options.dicom_different_patients:
        series = _dicom_series(request, options.dicom_different_patients)
    use_free_threads(meter)
    named = without_names if options.anonymous else lambda result: result
    with ExitStack() as opened:
        writers = []

        def begin(found: Result) -> None:
            """Write its files while it is measured."""
            folder = opened.enter_context(output_folder(options.output))
            writers.append(opened.enter_context(ResultWriter(folder, options.keep)))
            writers[0].begin(named(found))

        result = named(registered(request, options.quiet or options.json, begin))
        description, folder = writers[0].end(result), writers[0].folder
        if series is not None:
            fixed = _series_read(result.fixed, "fixed image", series[0])
            moving = _series_read(result.moving, "moving image", series[1])
            write_registration(result.transform, fixed, moving, folder / OUTPUT_FILES["dicom"], __version__)
        pictures = write_scene(result, folder, options.keep) if options.scene else []
        if options.report or options.identifiers:
            pictures = pictures or write_pictures(result, folder)
            write_report(result, folder, pictures, identifiers=options.identifiers)
    if options.json:
        print((options.output / OUTPUT_FILES["result"]).read_text(encoding="utf-8").rstrip())
    elif not options.quiet:
        print(table(description["metrics"]))
        for note in description["notes"]:
            print(f"Note: {note}")
        print(f"Results: {options.output}")
    return 0


def _request(options: argparse.Namespace) -> Request:
    """Return what the options ask for; raise InputError where one cannot be."""
    chosen = vars(options)  # what was left out is absent: Request has the defaults
    given = {name: chosen[name] for name in DEFAULTS if name in chosen}
    for side in ("fixed", "moving"):
        given[side], *given[f"more_{side}"] = chosen[side]
    for side in ("fixed", "moving"):
        surface = given.get(f"{side}_surface")
        if surface is not None:
            given[f"{side}_surface"] = _surface(surface, f"{side} surface")
    settings = read_settings(options.set)
    own = ("weights", *NUMBERS)
    settings.update({name: getattr(options, name) for name in own if getattr(options, name) is not None})
    if options.compare_svf:
        settings["compare_svf"] = True
    return Request(**given, settings=settings)


def _surface(path: str, role: str) -> PointsSource:
    """Return the points of a surface file, or the path of what is read later."""
    try:
        from ..mrml.surfaces import is_surface_file, read_surface
    except ImportError:  # no VTK here
        if path.lower().endswith(".json"):
            return path
        raise InputError("To read a surface, VTK is needed. Type: pip install vtk", role.replace(" ", "_")) from None
    return read_surface(path, role) if is_surface_file(path) else path


def _check_names(options: argparse.Namespace) -> None:
    """Raise InputError where names are to be written and to be left out."""
    for name in ("identifiers", "dicom", "dicom_different_patients"):
        if options.anonymous and getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} writes names and --anonymous leaves them out. Give one of the two.")


def _dicom_series(request: Request, different_patients: bool) -> tuple[Series, Series]:
    """Return the DICOM series of both images; raise InputError, before any work, if they cannot be referred to."""
    from ..files.dicom import check_patient, read_folder

    fixed = read_folder(_path_of(request.fixed), "fixed image", request.fixed_series)
    moving = read_folder(_path_of(request.moving), "moving image", request.moving_series)
    if not different_patients:
        check_patient(fixed, moving)
    return fixed, moving


def _series_read(image: Image, role: str, series: Series) -> Series:
    """Return the series of the files that the image was read from; ``series``, that of its folder, if not known."""
    from ..files.dicom import read_series

    return read_series([Path(file) for file in image.files], role) if image.files else series


def _path_of(source: Source) -> Path:
    if isinstance(source, Image):
        raise ValueError("the command registers files")
    return Path(source)


def read_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``["step=0.2"]`` as a dictionary; raise InputError if one is not of that form."""
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"--set needs NAME=VALUE, for example --set step=0.2; it was {pair!r}.")
    return dict(pair.split("=", 1) for pair in pairs)


def check_outputs(output: Path, request: Request, pictures: bool = False) -> None:
    """Raise InputError when the results cannot go to ``output``.

    It is a file, is not to be written to, its disk is full, or a file that is read would be replaced there.

    Args:
        pictures: whether pictures are written, too.
    """
    from ..files.images import approximate_voxels
    from ..files.results import check_disk_space, check_output

    names = [*OUTPUT_FILES.values(), "report.*"]
    if pictures:
        names.append("*.png")
    check_output(output, input_files(request), names)
    fixed = _path_of(request.fixed)
    if fixed.exists():
        check_disk_space(output, approximate_voxels(fixed, request.allow_outside))


def input_files(request: Request) -> list[Path]:
    """Return every file or folder that a request reads."""
    given: list[Any] = list(request.sources.values())
    given += [getattr(request, name) for name in (*POINT_FIELDS, "continued", "initial_file")]
    return [Path(one) for one in given if isinstance(one, (str, Path))]


def registered(request: Request, quiet: bool = False, show: Callable[[Result], None] | None = None) -> Result:
    """Register, and show on standard error how far it is unless ``quiet``; raises what ``pipeline.register`` raises.

    Args:
        show: called with the result before it is measured.
    """
    from ..pipeline import register

    if quiet:
        return register(request, show=show)
    bar = ProgressBar(sys.stderr)
    try:
        return register(request, bar, show)
    finally:
        bar.close()


class ProgressBar:
    """One line on a terminal, a line for each stage elsewhere."""

    WIDTH = 28

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.start, self.last = stream, time.monotonic(), ("", -1.0)
        self.terminal = stream.isatty()
        self.open = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        stage, shown = self.last
        if progress.stage == stage and (not self.terminal or now - shown < 0.2):
            return
        self.last = (progress.stage, now)
        if not self.terminal:
            if progress.fraction > 0:
                print(f"{100 * progress.fraction:3.0f}%  {progress.stage}", file=self.stream, flush=True)
            return
        filled = int(self.WIDTH * progress.fraction)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        print(
            f"\r[{bar}] {100 * progress.fraction:3.0f}%  {progress.stage:<14}{self._left(progress.fraction, now):<16}",
            end="",
            file=self.stream,
            flush=True,
        )
        self.open = True

    def _left(self, fraction: float, now: float) -> str:
        if fraction < 0.05 or fraction >= 1:
            return ""
        seconds = (now - self.start) * (1 - fraction) / fraction
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"

    def close(self) -> None:
        if self.open:
            print(file=self.stream)
            self.open = False
