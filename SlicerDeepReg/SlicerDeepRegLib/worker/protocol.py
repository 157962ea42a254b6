"""What client and worker say: one JSON object a line, arrays as .npy files in a private folder.

The client sends ``register``, ``segment``, ``look``, ``series``, ``cancel`` and ``quit``; the worker sends ``ready``,
``devices``, ``alive``, ``progress``, ``shown`` (a result that is not measured yet), ``measured`` (the metrics of its
end that are known by now), ``done``, ``failed`` and ``canceled``.
Everything about a job carries its name. Arrays are written to the job's folder and read by mapping the file, so that a
volume is never copied through the pipe.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.jsonable import jsonable
from ..types import (
    CONTRAST_FIELDS,
    IMAGE_FIELDS,
    POINT_FIELDS,
    Field,
    FrameResult,
    Grid,
    Image,
    Location,
    Request,
    Result,
    Series,
    Source,
    Stage,
    Transform,
)

#: Raised whenever a message changes its meaning; client and worker must have the same.
PROTOCOL = 12


def line(kind: str, **values: Any) -> bytes:
    """Return one message, with its line end."""
    return (json.dumps({"kind": kind, **jsonable(values)}, ensure_ascii=True) + "\n").encode("ascii")


def parse(text: bytes) -> dict[str, Any] | None:
    """Return the message of a line, or None if it is not one (a library printed something)."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        return None
    job = message.get("job", "")
    return message if isinstance(job, str) and Path(job).name == job else None  # it names a folder


def write_request(request: Request, folder: Path) -> dict[str, Any]:
    """Return the request as plain values; its images, which must be in memory, go to files in ``folder``."""
    return _write_request(request, Arrays(folder))


def _write_request(request: Request, arrays: Arrays) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in request.__dataclass_fields__:
        value = getattr(request, name)
        if value is not None and name in IMAGE_FIELDS:
            value = _write_image(value, arrays, name)
        elif value is not None and name in POINT_FIELDS:
            value = np.asarray(value, float).tolist()
        elif name in CONTRAST_FIELDS:
            value = [_write_image(image, arrays, f"{name}_{number}") for number, image in enumerate(value, 1)]
        elif isinstance(value, Transform):
            value = {"linear_lps": value.linear_lps.tolist(), "field": _write_field(value.field, arrays, name)}
        values[name] = value
    return values


def read_request(values: dict[str, Any], folder: Path) -> Request:
    """Return the request that ``write_request`` wrote, its images read into memory."""
    given = dict(values)
    for name in IMAGE_FIELDS:
        if given[name] is not None:
            given[name] = _read_image(given[name], folder, mapped=False)
    for name in POINT_FIELDS:
        if given[name] is not None:
            given[name] = np.array(given[name], float).reshape(-1, 3)
    for name in CONTRAST_FIELDS:
        given[name] = [_read_image(image, folder, mapped=False) for image in given[name]]
    if isinstance(given["continued"], dict):
        field = _optional_field(given["continued"]["field"], folder)
        if field is not None:  # in memory: the file goes with the job
            field = Field(np.array(field.displacement_lps_mm), field.grid)
        given["continued"] = Transform(np.array(given["continued"]["linear_lps"]), field)
    return Request(**given)


def write_series(series: Series, folder: Path) -> dict[str, Any]:
    """Return a series as plain values; its frames and labels, which must be in memory, go to files in ``folder``."""
    arrays, still = Arrays(folder), series.frames[series.reference]
    points = series.points_lps_mm
    return {
        "frames": [_write_image(frame, arrays, f"frame{number}") for number, frame in enumerate(series.frames)],
        "reference": series.reference,
        "request": _write_request(dataclasses.replace(series.request, fixed=still, moving=still), arrays),
        "labels": _optional(series.labels, arrays, "labels"),
        "points_lps_mm": None if points is None else np.asarray(points, float).tolist(),
        "chain": series.chain,
    }


def read_series(values: dict[str, Any], folder: Path) -> Series:
    """Return the series that ``write_series`` wrote, its images read into memory."""
    labels, points = values["labels"], values["points_lps_mm"]
    return Series(
        [_read_image(frame, folder, mapped=False) for frame in values["frames"]],
        values["reference"],
        read_request(values["request"], folder),
        None if labels is None else _read_image(labels, folder, mapped=False),
        None if points is None else np.array(points, float).reshape(-1, 3),
        values["chain"],
    )


