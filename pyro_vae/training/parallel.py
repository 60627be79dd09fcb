"""Data-parallel training under ``torchrun``: what the processes of one run share.

Each process holds the whole pair, takes its share of every batch's rows and draws its own
particles; gradients are summed over the processes, so every process takes the same step. The
gradients come from a compiled graph as often as from ``backward``, so they are summed here, in one
message of ``torch.distributed``, and not by the hooks of ``DistributedDataParallel``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes of this run; with one process every method is the identity."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.size = dist.get_world_size() if together else 1
        self.rank = dist.get_rank() if together else 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch: parts that differ by at most one row, maybe none."""
        return rows.tensor_split(self.size)[self.rank]

    def sum_(self, tensors: list[Tensor], numbers: Tensor) -> Tensor:
        """Sum the tensors over the processes, in place; and return the sum of ``numbers`` (N,)."""
        if self.size == 1:
            return numbers
        flat = torch.cat([*(t.reshape(-1) for t in tensors), numbers.to(tensors[0].dtype)])
        dist.all_reduce(flat)
        sizes = [t.numel() for t in tensors]
        *parts, numbers = flat.split([*sizes, len(numbers)])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))
        return numbers

    def any(self, *flags: bool) -> list[bool]:
        """Each flag, if any process has it set."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32, device=_device())
        dist.all_reduce(raised)
        return [bool(flag) for flag in raised]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Any) -> Any:
        """The first process's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def copy_from_first_(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's tensors, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)


@contextlib.contextmanager
def joined_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, if it did, for the length of the block.

    Args:
        device: "cpu" exchanges gradients by gloo; any other, where there is a GPU, by NCCL, each
            process on the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Processes()
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes()
        dist.barrier()  # gloo may abort where one process leaves while another is still talking
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    """Where the process group wants its messages."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
