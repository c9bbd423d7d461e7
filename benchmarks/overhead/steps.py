"""Line 1: a step of training with ours, beside an empty Callback and what people use today."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Trainer

from benchmarks.overhead.figures import Figure, alternately, over, paired, shown, typical, undisturbed, yardstick
from benchmarks.overhead.lanes import (
    ANNEALING,
    CONSERVATIVE,
    EMPTY,
    ENDING,
    HOLDING,
    LANES,
    MONITOR,
    OURS,
    Boring,
    Convolutional,
    LRSchedule,
    callbacks,
    quiet,
    run,
)
from benchmarks.overhead.sides import OFF, ON, Sides

PERCENT = 1.01

Seconds = Sequence[dict[str, list[float]]]
"""Those of several runs: side → seconds, turn by turn."""


def step_figures(quick: bool) -> Iterator[Figure]:
    """One row a lane and model, and one for its steps that end in a validation."""
    for name, lr_schedule, runs in (
        ("BoringModel", LRSchedule(Boring, block=48, rounds=10 if quick else 18), 1 if quick else 16),
        ("CNN", LRSchedule(Convolutional, block=24, rounds=5 if quick else 10), 1 if quick else 12),
    ):
        sides = _in_turn(lr_schedule, runs)
        monitor = _ratio([side.steps for side in sides[MONITOR]])["ratio"]
        for lane, found in sides.items():
            yield _step(name, lane, [side.steps for side in found], monitor)
        for lane, found in sides.items():
            checks = [side.checks for side in found]
            yield Figure(
                key=f"check/{name}/{lane}",
                line=2,
                what=f"{name}, a step with its validation and check: {lane}",
                over=EMPTY,
                **_ratio(checks),
                here=f"{shown(max(_extra(checks), 0.0))} more",
            )


def _in_turn(lr_schedule: LRSchedule, runs: int) -> dict[str, list[Sides]]:
    """Several runs of each lane, in another order and elsewhere in memory each time.

    Where its objects lie makes the same run faster or slower than its twin by a percent and more, as long as it goes
    on: so the spread is that between runs.
    """
    chance, found, elsewhere = random.Random(0), {lane: [] for lane in LANES}, []
    for _ in range(runs):
        for lane in chance.sample(LANES, len(LANES)):
            elsewhere.append([object() for _ in range(chance.randrange(20_000))])
            found[lane].append(run(lane, lr_schedule))
    return found


def _ratio(runs: Seconds) -> dict[str, Any]:
    """What a run takes with the callback, in its median turn, and how that differs from run to run."""
    return paired([median(over(seconds, ON, OFF)) for seconds in runs])


def _extra(runs: Seconds) -> float:
    """Seconds that it takes more."""
    pairs = (zip(seconds[ON], seconds[OFF], strict=True) for seconds in runs)
    return median(median(on - off for on, off in turns) for turns in pairs)


def _step(model: str, lane: str, runs: Seconds, monitor: float) -> Figure:
    figure = _ratio(runs)
    return Figure(
        key=f"step/{model}/{lane}",
        line=1,
        what=f"{model}, a step: {lane}",
        over=EMPTY,
        **figure,
        here=f"{shown(max(_extra(runs), 0.0))} more; a step takes {shown(typical([s for r in runs for s in r[OFF]]))}",
        target=f"≤ 1 %, and below {MONITOR}" if lane in OURS else "",
        met=figure["ratio"] <= min(PERCENT, monitor) if lane in OURS else None,
    )


class _Once:
    """Batches; ``act`` is called in between, where training has come to step ``at``, and then training stops."""

    def __init__(self, batch: Any, length: int, at: int, act: Callable[[], None]) -> None:
        self.batch, self.length, self.at, self.act = batch, length, at, act

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.at):
            yield self.batch
        self.act()


def hook_figures(quick: bool) -> Iterator[Figure]:
    """Our hooks called directly, in the midst of a fit, beside the bare training of BoringModel and a yardstick."""
    # Each call counts as a step, and the 2000 of them are to lie in one phase.
    for lane, length, at in (
        (CONSERVATIVE, 300, 150),
        (HOLDING, 40_000, 8000),
        (ANNEALING, 64_000, 40_000),
        (ENDING, 4100, 2100),
    ):
        seconds = _hooks(lane, length, at, 5 if quick else 50)
        took = undisturbed(seconds, "hooks")
        yield Figure(
            key=f"hooks/{lane}",
            line=1,
            what=f"all our hooks of a step, called directly: {lane}",
            over="a yardstick of plain Python",
            **paired(over(seconds, "hooks", "yardstick")),
            here=f"{shown(took)}; bare forward, backward and SGD step {shown(undisturbed(seconds, 'bare'))}",
            target="≤ 100 µs, 1 % of a step of 10 ms",
            met=took <= 1e-4,
        )


def _hooks(lane: str, length: int, at: int, rounds: int) -> dict[str, list[float]]:
    quiet()
    [ours], model, found = callbacks(lane), Boring(), {}

    def measure() -> None:
        optimizer = trainer.optimizers[0]
        outputs: dict[str, Any] = {"loss": torch.tensor(1.0)}
        before = list(optimizer._optimizer_step_pre_hooks.values())

        def hooks() -> None:
            ours.on_train_batch_start(trainer, model, None, 1)
            for hook in before:
                hook(optimizer, (), {})
            ours._fit_run.global_step -= 1  # type: ignore[union-attr]  # as if the Trainer had counted a step
            ours.on_train_batch_end(trainer, model, outputs, None, 1)

        bare_model = torch.nn.Linear(32, 2)
        bare_optimizer = torch.optim.SGD(bare_model.parameters(), lr=0.01)

        def bare() -> None:
            bare_optimizer.zero_grad()
            torch.nn.functional.mse_loss(bare_model(model.batch), torch.ones(1, 2)).backward()
            bare_optimizer.step()

        found.update(alternately({"hooks": hooks, "bare": bare, "yardstick": yardstick}, rounds, repeat=40))

    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[ours],
        logger=False,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, _Once(model.batch, length, at, measure))
    return found
