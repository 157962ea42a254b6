"""The processes that train one network together: one, or as many as ``torchrun`` started, on one machine or more."""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch
import torch.distributed as dist


class Distributed:
    """This process's place among those that train together.

    Attributes:
        rank, size: which one of how many.
        local_rank: which one on its machine, and so which of its GPUs.
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
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.started:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it is true for one of them."""
        if not self.started:
            return flag
        value = torch.tensor(float(flag), device=device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def gathered(self, value: Any) -> list[Any]:
        """The values of all, in the order of their ranks."""
        if not self.started:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        if self.started:
            dist.destroy_process_group()
            self.started = False
