"""Structures of brains from volume nodes to segmentation nodes, through the worker. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer

from ..mrml.automatic import add_structures
from ..mrml.world import placed_volume
from ..worker.client import WorkerClient
from .choice import handing_over


@dataclass(eq=False)
class Segmentation:
    """The search for the structures of a brain in one volume.

    Attributes:
        volume: the node.
        role: "fixed" or "moving".
        node: the segmentation that was added to the scene, when done.
        text: why there is none.
        over: whether it is done or failed.
    """

    volume: Any
    role: str
    worker_job: str
    node: Any = None
    text: str = ""
    over: bool = False


class Segmenter:
    """The segmentations that wait for their turn in the worker.

    Args:
        client: returns that of the worker; whoever polls it hands the events to ``take``.
    """

    def __init__(self, client: Callable[[], WorkerClient]) -> None:
        self._client = client
        self.waiting: list[Segmentation] = []  # and those that are over and were not asked for yet

    @property
    def busy(self) -> bool:
        """Whether any is not over, or was not taken yet."""
        return bool(self.waiting)

    def start(self, volume: Any, role: str, device: str) -> None:
        """Look for the structures of a brain in a volume node.

        Raises:
            InputError: it has no voxels, or the worker cannot be started.
        """
        with handing_over():
            worker_job = self._client().segment(placed_volume(volume).image, device)
        self.waiting.append(Segmentation(volume, role, worker_job))

    def finished(self) -> list[Segmentation]:
        """Return, once, those that are over."""
        over = [one for one in self.waiting if one.over]
        self.waiting = [one for one in self.waiting if not one.over]
        return over

    def forget(self) -> None:
        """Cancel all, because their scene goes."""
        for one in self.waiting:
            if not one.over:
                self._client().cancel(one.worker_job)
        self.waiting = []

    def fail(self, text: str) -> None:
        """End all, because the worker cannot compute."""
        for one in self.waiting:
            one.text, one.over = text, True

    def take(self, event: dict[str, Any]) -> bool:
        """Take in what the worker said; False where it is about something else."""
        own = next((one for one in self.waiting if one.worker_job == event.get("job")), None)
        if own is None:
            if "structures" in event:  # of a scene that was closed
                self._client().release(event["job"])
            return "structures" in event
        if event["kind"] in ("failed", "died", "canceled"):
            own.text, own.over = event.get("text", "Canceled."), True
        elif event["kind"] == "done":
            self._put_into_scene(own, event)
        return True

    def _put_into_scene(self, own: Segmentation, event: dict[str, Any]) -> None:
        seen, name = event.pop("structures"), own.volume.GetName()
        own.over = True
        try:
            if not slicer.mrmlScene.IsNodePresent(own.volume):
                own.text = f"{name} was removed from the scene before it was segmented."
            elif not seen.is_brain:
                own.text = f"{name} does not look like a whole human brain. Nothing was segmented."
            else:
                own.node = add_structures(slicer.mrmlScene, seen.labels, own.volume)
        except Exception as error:  # whatever it is, the user must be told
            own.text = f"The structures of {name} could not be added to the scene ({error}). Segment it again."
        finally:
            del seen  # its arrays are mapped from the files, which Windows would not remove
            self._client().release(own.worker_job)
