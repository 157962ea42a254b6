"""Run the cells that are not done yet: here, one or several at a time, or on a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from ..files.atomic import whole_files, writing
from ..types import InputError
from .cell import run_cell
from .request import Cell

#: What a cell gave: "metrics", "seconds", ... or "error", see ``cell.run_cell``.
Outcome = dict[str, Any]
#: Called with each cell, its outcome, and whether that was there already.
Report = Callable[[Cell, Outcome, bool], None]
#: How many workers may be lost under one cell before it is given up: it may be the cell that ends them.
LOST_WORKERS = 3


def outcomes(
    cells: Sequence[Cell],
    folder: Path,
    report: Report,
    workers: int = 1,
    scheduler: str | None = None,
    keep: bool = False,
) -> list[Outcome]:
    """Return the outcome of every cell, in order; those that are in the folder already are taken from there.

    A cell that failed is tried again. What is finished is written at once, so that a comparison can be stopped at any
    moment and started again.

    Args:
        folder: of the cells.
        report: called with each cell, its outcome, and whether it was there already.
        workers: cells at a time on this computer.
        scheduler: address of a Dask scheduler; its workers must see the files of the pairs under the same paths.
        keep: keep warped images, transforms and the rest beside each cell; cells of which they were not kept are
            measured again.

    Raises:
        InputError: the scheduler cannot be reached, or distributed is not installed.
    """
    by_number: dict[int, Outcome] = {}
    waiting = []
    for number, cell in enumerate(cells):
        before = _finished(cell, folder)
        is_kept = not keep or (folder / cell.file_name).is_dir()
        if before is not None and is_kept:
            by_number[number] = before
            report(cell, before, True)
        else:
            waiting.append(number)
    run = _on_cluster(scheduler) if scheduler else _here(workers)
    jobs = [
        (number, cells[number], str(folder.absolute() / cells[number].file_name) if keep else None)
        for number in waiting
    ]
    for number, (outcome, slices) in run(jobs):
        cell = cells[number]
        if "error" in outcome:
            outcome["error"] = cell.without_paths(outcome["error"])
        outcome["fingerprint"] = cell.fingerprint()
        _keep(cell, folder, outcome, slices)
        by_number[number] = outcome
        report(cell, outcome, False)
    return [by_number[number] for number in range(len(cells))]


def _finished(cell: Cell, folder: Path) -> Outcome | None:
    path = folder / f"{cell.file_name}.json"
    try:
        outcome = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    good = "error" not in outcome and outcome.get("fingerprint") == cell.fingerprint()
    return outcome if good else None


def _keep(cell: Cell, folder: Path, outcome: Outcome, slices: bytes) -> None:
    base = folder / cell.file_name
    with writing("The outcome", base.parent):
        base.parent.mkdir(parents=True, exist_ok=True)
        with whole_files(base.parent, last=f"{base.name}.json") as private:
            if slices:
                (private / f"{base.name}.npz").write_bytes(slices)
            (private / f"{base.name}.json").write_bytes(json.dumps(outcome, indent=1).encode())


Job = tuple[int, Cell, Optional[str]]
Runner = Callable[[Sequence[Job]], Iterator[tuple[int, tuple[Outcome, bytes]]]]


def _here(workers: int) -> Runner:
    def run(jobs: Sequence[Job]) -> Iterator[tuple[int, tuple[Outcome, bytes]]]:
        with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:  # each waits for a process
            running = {pool.submit(run_cell, cell.values(), keep): number for number, cell, keep in jobs}
            try:
                for done in concurrent.futures.as_completed(running):
                    yield running[done], done.result()
            finally:
                for future in running:
                    future.cancel()

    return run


def _on_cluster(address: str) -> Runner:
    try:
        import distributed
    except ImportError:
        raise InputError('Dask is not installed. Install it with: pip install "SlicerDeepReg[dask]"') from None

    def run(jobs: Sequence[Job]) -> Iterator[tuple[int, tuple[Outcome, bytes]]]:
        try:
            client = distributed.Client(address, timeout="10s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"No Dask scheduler answers at {address} ({error}). Check --scheduler.") from error
        with client, client.as_current():
            futures = {}
            for number, cell, keep in jobs:
                key = f"slicerdeepreg-{cell.fingerprint()}"
                future = client.submit(run_cell, cell.values(), keep, key=key, retries=LOST_WORKERS, pure=False)
                futures[future] = number
            for future in distributed.as_completed(futures):
                failure = future.exception()
                if failure is not None:
                    yield futures[future], ({"error": f"The process failed: {type(failure).__name__}: {failure}"}, b"")
                else:
                    yield futures[future], future.result()
                future.release()

    return run
