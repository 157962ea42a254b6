"""The slices in a folder of DICOM files, or in one file, and which of them belong together as one image.

Headers are read with pydicom. Files are listed here, one by one: what is no regular file (a link that leads nowhere, a
pipe) is named, never a reason to stop in the middle.
"""

from __future__ import annotations

import dataclasses
import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry.stacks import Stack, stack_of
from ..types import InputError

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

#: Slices are parallel if no cosine of their axes differs by more, and their pixels equal if no side (mm) does.
_SAME_AXES, _SAME_PIXEL = 1e-3, 1e-4
#: Modalities whose objects may have rows and columns, but are no images to register.
_NO_IMAGES = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG", "DOC", "RTRECORD", "PLAN", "FID", "AU"}
#: With so few images of another orientation beside a volume of one series, these are its scouts.
_MOST_SCOUTS, _LEAST_SLICES = 3, 8
#: What tells images apart that lie at the same places under one series UID, the surest first.
_SPLITS = ("acquisition", "temporal", "b_value", "trigger", "reference_time", "image_type")
#: Likewise, but told by nearly every slice: only after the numbers of the slices.
_LAST_SPLITS = ("acquisition_time", "content_time")
#: What grows with time from frame to frame, the surest first.
_TIMES = ("temporal", "trigger", "reference_time", "acquisition", "acquisition_time", "content_time")
#: By these one volume is never parted: where they differ for slices between one another, there are several.
_SURE = ("acquisition", "temporal", "b_value")
#: Echo times (ms) are equal to this part, or to this difference.
_SAME_ECHO, _SAME_ECHO_MS = 0.01, 0.05
#: Bytes of a header that is looked for behind no preamble, and groups of tags with which one begins.
_FIRST_GROUPS, _MOST_BARE = (0x0002, 0x0008), 256 << 20


