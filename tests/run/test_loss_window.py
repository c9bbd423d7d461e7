"""The loss window: exact whatever the moment of reading, bounded, and one synchronization a check."""

from __future__ import annotations

import io
import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from lightning_lr.engine.records import TrainWindow
from lightning_lr.run.readings.loss_window import BLOCKS, CHUNK, LARGEST, LossWindow, window_from_totals
from tests.helpers.ranks import run_on_ranks
from tests.helpers.watched import Watched, watched

nan, inf = math.nan, math.inf


def filled(losses: list[float], dtype: torch.dtype = torch.float64) -> LossWindow:
    window = LossWindow()
    for loss in losses:
        window.append(torch.tensor(loss, dtype=dtype))
    return window


def read(*windows: LossWindow) -> TrainWindow | None:
    totals = [window.totals() for window in windows]
    return window_from_totals([sum(column) for column in zip(*totals, strict=True)], len(windows))


def saved(window: LossWindow) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(window.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def reference(losses: list[float]) -> list[tuple[float, int, int]]:
    """Blocks the slow way: recursive halves of the smallest power of two that needs no more than 32."""

    def block(part: list[float], size: int) -> tuple[float, int, int]:
        if len(part) == 1 and size == 1:
            fine = abs(part[0]) <= LARGEST
            return (part[0], 1, 0) if fine else (0.0, 0, 1)
        halves = [half for half in (part[: size // 2], part[size // 2 :]) if half]
        blocks = [block(half, size // 2) for half in halves]
        return blocks[0] if len(blocks) == 1 else tuple(a + b for a, b in zip(*blocks, strict=True))

    size = 1
    while len(losses) > BLOCKS * size:
        size *= 2
    return [block(losses[at : at + size], size) for at in range(0, len(losses), size)]


# The values

# Lengths are drawn first: left to itself, hypothesis hardly ever makes a list long enough to merge blocks.
ANY = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-4, 4, width=32)
LOSSES = st.integers(0, 3 * BLOCKS + 5).flatmap(lambda steps: st.lists(ANY, min_size=steps, max_size=steps))
EVENTS = st.dictionaries(st.integers(0, 3 * BLOCKS + 5), st.sampled_from(["fold", "totals", "resume"]), max_size=8)
WHOLE = st.integers(0, 700).flatmap(lambda steps: st.binary(min_size=steps, max_size=steps))
SPECIAL = {0: nan, 1: inf, 2: -inf}


@settings(max_examples=150, deadline=None)
@given(losses=LOSSES, events=EVENTS)
def test_reading_or_resuming_at_any_moment_changes_no_bit(losses: list[float], events: dict[int, str]) -> None:
    unbroken, broken = filled(losses), LossWindow()
    for step, loss in enumerate(losses):
        broken.append(torch.tensor(loss, dtype=torch.float64))
        event = events.get(step)
        if event == "fold":
            broken.fold()
        elif event == "totals":
            broken.totals()
        elif event == "resume":
            state, broken = saved(broken), LossWindow()
            broken.load_state_dict(state)
    assert broken.totals() == unbroken.totals()
    assert broken.state_dict() == unbroken.state_dict()


@settings(max_examples=150, deadline=None)
@given(steps=WHOLE)
def test_blocks_are_those_of_the_reference(steps: bytes) -> None:
    # whole numbers: their sums are exact in any order
    losses = [SPECIAL.get(step, float(step - 128)) for step in steps]
    blocks = [tuple(block) for block in filled(losses).state_dict()["blocks"]]
    assert blocks == reference(losses)


@settings(max_examples=100, deadline=None)
@given(losses=LOSSES.filter(bool))
def test_the_window_is_that_of_the_plain_list(losses: list[float]) -> None:
    window = read(filled(losses))
    fine = [loss for loss in losses if abs(loss) <= LARGEST]
    assert window is not None
    assert (window.steps, window.non_finite) == (len(losses), len(losses) - len(fine))
    expected = math.fsum(fine) / len(fine) if fine else nan
    magnitude = max(map(abs, fine), default=0.0)
    assert window.mean == pytest.approx(expected, abs=1e-12 * magnitude + 1e-300, nan_ok=True)
    assert all(map(math.isfinite, window.blocks))


@pytest.mark.parametrize(
    ("losses", "blocks", "non_finite", "planned_end_step"),
    [
        ([1.0, 2.0], (1.0, 2.0), 0, False),
        ([1.0, nan, 2.0], (1.0, 2.0), 1, False),
        ([1.0, inf], (1.0,), 1, True),
        ([nan, nan], (), 2, True),
        ([1e301, 1.0], (1.0,), 1, False),  # the sum of many such would overflow
        ([1.0] * 32, (1.0,) * 32, 0, False),
        ([1.0, 3.0] * 16 + [5.0], (2.0,) * 16 + (5.0,), 0, False),  # the 33rd step doubles the size
        ([1.0, 3.0] * 50, (2.0,) * 25, 0, False),  # and the 65th again: 25 blocks of 4
        ([1.0] * 33 + [nan], (1.0,) * 17, 1, False),  # its block has a finite loss too
    ],
)
def test_one_rank(losses: list[float], blocks: tuple[float, ...], non_finite: int, planned_end_step: bool) -> None:
    window = read(filled(losses))
    assert window is not None
    assert (window.blocks, window.steps, window.non_finite, window.ends_non_finite) == (
        blocks,
        len(losses),
        non_finite,
        planned_end_step,
    )


def test_no_step_at_all() -> None:
    assert read(LossWindow()) is None
    assert read(LossWindow(), LossWindow()) is None


def test_restart_begins_anew() -> None:
    window = filled([float(step) for step in range(100)])
    window.fold()
    window.append(torch.tensor(7.0))
    window.restart()
    assert read(window) is None
    window.append(torch.tensor(2.0))
    assert read(window) == TrainWindow(2.0, (2.0,), 1)


# Over ranks


def test_two_ranks_are_averaged() -> None:
    window = read(filled([1.0, 2.0, nan]), filled([3.0, nan, nan]))
    assert window == TrainWindow(mean=2.0, blocks=(2.0, 2.0), steps=3, non_finite=3, ends_non_finite=True)


def test_the_end_is_lost_only_where_all_ranks_lost_it() -> None:
    window = read(filled([1.0, nan]), filled([1.0, 1.0]))
    assert window is not None
    assert not window.ends_non_finite


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("steps", [1, 32, 33, 1000])
def test_the_header_survives_the_sum(world_size: int, steps: int) -> None:
    window = read(*(filled([float(step) for step in range(steps)]) for _ in range(world_size)))
    alone = read(filled([float(step) for step in range(steps)]))
    assert window is not None
    assert alone is not None
    assert window.blocks == pytest.approx(alone.blocks)
    assert window.steps == steps


def test_ranks_whose_blocks_differ_in_size_share_one_mean() -> None:
    window = read(filled([1.0] * 32), filled([3.0] * 33))
    assert window is not None
    assert window.blocks == (window.mean,) == ((32 + 99) / 65,)


# What arrives


@pytest.mark.parametrize(
    "outputs",
    [None, {}, {"loss": None}, {"loss": 0.5}, 0.5, "loss", torch.ones(2), {"loss": torch.ones(0)}],
    ids=repr,
)
def test_what_is_no_loss_is_left_out(outputs: Any) -> None:
    window = LossWindow()
    window.append(outputs)
    assert read(window) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_any_float_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    window = LossWindow()
    for _ in range(3 * CHUNK):  # a sum in bfloat16 would stop growing at 256
        window.append({"loss": torch.full(shape, 1.5, dtype=dtype, requires_grad=True), "extra": 1})
    result = read(window)
    assert result is not None
    assert (result.mean, result.steps) == (1.5, 3 * CHUNK)


def test_types_may_change_in_mid_run() -> None:
    window = LossWindow()
    for loss in (torch.tensor(2**24 + 1), torch.tensor(0.5, dtype=torch.bfloat16), torch.tensor([1.25])):
        window.append(loss)
    assert window.state_dict()["blocks"] == [[2.0**24 + 1, 1, 0], [0.5, 1, 0], [1.25, 1, 0]]


def test_accumulation_is_multiplied_back_step_by_step() -> None:
    window = LossWindow()
    for accumulation in (1, 2, 4):
        window.append(torch.tensor(3.0) / accumulation, accumulation)
    assert read(window) == TrainWindow(3.0, (3.0, 3.0, 3.0), 3)


@pytest.mark.ranks
def test_a_distributed_loss_is_read_locally() -> None:
    def lose(rank: int) -> list[Any]:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Replicate

        window = LossWindow()
        window.append(DTensor.from_local(torch.tensor(2.0 + rank), init_device_mesh("cpu", (2,)), [Replicate()]))
        blocks: list[Any] = window.state_dict()["blocks"]
        return blocks

    assert run_on_ranks(lose, 2) == [[[2.0, 1, 0]], [[3.0, 1, 0]]]


def test_may_be_read_in_inference_mode_as_validation_hooks_do() -> None:
    window = filled([1.0] * CHUNK)
    with torch.inference_mode():
        window.append(torch.tensor(1.0))
        window.fold()
    window.append(torch.tensor(1.0))
    assert read(window) == TrainWindow(1.0, (1.0,) * len(window.state_dict()["blocks"]), CHUNK + 2)


# What it costs


def test_the_watch_sees_what_would_wait() -> None:
    Watched.calls.clear()
    tensor = torch.stack([watched(1.0), watched(1.0)])[0]
    _ = tensor.item(), tensor.tolist(), tensor.cpu(), float(tensor), bool(tensor)
    assert sum(Watched.calls.values()) >= 5


@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
def test_steps_never_wait_and_a_check_waits_once(steps: int) -> None:
    window = LossWindow()
    Watched.calls.clear()
    for _ in range(steps):
        window.append({"loss": watched(1.0)})
    assert not Watched.calls
    window.fold()
    assert Watched.calls == {"tolist": 1}
    window.totals()
    window.state_dict()
    assert Watched.calls == {"tolist": 1}


def test_memory_is_bounded() -> None:
    window = filled([1.0] * 5000, torch.float32)
    assert len(window._pending) < CHUNK
    state = window.state_dict()
    assert len(state["blocks"]) <= BLOCKS
    assert len(window.totals()) == 3 + 3 * BLOCKS == len(LossWindow().totals())
