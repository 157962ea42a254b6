"""What the panel costs beside the registration itself, on the stand-in for Slicer's desktop.

    python benchmarks/panel.py [--runs 50]

Prints: seconds to open the module where torch is not installed; from Apply to the displayed result what is not the
registration, at 160 x 192 x 224 with a warm worker; the longest time that Qt's thread was held; seconds to cancel;
and what is left after many runs. The volumes are made, so that it runs anywhere.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
import time
from pathlib import Path

from review import synthetic_pair
from slicer_stand_in.desktop import Desktop

ROOT = Path(__file__).resolve().parent.parent

MODULE = ROOT / "SlicerDeepReg" / "SlicerDeepReg.py"


def opening(folder):
    """Seconds to open the module where torch is not there, the second time: Slicer itself is loaded already."""
    real = importlib.metadata.version
    importlib.metadata.version = lambda name: "" if name == "torch" else real(name)
    try:
        with Desktop(folder) as desktop:
            start = time.perf_counter()
            widget = desktop.open_module(MODULE)
            seconds = time.perf_counter() - start
            assert "torch" not in sys.modules and not widget.logic.session.client.running
    finally:
        importlib.metadata.version = real
    return seconds


def add_pair(desktop, size):
    """A synthetic pair of that size (i, j, k) in the scene, 1 mm voxels."""
    from SlicerDeepRegLib.mrml.nodes import add_volume

    fixed, _, moving, _ = synthetic_pair(size)
    return [add_volume(desktop.host.scene, image, image.name) for image in (fixed, moving)]


class Watch:
    """How long calls on Qt's thread took, by name."""

    def __init__(self, panel):
        self.longest = {}
        section = panel.sections["apply"]
        panel.poll = self._watched("poll", panel.poll)
        section.apply = self._watched("apply", section.apply)
        panel.timer.disconnect("timeout()")
        panel.timer.connect("timeout()", lambda: panel.poll())

    def _watched(self, name, function):
        def call(*arguments):
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.longest.setdefault(name, []).append(time.perf_counter() - start)

        return call


def apply(desktop, widget, seconds=600):
    """Press Apply and wait until the result is painted; returns (wall seconds, job)."""
    start = time.perf_counter()
    widget.panel.sections["apply"].apply()
    desktop.wait(lambda: widget.panel.job is None, seconds)
    for view in desktop.host.views.values():
        view.render()
    job = widget.logic.session.job
    assert job.state == "done", job.text
    return time.perf_counter() - start, job


def large(folder):
    """Overhead at 160 x 192 x 224, and how long Qt's thread was held."""
    with Desktop(folder) as desktop:
        add_pair(desktop, (160, 192, 224))
        widget = desktop.open_module(MODULE)
        widget.panel.parameters.preset, widget.panel.parameters.device = "fast", "cpu"
        watch = Watch(widget.panel)
        apply(desktop, widget)  # the worker is warm after this
        lines, held = [], []
        for _ in range(3):
            watch.longest.clear()
            wall, job = apply(desktop, widget)
            lines.append((wall - job.seconds["registration"], job.seconds))
            polls = sorted(watch.longest["poll"])
            held.append((watch.longest["apply"][-1], polls[-2], polls[-1]))
        return lines, held


def canceling(folder, times=6):
    """Seconds from Cancel to the end, at moments spread over a run; the worst includes a worker that was ended."""
    found = []
    with Desktop(folder) as desktop:
        add_pair(desktop, (160, 192, 224))
        widget = desktop.open_module(MODULE)
        widget.panel.parameters.device = "cpu"
        for number in range(times):
            widget.panel.sections["apply"].apply()
            part = 0.85 * number / (times - 1)
            desktop.wait(lambda part=part: widget.logic.session.job.fraction > part, 300)
            start = time.perf_counter()
            widget.panel.sections["apply"].apply()
            desktop.wait(lambda: widget.panel.job is None, 10)
            found.append((part, time.perf_counter() - start))
    return found


def state(desktop, widget):
    """(MB of this process, MB of the worker, files, children, nodes)."""
    import os

    def megabytes(pid):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    client = widget.logic.session.client
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    files = list(Path(tempfile.gettempdir()).glob("deepreg-*/**/*"))
    return megabytes("self"), megabytes(client.pid), len(files), len(children), desktop.host.scene.GetNumberOfNodes()


def many(folder, number):
    """States after the 5th, the middle and the last of many runs, each run deleted before the next."""
    with Desktop(folder) as desktop:
        from SlicerDeepRegLib.mrml.runs import remove, runs

        add_pair(desktop, (64, 64, 64))
        widget = desktop.open_module(MODULE)
        widget.panel.parameters.preset, widget.panel.parameters.device = "fast", "cpu"
        found = {}
        for count in range(1, number + 1):
            apply(desktop, widget)
            for run in runs(desktop.host.scene):
                widget.panel.review.forget(run)
                remove(desktop.host.scene, run)
            widget.panel.update()
            if count in (5, number // 2, number):
                found[count] = state(desktop, widget)
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opening(folder)
        print(f"Opening without torch: {opening(folder):.2f} s")
        lines, held = large(folder)
        for beside, parts in lines:
            shown = ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())
            print(f"Beside the registration: {beside:.2f} s ({shown})")
        for on_apply, poll, last in held:
            print(
                f"Qt's thread held: Apply {1000 * on_apply:.0f} ms, poll {1000 * poll:.0f} ms, end {1000 * last:.0f} ms"
            )
        for part, seconds in canceling(folder):
            print(f"Cancel at {100 * part:.0f} %: {seconds:.2f} s")
        for count, (own, worker, files, children, nodes) in many(folder, options.runs).items():
            print(
                f"After {count} runs: {own:.0f} MB here, {worker:.0f} MB in the worker, {files} files, {children} "
                f"processes, {nodes} nodes"
            )


if __name__ == "__main__":
    main()
