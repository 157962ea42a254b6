"""Series from a sequence to what was found of its frames, in the scene, through the worker. No Qt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ..checks.series import check_series, notes_of_several
from ..mrml.series import SeriesNodes, add_series, check_not_moved, colors_of, contents_of, frames_of
from ..mrml.world import Placed, labels_of, points_in_world
from ..types import AUTOMATIC, CHAINS, PERSON, InputError, Request, Series
from ..worker.client import WorkerClient
from .choice import Choice, handing_over


@dataclass(frozen=True, eq=False)
class SeriesChoice:
    """What the panel asks for.

    Attributes:
        sequence: of the frames.
        reference: number of the frame that all are registered with, from 0 on.
        segmentation: of that frame, or None.
        points: a point list in that frame, or None.
        from_neighbor: whether a frame starts from its neighbor's transform.
        how: method, preset and what else decides how a pair is registered; its nodes are not used.
    """

    sequence: Any
    reference: int
    segmentation: Any
    points: Any
    from_neighbor: bool
    how: Choice


@dataclass(eq=False)
class Following:
    """The registration of one series.

    Attributes:
        frames: what the sequence held at its beginning, see ``mrml.series.contents_of``.
        nodes: what was added to the scene, when done.
        text: why there is nothing, or "".
    """

    choice: SeriesChoice
    label_names: Mapping[int, str]
    point_names: tuple[str, ...]
    worker_job: str
    frames: tuple[Any, ...]
    fraction: float = 0.0
    stage: str = "waiting"
    nodes: SeriesNodes | None = None
    text: str = ""
    over: bool = False
    failed: bool = False


class Follower:
    """One series at a time.

    Args:
        client: returns that of the worker; whoever polls it hands the events to ``take``.

    Attributes:
        job: the series that is registered, or was last; None before.
    """

    def __init__(self, client: Callable[[], WorkerClient]) -> None:
        self._client = client
        self.job: Following | None = None

    @property
    def busy(self) -> bool:
        """Whether a series is being registered."""
        return self.job is not None and not self.job.over

    def start(self, choice: SeriesChoice) -> None:
        """Begin to register a series.

        Raises:
            InputError: it cannot be registered, or the worker cannot be started; nothing was changed.
        """
        with handing_over():
            series, label_names, point_names = prepared(choice)
            worker_job = self._client().series(series)
        self.job = Following(choice, label_names, point_names, worker_job, contents_of(choice.sequence))

    def cancel(self) -> None:
        """Ask for the end; the scene stays as it is."""
        if self.busy:
            self._client().cancel(self.job.worker_job)

    def forget(self) -> None:
        """Cancel it because its scene goes."""
        self.cancel()
        self.job = None

    def fail(self, text: str) -> None:
        """End it, because the worker cannot compute."""
        if self.busy:
            self._end(text, failed=True)

    def take(self, event: dict[str, Any]) -> bool:
        """Take in what the worker said; False where it is about something else."""
        job = self.job
        if not self.busy or job.worker_job != event.get("job"):
            if "frames" in event:  # of a scene that was closed
                self._client().release(event["job"])
            return "frames" in event
        if event["kind"] == "progress":
            job.fraction, job.stage = event["fraction"], event["stage"]
        elif event["kind"] == "canceled":
            self._end("Canceled; the scene is unchanged.")
        elif event["kind"] in ("failed", "died"):
            self._end(event["text"], failed=True)
        elif event["kind"] == "done":
            self._put_into_scene(event)
        return True

    def _end(self, text: str, failed: bool = False) -> None:
        self.job.text, self.job.over, self.job.failed = text, True, failed

    def _put_into_scene(self, event: dict[str, Any]) -> None:
        job, found = self.job, event.pop("frames")
        sequence, name = job.choice.sequence, job.choice.sequence.GetName()
        try:
            if not slicer.mrmlScene.IsNodePresent(sequence):
                self._end(f"{name} was removed from the scene before its frames were registered.", failed=True)
            elif contents_of(sequence) != job.frames:
                self._end(f"{name} has other frames than when it was registered. Register it again.", failed=True)
            else:
                segmentation = job.choice.segmentation
                there = segmentation is not None and segmentation.IsA("vtkMRMLSegmentationNode")
                colors = colors_of(segmentation, job.label_names) if there else None
                job.nodes = add_series(slicer.mrmlScene, sequence, found, job.label_names, colors, job.point_names)
                said = notes_of_several((f"frame {one.number + 1}", one.notes) for one in found)
                self._end(" ".join(["The frames were registered.", *said]))
        except Exception as error:  # whatever it is, the user must be told
            self._end(
                f"The result of {name} could not be added to the scene ({error}). Register it again.", failed=True
            )
        finally:
            del found  # its arrays are mapped from the files, which Windows would not remove
            self._client().release(job.worker_job)


def prepared(choice: SeriesChoice) -> tuple[Series, Mapping[int, str], tuple[str, ...]]:
    """Read the nodes of a choice; return the series, the name of each label, and that of each point.

    Raises:
        InputError: it cannot be registered.
    """
    if choice.sequence is None:
        raise InputError("Choose a sequence of volumes.", "frames")
    check_not_moved(choice.sequence)
    frames, how = frames_of(choice.sequence), choice.how
    reference = max(0, min(choice.reference, len(frames) - 1))
    labels, names = None, {}
    if choice.segmentation is not None:
        placed = Placed(frames[reference], None)
        volume = choice.sequence.GetNthDataNode(reference)
        labels, names = labels_of(choice.segmentation, volume, placed)
        if not labels.values.any():
            name, frame = choice.segmentation.GetName(), frames[reference].name
            raise InputError(f"{name} has nothing inside {frame}. Choose the segmentation of that frame.", "labels")
        labels = dataclasses.replace(labels, values=labels.values.astype(np.int32))
    points, point_names = None, ()
    if choice.points is not None:
        listed = points_in_world(choice.points)
        placed_points = np.flatnonzero(np.isfinite(listed.positions_lps_mm).all(1))
        points = listed.positions_lps_mm[placed_points]
        point_names = tuple(listed.labels[n] or f"point {n + 1}" for n in placed_points)
    request = Request(
        frames[reference],
        frames[reference],
        method=how.method,
        linear="none",
        preset=how.preset,
        similarity=how.similarity,
        pair=PERSON if how.pair == AUTOMATIC else how.pair,
        device=how.device,
        settings=dict(how.settings),
    )
    series = Series(frames, reference, request, labels, points, CHAINS[1 if choice.from_neighbor else 0])
    check_series(series)
    return series, names, point_names
