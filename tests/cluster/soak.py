"""``make test-soak``: many small runs, each killed at random moments and resumed until it is through.

Every case draws, from its own number, how the run looks (policy, one or two ranks, when it writes checkpoints) and
after how much time it is killed, again and again. The parent kills, so the moment falls anywhere: within a step, a
check, a snapshot, the writing of a checkpoint. Then the newest checkpoint is resumed. In the end decisions, the rates
of all steps, weights, optimizer state and journal are compared with those of the same run left alone.

One moment is left out: a checkpoint that is written after the last step of an epoch and before its validation. Resumed
from there, Lightning leaves the validation out, with or without this package (tests/resume/test_resume_edges.py).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lightning_lr.engine.policies import HalvingPolicy
from tests.helpers.ranks import RankError, run_on_ranks
from tests.helpers.resume import journal_lines
from tests.helpers.strategy_runs import STEPS, Outcome, Task, checkpoints, every_steps, train

NAN = float("nan")
PLAIN: dict[str, Any] = {"find_lr": False, "anneal": False}
KINDS: dict[str, tuple[Task, dict[str, Any]]] = {
    "conservative": (Task([1.0, 0.9, 0.8, 0.7], epochs=10), {"policy": "conservative", "patience": 2}),
    "halving": (Task(epochs=8), {"policy": HalvingPolicy(epochs=2)}),
    "explored": (Task(epochs=14, lr=1e-4), {}),
    "overfitting": (Task(epochs=14, lr=0.03, noise=1.0, samples=24, hidden=64), PLAIN),
    "divergence": (Task(epochs=12, lr=3.0, noise=1.0), PLAIN),
    "no number": (Task([1.0, 0.8, 0.6, 0.5, NAN, NAN, 0.4, 0.3], epochs=8), PLAIN),
}
PR_SET_PDEATHSIG = 1
KILLS = 2
"""At most so many kills a case; then it may go on to its end."""


@dataclass
class Tally:
    """What came of it."""

    cases: int = 0
    kills: int = 0
    resumptions: int = 0
    differences: list[str] = field(default_factory=list)


def attempt(kind: str, size: int, every: int, folder: Path, newest: Path | None) -> None:
    """Train, from the newest checkpoint if there is one, and leave the outcomes behind."""
    task, arguments = KINDS[kind]

    def run(_: int) -> Outcome:
        die_with_parent()
        strategy = "one process" if size == 1 else "ddp"
        writes = checkpoints(folder, name="{step}") if every == STEPS else every_steps(folder, every)
        return train(task, strategy, size, folder, [writes], resume_from=newest, **arguments)

    outcomes = [run(0)] if size == 1 else run_on_ranks(run, size, timeout=280, init=False)
    (folder / "outcomes").write_bytes(pickle.dumps(outcomes))


def newest_checkpoint(folder: Path, every: int) -> Path | None:
    """By step; one that was being written has no such name yet."""
    steps = {
        path: int(path.stem.removeprefix("step=").partition("-")[0])
        for path in (folder / "checkpoints").glob("step=*.ckpt")
    }
    fit = [path for path, step in steps.items() if step % STEPS or every == STEPS]
    return max(fit, key=lambda path: (steps[path], path.stat().st_mtime_ns), default=None)


def killed_and_resumed(case: int, alone: dict[Any, Any], tally: Tally) -> None:
    """One case; what differs is added to the tally."""
    draw = random.Random(case)
    kind, size, every = draw.choice(sorted(KINDS)), draw.choice((1, 1, 1, 2)), draw.choice((STEPS, 5, 7, 17))
    expected, seconds = alone.get((kind, size)) or alone.setdefault((kind, size), left_alone(kind, size))
    folder = Path(tempfile.mkdtemp())
    steps: dict[int, Any] = {}
    for attempts in range(KILLS + 1):
        newest = newest_checkpoint(folder, every)
        tally.resumptions += newest is not None
        patience = draw.uniform(0.1, 1.1) * seconds if attempts < KILLS else 280
        process = get_context("fork").Process(target=quiet, args=(attempt, kind, size, every, folder, newest))
        process.start()
        process.join(patience)
        if process.exitcode is None:
            process.kill()  # and its ranks with it
            process.join()
            tally.kills += 1
            continue
        if process.exitcode == 0:
            break
        tally.differences.append(f"case {case} ({kind}, {size} ranks): ended with {process.exitcode}")
        return
    tally.cases += 1
    outcomes: list[Outcome] = pickle.loads((folder / "outcomes").read_bytes())
    for rank, (one, whole) in enumerate(zip(outcomes, expected[0], strict=True)):
        steps = {step: rates for step, rates in whole.rates.items() if step in one.rates}
        last = max(whole.states)
        for name, got, wanted in (
            ("decisions", one.decisions, whole.decisions),
            ("rates", one.rates, steps),
            ("state", one.states.get(last, whole.states[last]), whole.states[last]),  # none where nothing was left
            ("scale", one.scale, whole.scale),
            ("ranks", one.differences, []),
            ("journal", journal(folder), expected[1]),
        ):
            if got != wanted:
                tally.differences.append(f"case {case} ({kind}, {size} ranks, each {every}), rank {rank}: {name}")
    shutil.rmtree(folder)


def left_alone(kind: str, size: int) -> tuple[tuple[list[Outcome], list[str]], float]:
    """The run that nobody kills, and how long it takes."""
    folder = Path(tempfile.mkdtemp())
    began = time.monotonic()
    process = get_context("fork").Process(target=quiet, args=(attempt, kind, size, 10**6, folder, None))
    process.start()
    process.join()
    return (pickle.loads((folder / "outcomes").read_bytes()), journal(folder)), time.monotonic() - began


def journal(folder: Path) -> list[str]:
    """The one written last: a run that was killed before its first checkpoint left one behind, and began anew."""
    newest = max(folder.glob("lr_journal*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return journal_lines(newest)


def quiet(fn: Any, *args: Any) -> None:
    """In a forked process: no output, one thread."""
    torch.set_num_threads(1)
    die_with_parent()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        fn(*args)
    except RankError:
        sys.exit(3)


def die_with_parent() -> None:
    """Where the parent is killed, this process is killed too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first case: others draw other runs")
    options = parser.parse_args()
    tally, alone, began = Tally(), {}, time.monotonic()
    for case in range(options.first, options.first + options.cases):
        killed_and_resumed(case, alone, tally)
        if case % 10 == 9:
            print(json.dumps(tally.__dict__), f"{time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    print(json.dumps(tally.__dict__))  # noqa: T201
    raise SystemExit(1 if tally.differences or not tally.kills else 0)


if __name__ == "__main__":
    main()
