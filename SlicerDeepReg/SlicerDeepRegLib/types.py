"""The data that rooms hand to one another: grids, images, fields, requests, findings and results.

Everything here is plain numpy and frozen. The defaults of a request stand here, once.

Conventions, everywhere inside:

* ``warped(x) = moving(T(x))`` with ``T(x) = A (x + u(x))``: ``x`` is a point of the fixed
  image in LPS millimeters, ``u`` the dense displacement field over the fixed image, ``A`` the
  linear part.
* Arrays are indexed ``[k, j, i]``; vectors are ordered ``(i, j, k)`` or ``(x, y, z)``, as their
  name says.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

PRESETS = ("fast", "standard", "thorough")
#: The choice of a similarity metric by the images themselves.
AUTOMATIC = "auto"
#: The fields of a request that are images, and those that are points.
IMAGE_FIELDS = (
    "fixed",
    "moving",
    "fixed_mask",
    "moving_mask",
    "fixed_labels",
    "moving_labels",
    "fixed_excluded",
    "moving_excluded",
    "fixed_rigid",
)
POINT_FIELDS = ("fixed_points", "moving_points", "fixed_surface", "moving_surface")
#: Those that are several images, and the image whose further contrasts they are.
CONTRAST_FIELDS = {"more_fixed": "fixed", "more_moving": "moving"}
#: What a pair shows, or AUTOMATIC: one person at one visit (nothing to deform), one person at another time (stiff), or
#: different people or an atlas (full deformation).
VISIT, PERSON, PEOPLE = "visit", "person", "people"
PAIR_CHOICES = (AUTOMATIC, VISIT, PERSON, PEOPLE)
#: Where a frame of a series starts: by itself (better on the heart of benchmarks/guided.py), or from its neighbor's
#: transform.
CHAINS = ("reference", "neighbor")
#: What a request starts from where it starts from its landmarks; anything else is a file.
LANDMARKS = "landmarks"
#: The most repetitions on perturbed inputs that a request may ask for.
MAX_UNCERTAINTY_RUNS = 50
DEVICES = ("auto", "cpu", "cuda", "mps")
#: Whether a registration brings the structures of brains together, where both images show one.
STRUCTURE_CHOICES = (AUTOMATIC, "off")

#: The name of the file that each output is written to.
OUTPUT_FILES = {
    "warped": "warped.nii.gz",
    "transform": "transform.h5",
    "inverse": "inverse.h5",
    "jacobian": "jacobian.nii.gz",
    "warped_labels": "warped_labels.nii.gz",
    "uncertainty": "uncertainty.nii.gz",
    "dicom": "registration.dcm",
    "result": "result.json",
    "scene": "scene.mrb",
}
#: Of these, what a registration writes unless only some are wanted; the rest are asked for by options of their own.
RESULT_OUTPUTS = ("warped", "transform", "inverse", "jacobian", "warped_labels", "uncertainty")


class InputError(ValueError):
    """Something the user gave cannot be used. The text says what, where, and what to do.

    Attributes:
        control: the field of :class:`Request` that it is about, or "".
    """

    def __init__(self, text: str, control: str = "") -> None:
        super().__init__(text)
        self.control = control


def meant(given: str, names: Iterable[str]) -> str:
    """Return the end of an error about a name that is not known, " Did you mean svf?"; "" if none is like it."""
    close = difflib.get_close_matches(given, list(names), 1)
    return f" Did you mean {close[0]}?" if close else ""


class GeometryError(InputError):
    """A grid cannot be made. The text begins in lower case: whoever knows what the image is called says so first."""


class DeviceMemoryError(InputError):
    """The GPU has too little memory for what was asked; a faster preset or the CPU may work."""


class DeviceLostError(InputError):
    """The GPU stopped working; nothing can be computed on it by this process any more."""


class Canceled(Exception):
    """The caller asked the run to stop; nothing was written."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        size_ijk: voxels along i, j and k. A 2D image has size 1 along one axis.
        ijk_to_lps: (4, 4) matrix from voxel indices to LPS millimeters; any invertible matrix.
    """

    size_ijk: tuple[int, int, int]
    ijk_to_lps: np.ndarray

    def __post_init__(self) -> None:
        matrix = np.array(self.ijk_to_lps, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise GeometryError(
                "its origin, spacing or axis directions are missing or not finite numbers. Correct its header, or "
                "export it again."
            )
        sides = np.linalg.norm(matrix[:3, :3], axis=0)
        if not sides.all() or abs(np.linalg.det(matrix[:3, :3] / sides)) < 1e-9:
            raise GeometryError(
                "its axis directions are invalid: two axes are parallel, or one has no length. Correct its header, or "
                "export it again."
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "ijk_to_lps", matrix)
        object.__setattr__(self, "size_ijk", tuple(int(n) for n in self.size_ijk))

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        return self.size_ijk[::-1]

    @property
    def spacing_mm(self) -> np.ndarray:
        """(3,) length of a voxel along i, j and k, in mm."""
        spacing_mm: np.ndarray = np.linalg.norm(self.ijk_to_lps[:3, :3], axis=0)
        return spacing_mm

    @property
    def direction(self) -> np.ndarray:
        """(3, 3) unit vectors of i, j and k in LPS, as columns."""
        direction: np.ndarray = self.ijk_to_lps[:3, :3] / self.spacing_mm
        return direction

    @property
    def origin_lps_mm(self) -> np.ndarray:
        return self.ijk_to_lps[:3, 3]

    @property
    def lps_to_ijk(self) -> np.ndarray:
        return np.linalg.inv(self.ijk_to_lps)

    @property
    def center_lps_mm(self) -> np.ndarray:
        middle_ijk = (np.array(self.size_ijk) - 1) / 2
        center_lps_mm: np.ndarray = self.ijk_to_lps[:3, :3] @ middle_ijk + self.origin_lps_mm
        return center_lps_mm

    @property
    def voxels(self) -> int:
        return int(np.prod(self.size_ijk))

    @property
    def is_planar(self) -> bool:
        """True for a 2D image: one of the three sizes is 1."""
        return min(self.size_ijk) == 1

    def same_as(self, other: Grid, tolerance_mm: float | None = None) -> bool:
        """Tell whether both grids put every voxel at the same place.

        Args:
            tolerance_mm: how far apart they may be; a thousandth of a mm, or of the smallest voxel if that is less.
        """
        if tolerance_mm is None:
            tolerance_mm = 1e-3 * min(1.0, float(self.spacing_mm.min()))
        if self.size_ijk != other.size_ijk:
            return False
        corners_ijk = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
        corners_ijk[:, :3] *= np.array(self.size_ijk) - 1
        difference_mm = corners_ijk @ (self.ijk_to_lps - other.ijk_to_lps).T
        return bool(np.abs(difference_mm).max() <= tolerance_mm)


@dataclass(frozen=True, eq=False)
class Image:
    """A scalar image.

    Attributes:
        values: (K, J, I) array of any numeric type.
        grid: where its voxels lie.
        name: what to call it in messages and in the scene.
        dimensions: 2 when it came from a 2D file (then K is 1), otherwise 3.
        notes: sentences about what its reader changed or assumed; people are told.
        files: the files that its voxels and geometry were read from; empty where it was made in memory.
    """

    values: np.ndarray
    grid: Grid
    name: str = "image"
    dimensions: int = 3
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != self.grid.shape_kji:
            raise InputError(
                f"{self.name}: the array has shape {tuple(self.values.shape)} but its grid has {self.grid.shape_kji} "
                "(k, j, i)."
            )


@dataclass(frozen=True, eq=False)
class PointList:
    """Landmarks of one image.

    Attributes:
        positions_lps_mm: (N, 3); a point that was not placed in the image is NaN.
        labels: what each is called, "" for one without a name; empty where nothing has a name.
        notes: as those of an image.
        uncertainty_mm: (N,) how far each may be wrong, NaN where its file does not say; None where it says of none.
    """

    positions_lps_mm: np.ndarray
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    uncertainty_mm: np.ndarray | None = None

    @property
    def placed(self) -> np.ndarray:
        """(N,) bool: whether it is known where the point lies."""
        placed: np.ndarray = ~np.isnan(self.positions_lps_mm).any(axis=1)
        return placed


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement field ``u``.

    Attributes:
        displacement_lps_mm: (K, J, I, 3) float32, x y z of the displacement in LPS mm.
        grid: where it is known. Outside it the displacement is that of the nearest border point.
    """

    displacement_lps_mm: np.ndarray
    grid: Grid


