"""``python -m benchmarks.overhead.left_out``: which of our hooks costs what, in the midst of the steps of BoringModel.

Each hook is left out in every other turn of one run, and it is timed in place. Then it is called once more, straight
after: what it takes then is what its code costs, and the rest is what it costs that the step has emptied the caches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter_ns
from typing import Any

from benchmarks.overhead.figures import over, paired
from benchmarks.overhead.lanes import ENDING, LAST, OURS, Boring, LRSchedule, run
from benchmarks.overhead.sides import OFF, ON
from lightning_lr import LearningRateController
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.run.readings.loss_window import LossWindow

PARTS: tuple[tuple[type, str], ...] = (
    (LearningRateController, "on_train_batch_start"),
    (LearningRateController, "on_before_optimizer_step"),
    (LRScale, "_before_step"),
    (LearningRateController, "on_train_batch_end"),
    (ControlledGroups, "before_step"),
    (LossWindow, "append"),
)
AGAIN = ("before_step", "_before_step", "on_before_optimizer_step")
"""Those that may be called twice: they change nothing where nobody wrote."""


def _nothing(*_: Any, **__: Any) -> None:
    return None


@contextmanager
def _put(owner: type, name: str, method: Callable[..., Any]) -> Iterator[None]:
    plain = getattr(owner, name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def left_out(lane: str, owner: type, name: str, rounds: int) -> str:
    """What a step costs with it, beside the same step without it."""
    plain = getattr(owner, name)

    def switches(trainer: Any, theirs: Any) -> dict[str, Callable[[], None]]:
        waiting = [optimizer._optimizer_step_pre_hooks for optimizer in trainer.optimizers]
        kept = [dict(hooks) for hooks in waiting]

        def to(on: bool) -> None:
            setattr(owner, name, plain if on else _nothing)
            if name == "_before_step":  # the optimizer holds the bound method
                for hooks, known in zip(waiting, kept, strict=True):
                    hooks.clear()
                    hooks.update(known if on else {})

        return {ON: lambda: to(True), OFF: lambda: to(False)}

    steps = run(lane, LRSchedule(Boring, block=48, rounds=rounds), switches).steps
    figure = paired(over(steps, ON, OFF))
    extra = median(a - b for a, b in zip(steps[ON], steps[OFF], strict=True)) * 1e6
    return f"{figure['ratio']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}], {extra:.1f} µs"


def in_place(lane: str, owner: type, name: str, rounds: int) -> str:
    """Microseconds of one call between two steps, and of the same call straight after; those of the clock taken off."""
    plain, first, second, clock = getattr(owner, name), [], [], []

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter_ns()
        result = plain(*args, **kwargs)
        ended = perf_counter_ns()
        first.append(ended - began)
        if name in AGAIN:
            began = perf_counter_ns()
            plain(*args, **kwargs)
            second.append(perf_counter_ns() - began)
        began = perf_counter_ns()
        clock.append(perf_counter_ns() - began)
        return result

    with _put(owner, name, timed):
        run(lane, LRSchedule(Boring, block=48, rounds=rounds), lambda trainer, theirs: {ON: _nothing, OFF: _nothing})
    half = len(first) // 2  # the run has come to its phase by then
    took, again = ((median(found[-half:]) - median(clock)) / 1e3 if found else None for found in (first, second))
    return f"{took:.1f} µs in place" + (f", {again:.1f} µs straight after" if again is not None else "")


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.left_out", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="turns of 50 steps on each side")
    asked = parser.parse_args().rounds
    for lane in OURS:
        rounds = min(asked, LAST // 100) if lane == ENDING else asked
        for owner, name in PARTS:
            what = f"{lane}: {owner.__name__}.{name}"
            print(f"{what}: a step with it, to one without it {left_out(lane, owner, name, rounds)}", flush=True)
            print(f"{what}: {in_place(lane, owner, name, max(1, rounds // 10))}", flush=True)


if __name__ == "__main__":
    main()
