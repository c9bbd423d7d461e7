"""Messages between ranks: alone they are identities, on two gloo processes they agree bit for bit."""

from __future__ import annotations

import math
import struct
from types import SimpleNamespace

import pytest
import torch

from lightning_lr.run.distributed import Ranks
from tests.helpers.ranks import run_on_ranks


def strategy(world_size: int = 2, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(world_size=world_size, global_rank=rank, root_device=torch.device("cpu"))


def bits(values: list[float]) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


@pytest.mark.parametrize("ranks", [Ranks(), Ranks.of(strategy(1)), Ranks.of(strategy(2))], ids=str)
def test_alone_or_without_a_process_group_nothing_is_sent(ranks: Ranks) -> None:
    values = [1, 0.1, math.inf]
    assert ranks.alone
    assert ranks.sum(values) == ranks.from_rank_zero(values) == values
    assert ranks.gather(values) == [values]


def test_a_strategy_without_world_size_is_alone() -> None:
    assert Ranks.of(SimpleNamespace(root_device="cpu")) == Ranks()


def test_two_ranks() -> None:
    payload = [math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324, 1e300, 2.0**53 + 2]

    def talk(rank: int) -> tuple[list[float], list[float], list[list[float]], list[float]]:
        ranks = Ranks.of(strategy(2, rank))
        mine = payload if rank == 0 else [7.0] * len(payload)
        return (
            ranks.sum([0.1, float(rank), 2.0**53]),
            ranks.from_rank_zero(mine),
            ranks.gather([float(rank), math.nan]),
            ranks.sum([math.nan if rank else 1.0]),
        )

    for total, told, gathered, poisoned in run_on_ranks(talk, 2):
        assert total == [0.2, 1.0, 2.0**54]
        assert bits(told) == bits(payload)
        assert [row[0] for row in gathered] == [0.0, 1.0]
        assert math.isnan(poisoned[0])
