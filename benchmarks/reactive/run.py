"""A task, trained from each start, with each seed, by each rule, for each budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.any_start.tasks import Task
from benchmarks.reactive.crowd import Crowd
from benchmarks.reactive.rules import FACTORS, OURS, PATIENCES, Answer, Nothing, Ours, Plateau, Rule, Stopping
from benchmarks.reactive.tasks import EPOCHS, STARTS

NOTHING = "nothing"


@dataclass
class Run:
    """One model. A rule that does not know its budget is trained once, for the longest.

    Attributes:
        name: of the rule.
        start: multiple of the usual rate.
        seed: of weights and batches.
        budgets: in epochs, at each of which it is judged.
        rule: that is asked after each epoch.
        lowest: validation loss of the best weights.
        best: test loss of these.
        last: test loss of the weights now, or of those that a stopped run ended with.
        kept: the state that a restore puts back.
        actions: what was changed after which epoch.
        ended: budget → last, best, and actions so far.
    """

    name: str
    start: float
    seed: int
    budgets: tuple[int, ...]
    rule: Rule
    lowest: float = math.inf
    best: float = math.nan
    last: float = math.nan
    kept: Any = None
    stopped: bool = False
    actions: list[tuple[int, str]] = field(default_factory=list)
    ended: dict[int, tuple[float, float, int]] = field(default_factory=dict)

    def at_budget(self, epochs: int) -> None:
        """Note how it would end here."""
        if epochs in self.budgets:
            last = self.best if isinstance(self.rule, Stopping) else self.last
            self.ended[epochs] = last, self.best, sum(1 for epoch, _ in self.actions if epoch < epochs)


def planned(
    task: Task, seeds: Sequence[int], steps: int, untrained: dict[int, float], peers: bool = True, ours: Any = OURS
) -> Iterator[Run]:
    """All runs of a task: those of the peers, of the policies, or of both."""
    for seed in seeds:
        for start in STARTS:
            lr = task.lr * start
            if peers:
                yield Run(NOTHING, start, seed, EPOCHS, Nothing())
            for patience in PATIENCES if peers else ():
                yield Run(f"stop {patience}", start, seed, EPOCHS, Stopping(patience))
                for factor in FACTORS:
                    yield Run(f"plateau {patience} × {factor}", start, seed, EPOCHS, Plateau(patience, factor, lr))
            for policy in ours:
                for epochs in EPOCHS:
                    yield Run(str(policy), start, seed, (epochs,), Ours(policy, epochs, steps, lr, untrained[seed]))


def trained(task: Task, seeds: Sequence[int], peers: bool = True, ours: Any = OURS) -> list[Run]:
    """These runs, done."""
    data = task.data(None)
    first = Crowd(task, data, list(seeds), [task.lr] * len(seeds))
    untrained = dict(zip(seeds, first.evaluate(data.validation), strict=True))
    runs = list(planned(task, seeds, len(first.order(seeds[0], 0)), untrained, peers, ours))
    crowd = Crowd(task, data, [run.seed for run in runs], [task.lr * run.start for run in runs])
    there = list(runs)
    for index, run in enumerate(there):
        if isinstance(run.rule, Ours) and run.rule.restores:
            run.kept = crowd.state(index)
    for epoch in range(max(EPOCHS)):
        losses, validation = crowd.train(epoch).T.tolist(), crowd.evaluate(data.validation)
        lrs = crowd.lrs.tolist()
        answers = [run.rule.look(epoch, *seen) for run, *seen in zip(there, losses, validation, lrs, strict=True)]
        tests = crowd.evaluate(data.test)
        for index, (run, answer) in enumerate(zip(there, answers, strict=True)):
            run.last = tests[index]
            if validation[index] < run.lowest:
                run.lowest, run.best = validation[index], tests[index]
            _apply(crowd, index, run, answer, epoch)
        for run, test in zip(
            [r for r, a in zip(there, answers, strict=True) if a.restores], _again(crowd, data, answers), strict=True
        ):
            run.last = test
        for run in there:
            run.at_budget(epoch + 1)
            for epochs in run.budgets if run.stopped else ():
                if epochs > epoch:
                    run.at_budget(epochs)
        left = [i for i, run in enumerate(there) if not run.stopped and epoch + 1 < max(run.budgets)]
        if len(left) < len(there):
            there = [there[i] for i in left]
            if there:
                crowd.keep(left)
    return runs


def _again(crowd: Crowd, data: Any, answers: Sequence[Answer]) -> list[float]:
    """The test losses of those that were restored."""
    restored = [index for index, answer in enumerate(answers) if answer.restores]
    return crowd.evaluate(data.test, restored) if restored else []


def _apply(crowd: Crowd, index: int, run: Run, answer: Answer, epoch: int) -> None:
    if answer.keeps:
        run.kept = crowd.state(index)
    if answer.restores:
        crowd.load(index, run.kept)
    if answer.said:
        run.actions.append((epoch, answer.said))
    crowd.lrs[index] = answer.lr
    run.stopped = answer.stops