@dataclass(frozen=True, eq=False)
class Slice:
    """One image plane.

    Attributes:
        file: where it stands.
        frame: its number in a file of several frames; None where the file is this slice.
        position: (3,) center of its first pixel, LPS mm; None where the header has none.
        axes_ij: (3, 2) unit vectors of i and j, LPS, as columns; None where the header has none.
        pixel_mm: (2,) sides of a pixel along i and j; None where the header has none.
        size_ij: pixels along i and j.
        slope, intercept: of its stored values.
        inverted: whether small stored values are bright (MONOCHROME1).
        series: the series' instance UID.
        uid: its own instance UID (of the whole file, for a frame).
        tags: what else tells images of one series apart, by the names of ``_SPLITS``, and what names them to people.
    """

    file: Path
    frame: int | None
    position: np.ndarray | None
    axes_ij: np.ndarray | None
    pixel_mm: np.ndarray | None
    size_ij: tuple[int, int]
    slope: float
    intercept: float
    inverted: bool
    series: str
    uid: str
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Group:
    """Slices that form one image.

    Attributes:
        slices: sorted along their normal.
        stack: how they lie; None where the header of a single image does not say.
        told_by: what tells it apart from others of its series ("acquisition 2"), or "".
        notes: what was left out.
    """

    slices: tuple[Slice, ...]
    stack: Stack | None
    told_by: str = ""
    notes: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What it is, for a list to choose from."""
        first, (i, j) = self.slices[0], self.slices[0].size_ij
        words = [f'"{first.tags["description"]}"' if first.tags.get("description") else "without a description"]
        if first.tags.get("number") is not None:
            words.append(f"series number {first.tags['number']}")
        words.append(f"{len(self.slices)} {_plane(first)} slice{'s' * (len(self.slices) > 1)} of {i} x {j}")
        return ", ".join([*words, self.told_by]) if self.told_by else ", ".join(words)


def groups_in(path: Path, role: str) -> tuple[list[Group], tuple[str, ...]]:
    """Find the images in a folder (not in folders inside it) or in one file.

    Args:
        path: the folder or file.
        role: what messages call the image ("fixed image").

    Returns:
        The images, in a stable order, and notes about what was not read.

    Raises:
        InputError: there is no image, a file cannot be opened, or slices of one image cannot be told apart.
    """
    slices, notes = _slices_in(path, role)
    slices, doubled = _without_copies(slices)
    if doubled:
        notes.append(f"{_names(doubled)} in the folder of the {role} are copies of others there, and were left out.")
    groups: list[Group] = []
    for alike in _alike(slices):
        groups += _told_apart(alike, path, role)
    groups.sort(key=lambda group: (_number(group), group.slices[0].series, -len(group.slices), group.told_by))
    return groups, tuple(notes)


def _slices_in(path: Path, role: str) -> tuple[list[Slice], list[str]]:
    slices: list[Slice] = []
    left_out: dict[str, list[str]] = {"odd": [], "unreadable": [], "unusable": []}
    first_error: InputError | None = None
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_dir():
            continue
        header = _header(file, role) if file.is_file() else "no file"
        if isinstance(header, str):
            left_out["unreadable" if file.is_file() else "odd"].append(file.name)
        elif header is not None:
            try:
                slices += _slices_of(file, header, role)
            except InputError as error:  # an image of another kind, beside those that are meant
                first_error = first_error or error
                left_out["unusable"].append(file.name)
    if not slices:
        raise first_error or InputError(_nothing(path, role, left_out["unreadable"]))
    said = {
        "odd": "were skipped: broken links or special files",
        "unreadable": "look like DICOM images but cannot be read, and were left out",
        "unusable": "were left out: color, a mosaic, a damaged header, or frames whose places are not known",
    }
    where = f"in the folder of the {role}"
    return slices, [f"{_names(names)} {where} {said[kind]}." for kind, names in left_out.items() if names]


def _number(group: Group) -> int:
    number = group.slices[0].tags.get("number")
    return int(number) if number is not None else 0


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} files ({shown}, ...)" if len(names) > 3 else shown


def _nothing(path: Path, role: str, unreadable: Sequence[str]) -> str:
    if not path.is_dir():
        return (
            f"The {role} {path} is a DICOM file without an image (for example a report, a structure set or a "
            "DICOMDIR). Give an image file, or the folder of a series."
        )
    if unreadable:
        return (
            f"The {role} folder {path} contains no DICOM series that can be read; {_names(unreadable)} are damaged or "
            "cut short. Copy or export it again."
        )
    inside = [folder.name for folder in sorted(path.iterdir()) if folder.is_dir()]
    if inside:
        return (
            f"The {role} folder {path} contains no DICOM series itself, but folders ({_names(inside)}). Give the "
            "folder that contains the slices."
        )
    return (
        f"The {role} folder {path} contains no DICOM series. Give a file in NIfTI, NRRD or MetaImage, or the folder "
        "that contains the slices."
    )


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM files do."""
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def may_be_dicom(file: Path) -> bool:
    """Return whether a file begins as DICOM files do, with or without a preamble."""
    return is_dicom(file) or _is_bare(file)


def _is_bare(file: Path) -> bool:
    """Return whether a file begins with a DICOM tag, as those without a preamble do."""
    with open(file, "rb") as stream:
        start = stream.read(4)
    return int.from_bytes(start[:2], "little") in _FIRST_GROUPS and 0 < file.stat().st_size < _MOST_BARE


def _header(file: Path, role: str) -> Dataset | str | None:
    """Return the header; None if it is no DICOM image; words if it looks like one and cannot be read."""
    import pydicom

    named = file.suffix.lower() in (".dcm", ".ima", ".dicom")
    begins = False
    try:
        begins = is_dicom(file)
        if not begins and not _is_bare(file):
            return "damaged" if named else None
        header = pydicom.dcmread(file, stop_before_pixels=True, force=not begins)
        modality, sop = str(header.get("Modality", "")), str(header.get("SOPClassUID", ""))
    except OSError as error:
        raise InputError(f"The {role} file {file} cannot be opened ({error.strerror or error}).") from error
    except Exception:  # pydicom raises all kinds on damaged files
        return "damaged" if named or begins else None
    if modality in _NO_IMAGES or "DirectoryRecordSequence" in header or (not begins and not sop):
        return None
    return header if "Rows" in header and "Columns" in header else "without rows and columns"


