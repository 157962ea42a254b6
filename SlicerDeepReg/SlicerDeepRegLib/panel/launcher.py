"""Starts registrations and follows them to their end; asks before it installs what they need. No Qt."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..catalog import brain_model
from ..types import InputError
from ..worker.requirements import listed, unmet
from . import install
from .choice import Choice
from .follower import Following, SeriesChoice
from .session import Job

if TYPE_CHECKING:
    from ..mrml.runs import Run
    from .context import Context


class Launcher:
    """One registration at a time, begun by the user or by a section that runs several in turn.

    Args:
        context: what the sections share.
        working: called with True when a registration starts and with False when it is over.

    Attributes:
        job: the registration that runs, or None.
        attended: whether the user began it: then its result is shown and its error is displayed.
        following: the series that is being registered, or None.
        installing: whether packages are being installed.
        stopped: whether the last registration was canceled, or lost an input, even if its result was there already: no
            other one is to follow it.
    """

    def __init__(self, context: Context, working: Callable[[bool], None]) -> None:
        self.context, self._working = context, working
        self.job: Job | None = None
        self.attended = True
        self.following: Following | None = None
        self.installing = False
        self._presented: Run | None = None  # of the job, before it was measured
        self.stopped = False

    @property
    def unattended(self) -> bool:
        """Whether a registration runs that a section began."""
        return self.job is not None and not self.attended

    def begin(self, choice: Choice, name: str = "", attended: bool = True) -> bool:
        """Start a registration.

        Args:
            choice: what to register.
            name: of the run; made from the volumes when empty.
            attended: False for one that a section begins: its result is not shown and its error is not displayed.

        Returns:
            False if the user declined a warning or the installation of packages.

        Raises:
            InputError: it cannot be started; the text says what to do.
        """
        context = self.context
        warnings = [_(finding.sentence) for finding in context.findings_of(choice) if finding.severity == "warning"]
        if warnings and not context.confirm("\n\n".join(warnings) + "\n\n" + _("Register anyway?")):
            return False
        if not self._installed():
            return False
        self.job, self._presented = context.session.start(choice, name), None
        self.attended, self.stopped = attended, False
        self._working(True)
        for section in context.sections:
            section.started(self.job)
        return True

    def segment(self) -> None:
        """Look for the structures of a brain in the chosen volumes that have no segmentation of the user's own.

        Raises:
            InputError: there is no such volume, or it cannot be begun.
        """
        context = self.context
        brain_model()
        choice = context.choice()
        wanted = [
            (role, volume)
            for role, volume, own in (
                ("fixed", choice.fixed, choice.fixed_segmentation),
                ("moving", choice.moving, choice.moving_segmentation),
            )
            if volume is not None and own is None
        ]
        if not wanted:
            raise InputError(
                "There is no volume to segment. Choose one without a segmentation; existing ones are not replaced."
            )
        if context.session.segmenter.busy or not self._installed():
            return
        context.session.forget_trouble()
        for role, volume in wanted:
            context.session.segmenter.start(volume, role, choice.device)
        self._working(True)
        names = " and ".join(volume.GetName() for _role, volume in wanted)
        context.say(_("Segmenting the structures of {names}...").format(names=names))
        context.update()

    def look(self) -> None:
        """Find out what the chosen pair is.

        Raises:
            InputError: it cannot be registered, or the look cannot be begun.
        """
        context = self.context
        if context.session.looker.busy or not self._installed():
            return
        context.session.forget_trouble()
        context.session.looker.start(context.choice())
        self._working(True)
        context.update()

    def follow(self, choice: SeriesChoice) -> None:
        """Register the frames of a series.

        Raises:
            InputError: they cannot be registered, or it cannot be begun.
        """
        context = self.context
        if context.session.follower.busy or not self._installed():
            return
        context.session.forget_trouble()
        context.session.follower.start(choice)
        self.following = context.session.follower.job
        self._working(True)
        context.update()

    def measures(self, run: Run | None) -> bool:
        """Return whether a run is there, but is still being measured."""
        return run is not None and self.job is not None and not self.job.over and self.job.run == run

    def cancel(self) -> None:
        """Ask for the end of the registration."""
        self.stopped = True
        self.context.say(_("Canceling..."))
        self.context.session.cancel()

    def poll(self) -> None:
        """Listen to the worker."""
        looking = self.context.session.looker.busy
        changed = self.context.session.poll()
        self._take_segmentations()
        if looking and not self.context.session.looker.busy:
            self._rest()
            self.context.update()
        if self.following is not None:
            self._take_series(self.following)
        job = self.job
        if job is None:
            return
        if changed or not job.over:
            for section in self.context.sections:
                section.progressed(job)
        if job.over:
            self._finish(job)
        elif job.run is not None and job.run != self._presented:
            self._present(job.run)

    def _present(self, run: Run) -> None:
        """Select a run that was added to the scene, and show it if the user began it."""
        self._presented = run
        self.context.update()
        self.context.select(run)
        if self.attended:
            if self.context.pages.page == "register":
                self.context.pages.open_page("review")
            self.context.display.show(run)

    def _take_segmentations(self) -> None:
        """Choose the segmentations that are there now, and say what is to be said about the others."""
        context, segmenter = self.context, self.context.session.segmenter
        for one in segmenter.finished():
            self._rest()
            if one.node is None:
                context.error(_(one.text))
            else:
                text = _("{name}: structures segmented automatically. Look at them before you rely on them.")
                context.say(text.format(name=one.volume.GetName()))
                if context.parameters is not None and getattr(context.parameters, one.role) is one.volume:
                    setattr(context.parameters, f"{one.role}Segmentation", one.node)
            context.update()

    def _take_series(self, following: Following) -> None:
        """Tell the sections how far a series is, and say what is to be said at its end."""
        context = self.context
        if following.over:
            self.following = None
            self._rest()
            if following.failed:
                context.error(_(following.text))
            else:
                context.say(_(following.text))
        for section in context.sections:
            section.followed(following)

    def _rest(self) -> None:
        """Listen less often where nothing is waited for."""
        if not self.context.session.waits:
            self._working(False)

    def node_removed(self, node: Any) -> None:
        """End a registration whose input was removed from the scene."""
        job = self.job
        if job is not None and not job.over and node in job.choice.nodes():
            self.stopped = True
            text = _("{name} was removed from the scene, so the registration was ended.")
            self.context.session.drop(text.format(name=node.GetName()))
            self._finish(job)

    def scene_closing(self) -> None:
        """End the registration because its scene goes."""
        job, self.job = self.job, None
        self.context.session.segmenter.forget()
        self.context.session.looker.forget()
        self.context.session.follower.forget()
        self.following = None
        if job is not None:
            self.context.session.drop(_("The scene was closed, so the registration was ended."))
            self.context.say(job.text)
        self._rest()

    def _finish(self, job: Job) -> None:
        context, attended, done = self.context, self.attended, job.state == "done"
        self.job = None
        self._rest()
        seconds = time.monotonic() - job.started
        context.say(_(job.text) if job.text else _("Done in {seconds:.1f} s.").format(seconds=seconds))
        if done and job.run != self._presented:
            self._present(job.run)
        else:
            context.update()
        for section in context.sections:
            section.finished(job)
        if job.state == "failed" and attended:
            self._recover(job)

    def _recover(self, job: Job) -> None:
        """Offer the CPU where the GPU failed; otherwise display the error."""
        context = self.context
        if job.reason not in ("gpu_memory", "device") or context.parameters is None:
            context.error(job.text, "\n".join(job.log))
        elif context.confirm(job.text + "\n\n" + _("Register on the CPU instead? It takes longer.")):
            context.parameters.device = "cpu"
            try:  # the same one again, whatever is chosen by now
                context.begin(dataclasses.replace(job.choice, device="cpu"), job.name)
            except InputError as error:
                context.error(str(error))

    def _installed(self) -> bool:
        """Return whether everything is installed, after an installation if the user agreed to one."""
        context, packages = self.context, unmet()
        if not packages:
            return True
        if self.installing:  # pip lets Qt work between its lines, and Apply could be pressed again
            return False
        question = _(
            "DeepReg needs packages that are missing or have an unsupported version:\n\n{packages}\n\nInstall "
            "them now? Unsupported ones are replaced. PyTorch is large: this can take several minutes and gigabytes of "
            "disk space."
        ).format(packages="\n".join(listed(packages)))
        if not context.confirm(question):
            context.say(_("Nothing was installed. Press Apply when you want to install the packages and register."))
            return False

        def say(text: str) -> None:
            context.say(_(text))
            slicer.util.showStatusMessage(text)
            slicer.app.processEvents()

        self.installing = True
        context.choice_changed()
        try:
            install.install(packages, say)
        except RuntimeError as error:
            context.error(str(error))
            return False
        finally:
            self.installing = False
            context.choice_changed()
        return True
