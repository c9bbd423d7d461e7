"""When the end of a run should begin whose budget is unknown, and how long it should be.

    python -m benchmarks.unknown_budget --data DATA_FOLDER --seeds 3 --results FILE

Each task of ``benchmarks/any_start`` is trained with ``max_epochs=-1`` from its reference rate, until the controller
stops it. Beside test loss and epochs stands the same run with a budget that is known: twice the epochs of
``benchmarks/any_start``. The table is that of docs/decisions/0011-unknown-budget.md.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from benchmarks.any_start.methods import Method, Plan, plain
from benchmarks.any_start.results import append, read
from benchmarks.any_start.tasks import TASKS, Task
from benchmarks.any_start.training import Learner, _evaluate, _quiet, load
from lightning_lr import LearningRateController
from lightning_lr.engine import controller
from lightning_lr.engine.decisions import hold
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies.policy import PRESETS, Policy, Response
from lightning_lr.engine.records import Decision, Diagnosis, Reading
from lightning_lr.engine.vocabulary import Action, Condition

DEFAULT = ["digits-sgd", "digits-adamw", "digits-noisy-adamw", "red-wine-sgd", "housing-adamw", "bikes-adamw"]
ADVISED = replace(
    PRESETS["auto"],
    responses={**PRESETS["auto"].responses, Condition.CONVERGED: Response(Action.RESTORE, 1.0)},
)
"""Asks at ``converged`` as well; what is answered is the end."""

METHOD = Method("unknown budget", plain)
LONGER = 2
"""Times the epochs of ``benchmarks/any_start``: the run with a known budget."""

MOST = 10
"""Times those epochs: a run that nobody has stopped by then is stopped from outside, and marked."""


@dataclass(frozen=True)
class Variant:
    """One rule for the end.

    Attributes:
        begins: how many plateaus come before the one with which it begins; ``None``: it never does.
        failed_adjustments: whether only those count since whose restore nothing was better.
        share: its steps, as a share of those before it.
        restores: whether the best state comes back first.
        overfitting: whether overfitting counts as well.
        converged: whether it begins where the run is said to have converged, and nowhere else.
        calm: whether plateaus are left alone once it has begun.
        known: whether the budget is known.
    """

    begins: int | None = 0
    failed_adjustments: bool = False
    share: float = annealing.OPEN
    restores: bool = False
    overfitting: bool = False
    converged: bool = False
    calm: bool = False
    known: bool = False


VARIANTS = {
    "known": Variant(known=True),
    "cuts": Variant(begins=None),
    "1st, 1/4": Variant(share=0.25),
    "1st, 1/2": Variant(share=0.5),
    "1st, 1": Variant(),
    "1st, 1/2, restored": Variant(share=0.5, restores=True),
    "1st, 1, restored": Variant(restores=True),
    "1st, 1/2, calm": Variant(share=0.5, calm=True),
    "1st, 1, calm": Variant(calm=True),
    "2nd, 1/2": Variant(begins=1, share=0.5),
    "1 in vain, 1/2": Variant(begins=1, failed_adjustments=True, share=0.5),
    "or overfitting, 1/2": Variant(restores=True, overfitting=True, share=0.5),
    "converged, 1/2": Variant(converged=True, share=0.5),
}


def train(task: Task, variant: Variant, seed: int, folder: Path | None) -> dict[str, Any]:
    """How one run ended."""
    data = load(task, folder)
    torch.manual_seed(seed)
    plan = Plan(task, task.lr, task.epochs * task.steps_per_epoch(data))
    learner = Learner(task, task.model(data), METHOD, plan)
    ours = LearningRateController("val_loss", policy=ADVISED if variant.converged else "auto", verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=LONGER * task.epochs if variant.known else -1, logger=False,
        callbacks=[ours, Patience(MOST * task.epochs)], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with _ending(variant):
        trainer.fit(learner, task.train_loader(data, seed), task.loader(data.validation))
    return {
        "test_loss": _evaluate(learner, task.loader(data.test))[0],
        "epochs": trainer.current_epoch,
        "decisions": [f"{d.epoch} {d.condition} {d.action}" for d in ours.decisions],
    }


class Patience(pl.Callback):
    """Ends a run that nobody else ends."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.epochs


@contextmanager
def _ending(variant: Variant) -> Iterator[None]:
    plateaus = 0
    core: DecisionEngine | None = None

    def begins(reading: Reading, diagnosis: Diagnosis, policy: Policy) -> bool:
        nonlocal plateaus
        asked = {Condition.CONVERGED} if variant.converged else {Condition.PLATEAU}
        asked |= {Condition.OVERFITTING} if variant.overfitting else set()
        if diagnosis.condition not in asked or reading.ends is None or core is None or variant.begins is None:
            return False
        plateaus += 1
        return (core.failed_restores if variant.failed_adjustments else plateaus - 1) >= variant.begins

    def end(reading: Reading, diagnosis: Diagnosis, said: str) -> Decision:
        return replace(the_end(reading, diagnosis, said), snapshot_check=reading.snapshot_check)

    def decide(self: DecisionEngine, reading: Reading, diagnosis: Diagnosis) -> Decision:
        nonlocal core
        core = self
        if variant.calm and self.end_began is not None and diagnosis.condition is Condition.PLATEAU:
            return hold(reading, diagnosis, str(diagnosis))
        return decided(self, reading, diagnosis)

    the_end, decided = controller.the_end, DecisionEngine._decide
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(annealing, "OPEN", variant.share))
        stack.enter_context(mock.patch.object(controller, "begins_end", begins))
        stack.enter_context(mock.patch.object(DecisionEngine, "_decide", decide))
        if variant.restores:
            stack.enter_context(mock.patch.object(controller, "the_end", end))
        yield


def table(lines: list[dict[str, Any]], tasks: list[str], variants: list[str]) -> str:
    """Test losses and epochs, seed by seed."""
    rows = ["| task | " + " | ".join(variants) + " |", "|" + " --- |" * (len(variants) + 1)]
    for task in tasks:
        cells = []
        for variant in variants:
            runs = [line for line in lines if (line["task"], line["variant"]) == (task, variant)]
            runs.sort(key=lambda run: run["seed"])
            losses, epochs = (f"{run['test_loss']:.3g}" for run in runs), (str(run["epochs"]) for run in runs)
            cells.append(f"{', '.join(losses)}; {', '.join(epochs)}" if runs else "")
        rows.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Train what the file of results lacks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the larger data sets")
    parser.add_argument("--tasks", nargs="+", default=DEFAULT)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, required=True, help="a line for each run is appended")
    given = parser.parse_args()
    torch.set_num_threads(1)
    _quiet()
    logging.disable(logging.INFO)
    tasks = {task.name: task for task in TASKS}
    done = {(line["task"], line["variant"], line["seed"]) for line in read(given.results)}
    for seed in range(given.seeds):
        for name in given.tasks:
            for variant in given.variants:
                if (name, variant, seed) not in done:
                    run = train(tasks[name], VARIANTS[variant], seed, given.data)
                    append(given.results, {"task": name, "variant": variant, "seed": seed, **run})
    print(table(read(given.results), given.tasks, given.variants))


if __name__ == "__main__":
    main()
