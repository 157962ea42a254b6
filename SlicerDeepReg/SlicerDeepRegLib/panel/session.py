"""A registration from nodes to a run in the scene, through the worker. No Qt: call ``poll`` from a timer."""

from __future__ import annotations

import dataclasses
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..metrics.table import rows
from ..mrml.add_run import add_run, complete_run
from ..mrml.motion import keep_motion, keep_path
from ..mrml.runs import Run, free_name, remove
from ..report.facts import facts_of, measured_facts
from ..types import InputError, Result
from ..worker.client import WorkerClient
from .choice import Choice, Prepared, handing_over, prepare
from .follower import Follower
from .looker import Looker
from .segmenter import Segmenter

#: States of a job that is over.
OVER = ("done", "failed", "canceled")


@dataclass(eq=False)
class Job:
    """One registration that was started.

    Attributes:
        state: "running", then one of ``OVER``.
        text: why it failed or was canceled.
        reason: of a failure: "input", "gpu_memory", "device", "memory", "disk", "torch", "died" or "error".
        losses: (stage, loss) of every iteration so far.
        run: what it added to the scene, before it is measured.
        seconds: by part, on this side: "convert", "hand over", "nodes", and "until shown", from Apply on;
            "registration" is the worker's.
    """

    choice: Choice
    prepared: Prepared | None
    name: str
    worker_job: str
    state: str = "running"
    stage: str = "waiting"
    fraction: float = 0.0
    text: str = ""
    reason: str = ""
    log: list[str] = field(default_factory=list)
    losses: list[tuple[str, float]] = field(default_factory=list)
    run: Run | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    _ends: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it is done, failed or canceled."""
        return self.state in OVER

    def went_on(self, fraction: float) -> None:
        """Take note of the part that is done, 0 to 1, and estimate from it when the job will end."""
        if fraction > self.fraction:
            self.fraction = fraction
            now = time.monotonic()
            self._ends = now + (now - self.started) * (1 - fraction) / fraction

    def seconds_left(self) -> float | None:
        """Estimate the seconds left; None while too little is done, or when it takes longer than was estimated."""
        if self.fraction < 0.05 or self.over:
            return None
        left = self._ends - time.monotonic()
        return left if left > 0 else None


class Session:
    """One worker, one registration at a time, and segmentations, looks and series, which wait for their turn.

    Args:
        client: of the worker.
    """

    def __init__(self, client: WorkerClient | None = None) -> None:
        self.client = client or WorkerClient()
        self.segmenter = Segmenter(lambda: self.client)
        self.looker = Looker(lambda: self.client)
        self.follower = Follower(lambda: self.client)
        self.job: Job | None = None
        self.trouble = ""  # why the worker cannot compute at all, or ""

    @property
    def busy(self) -> bool:
        """Whether a registration runs."""
        return self.job is not None and not self.job.over

    @property
    def waits(self) -> bool:
        """Whether the worker is asked for anything: a registration, a segmentation, a look or a series."""
        return self.busy or self.segmenter.busy or self.looker.busy or self.follower.busy

    def warm_up(self) -> None:
        """Start the worker, so that torch is loaded by the time it is wanted."""
        if not self.trouble:
            with suppress(InputError):  # Apply tries again, and says why where it fails
                self.client.start()

    def forget_trouble(self) -> None:
        """Let a new worker try where the last one could not compute: the user may have installed what was missing."""
        if self.trouble:
            self.client.stop()
            self.trouble = ""

    def start(self, choice: Choice, name: str = "") -> Job:
        """Begin a registration.

        Args:
            choice: what to register.
            name: of the run; made from the method and the volumes when empty.

        Raises:
            InputError: it cannot be begun; nothing was changed.
        """
        if self.busy:
            raise InputError("A registration is running. Cancel it, or wait for its end.")
        self.forget_trouble()
        begin = time.monotonic()
        with handing_over():
            prepared = prepare(choice)
            converted = time.monotonic()
            worker_job = self.client.submit(prepared.request)
        self.job = Job(choice, prepared, name or _default_name(choice), worker_job, started=begin)
        self.job.seconds.update({"convert": converted - begin, "hand over": time.monotonic() - converted})
        for placed in (prepared.fixed, prepared.moving):
            if placed.note:
                self.job.log.append(placed.note)
        return self.job

    def cancel(self) -> None:
        """Ask for the end of the job; ``poll`` reports it within a second."""
        if self.busy:
            self.client.cancel(self.job.worker_job)

    def drop(self, text: str) -> None:
        """End the job at once because what it depends on is gone."""
        if self.busy:
            self.client.cancel(self.job.worker_job)
            if self.job.run is None:
                _end(self.job, "canceled", text)
            else:
                self._leave_unmeasured(text)

    def poll(self) -> bool:
        """Take in what the worker said; True when anything changed."""
        events = self.client.poll()
        for event in events:
            self._take(event)
        return bool(events)

    @staticmethod
    def rest() -> None:
        """Pause briefly for a caller that waits in a loop."""
        time.sleep(0.01)

    def close(self) -> None:
        """Leave no process and no file."""
        self.client.close()

    def _take(self, event: dict[str, Any]) -> None:
        kind, job = event["kind"], self.job
        if self.segmenter.take(event) or self.looker.take(event) or self.follower.take(event):
            return
        if kind == "no_torch":
            self._cannot_compute(event["text"])
        elif job is None or event.get("job") not in (None, job.worker_job):
            return
        elif not job.over:
            self._take_of_job(event)
        elif kind == "done":  # dropped meanwhile
            self.client.release(job.worker_job)

    def _take_of_job(self, event: dict[str, Any]) -> None:
        kind, job = event["kind"], self.job
        if kind == "progress":
            _progress(job, event)
        elif kind == "shown":
            self._show(event.pop("result"))
        elif kind == "measured":
            self._measure(event["metrics"])
        elif kind == "done":
            self._finish(event)
        elif kind == "canceled" and job.run is None:
            _end(job, "canceled", "Canceled; this registration changed nothing in the scene.")
        elif kind == "canceled":
            self._leave_unmeasured("Measuring was canceled; the result is kept.")
        elif kind in ("failed", "died"):
            job.log += [text for text in (event.get("detail"), event.get("last_words")) if text]
            if job.run is None:
                self._fail(event.get("reason", "died"), event["text"])
            else:
                self._leave_unmeasured(f"The result is kept, but it could not be measured. {event['text']}")

    def _cannot_compute(self, text: str) -> None:
        self.trouble = text
        self.segmenter.fail(text)
        self.looker.fail(text)
        self.follower.fail(text)
        if self.busy:
            self._fail("torch", text)

    def _fail(self, reason: str, text: str) -> None:
        self.job.reason = reason
        _end(self.job, "failed", text)

    def _show(self, result: Result) -> None:
        """Put a result that is not measured yet into the scene, in place of one that was shown before."""
        self._take_back()
        self._put_into_scene(result, measured=False)

    def _measure(self, after: dict[str, Any]) -> None:
        """Add to the run that is shown what is known of it by now."""
        run = self.job.run
        if run is not None and _is_there(run):
            run.add_facts(**measured_facts(after, run.facts["spacing_mm"], self.job.prepared.label_names))

    def _finish(self, event: dict[str, Any]) -> None:
        """Complete the run with what was measured."""
        job, result = self.job, event.pop("result")
        lines = [f"{stage.name}: {stage.seconds:.1f} s" for stage in result.stages] + list(result.notes)
        try:
            if job.run is not None and not _is_there(job.run):
                _end(job, "canceled", "The result was deleted before it was measured.")
            elif job.run is not None and event["is_shown"]:
                self._complete(result)
            else:
                self._take_back()
                self._put_into_scene(result)
        finally:
            del result  # its arrays are mapped from the files, which Windows would not remove
            self.client.release(job.worker_job)
        if job.state == "running":
            job.log += lines
            _end(job, "done", "")

    def _take_back(self) -> None:
        """Remove what was shown, if anything: on a GPU that was full, another preset found something else."""
        import slicer

        if self.job.run is not None and _is_there(self.job.run):
            remove(slicer.mrmlScene, self.job.run, also_permanent=True)
        self.job.run = None

    def _put_into_scene(self, result: Result, measured: bool = True) -> None:
        import slicer

        job, choice = self.job, self.job.choice
        begin = time.monotonic()
        try:
            job.run = add_run(
                slicer.mrmlScene,
                result,
                free_name(slicer.mrmlScene, job.name),
                self._facts(result, measured),
                choice.fixed,
                choice.moving,
                job.prepared.moving.world_to_local,
                rows(result.metrics) if measured else (),
                choice.moving_segmentation,
                job.prepared.label_names,
                choice.fixed_segmentation,
                job.prepared.places,
            )
            keep_motion(slicer.mrmlScene, job.run, result)
        except Exception as error:  # whatever it is, the job must end, and the scene be as it was
            job.log.append(traceback.format_exc())
            if job.run is not None:
                remove(slicer.mrmlScene, job.run, also_permanent=True)
                job.run = None
            if not measured:
                self.client.cancel(job.worker_job)
            text = (
                f"The result could not be added to the scene ({error}). Register again; if it fails again, report it."
            )
            self._fail("error", text)
            return
        job.seconds["nodes"] = time.monotonic() - begin

    def _complete(self, result: Result) -> None:
        import slicer

        job = self.job
        try:
            keep_path(slicer.mrmlScene, job.run, result)
            complete_run(slicer.mrmlScene, job.run, result, self._facts(result), rows(result.metrics))
        except Exception as error:  # the result itself is there
            job.log.append(traceback.format_exc())
            self._leave_unmeasured(f"The result is kept, but what was measured could not be added to it ({error}).")

    def _facts(self, result: Result, measured: bool = True) -> dict[str, Any]:
        job = self.job
        job.seconds["registration"] = sum(result.seconds.values())
        job.seconds.setdefault("until shown", time.monotonic() - job.started)
        result = dataclasses.replace(result, notes=(*job.prepared.notes, *result.notes))
        facts = facts_of(result, job.prepared.label_names)
        return {
            **facts,
            "names": {**facts["names"], **job.choice.names()},
            "is_measured": measured,
            "point_names": list(job.prepared.point_names),
            "had_initial": job.choice.initial is not None,
            "seconds_until_shown": job.seconds["until shown"],
        }

    def _leave_unmeasured(self, text: str) -> None:
        """End the job with the result that was shown."""
        job = self.job
        if _is_there(job.run):
            job.run.add_facts(notes=[*job.run.facts.get("notes", []), text])
            _end(job, "done", text)
        else:
            _end(job, "canceled", "The result was deleted before it was measured.")


def _is_there(run: Run) -> bool:
    import slicer

    return bool(slicer.mrmlScene.IsNodePresent(run.node))


def _end(job: Job, state: str, text: str) -> None:
    job.state, job.text, job.prepared = state, text, None  # the volumes' copies are not needed any more
    if text:
        job.log.append(text)


def _progress(job: Job, event: dict[str, Any]) -> None:
    job.went_on(event["fraction"])
    if event["stage"] != job.stage:
        job.log.append(event["stage"])
    job.stage = event["stage"]
    job.losses += [(stage, loss) for stage, loss in event["losses"]]


def _default_name(choice: Choice) -> str:
    return f"{choice.moving.GetName()} to {choice.fixed.GetName()}"
