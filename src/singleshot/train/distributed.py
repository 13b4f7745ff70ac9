"""One run in several processes, on one machine or many, as `torchrun` starts them (docs/scale.md).

Each process (rank) takes its shard of every batch. Gradients are averaged over the ranks, so that all hold the same
weights. Rank 0 alone writes files and validates.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from singleshot.data.loader import Shard
from singleshot.errors import MachineError, RequestError
from singleshot.parts import parse_part

PATIENCE = 50.0
"""Seconds without a sign of life after which a rank counts as lost; all others then end within a minute."""
_BEAT = "singleshot/beat"


class RankLostError(MachineError):
    """Another process of the run died or hangs."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes of a distributed run this one is.

    Attributes:
        rank: number of this process; 0 writes files and validates.
        world: number of processes.
        local_rank: number of this process on its machine, and of its GPU.
        local_world: number of processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    def shard(self, part: str | None) -> Shard:
        """Which images of each step this process takes.

        Args:
            part: `2/4` where this machine holds only the second, sixth ... image of the training set.

        Raises:
            RequestError: not of this form, or not as many parts as machines.
        """
        if part is None:
            return Shard(self.rank, self.world)
        machine = parse_part(part)
        if machine.count * self.local_world != self.world:
            raise RequestError(
                f"--part {part} is for {machine.count} machines; this run has {self.world // self.local_world}"
            )
        return Shard(self.local_rank, self.local_world, machine.number - 1, machine.count)

    def ddp_model(self, model: nn.Module) -> nn.Module:
        """The model, whose gradients are averaged over all ranks while they are computed."""
        if self.world == 1:
            return model
        parameter = next(model.parameters())
        devices = [parameter.device] if parameter.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks."""
        if self.world > 1:
            value = value.clone()
            with lost_rank_errors():
                dist.all_reduce(value)
        return value

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all ranks, one rank behind the other; each has as many."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        with lost_rank_errors():
            dist.all_gather(parts, rows)
        return torch.cat(parts)

    def agree(self, *flags: bool, device: torch.device) -> tuple[bool, ...]:
        """For each flag, whether any rank has it set."""
        if self.world == 1:
            return flags
        return tuple(
            value > 0 for value in self.total(torch.tensor(flags, dtype=torch.float32, device=device)).tolist()
        )

    def on_rank_zero(self, work: Callable[[Callable[[], None]], None]) -> None:
        """Run `work` on rank 0 while the others wait.

        Args:
            work: gets a function to call now and then, as a sign of life.

        Raises:
            RankLostError: rank 0 gives no sign of life.
        """
        if self.world == 1:
            work(lambda: None)
            return
        with lost_rank_errors():
            self._wait_for_rank_zero(work)

    def _wait_for_rank_zero(self, work: Callable[[Callable[[], None]], None]) -> None:
        store = dist.distributed_c10d._get_default_store()  # noqa: SLF001
        calls = store.add(f"{_BEAT}/{self.rank}/entered", 1)
        key = f"{_BEAT}/{calls}"
        if self.is_first:
            store.set(key, "started")
            work(lambda: store.set(key, str(time.monotonic())))
            store.set(key, "done")
            return
        last, since = b"", time.monotonic()
        while last != b"done":
            beat = store.get(key) if store.check([key]) else b""
            if beat != last:
                last, since = beat, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise RankLostError("the first process of this run gives no sign of life; go on with --resume")
            else:
                time.sleep(0.05)


ALONE = Ranks()
"""A run in one process."""


@contextmanager
def distributed_context(device: str) -> Iterator[Ranks]:
    """Join the process group that `torchrun` set up; a single rank where it did not start this process.

    Raises:
        RequestError: the environment of `torchrun` is incomplete.
        RankLostError: another process was lost.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    try:
        numbers = [int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    except (KeyError, ValueError) as error:
        raise RequestError(f"RANK is set, as by torchrun, but its other settings are not: {error}") from None
    ranks = Ranks(*numbers)
    if ranks.world == 1:
        yield ranks
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(ranks.local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=PATIENCE))
    try:
        with lost_rank_errors():
            yield ranks
    finally:
        dist.destroy_process_group()


@contextmanager
def lost_rank_errors() -> Iterator[None]:
    """Turn the various errors that torch raises when another process is gone into one.

    Raises:
        RankLostError: another process was lost.
    """
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized() or not _is_lost_peer(error):
            raise
        raise RankLostError("another process of this run was lost; go on with --resume") from error


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection closed", "connection reset", "timed out"))