@dataclass(frozen=True, eq=False)
class Transform:
    """``T(x) = A (x + u(x))``, from fixed points to moving points, LPS mm.

    Attributes:
        linear_lps: (4, 4) ``A``.
        field: ``u`` on a grid of the fixed one's directions that covers it, or None when the transform is linear: on
            the fixed grid, but for large images on the larger voxels on which it was found.
        inverse_fields: ``w_1, ..., w_n`` with ``(id + w_n) o ... o (id + w_1) o (id + u) = id``, on grids that
            cover the fixed one; ``T^-1(y)`` applies ``A^-1``, then the first, and so on. Empty when the transform
            is linear or the way back is not known.
    """

    linear_lps: np.ndarray
    field: Field | None = None
    inverse_fields: tuple[Field, ...] = ()


Source = Union[str, Image]
PointsSource = Union[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Request:
    """One registration, as the panel, the command line and the tests ask for it.

    Images are paths or :class:`Image`; points are paths, whose points are paired by label or by order, or (N, 3)
    arrays of LPS mm, row n of the fixed points belonging to row n of the moving points.
    """

    fixed: Source
    moving: Source
    method: str = "svf"
    linear: str = AUTOMATIC
    preset: str = "standard"
    similarity: str = AUTOMATIC
    device: str = "auto"
    structures: str = "off"
    #: What the images show: decides the linear alignment, the metric and the stiffness where these are automatic.
    pair: str = AUTOMATIC
    fixed_mask: Source | None = None
    moving_mask: Source | None = None
    fixed_labels: Source | None = None
    moving_labels: Source | None = None
    #: The name of each label, for labels in memory; a file of segments has names of its own.
    label_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    fixed_points: PointsSource | None = None
    moving_points: PointsSource | None = None
    #: Where an image shows what the other one lacks (a tumor, a cavity): nothing is compared there.
    fixed_excluded: Source | None = None
    moving_excluded: Source | None = None
    #: Labels on the fixed image; each moves as one rigid body.
    fixed_rigid: Source | None = None
    #: How far the landmarks may be wrong where they guide the registration, mm; 0 to meet them exactly, None where they
    #: are measured only. Files of landmarks may give each its own.
    guide_points_mm: float | None = None
    #: Landmarks, by label or by number from 1 on, that do not guide: the error that is measured at them says something.
    held_points: tuple[str, ...] = ()
    #: Whether landmarks guide that contradict others.
    obey_all_points: bool = False
    #: Structures of the labels, by name or number, that guide the registration; ("all",) for all. The rest is measured.
    guide_structures: tuple[str, ...] = ()
    #: Curves or surfaces that are to lie on one another: files, or (N, 3) LPS mm.
    fixed_surface: PointsSource | None = None
    moving_surface: PointsSource | None = None
    #: The registration whose result this one continues around its landmarks: a transform, or the folder of a result.
    continued: str | Transform | None = None
    #: Where the linear alignment starts: a transform file, or "landmarks", "landmarks:similarity", "landmarks:affine".
    initial: str | Transform | None = None
    #: Further contrasts, the n-th of the fixed side belonging to the n-th of the moving side, on the grids of these.
    more_fixed: tuple[Source, ...] = ()
    more_moving: tuple[Source, ...] = ()
    #: How much each contrast counts, the first one too; empty for all the same.
    contrast_weights: tuple[float, ...] = ()
    #: Which image of a DICOM folder that holds several: its number in the list that the message gives, or a series UID.
    fixed_series: str = ""
    moving_series: str = ""
    #: Whether headers (.mhd, .nhdr) may name data files outside their folder.
    allow_outside: bool = False
    #: Numbers of the method that differ from its defaults (see settings.py).
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: Measure the metrics before, between and after; switch off where only the transform matters.
    measure: bool = True
    #: How many times to repeat it on perturbed inputs, to see how far it is to be trusted (Result.uncertainty).
    uncertainty_runs: int = 0

    def __post_init__(self) -> None:
        for name in (*CONTRAST_FIELDS, "contrast_weights", "held_points", "guide_structures"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        if isinstance(self.uncertainty_runs, np.integer):
            object.__setattr__(self, "uncertainty_runs", int(self.uncertainty_runs))
        if self.settings is None:
            object.__setattr__(self, "settings", {})
        self._check_kinds()
        object.__setattr__(self, "label_names", _checked_names(self.label_names))
        for name, choices in (
            ("preset", PRESETS),
            ("device", DEVICES),
            ("structures", STRUCTURE_CHOICES),
            ("pair", PAIR_CHOICES),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; it was {value!r}.", name)
        if type(self.uncertainty_runs) is not int or not 0 <= self.uncertainty_runs <= MAX_UNCERTAINTY_RUNS:
            raise InputError(
                f"uncertainty_runs must be a whole number from 0 to {MAX_UNCERTAINTY_RUNS}; it was "
                f"{self.uncertainty_runs!r}.",
                "uncertainty_runs",
            )
        self._check_contrasts()
        self._check_guidance()

    def _check_kinds(self) -> None:
        """Raise InputError where a field holds something of another kind: deep inside nobody could say which it is."""
        for name, source in {"fixed": self.fixed, "moving": self.moving, **self.sources}.items():
            if not isinstance(source, (str, os.PathLike, Image)):
                raise InputError(f"{name} must be a path or an Image; it was of type {type(source).__name__}.", name)
        for name in ("method", "linear", "similarity"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be the name of one; it was {getattr(self, name)!r}.", name)
        for name in ("initial", "continued"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, (str, os.PathLike, Transform)):
                text = f"{name} must be a path or a Transform; it was of type {type(given).__name__}."
                raise InputError(text, name)
            if isinstance(given, Transform):
                _check_matrix(given.linear_lps, name)
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not isinstance(self.settings, Mapping) or not all(isinstance(name, str) for name in self.settings):
            raise InputError(f"settings must be numbers by name; they were {self.settings!r}.", "settings")
        if self.guide_points_mm is not None:
            _check_number(self.guide_points_mm, "guide_points_mm")
        for weight in self.contrast_weights:
            _check_number(weight, "contrast_weights")

    def _check_guidance(self) -> None:
        if self.guide_points_mm is not None and not 0 <= self.guide_points_mm < np.inf:
            raise InputError(
                f"The uncertainty of the landmarks must be 0 mm or more; it was {self.guide_points_mm:g}.",
                "guide_points_mm",
            )
        if (self.fixed_surface is None) != (self.moving_surface is None):
            missing = "fixed" if self.fixed_surface is None else "moving"
            raise InputError(
                f"A surface of the {missing} image is missing. Give one of each image, or none.", f"{missing}_surface"
            )
        if self.continued is not None and self.initial is not None:
            raise InputError(
                "A registration continues from a result or starts from an initial transform. Give one of the two.",
                "initial",
            )

    def _check_contrasts(self) -> None:
        fixed, moving, weights = len(self.more_fixed) + 1, len(self.more_moving) + 1, self.contrast_weights
        if fixed != moving:
            raise InputError(
                f"The contrasts differ in number: {fixed} fixed and {moving} moving. Give as many of each, in the same "
                "order.",
                "moving" if fixed > moving else "fixed",
            )
        if weights and (len(weights) != fixed or not all(0 < weight < np.inf for weight in weights)):
            said = ", ".join(f"{weight:g}" for weight in weights)
            raise InputError(
                f"The weights of the contrasts must be {fixed} numbers above 0, one for each; they were {said}.",
                "contrast_weights",
            )

    @property
    def sources(self) -> dict[str, Source]:
        """Every image that it names, by what it is called: "fixed", ..., "fixed_2", ..."""
        given = {name: getattr(self, name) for name in IMAGE_FIELDS}
        for name, side in CONTRAST_FIELDS.items():
            given |= {f"{side}_{number}": source for number, source in enumerate(getattr(self, name), 2)}
        return {name: source for name, source in given.items() if source is not None}

    @property
    def initial_file(self) -> str | None:
        """The file of the initial transform; None where there is none."""
        given = self.initial
        if given is None or isinstance(given, Transform) or str(given).partition(":")[0] == LANDMARKS:
            return None
        return str(given)

    def describe(self) -> dict[str, Any]:
        """Return the request as plain values, for result.json.

        Files appear by their names without the folder, because a path may say whose images they are; images given in
        memory by theirs.
        """

        def jsonable(name: str) -> Any:
            return plain(getattr(self, name), name)

        def plain(value: Any, name: str) -> Any:
            if isinstance(value, tuple):
                return [plain(one, "fixed" if name in CONTRAST_FIELDS else name) for one in value]
            if isinstance(value, Image):
                return f"<{value.name}>"
            if isinstance(value, np.ndarray):
                return value.tolist()
            if isinstance(value, Transform):
                return "<transform>"
            if isinstance(value, (str, os.PathLike)) and name in (*IMAGE_FIELDS, *POINT_FIELDS, "initial", "continued"):
                return os.path.basename(os.path.abspath(value))
            if name == "settings":  # text is a number as it was typed, or the path of a file
                return {key: os.path.basename(v) if isinstance(v, str) else v for key, v in value.items()}
            return value

        return {name: jsonable(name) for name in self.__dataclass_fields__}


def _checked_names(names: Any) -> dict[int, str]:
    """Return the names of labels by number: JSON has text for numbers."""
    try:
        return {int(label): str(name) for label, name in names.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"label_names must be names by label; they were {names!r}.", "label_names") from None


def _check_number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(f"{name} must be a number; it was {value!r}.", name)


def _check_matrix(matrix_lps: np.ndarray, name: str) -> None:
    matrix = np.asarray(matrix_lps)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.linalg.det(matrix[:3, :3]):
        raise InputError(
            f"The linear part of {name} must be a (4, 4) matrix of finite numbers that can be inverted; it was "
            f"{matrix.tolist()}.",
            name,
        )


@dataclass(frozen=True, eq=False)
class Channels:
    """What is known of both images beside their intensities: numbers that are alike where both show the same.

    Attributes:
        fixed, moving: (C, K, J, I) float32. 0 stands for the background, and is what lies outside their grids.
        fixed_grid, moving_grid: where they are; any grids, which need not be those of the images.
        guide: whether a person outlined them, to guide the registration: they count more than what a network saw.
    """

    fixed: np.ndarray
    moving: np.ndarray
    fixed_grid: Grid
    moving_grid: Grid
    guide: bool = False

    def __post_init__(self) -> None:
        for role, values, grid in (
            ("fixed", self.fixed, self.fixed_grid),
            ("moving", self.moving, self.moving_grid),
        ):
            if values.ndim != 4 or not len(values) or tuple(values.shape[1:]) != grid.shape_kji:
                raise InputError(
                    f"The channels of the {role} image have shape {tuple(values.shape)}, but their grid has "
                    f"{grid.shape_kji} (k, j, i): give (channels, k, j, i).",
                    role,
                )
            if not np.isfinite(values).all():
                raise InputError(
                    f"The channels of the {role} image have values that are not finite numbers. Compute them again, "
                    "or register without them.",
                    role,
                )
        if len(self.fixed) != len(self.moving):
            raise InputError(
                f"The fixed image has {len(self.fixed)} channels and the moving one {len(self.moving)}: make both in "
                "the same way."
            )


@dataclass(frozen=True, eq=False)
class Guidance:
    """What the user knows of how two images correspond, beside what they show.

    Attributes:
        fixed_points_lps_mm, moving_points_lps_mm: (N, 3) LPS mm; row n of one belongs to row n of the other.
        uncertainty_mm: (N,) how far each pair may be wrong, mm; 0 for a pair that the result is to meet exactly.
        fixed_surface_lps_mm, moving_surface_lps_mm: (N, 3) and (M, 3) points of curves or surfaces that are to lie on
            one another; nothing is known of which point belongs to which. Both empty where there are none.
        surface_uncertainty_mm: how far these may be wrong.
        rigid: an image on the fixed grid; the voxels of each of its values above 0 move as one rigid body. Or None.
        structures: an image on the fixed grid, above 0 where structures guide; or None.
    """

    fixed_points_lps_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    moving_points_lps_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    uncertainty_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    fixed_surface_lps_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    moving_surface_lps_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    surface_uncertainty_mm: float = 1.0
    rigid: Image | None = None
    structures: Image | None = None

    @property
    def exact(self) -> bool:
        """Whether a pair of points is to be met exactly."""
        return bool((self.uncertainty_mm == 0).any())


@dataclass(frozen=True, eq=False)
class Contrast:
    """A further contrast of both images of a pair, on the grids of these.

    Attributes:
        fixed, moving: what is compared.
        weight: how much it counts, where the first one counts 1.
    """

    fixed: Image
    moving: Image
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class ImagePair:
    """A pair that was read and checked, as methods take it.

    Attributes:
        fixed, moving: the images.
        fixed_mask: (K, J, I) bool on the fixed grid, where to compare; None for everywhere.
        moving_mask: an image on the moving grid, above 0 where to compare; None for everywhere.
        channels: what else is to be brought together, by methods that can; None for the intensities alone.
        start: (4, 4) a rigid alignment that the linear stage should try, too, fixed to moving points, LPS mm; or None.
        contrasts: further ones, by methods that can.
        guidance: what the user knows of the correspondence, for methods that can follow it; or None.
        fixed_excluded: (K, J, I) bool on the fixed grid, what only the fixed image shows; the masks leave it out, too.
        moving_excluded: the same of the moving image, on its grid.
    """

    fixed: Image
    moving: Image
    fixed_mask: np.ndarray | None = None
    moving_mask: Image | None = None
    channels: Channels | None = None
    start: np.ndarray | None = None
    contrasts: tuple[Contrast, ...] = ()
    guidance: Guidance | None = None
    fixed_excluded: np.ndarray | None = None
    moving_excluded: np.ndarray | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that a check has to say about a request.

    Attributes:
        severity: "error" forbids the registration, "warning" asks for confirmation, "note" only informs.
        text: what was found, one sentence.
        remedy: what to do about it, one sentence, or "".
        control: the field of :class:`Request` that it is about: the panel shows the finding beside that control, the
            command names the option; or "".
        reason: "memory" or "gpu_memory" where the computer or its GPU has too little, else "".
    """

    severity: str
    text: str
    remedy: str = ""
    control: str = ""
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The text and its remedy."""
        return f"{self.text} {self.remedy}".strip()


@dataclass(frozen=True)
class Memory:
    """An estimate of peak memory.

    Attributes:
        host: bytes of the computer's memory.
        device: bytes of the GPU's own memory; 0 where nothing is computed there.
    """

    host: int
    device: int = 0


@dataclass(frozen=True, eq=False)
class PairDescription:
    """What is known of a pair before its voxels are read; methods check it and estimate memory from it.

    Attributes:
        fixed, moving: the grids of the images.
        preset, similarity: as in :class:`Request`; a similarity may be "auto".
        on_gpu: whether the device is a GPU with memory of its own.
        fixed_range, moving_range: the lowest and the highest value of the images; None where they are not known.
        fixed_values, moving_values: (K, J, I) their voxels, where these are in memory; looked at, not computed with: a
            check is to take no time.
        contrasts: how many of each image are compared.
        guided: whether landmarks, structures, surfaces or rigid bodies guide it.
    """

    fixed: Grid
    moving: Grid
    preset: str
    similarity: str = AUTOMATIC
    on_gpu: bool = False
    fixed_range: tuple[float, float] | None = None
    moving_range: tuple[float, float] | None = None
    fixed_values: np.ndarray | None = None
    moving_values: np.ndarray | None = None
    contrasts: int = 1
    guided: bool = False

    @property
    def dimensions(self) -> int:
        """2 for single slices, 3 for volumes."""
        return 2 if self.fixed.is_planar else 3


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a registration: the transform as it stood when the step ended.

    Attributes:
        name: short and stable ("linear", "search", "scale 1/2").
        seconds: wall time of the step.
        linear_lps: (4, 4) ``A`` at the end of the step.
        field: ``u`` at the end of the step, on the step's own grid (often coarser than fixed).
        metrics: what the step measured, by name.
        curve: the loss at each iteration.
        note: a sentence for people, or "".
        compared: whether it is an answer of its own, which is measured as the result is.
    """

    name: str
    seconds: float
    linear_lps: np.ndarray
    field: Field | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curve: tuple[float, ...] = ()
    note: str = ""
    compared: bool = False


@dataclass(frozen=True)
class Location:
    """A place of the fixed image that should be looked at.

    Attributes:
        kind: "fold" (digital criterion), "shrinks", "grows" (Jacobian of T) or "differs" (what is left of the
            difference of the images, each scaled to 0..1).
        position_lps_mm: x, y, z in the fixed image.
        value: the determinant, the Jacobian, or the difference there.
    """

    kind: str
    position_lps_mm: tuple[float, float, float]
    value: float


@dataclass(frozen=True, eq=False)
class Result:
    """What a registration gives back.

    Attributes:
        fixed, moving: the images as they were read.
        transform: fixed to moving.
        warped: the moving image on the fixed grid.
        jacobian: the determinant of the Jacobian of T at every fixed voxel; 1 is no change of volume.
        warped_labels: the moving labels on the fixed grid, or None.
        stages: in order.
        metrics: {"before": {...}, "linear": {...}, "after": {...}}, each name to value.
        seconds: wall time by part ("read", "structures", "linear", "pair", "affine", "prepare", "method", "evidence",
            "warp", "measure", "path", "uncertainty").
        provenance: versions, device, thread count, checksums of the inputs.
        notes: sentences about what was assumed or found.
        locations: the worst of each kind, the worst first; empty where nothing was measured.
        path: ``u`` on its way from none to all along the flow of the velocity that it is nearest to, at equal
            steps of time, ``u`` itself the last; on a coarse grid, to be looked at. Empty where it is no flow.
        uncertainty: where the registration was repeated on perturbed inputs, how far its results lie from their mean at
            each place (root mean square, mm), on a coarse grid over the fixed one; else None.
        label_names: name of each label, where a segmentation named them.
        peak_gb: the most memory (10^9 bytes) that was taken during each part, as ``seconds`` has them, on the
            "computer" by the whole process, and on the "gpu" by torch; what cannot be known is not there.
    """

    request: Request
    fixed: Image
    moving: Image
    transform: Transform
    warped: Image
    jacobian: Image
    warped_labels: Image | None
    fixed_labels: Image | None
    stages: tuple[Stage, ...]
    metrics: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    path: tuple[Field, ...] = ()
    uncertainty: Image | None = None
    label_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    peak_gb: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def most_gb(self, where: str = "computer") -> float | None:
        """Return the peak over all parts; None where it is not known."""
        return max(self.peak_gb.get(where, {}).values(), default=None)


@dataclass(frozen=True, eq=False)
class Series:
    """The frames of a series (heartbeat, breathing, perfusion), to be registered to one of them.

    Attributes:
        frames: on grids of one size.
        reference: the number of the frame that all are registered with, from 0 on.
        request: how to register; its images are not used.
        labels: the segmentation of the reference, which is brought to every frame; or None.
        points_lps_mm: (N, 3) places of the reference whose motion is followed; or None.
        chain: one of ``CHAINS``.
    """

    frames: Sequence[Image]
    reference: int
    request: Request
    labels: Image | None = None
    points_lps_mm: np.ndarray | None = None
    chain: str = CHAINS[0]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found of one frame of a series.

    Attributes:
        number: of the frame, from 0 on.
        transform: from the frame, which is the fixed image, to the reference; None of the reference itself.
        labels: the segmentation of the reference on this frame, or None.
        stabilized: the frame as the reference lies, on its grid.
        measured: numbers by name, for a table.
        notes: sentences about its registration.
    """

    number: int
    transform: Transform | None
    labels: Image | None
    stabilized: Image
    measured: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``fraction`` of the whole in 0..1, and what is being done."""

    fraction: float
    stage: str
    loss: float | None = None


#: Called often during a run. Raise :class:`Canceled` in it to stop the run.
ProgressCallback = Callable[[Progress], None]
