"""The benchmark of reactive rules: its many models are those of torch, and our rule decides what a Trainer's does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import BatchSampler, DataLoader

from benchmarks.any_start.methods import Plan, plain
from benchmarks.reactive import run as benchmark
from benchmarks.reactive.crowd import Crowd
from benchmarks.reactive.report import ended, report
from benchmarks.reactive.rules import Ours, Stopping
from benchmarks.reactive.tasks import TASKS
from lightning_lr import LearningRateController
from tests.helpers.scripted import trainer

WINE = next(task for task in TASKS if task.name == "wine-sgd")
CANCER = next(task for task in TASKS if task.name == "cancer-adamw")


class Learner(LightningModule):
    """A task in Lightning, with the weights and the batches of a crowd."""

    def __init__(self, task, crowd, lr):
        super().__init__()
        self.task, self.crowd, self.lr, self.losses = task, crowd, lr, []
        torch.manual_seed(0)
        self.model = task.model(crowd.data)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        if not self.trainer.sanity_checking:
            self.losses.append(float(loss))
        self.log("val_loss", loss)

    def configure_optimizers(self):
        return plain(Plan(self.task, self.lr, 0), self.model.parameters())


class EachEpoch:
    """The batches of a crowd, one epoch after the other; the sanity check draws none."""

    def __init__(self, crowd):
        self.crowd, self.epoch = crowd, -1

    def __iter__(self):
        self.epoch += 1
        return iter(self.crowd.order(0, self.epoch).tolist())

    def __len__(self):
        return len(self.crowd.order(0, 0))


@pytest.mark.parametrize("task", [WINE, CANCER], ids=lambda task: task.name)
@pytest.mark.parametrize("policy", ["conservative", "auto"])
def test_it_decides_as_in_a_trainer(task, policy):
    epochs, lr, data = 30, 10 * task.lr, task.data(None)
    crowd = Crowd(task, data, [0], [lr])
    learner, control = Learner(task, crowd, lr), LearningRateController(policy=policy, find_lr=False, verbose=False)
    loaders = (
        DataLoader(data.train, sampler=EachEpoch(crowd), batch_size=None),
        DataLoader(data.validation, sampler=BatchSampler(range(10**4), len(data.validation), False), batch_size=None),
    )
    loaders[1].sampler.sampler = range(len(data.validation))
    trainer(control, max_epochs=epochs, num_sanity_val_steps=2).fit(learner, *loaders)
    rule = Ours(policy, epochs, len(crowd.order(0, 0)), lr, crowd.evaluate(data.validation)[0])
    losses, kept = [], crowd.state(0)
    for epoch in range(epochs):
        steps, losses = crowd.train(epoch)[:, 0].tolist(), [*losses, *crowd.evaluate(data.validation)]
        answer = rule.look(epoch, steps, losses[-1], float(crowd.lrs[0]))
        kept = crowd.state(0) if answer.keeps else kept
        if answer.restores:
            crowd.load(0, kept)
        crowd.lrs[0] = answer.lr
    assert control.decisions
    assert [_said(d) for d in rule.decisions] == [_said(d) for d in control.decisions]
    assert losses == pytest.approx(learner.losses, rel=1e-3)


def _said(decision):
    return decision.check, str(decision.action), str(decision.condition), decision.factor, decision.snapshot_check


def test_a_stopped_run_ends_with_its_best_weights(monkeypatch):
    """And a rule that acts on nothing ends like no rule, bit for bit."""
    monkeypatch.setattr(benchmark, "EPOCHS", (3, 12))
    monkeypatch.setattr(benchmark, "STARTS", (10.0,))
    runs = {
        (run.name, run.budgets): run for run in benchmark.trained(replace(WINE, lr=0.06), [0], True, ("conservative",))
    }
    nothing = runs["nothing", (3, 12)]
    assert runs["conservative", (3,)].ended[3] == nothing.ended[3]
    stopped = runs["stop 2", (3, 12)]
    assert isinstance(stopped.rule, Stopping)
    assert stopped.stopped
    assert stopped.ended[12][0] == stopped.best
    assert set(stopped.ended) == {3, 12}
    lines = [{"task": "t", "start": r.start, "seed": 0, "rule": r.name, "ended": r.ended} for r in runs.values()]
    found = ended(lines)
    assert found[("t", 10.0, 12, 0), "nothing"] == nothing.ended[12]
    text = report([*lines, *({**line, "rule": "auto"} for line in lines if line["rule"] == "conservative")])
    assert "| auto | 12 |" in text
