"""The processes that train one network together: one, or as many as ``torchrun`` started, on one machine or more."""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch
import torch.distributed as dist


class Distributed:
    """This process among those that train together, as torch.distributed names it.

    Args:
        device_kind: "cuda" or "cpu", which decides the backend.

    Attributes:
        rank, size: number of this process, and of all.
        local_rank: its number on its machine, and so its GPU.
    """

    #: Preparing many images takes the first process long, and the others wait for it.
    PATIENCE = datetime.timedelta(hours=12)

    def __init__(self, device_kind: str) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.started = False
        if self.size > 1:
            if device_kind == "cuda":
                torch.cuda.set_device(self.local_rank)
            dist.init_process_group("nccl" if device_kind == "cuda" else "gloo", timeout=self.PATIENCE)
            self.started = True

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.started:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        if not self.started:
            return flag
        value = torch.tensor(float(flag), device=device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if not self.started:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """Leave the process group."""
        if self.started:
            dist.destroy_process_group()
            self.started = False
