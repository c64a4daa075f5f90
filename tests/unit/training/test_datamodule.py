from collections.abc import Callable
from typing import Any

import torch
from training_parts import Network, network, split

from tidemill.models import heads
from tidemill.settings import Objective
from tidemill.training.datamodule import Batches, edges, resident, stream
from tidemill.training.tensors import Tensors

CPU = torch.device("cpu")


def batches(
    rows: Tensors, size: int, *, order: Callable[..., Any] | None = None, process: tuple[int, ...] = (0, 1)
) -> Batches:
    return Batches(rows, size, device=CPU, order=order, process=process)


def test_edges_keep_every_row_and_leave_no_batch_of_one() -> None:
    assert edges(10, 4) == [0, 4, 8, 10]
    assert edges(8, 4) == [0, 4, 8]
    assert edges(9, 4) == [0, 4, 9]
    assert edges(3, 512) == [0, 3]
    assert edges(1, 512) == [0, 1]
    assert edges(3, 1) == [0, 1, 3]


def test_each_row_comes_once_in_the_order_given() -> None:
    rows = split(10, weight=True)
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    parts = list(batches(rows, 4, order=lambda: order))
    assert [len(part.rows) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([part.rows.target for part in parts]), rows.target[order])
    assert torch.equal(torch.cat([part.rows.weight for part in parts]), rows.weight[order])
    assert all(part.share is None for part in parts)
    assert len(batches(rows, 4)) == 3


def test_the_order_is_asked_for_when_an_epoch_begins() -> None:
    orders = iter([torch.arange(4), torch.arange(4).flip(0)])
    rows = split(4)
    shuffled = batches(rows, 4, order=lambda: next(orders))
    assert torch.equal(next(iter(shuffled)).rows.numeric, rows.numeric)
    assert torch.equal(next(iter(shuffled)).rows.numeric, rows.numeric.flip(0))


def test_shares_of_processes_add_up_to_the_whole_batch() -> None:
    """The mean over processes of (share × mean loss) must be the batch's loss, for uneven and empty shares too."""
    model = network()
    for weight in (False, True):
        rows = split(11, weight=weight)
        whole = batches(rows, 4)
        for processes in (2, 3, 5):
            shares = [batches(rows, 4, process=(rank, processes)) for rank in range(processes)]
            for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
                mean = sum(loss(model, part.rows) * part.share for part in parts) / processes
                torch.testing.assert_close(mean, loss(model, batch.rows), rtol=1e-5, atol=1e-7)
                assert sum(len(part.rows) for part in parts if part.share > 0) == len(batch.rows)


def test_a_batch_without_weight_has_shares_without_nan() -> None:
    rows = split(4, weight=True)
    rows.weight.zero_()
    for rank in range(2):
        (part,) = batches(rows, 4, process=(rank, 2))
        assert part.share == 0


def test_random_streams_differ_by_seed_epoch_and_number() -> None:
    seeds = {stream(seed, epoch, number) for seed in range(4) for epoch in range(50) for number in range(4)}
    assert len(seeds) == 4 * 50 * 4
    assert 0 <= stream(10**30, 10**9, 3) < 2**63


def test_on_the_cpu_a_split_stays_where_it_is() -> None:
    rows = split(4)
    assert resident(rows, CPU) is rows


def loss(model: Network, rows: Tensors) -> torch.Tensor:
    logits_BEK = model(rows.numeric, rows.categorical)
    return heads.loss(logits_BEK, rows.target, Objective.BINARY, weight_B=rows.weight)
