"""One training over several processes, as ``torchrun`` starts them; alone, everything here does nothing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import UserError


@dataclass(frozen=True)
class Processes:
    """This process's number among ``world`` processes; the first writes all files."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of ``count`` samples are this process's: each has as many. Raises UserError where that cannot be."""
        if count % self.world:
            raise UserError(f"A batch of {count} scans cannot be shared by {self.world} processes; choose a multiple.")
        part = count // self.world
        return range(self.rank * part, (self.rank + 1) * part)

    def mean(self, value: torch.Tensor) -> float:
        """Of a number over all processes."""
        value = value.detach().float().clone()
        if self.world > 1:
            dist.all_reduce(value)
        return value.item() / self.world

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()

    def parallel(self, module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """``module``, with gradients that are the mean over all processes."""
        if self.world == 1:
            return module
        if device.type == "cuda":
            module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
            return torch.nn.parallel.DistributedDataParallel(module, device_ids=[device])
        return torch.nn.parallel.DistributedDataParallel(module)


@contextmanager
def join_processes(device: torch.device):
    """Yields this process's `Processes` and its own device, joined with the others for as long as the block lasts."""
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