def write_frame_results(found: Iterable[FrameResult], folder: Path) -> list[dict[str, Any]]:
    """Return what was found of frames as plain values; arrays go to files in ``folder``, those of a frame at once.

    Inverses stay behind: Slicer finds them from the transforms.
    """
    folder = folder / "found"
    folder.mkdir()
    return [_write_frame_result(one, Arrays(folder)) for one in found]


def _write_frame_result(one: FrameResult, arrays: Arrays) -> dict[str, Any]:
    values: dict[str, Any] = {"number": one.number, "measured": jsonable(dict(one.measured)), "linear_lps": None}
    if one.transform is not None:
        values["linear_lps"] = one.transform.linear_lps.tolist()
        values["field"] = _write_field(one.transform.field, arrays, f"field{one.number}")
    values["notes"] = list(one.notes)
    values["labels"] = _optional(one.labels, arrays, f"labels{one.number}")
    values["stabilized"] = _write_image(one.stabilized, arrays, f"stabilized{one.number}")
    return values


def read_frame_results(values: list[dict[str, Any]], folder: Path) -> list[FrameResult]:
    """Return what ``write_frame_results`` wrote, in the order of the frames; arrays are mapped, not copied."""
    folder = folder / "found"
    found = []
    for one in sorted(values, key=lambda one: one["number"]):
        linear, labels = one["linear_lps"], one["labels"]
        found.append(
            FrameResult(
                one["number"],
                None if linear is None else Transform(np.array(linear), _optional_field(one["field"], folder)),
                None if labels is None else _read_image(labels, folder),
                _read_image(one["stabilized"], folder),
                one["measured"],
                tuple(one["notes"]),
            )
        )
    return found


class Arrays:
    """The files of the arrays of a job: one that was written already is not written again.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[int, tuple[np.ndarray, str]] = {}  # the array is held, so that its number stays its own

    def save(self, array: np.ndarray, name: str) -> str:
        """Return the name of the array's file, which is written where there is none yet."""
        if id(array) not in self._written:
            taken = {file for _, file in self._written.values()}
            wanted = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 3))]
            free = next(one for one in wanted if f"{one}.npy" not in taken)
            self._written[id(array)] = array, _save(array, self._folder, free)
        return self._written[id(array)][1]


def write_result(result: Result, arrays: Arrays) -> dict[str, Any]:
    """Return the result as plain values; arrays that the client does not have yet go to files of the job.

    The inverse stays behind: Slicer finds it from the transform itself.
    """
    return jsonable(
        {
            "preset": result.request.preset,
            "warped": _write_image(result.warped, arrays, "warped"),
            "jacobian": _write_image(result.jacobian, arrays, "jacobian"),
            "warped_labels": _optional(result.warped_labels, arrays, "warped_labels"),
            "linear_lps": result.transform.linear_lps,
            "field": _write_field(result.transform.field, arrays, "field"),
            "stages": [
                {
                    "name": stage.name,
                    "seconds": stage.seconds,
                    "linear_lps": stage.linear_lps,
                    "field": _write_field(stage.field, arrays, f"stage{number}"),
                    "metrics": stage.metrics,
                    "curve": stage.curve,
                    "note": stage.note,
                }
                for number, stage in enumerate(result.stages)
            ],
            "metrics": result.metrics,
            "seconds": result.seconds,
            "peak_gb": result.peak_gb,
            "provenance": result.provenance,
            "notes": result.notes,
            "locations": [dataclasses.asdict(place) for place in result.locations],
            "path": [_write_field(field, arrays, f"path{number}") for number, field in enumerate(result.path)],
            "uncertainty": _optional(result.uncertainty, arrays, "uncertainty"),
        }
    )


