"""The data path: batches are index slices of tensors that already lie where they are used.

No worker processes, no per-row collating: with small models that is what the time goes to.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from lightning import LightningDataModule

from tidemill.training.tensors import Tensors

EPOCHS_APART = 1_000_003
"""Keeps the random streams of neighbouring seeds apart for that many epochs."""


class Batch(NamedTuple):
    """This process's share of one batch.

    share: what its mean loss is multiplied by, so that the mean over processes is the loss of the whole batch:
        processes × (weight of the share / weight of the batch). None with one process.
    """

    rows: Tensors
    share: torch.Tensor | None


class Batches:
    """The batches of one split, in order or shuffled anew each epoch.

    A last batch of one row joins the batch before it: batch normalisation cannot be trained on one row.

    Args:
        split: resident on `device`, or in host memory.
        size: rows per batch over all processes.
        order: the rows' order for an epoch, int64 on the CPU; None keeps theirs.
        process: (rank, number of processes).
    """

    def __init__(
        self,
        split: Tensors,
        size: int,
        *,
        device: torch.device,
        order: Callable[[], torch.Tensor] | None,
        process: tuple[int, int],
    ) -> None:
        self.split, self.device, self.order = split, device, order
        self.rank, self.processes = process
        self.edges = edges(len(split), size)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Batch]:
        index = None if self.order is None else self.order().to(self.split.target.device)
        for start, stop in pairwise(self.edges):
            rows = slice(start, stop)
            yield self._batch(rows if index is None else index[rows], stop - start)

    def _batch(self, rows: slice | torch.Tensor, size: int) -> Batch:
        batch = self.split[rows]
        if batch.target.device != self.device:
            batch = batch.pinned().to(self.device)
        if self.processes == 1:
            return Batch(batch, None)
        start, stop = (size * rank // self.processes for rank in (self.rank, self.rank + 1))
        # Every process must take part in every step: one without rows takes a row that counts nothing.
        share = batch[start:stop] if stop > start else batch[:1]
        counted = share.total if stop > start else torch.zeros_like(batch.total)
        # A batch may hold no weight at all, as in `heads.loss`.
        return Batch(share, counted * self.processes / batch.total.clamp_min(torch.finfo(torch.float32).tiny))


def edges(rows: int, size: int) -> list[int]:
    """Where batches begin and end: [0, size, 2 size, …, rows]."""
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return [*starts, rows]


def stream(seed: int, epoch: int, number: int) -> int:
    """The seed of a random stream: 0 shuffles rows, 1 + rank drives dropout on a process."""
    return ((seed * EPOCHS_APART + epoch) * 1024 + number) % 2**63


class DataModule(LightningDataModule):
    """Training and validation splits, moved once to the device if they fit there.

    The shuffle of an epoch depends on (seed, epoch) only, so any epoch can be repeated.

    Args:
        done: epochs trained before this process started (resumed runs).
    """

    def __init__(self, train: Tensors, validation: Tensors, *, batch_size: int, seed: int, done: int = 0) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.batch_size, self.seed, self.done = batch_size, seed, done

    def train_dataloader(self) -> Batches:
        return self._batches(self.train, self._order)

    def val_dataloader(self) -> Batches:
        return self._batches(self.validation, None)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch  # `Batches` did that; Lightning would walk through the batch's fields each step

    def _batches(self, split: Tensors, order: Callable[[], torch.Tensor] | None) -> Batches:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        process = (self.trainer.global_rank, self.trainer.world_size)
        return Batches(resident(split, device), self.batch_size, device=device, order=order, process=process)

    def _order(self) -> torch.Tensor:
        # Drawn on the CPU, whose generator gives the same order whatever the device.
        assert self.trainer is not None
        epoch = self.done + self.trainer.current_epoch
        generator = torch.Generator().manual_seed(stream(self.seed, epoch, 0))
        return torch.randperm(len(self.train), generator=generator)


def resident(split: Tensors, device: torch.device) -> Tensors:
    """The split on `device` if it takes at most half of what is free there, or else where it is."""
    if device.type == "cpu":
        return split
    free, _ = torch.cuda.mem_get_info(device)
    return split.to(device) if split.bytes <= free // 2 else split