def _slices_of(file: Path, header: Dataset, role: str) -> Iterator[Slice]:
    try:
        gray = str(header.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
        if int(header.get("SamplesPerPixel", 1)) != 1 or not gray:
            raise InputError(
                f"The {role} file {file} is a color image. Convert it to a scalar image, one value in each pixel."
            )
        if "MOSAIC" in (header.get("ImageType") or ()):
            raise InputError(
                f"The {role} file {file} is a mosaic: many slices side by side in one image. Convert it to NIfTI "
                "first, for example with dcm2niix."
            )
        if "PerFrameFunctionalGroupsSequence" in header:
            yield from _frames(file, header)
        elif int(header.get("NumberOfFrames", None) or 1) > 1:
            raise InputError(
                f"The {role} file {file} has several frames and does not say where each lies. Load it in the program "
                "of its maker, and export it as a series of slices."
            )
        else:
            yield _slice(file, None, header, (header,), ())
    except InputError:
        raise
    except Exception as error:  # a header may hold anything
        raise InputError(
            f"The header of the {role} file {file} is damaged ({error}). Copy or export it again."
        ) from error


def _frames(file: Path, header: Dataset) -> Iterator[Slice]:
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence):
        groups = [own, *shared[:1]]  # what a frame says of itself goes first
        parts = [element.value[0] for group in groups for element in group if _is_macro(element)]
        yield _slice(file, number, header, (*parts, header), parts)


def _is_macro(element: DataElement) -> bool:
    """Return whether it is one of the standard's groups of attributes; makers' own may have the same attributes."""
    return element.VR == "SQ" and not element.tag.is_private and bool(element.value)


def _slice(file: Path, frame: int | None, header: Dataset, parts: Sequence[Dataset], own: Sequence[Dataset]) -> Slice:
    def first(name: str) -> Any:
        value = next((part.get(name) for part in parts if part.get(name) not in (None, "", [])), None)
        return value

    position, turn, pixel = first("ImagePositionPatient"), first("ImageOrientationPatient"), first("PixelSpacing")
    if pixel is None:
        pixel = first("ImagerPixelSpacing")
    values = [None if value is None else np.array([float(n) for n in value]) for value in (position, turn, pixel)]
    axes = None if values[1] is None or len(values[1]) != 6 else values[1].reshape(2, 3).T
    if axes is not None and (np.linalg.norm(axes, axis=0) < 0.5).any():
        axes = None
    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    return Slice(
        file=file,
        frame=frame,
        position=values[0] if values[0] is not None and len(values[0]) == 3 else None,
        axes_ij=None if axes is None else axes / np.linalg.norm(axes, axis=0),
        pixel_mm=None if values[2] is None or len(values[2]) != 2 or (values[2] <= 0).any() else values[2][::-1],
        size_ij=(int(header.Columns), int(header.Rows)),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        inverted=str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1",
        series=str(header.get("SeriesInstanceUID", "")),
        uid=str(header.get("SOPInstanceUID", file.name)),
        tags={
            "description": str(header.get("SeriesDescription", "") or ""),
            "number": header.get("SeriesNumber", None),
            "instance": (int(first("InstanceNumber") or 0), frame or 0),
            "frame_of_reference": str(header.get("FrameOfReferenceUID", "")),
            "echo": str(first("EchoNumbers") or ""),
            "echo_time": float(first("EffectiveEchoTime") or first("EchoTime") or 0),
            "acquisition": str(first("FrameAcquisitionNumber") or first("AcquisitionNumber") or ""),
            "stack": str(first("StackID") or "") if own else "",
            "temporal": str(first("TemporalPositionIndex") or first("TemporalPositionIdentifier") or ""),
            "b_value": _rounded(first("DiffusionBValue")),
            "trigger": _rounded(first("NominalCardiacTriggerDelayTime") or first("TriggerTime")),
            "reference_time": _rounded(first("FrameReferenceTime")),
            "image_type": "/".join(str(word) for word in (first("FrameType") or first("ImageType") or [])),
            "acquisition_time": str(first("AcquisitionTime") or ""),
            "content_time": str(first("ContentTime") or ""),
        },
    )


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 2)