def read_result(values: dict[str, Any], folder: Path, request: Request) -> Result:
    """Return the result of ``write_result`` for the client's own request; arrays are mapped, not copied.

    Its request has the preset that was used: a faster one than was asked for where memory did not suffice.
    """
    labels, uncertainty = values["warped_labels"], values["uncertainty"]
    stages = tuple(
        Stage(
            name=stage["name"],
            seconds=stage["seconds"],
            linear_lps=np.array(stage["linear_lps"]),
            field=_optional_field(stage["field"], folder),
            metrics=stage["metrics"],
            curve=tuple(stage["curve"]),
            note=stage["note"],
        )
        for stage in values["stages"]
    )
    return Result(
        request=dataclasses.replace(request, preset=values["preset"]),
        fixed=in_memory(request.fixed),
        moving=in_memory(request.moving),
        transform=Transform(np.array(values["linear_lps"]), _optional_field(values["field"], folder)),
        warped=_read_image(values["warped"], folder),
        jacobian=_read_image(values["jacobian"], folder),
        warped_labels=_read_image(labels, folder) if labels is not None else None,
        fixed_labels=in_memory(request.fixed_labels) if request.fixed_labels is not None else None,
        stages=stages,
        metrics=values["metrics"],
        seconds=values["seconds"],
        peak_gb=values["peak_gb"],
        provenance=values["provenance"],
        notes=tuple(values["notes"]),
        locations=tuple(
            Location(place["kind"], tuple(place["position_lps_mm"]), place["value"]) for place in values["locations"]
        ),
        path=tuple(_read_field(field, folder) for field in values["path"]),
        uncertainty=_read_image(uncertainty, folder) if uncertainty is not None else None,
    )


@dataclass(frozen=True, eq=False)
class SeenStructures:
    """The structures of a brain that were seen in a volume.

    Attributes:
        labels: FreeSurfer's numbers on the volume's voxels.
        confidences: of each structure that was seen, by number; the mean probability of its label.
        is_brain: whether the volume looks like a human brain at all.
    """

    labels: Image
    confidences: Mapping[int, float]
    is_brain: bool


def write_volume(image: Image, folder: Path) -> dict[str, Any]:
    """Return the only image of a job as plain values; its voxels go to a file in ``folder``."""
    return _write_image(image, Arrays(folder), "volume")


def read_volume(values: dict[str, Any], folder: Path) -> Image:
    """Return the image of ``write_volume``, in memory."""
    return _read_image(values, folder, mapped=False)


def write_structures(seen: SeenStructures, folder: Path) -> dict[str, Any]:
    """Return what was seen as plain values; the labels go to a file in ``folder``."""
    labels = _write_image(seen.labels, Arrays(folder), "labels")
    return {"labels": labels, "confidences": dict(seen.confidences), "is_brain": bool(seen.is_brain)}


def read_structures(values: dict[str, Any], folder: Path) -> SeenStructures:
    """Return what ``write_structures`` wrote; the labels are mapped, not copied."""
    confidences = {int(number): float(value) for number, value in values["confidences"].items()}
    return SeenStructures(_read_image(values["labels"], folder), confidences, values["is_brain"])


def in_memory(source: Source) -> Image:
    """Return an image of a request to the worker.

    Raises:
        ValueError: it is the path of a file.
    """
    if isinstance(source, str):
        raise ValueError(f"the worker registers images in memory, and this is a file: {source}")
    return source


def _optional(image: Image | None, arrays: Arrays, name: str) -> dict[str, Any] | None:
    return _write_image(image, arrays, name) if image is not None else None


def _write_image(image: Image, arrays: Arrays, name: str) -> dict[str, Any]:
    values = {"array": arrays.save(image.values, name), "name": image.name, "dimensions": image.dimensions}
    return {**values, "ijk_to_lps": image.grid.ijk_to_lps.tolist()}


def _read_image(values: dict[str, Any], folder: Path, mapped: bool = True) -> Image:
    array = _load(values["array"], folder, mapped)
    grid = Grid(array.shape[::-1], np.array(values["ijk_to_lps"]))
    return Image(array, grid, values["name"], values["dimensions"])


def _write_field(field: Field | None, arrays: Arrays, name: str) -> dict[str, Any] | None:
    if field is None:
        return None
    array = arrays.save(field.displacement_lps_mm, name)
    return {"array": array, "ijk_to_lps": field.grid.ijk_to_lps.tolist()}


def _optional_field(values: dict[str, Any] | None, folder: Path) -> Field | None:
    return _read_field(values, folder) if values is not None else None


def _read_field(values: dict[str, Any], folder: Path) -> Field:
    array = _load(values["array"], folder)
    return Field(array, Grid(array.shape[2::-1], np.array(values["ijk_to_lps"])))


def _save(array: np.ndarray, folder: Path, name: str) -> str:
    np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return f"{name}.npy"


def _load(name: str, folder: Path, mapped: bool = True) -> np.ndarray:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not a file of the job's folder.")
    return np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False)
