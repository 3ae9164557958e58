"""One training in several processes that ``torchrun`` started; in a single process, nothing here has an effect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import UserError


@dataclass(frozen=True)
class Processes:
    """The ``world`` processes of a training, and the number of this one. The first one writes all files."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of a batch's ``count`` samples are this process's. Raises UserError if they cannot be shared evenly."""
        if count % self.world:
            raise UserError(
                f"A batch of {count} scans cannot be shared evenly by {self.world} processes; choose a multiple."
            )
        part = count // self.world
        return range(self.rank * part, (self.rank + 1) * part)

    def average(self, value: torch.Tensor) -> float:
        """The mean of a number over all processes."""
        value = value.detach().float().clone()
        if self.world > 1:
            dist.all_reduce(value)
        return value.item() / self.world

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.world > 1:
            dist.barrier()

    def parallelise(self, module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """``module`` with gradients that are averaged over all processes."""
        if self.world == 1:
            return module
        if device.type == "cuda":
            module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
            return torch.nn.parallel.DistributedDataParallel(module, device_ids=[device])
        return torch.nn.parallel.DistributedDataParallel(module)


@contextmanager
def join_processes(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Connect this process with the others inside the block; yields its `Processes` and its own device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world), device
    finally:
        dist.destroy_process_group()