def _plane(first: Slice) -> str:
    if first.axes_ij is None:
        return "unplaced"
    normal = np.abs(np.cross(first.axes_ij[:, 0], first.axes_ij[:, 1]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """Leave out what is there twice under one instance UID, as a file that was copied is."""
    kept: dict[tuple[str, str, int | None], Slice] = {}
    copies = []
    for one in slices:
        key = (one.series, one.uid, one.frame)
        known = kept.get(key)
        if known is None:
            kept[key] = one
        elif _same_place(known, one) and one.file != known.file and filecmp.cmp(one.file, known.file, shallow=False):
            copies.append(one.file.name)
        else:  # a UID that was used for two images, against the standard
            kept[one.series, one.uid, -len(kept) - 1] = one
    return list(kept.values()), copies


def _same_place(one: Slice, other: Slice) -> bool:
    if one.position is None or other.position is None:
        return one.position is other.position and one.tags["instance"] == other.tags["instance"]
    return bool(np.abs(one.position - other.position).max() < 1e-3) and _parallel(one, other)


def _parallel(one: Slice, other: Slice) -> bool:
    if one.axes_ij is None or other.axes_ij is None:
        return one.axes_ij is other.axes_ij
    return bool(np.abs(one.axes_ij - other.axes_ij).max() < _SAME_AXES)


def _alike(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Part the slices by series, echo and geometry of their plane."""
    groups: list[list[Slice]] = []
    for one in slices:
        for group in groups:
            if _belongs(one, group[0]):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _belongs(one: Slice, other: Slice) -> bool:
    same = one.series == other.series and one.size_ij == other.size_ij and one.inverted == other.inverted
    if not same or not _parallel(one, other) or not _same_echo(one.tags["echo_time"], other.tags["echo_time"]):
        return False
    for name in ("frame_of_reference", "echo", "stack"):
        values = one.tags[name], other.tags[name]
        if values[0] != values[1] and all(values):  # some scanners leave one out
            return False
    if one.pixel_mm is None or other.pixel_mm is None:
        return one.pixel_mm is other.pixel_mm
    return bool(np.abs(one.pixel_mm - other.pixel_mm).max() < _SAME_PIXEL)


def _same_echo(one: float, other: float) -> bool:
    return not one or not other or abs(one - other) <= max(_SAME_ECHO_MS, _SAME_ECHO * max(one, other))


def _told_apart(slices: Sequence[Slice], path: Path, role: str) -> list[Group]:
    """Return the images that slices of one geometry form: one, or several at the same places."""
    first = slices[0]
    if first.axes_ij is None or first.pixel_mm is None or any(one.position is None for one in slices):
        if len(slices) == 1:
            return [Group(tuple(slices), None)]
        return [Group(tuple(sorted(slices, key=lambda one: one.tags["instance"])), None, "without positions")]
    whole = _group(slices)
    for name in _SURE:
        groups = _parted(slices, name)
        if _overlap(groups):
            return groups
    if not _is_broken(whole):
        return [_with_order_noted(whole, role)]
    return _first_parts(slices, _SPLITS) or _in_passes(whole) or _first_parts(slices, _LAST_SPLITS) or [whole]


def _first_parts(slices: Sequence[Slice], names: Sequence[str]) -> list[Group]:
    """Return the images into which the first of the tags parts the slices that does; [] if none does."""
    for name in names:
        groups = _whole_images(_parted(slices, name), name)
        if groups:
            return groups
    return []


def _parted(slices: Sequence[Slice], name: str) -> list[Group]:
    """Part slices by a tag; [] if all have one value, nearly each its own, or some have none."""
    parts: dict[Any, list[Slice]] = {}
    for one in slices:
        parts.setdefault(one.tags[name], []).append(one)
    if not 1 < len(parts) <= len(slices) // 2 or "" in parts or None in parts:
        return []
    return [_group(part, f"{name.replace('_', ' ')} {value}") for value, part in parts.items()]


def _whole_images(groups: list[Group], name: str) -> list[Group]:
    """Return the groups if each is an image by itself; [] if one is broken, or they are fragments of one."""
    counts = [len(group.slices) for group in groups]
    if not groups or any(_is_broken(group) for group in groups):
        return []
    if name != "acquisition" and min(counts) < max(counts) / 2:
        return []
    return groups


def _overlap(groups: Sequence[Group]) -> bool:
    """Return whether images of one direction lie within one another, as two acquisitions of one place do.

    Acquisitions of which each continues the one before, as of a scanner that goes step by step, do not.
    """
    ranges = []
    for group in groups:
        if group.stack is None:
            return False
        begin = float(group.stack.first_lps_mm @ group.stack.axes[:, 2])
        ranges.append((begin, begin + float(group.stack.distance_mm[-1])))
    ranges.sort()
    return any(after[0] < before[1] for before, after in zip(ranges, ranges[1:]))


def _with_order_noted(group: Group, role: str) -> Group:
    """Add a note where the images' numbers run through the volume more than once, as two mixed scans' do."""
    numbers = [one.tags["instance"][0] for one in group.slices]
    if len(set(numbers)) < len(numbers) or len(numbers) < 2 * _LEAST_SLICES:
        return group
    places = np.argsort(numbers)  # the place of image 1, 2, ...
    turns = np.flatnonzero(np.abs(np.diff(places)) > len(numbers) // 2)
    steps = np.abs(np.diff(places))
    if len(turns) != 1 or np.median(steps) != 2:
        return group
    note = (
        f"The slice numbers of the {role} run through the volume twice, as if two scans were mixed. Check that all "
        "slices belong to one scan."
    )
    return dataclasses.replace(group, notes=(*group.notes, note))


def _group(slices: Sequence[Slice], told_by: str = "", notes: tuple[str, ...] = ()) -> Group:
    first = slices[0]
    positions = np.array([one.position for one in slices])
    if first.axes_ij is None or first.pixel_mm is None:
        raise ValueError("these slices have no place")
    stack = stack_of(positions, first.axes_ij, first.pixel_mm)
    return Group(tuple(slices[n] for n in stack.order), stack, told_by, notes)


def _is_broken(group: Group) -> bool:
    return group.stack is not None and bool(group.stack.doubled or group.stack.is_torn)


def _in_passes(group: Group) -> list[Group]:
    """Part slices that lie so many at each place, by the order of their numbers at a place; [] if they do not."""
    stack = group.stack
    if stack is None or not stack.doubled:
        return []
    doubled, places = set(stack.doubled), [[group.slices[0]]]
    for n, one in enumerate(group.slices[1:]):
        if n in doubled:
            places[-1].append(one)
        else:
            places.append([one])
    count = len(places[0])
    if any(len(place) != count for place in places) or len(places) < 2:
        return []
    ordered = [sorted(place, key=lambda one: one.tags["instance"]) for place in places]
    if any(len({one.tags["instance"] for one in place}) != count for place in ordered):
        return []
    parts = []
    for n in range(count):
        slices = [place[n] for place in ordered]
        numbers = sorted(one.tags["instance"][0] for one in slices)
        parts.append(_group(slices, f"number {n + 1} of {count} at each place (images {numbers[0]} to {numbers[-1]})"))
    return [] if any(_is_broken(part) for part in parts) else parts


def in_order_of_time(groups: Sequence[Group]) -> list[Group]:
    """Return images of one place in the order in which they were taken, as far as their headers say.

    The surest of what differs decides, and the numbers of the images where nothing does. What says nothing of time (b
    values, kinds of images) does not count.
    """
    numbers = _times(groups)
    if numbers:
        return [groups[n] for n in np.argsort(numbers)]
    return sorted(groups, key=lambda group: (_number(group), group.slices[0].tags["instance"]))


def _times(groups: Sequence[Group]) -> list[float]:
    """Return a number of each image that grows with time, by the surest tag that all have; [] where none says."""
    several = len({group.slices[0].series for group in groups}) > 1
    for name in _TIMES:
        if several and name == "acquisition":  # its number begins anew in each series, or says which one it is
            continue
        try:
            numbers = [float(group.slices[0].tags[name]) for group in groups]
        except (TypeError, ValueError):  # missing, or text
            continue
        if len(set(numbers)) == len(numbers):
            return numbers
    return []


def check_in_time(groups: Sequence[Group], path: Path, role: str) -> None:
    """Refuse images that are no series in time: of several places, patients or examinations, or of several b values.

    Raises:
        InputError: they are none.
    """
    firsts = [group.slices[0] for group in groups]
    differ = ""
    if len({first.tags["b_value"] for first in firsts}) > 1:
        differ = "b values"
    elif len({(first.tags["frame_of_reference"], first.size_ij) for first in firsts}) > 1:
        differ = "places or examinations"
    elif len({first.series for first in firsts}) > 1 and not _times(groups):
        differ = "series without times"
    if differ:
        listed = "; ".join(group.description for group in groups[:6])
        raise InputError(
            f"The {role} {path} are images of several {differ}, not a series in time: {listed}. Put the series that is "
            "meant into a folder of its own.",
            role,
        )


def chosen(groups: Sequence[Group], series: str, path: Path, role: str) -> Group:
    """Return the image to be read.

    Args:
        groups: what the folder or file holds.
        series: the number in the list that the message gives, or a series instance UID; "" for the only one.
        path: the folder or file.
        role: what messages call the image.

    Raises:
        InputError: there are several and none was chosen, or there is none of that number or UID.
    """
    control = f"{role.split()[0]}_series" if role.split()[0] in ("fixed", "moving") else ""
    listed = "; ".join(f"{n}: {group.description}" for n, group in enumerate(groups[:12], 1))
    more = f"; and {len(groups) - 12} more" if len(groups) > 12 else ""
    if series:
        matching = [group for n, group in enumerate(groups, 1) if series in (str(n), group.slices[0].series)]
        if len(matching) == 1:
            return _with_rest_noted(matching[0], groups, role)
        problem = "are several with" if matching else "is none with"
        raise InputError(
            f"The {role} {path} contains {_count(groups)}, and there {problem} the number or series UID {series!r}: "
            f"{listed}{more}.",
            control,
        )
    if len(groups) == 1:
        return groups[0]
    scouts = _scouts(groups)
    if scouts is not None:
        return scouts
    how = "Choose one by its number" if control else "Put the one that is meant into a folder of its own"
    raise InputError(f"The {role} {path} contains {_count(groups)}. {how}: {listed}{more}.", control)


def _with_rest_noted(group: Group, groups: Sequence[Group], role: str) -> Group:
    """Add a note where a part of a series was chosen."""
    count = sum(len(other.slices) for other in groups if other.slices[0].series == group.slices[0].series)
    if count == len(group.slices):
        return group
    note = f"{len(group.slices)} of the {count} slices of the series of the {role} were read: {group.description}."
    return dataclasses.replace(group, notes=(*group.notes, note))


def _count(groups: Sequence[Group]) -> str:
    series = len({group.slices[0].series for group in groups})
    return f"{series} DICOM series" if series == len(groups) else f"{len(groups)} images in {series} DICOM series"


def _scouts(groups: Sequence[Group]) -> Group | None:
    """Return the volume of a series that has nothing beside it but a few scouts; None if it is not so."""
    largest = max(groups, key=lambda group: len(group.slices))
    others = [group for group in groups if group is not largest]
    count = sum(len(group.slices) for group in others)
    if len({group.slices[0].series for group in groups}) > 1 or count > _MOST_SCOUTS:
        return None
    if len(largest.slices) < _LEAST_SLICES or any(_parallel(group.slices[0], largest.slices[0]) for group in others):
        return None
    names = _names([one.file.name for group in others for one in group.slices])
    note = f"{names} of the same series have another orientation (a scout, most likely) and were left out."
    return dataclasses.replace(largest, notes=(*largest.notes, note))


def siblings(file: Path, group: Group, role: str) -> int:
    """Return how many files of the same series lie in the folder of a file, itself among them."""
    count, series = 1, group.slices[0].series
    for other in file.parent.iterdir():
        if other != file and other.is_file():
            header = _header(other, role)
            if header is not None and not isinstance(header, str):
                count += str(header.get("SeriesInstanceUID", "")) == series
    return count
