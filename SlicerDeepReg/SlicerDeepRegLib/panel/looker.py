"""What the chosen pair is, found out by the worker before Apply. No Qt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import vtk

from ..mrml.ages import age_of
from ..worker.client import WorkerClient
from .choice import Choice, handing_over, prepare


class Looker:
    """One look at a time.

    Args:
        client: returns that of the worker; whoever polls it hands the events to ``take``.

    Attributes:
        text: what was seen, or why nothing was; "" before. It is about ``nodes`` and no others.
        nodes: the volumes, masks and initial transform that were looked at, as they were then.
    """

    def __init__(self, client: Callable[[], WorkerClient]) -> None:
        self._client = client
        self._worker_job = ""
        self.text = ""
        self.nodes: list[Any] = []

    @property
    def busy(self) -> bool:
        """Whether a look goes on."""
        return bool(self._worker_job)

    def start(self, choice: Choice) -> None:
        """Look at the volumes of a choice.

        Raises:
            InputError: they cannot be registered, or the worker cannot be started.
        """
        seen = dataclasses.replace(choice, fixed_segmentation=None, moving_segmentation=None)  # they do not matter
        with handing_over():
            self._worker_job = self._client().look(prepare(seen).request)
        self.text, self.nodes = "", looked_at(choice)

    def forget(self) -> None:
        """Let go of what was seen, because its scene goes."""
        if self._worker_job:
            self._client().cancel(self._worker_job)
        self._worker_job, self.text, self.nodes = "", "", []

    def fail(self, text: str) -> None:
        """End the look, because the worker cannot compute."""
        if self._worker_job:
            self._worker_job, self.text = "", text

    def take(self, event: dict[str, Any]) -> bool:
        """Take in what the worker said; False where it is about something else."""
        if not self._worker_job or event.get("job") != self._worker_job:
            return "look" in event  # of a scene that was closed
        if event["kind"] == "done":
            self._worker_job, self.text = "", event["look"]["text"]
        elif event["kind"] in ("failed", "died", "canceled"):
            self._worker_job, self.text = "", event.get("text", "")
        return True

    def text_for(self, choice: Choice) -> str:
        """Return what was seen of the volumes of a choice; "" where others were looked at."""
        return self.text if self.nodes == looked_at(choice) else ""


def looked_at(choice: Choice) -> list[tuple[Any, ...]]:
    """Return the nodes of a choice that a look depends on, and the ages of what it would see of them."""
    nodes = (choice.fixed, choice.moving, choice.fixed_mask, choice.moving_mask, choice.initial)
    return [(node, *_ages(node)) for node in nodes]


def _ages(node: Any) -> tuple[Any, ...]:
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        return age_of(node)
    matrix, parent, image = vtk.vtkMatrix4x4(), node.GetParentTransformNode(), node.GetImageData()
    node.GetIJKToRASMatrix(matrix)  # the node's own age changes with its name and display, too
    place = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    return (*place, image.GetMTime() if image is not None else 0, parent.GetMTime() if parent is not None else 0)
