"""Train every model that comes with the product, on label maps of whole brains; measure what was trained.

    python benchmarks/weights.py --list                        stages, steps that are done, hours that are left
    python benchmarks/weights.py                               all stages, one after the other
    python benchmarks/weights.py --only msrd-net-small --limit 60
    python benchmarks/weights.py --evaluate                    figures of what was trained; the table in RESULTS.md

It may be stopped at any moment (Ctrl-C, SIGTERM, --limit) and goes on when it is started again: each stage is a
`slicerdeepreg train` of its own, which gets the signal and writes a checkpoint. A GPU is used when there is one. A
stage that starts from another waits until that one is finished. Where this script itself was killed, its training goes
on alone, and is refused a second time until it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data"))
FOLDER = ROOT.parent / "weights" / "runs"
#: Written beside a stage when its training said that it ended; holds what was asked of it.
FINISHED_FILE, LOG_FILE = "finished.json", "log.jsonl"
#: `slicerdeepreg train` ended before its training did.
UNFINISHED = 3
NICE = 12
#: For all alike, and without influence on what is trained.
KEEPING = ("--validation-pairs", "6", "--validate-every", "400", "--checkpoint-every", "100")
SCHEDULE = ("--clip", "1")


@dataclass(frozen=True)
class Stage:
    """One training. ``seconds``: of a step, on one idle core of a server (2026)."""

    name: str
    network: str
    voxel_mm: float
    steps: int
    learning_rate: float
    seconds: float
    start: str | None = None
    precision: str = "fp32"
    ema: float = 0.995

    def asked(self):
        """The options that decide the result, but for the folders."""
        numbers = {"steps": self.steps, "voxel-mm": self.voxel_mm, "learning-rate": self.learning_rate}
        options = [part for name, value in numbers.items() for part in (f"--{name}", f"{value:g}")]
        return ["--network", self.network, *options, "--precision", self.precision, "--ema", f"{self.ema:g}", *SCHEDULE]


def _stages():
    """At 3 mm from nothing, then at 2 mm from there. A step at 2 mm costs three times as much.

    Of the three networks that are slow on a CPU a smaller variant is trained. A step of the full ones at 3 mm takes
    6.3 s (fmirnet), 6.8 s (unfolding) and 5.7 s (caml). caml is trained in bf16, where a step takes 3.5 s for 4.3 s on
    a CPU that has AVX512-BF16; the losses of the first steps agree to 0.001.
    """
    found = [
        Stage("structures-3mm", "structures", 3, 2400, 2e-3, 1.1, precision="bf16"),
        Stage("structures-on", "structures", 3, 2400, 1e-3, 1.1, "structures-3mm", "bf16"),
    ]
    for name, network, steps, seconds, precision in (
        ("msrd-net-small", "msrd-net:small", 5000, 1.1, "fp32"),
        ("wavemorph-3mm", "wavemorph", 2600, 2.1, "fp32"),
        ("fmirnet-1-3mm", "fmirnet:1", 1350, 3.4, "fp32"),
        ("unfolding-1-3mm", "unfolding:stages-1", 2600, 2.7, "fp32"),
        ("caml-once-3mm", "caml:no-carsc", 1100, 5.5, "bf16"),
    ):
        found.append(Stage(name, network, 3, steps, 1e-3, seconds, precision=precision))
        finer = f"{network.partition(':')[0]}-2mm"
        found.append(Stage(finer, network, 2, 800, 5e-4, 3.15 * seconds, name))
    return tuple(found)


STAGES = _stages()


def command(stage, options):
    """The call of a stage: from its start, or on from its checkpoint."""
    folder = options.folder / stage.name
    call = [sys.executable, "-m", "SlicerDeepRegLib", "train", *stage.asked(), *KEEPING]
    call += ["--label-maps", str(options.data / "labelmaps"), "--cache", str(options.cache), "--output", str(folder)]
    if stage.start:
        call += ["--start", str(options.folder / stage.start)]
    if (folder / "checkpoint.pt").is_file():
        call.append("--resume")
    nice = shutil.which("nice")
    return [nice, "-n", str(NICE), *call] if nice else call


def finished(stage, folder):
    """Whether the stage was trained to its end as it is asked for now."""
    try:
        return json.loads((folder / stage.name / FINISHED_FILE).read_text(encoding="utf-8"))["asked"] == stage.asked()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def progress(stage, folder):
    """(steps that are done, seconds of a step), by its log."""
    done, each = 0, []
    try:
        lines = (folder / stage.name / LOG_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, stage.seconds
    for line in lines:
        try:
            entry = json.loads(line)
            done = max(done, entry["step"])
            each.append(sum(entry[f"seconds_{part}"] for part in ("data", "forward", "backward")))
        except (ValueError, KeyError, TypeError):  # cut short, or the line of a validation
            continue
    last = each[-20:]
    return done, sum(last) / len(last) if last else stage.seconds


def print_list(stages, folder):
    heading = f"{'stage':<20}{'network':<20}{'mm':>4}{'done':>7}{'of':>6}{'s / step':>10}{'hours left':>12}  from"
    print(heading)
    total = 0.0
    for stage in stages:
        done, seconds = progress(stage, folder)
        left = 0.0 if finished(stage, folder) else max(0, stage.steps - done) * seconds / 3600
        total += left
        name = f"{stage.name:<20}{stage.network:<20}{stage.voxel_mm:>4g}"
        print(f"{name}{done:>7}{stage.steps:>6}{seconds:>10.2f}{left:>12.1f}  {stage.start or '-'}")
    print(f"{total:.1f} hours in all, one stage at a time")


@dataclass
class Runner:
    """Runs stages, as many at a time as asked for, until all are finished or it is told to stop."""

    stages: list[Stage]
    options: argparse.Namespace
    stopping: bool = False
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def stop(self, *signal_and_frame):
        self.stopping = True  # the loop passes it on: a stage that starts right now is not missed

    def run(self):
        """0: all are finished; 3: it was stopped and can go on; 1: a stage failed, or waits for one that did."""
        end = time.monotonic() + 60 * self.options.limit if self.options.limit else float("inf")
        told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        while True:
            self._collect()
            if time.monotonic() > end:
                self.stopping = True
            if not self.stopping:
                self._start()
            elif not told:
                told = True
                print("Stopping after the step at hand ...", flush=True)
                for process in self.running.values():
                    process.send_signal(signal.SIGTERM)
            if not self.running:
                break
            time.sleep(0.2)
        left = [stage.name for stage in self.stages if not finished(stage, self.options.folder)]
        if not left:
            print("All stages are finished.")
            return 0
        print(f"Not finished: {', '.join(left)}. The same command goes on.")
        self._say_what_waits(left)
        return UNFINISHED if self.stopping and not self.failed else 1

    def _say_what_waits(self, left):
        for stage in self.stages:
            if stage.start and stage.name in left and not finished(by_name(stage.start), self.options.folder):
                print(f"{stage.name} waits for {stage.start}: give it to --only, too, or leave --only out.")

    def _start(self):
        for stage in self.stages:
            if len(self.running) >= self.options.jobs:
                return
            if stage.name in self.running or stage.name in self.failed or finished(stage, self.options.folder):
                continue
            if stage.start and not finished(by_name(stage.start), self.options.folder):
                continue
            environment = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads)}
            found = [str(ROOT / "SlicerDeepReg"), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(found)
            log = self._log(stage.name)
            print(f"{stage.name}: at work; {log}", flush=True)
            with open(log, "a", encoding="utf-8") as stream:
                self.running[stage.name] = subprocess.Popen(
                    command(stage, self.options), env=environment, stdout=stream, stderr=subprocess.STDOUT
                )

    def _collect(self):
        """Take note of stages that ended."""
        for name, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[name]
            if code == 0:
                asked = json.dumps({"asked": by_name(name).asked()}, indent=1)
                (self.options.folder / name / FINISHED_FILE).write_text(asked + "\n", encoding="utf-8")
                print(f"{name}: finished", flush=True)
            elif not self.stopping:  # one that was stopped while it read its data says nothing
                self.failed.append(name)
                lines = self._log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                print(f"{name}: ended with {code}: {lines[-1] if lines else 'no message'}", flush=True)

    def _log(self, name):
        return self.options.folder / f"{name}.log"


def by_name(name):
    return next(stage for stage in STAGES if stage.name == name)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"trainings, outside of the tree ({FOLDER})")
    parser.add_argument("--data", type=Path, default=DATA, help=f"holds 'labelmaps' and 'open' ({DATA})")
    parser.add_argument("--cache", type=Path, help="prepared label maps (default: 'prepared' beside --folder)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[s.name for s in STAGES], help="these stages alone"
    )
    parser.add_argument("--limit", type=float, metavar="MINUTES", help="stop after so long")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, help="of each training (default: the cores, shared by the jobs)")
    parser.add_argument("--list", action="store_true", help="print the stages and stop")
    parser.add_argument("--evaluate", action="store_true", help="measure the models that were trained")
    options = parser.parse_args(arguments)
    options.folder, options.data = options.folder.resolve(), options.data.resolve()
    options.cache = (options.cache or options.folder.parent / "prepared").resolve()
    options.threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    stages = [stage for stage in STAGES if not options.only or stage.name in options.only]
    if options.list:
        print_list(stages, options.folder)
        return 0
    if options.evaluate:
        import weights_figures

        return weights_figures.evaluate([stage.name for stage in stages], options.folder, options.data)
    if not (options.data / "labelmaps").is_dir():
        sys.exit(f"There are no label maps in {options.data / 'labelmaps'}. Give --data, the folder that holds them.")
    options.folder.mkdir(parents=True, exist_ok=True)
    return Runner(stages, options).run()


if __name__ == "__main__":
    sys.exit(main())
