"""What stands in the event file after a real ``fit``: numbers at each check, words at each event."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr import ExponentialPolicy, LearningRateController
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import markdown
from lightning_lr.loggers import tables as page_size
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.report.adjustment_effects import adjustment_effects
from lightning_lr.offline.report.run_summary import summarize
from lightning_lr.tensorboard_plugin.pages import read_page
from tests.helpers.scripted import Scripted, data, eager, trainer

STEADY = {"val_loss": [1.0 - 0.01 * i for i in range(20)]}


class TwoGroups(Scripted):
    """One optimizer, a named and an unnamed group: the names that users see in their charts."""

    def configure_optimizers(self) -> Any:
        groups = [{"params": [self.layer.weight], "name": "body"}, {"params": [self.layer.bias], "lr": 0.02}]
        return torch.optim.SGD(groups, lr=0.1)


class Manual(Scripted):
    """Two optimizers stepped by hand: ``global_step`` counts both, the loggers' x-axis does not."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.automatic_optimization = False
        self.other = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        for optimizer, layer in zip(self.optimizers(), (self.layer, self.other), strict=True):
            loss = layer(batch[0]).pow(2).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss.detach()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.layer, self.other)]


def read(folder: Path) -> EventAccumulator:
    """The one event file below a folder, all of it."""
    (file,) = folder.rglob("events.out.tfevents.*")
    return EventAccumulator(str(file), size_guidance={"tensors": 0, "scalars": 0}).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def texts(events: EventAccumulator, tag: str) -> list[tuple[int, str]]:
    found = events.Tensors(f"{tag}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found]


def fitted(folder: Path, model: Scripted, callbacks: list[Any], **options: Any) -> EventAccumulator:
    options = {"max_epochs": 4, "logger": TensorBoardLogger(folder), "log_every_n_steps": 1, **options}
    trainer(callbacks, folder, **options).fit(model, data(4), data())
    return read(folder)


# model, options of the Trainer: everywhere our numbers must lie above `val_loss`
X_AXIS = [
    pytest.param(Scripted, {}, [3, 7, 11, 15], id="once-an-epoch"),
    pytest.param(Scripted, {"val_check_interval": 0.5}, [2, 4, 6, 8, 10, 12, 14, 16], id="twice-an-epoch"),
    pytest.param(
        Scripted, {"check_val_every_n_epoch": None, "val_check_interval": 3}, [3, 6, 9, 12, 15], id="each-3-batches"
    ),
    pytest.param(Scripted, {"check_val_every_n_epoch": 2}, [7, 15], id="each-second-epoch"),
    pytest.param(Scripted, {"accumulate_grad_batches": 2}, [1, 3, 5, 7], id="accumulating"),
    pytest.param(Manual, {}, [3, 7, 11, 15], id="manual-two-optimizers"),
    pytest.param(Manual, {"val_check_interval": 0.5}, [2, 4, 6, 8, 10, 12, 14, 16], id="manual-twice-an-epoch"),
]


@pytest.mark.parametrize(("model", "options", "expected"), X_AXIS)
def test_numbers_lie_above_the_metric_they_speak_of(tmp_path, model, options, expected):
    """Same steps as ``val_loss``."""
    events = fitted(tmp_path, model(script=STEADY), [eager()], **options)
    steps = [step for step, _ in scalars(events, "val_loss")]
    ours = [tag for tag in events.Tags()["scalars"] if tag.startswith("lr_controller/")]
    assert [step for step, _ in scalars(events, "lr_controller/scale")] == steps
    assert {step for tag in ours for step, _ in scalars(events, tag)} <= set(steps)
    assert [step - steps[0] for step in steps] == [step - expected[0] for step in expected]


def test_rates_have_the_names_of_the_monitor(tmp_path):
    """``LearningRateMonitor``'s chart shows at each step the rate that our chart promised at the check before."""
    control, monitor = eager(), LearningRateMonitor("step")
    events = fitted(tmp_path, TwoGroups(STEADY), [control, monitor])
    names = {tag for tag in events.Tags()["scalars"] if tag.startswith("lr-")}
    assert names == {"lr-SGD/body", "lr-SGD/pg2"}
    assert names == {tag[17:] for tag in events.Tags()["scalars"] if tag.startswith("lr_controller/lr/")}
    for name in names:
        shown = dict(scalars(events, name))
        promised = scalars(events, f"lr_controller/lr/{name}")
        assert [shown[step + 1] for step, _ in promised[:-1]] == [rate for _, rate in promised[:-1]]
        assert len({rate for _, rate in promised}) > 1


def test_each_check_has_its_numbers(tmp_path):
    """Falls, then stands still: what each chart shows, check by check."""
    script = {"val_loss": [1.0, 0.8, 0.6, 0.6, 0.6]}
    events = fitted(
        tmp_path, Scripted(script), [LearningRateController(policy="conservative", verbose=False)], max_epochs=5
    )
    best = [value for _, value in scalars(events, "lr_controller/val_loss/best")]
    since = [value for _, value in scalars(events, "lr_controller/val_loss/checks_since_best")]
    assert best == pytest.approx([1.0, 0.8, 0.6, 0.6, 0.6])
    assert since == [0, 0, 0, 1, 2]
    assert [value for _, value in scalars(events, "lr_controller/scale")] == [1, 1, 1, 1, 1]
    slope, error = (dict(scalars(events, f"lr_controller/val_loss/{part}")) for part in ("slope", "slope_error"))
    assert slope[7] == pytest.approx(-0.2)
    assert slope.keys() == {7, 11, 15, 19}  # one value has no slope; the chart starts where there is one
    assert error.keys() <= slope.keys()
    gap, train = (dict(scalars(events, f"lr_controller/{name}")) for name in ("gap", "train"))
    val = dict(scalars(events, "val_loss"))
    assert all(gap[step] == pytest.approx(val[step] - train[step], abs=1e-6) for step in val)
    conditions = {
        tag.removeprefix("lr_controller/condition/"): scalars(events, tag)
        for tag in events.Tags()["scalars"]
        if "condition" in tag
    }
    assert conditions["healthy"][:3] == [(3, 1.0), (7, 1.0), (11, 1.0)]
    assert sorted(step for points in conditions.values() for step, _ in points) == [3, 7, 11, 15, 19]  # one a check


def test_table_and_card(tmp_path):
    """The newest text of the tag holds every decision so far; each sentence is the one of the console."""
    control = eager()
    events = fitted(tmp_path, Scripted(STEADY), [control])
    told = texts(events, "lr_controller/decisions")
    assert len(told) == len(control.decisions) == 4
    for count, (step, table) in enumerate(told, start=1):
        head, why, *others = table.splitlines()
        assert len([line for line in [head, *others] if line.startswith("- ")]) == count
        assert step == 0  # the same for all: so TensorBoard shows the newest alone
        assert f"step {control.decisions[count - 1].step})" in head
        assert why == f"    - {markdown(control.decisions[count - 1].reason)}"
    oldest = others.index("- **epoch 0 (check 0, step 3): reduce**, lr-SGD 0.1 → 0.05")
    assert others[oldest + 1].startswith("    - exponential: ")
    ((step, card),) = texts(events, "lr_controller/setup")
    assert step == 0
    assert "- **monitors:** val\\_loss (min); majority of them must agree" in card
    assert "- **schedulers:** none; the applied rate is the optimizer's own × scale" in card
    assert "**on plateau:**" not in card  # a recipe has no responses
    assert "condition" not in card


def test_a_review_is_shown_where_its_decision_stands(tmp_path, monkeypatch):
    """Three checks after the decision, at a check that decides nothing: on the console, in the table and in the tab."""
    printed: list[str] = []
    monkeypatch.setattr("lightning_lr.callbacks._compat.rank_zero_info", printed.append)
    control = LearningRateController(policy=ExponentialPolicy(ratio=0.5, epochs=4))
    events = fitted(tmp_path, Scripted(STEADY), [control], max_epochs=8)
    brought = "helped: val_loss gained 0.01 a check before, 0.01 since (3 checks)"
    (_, before), (_, table), _ = texts(events, "lr_controller/decisions")
    assert table.splitlines() == [*before.splitlines(), f"    - What it brought: {markdown(brought)}"]
    assert f"lightning_lr: check 6 · the reduction of check 3 {brought}" in printed
    (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("lr_controller/tab/reviews/")]
    page = read_page(events.Tensors(tag)[-1].tensor_proto.string_val[0].decode())
    assert page["reviews"] == [{"check": 3, "at": 6, "brought": brought}]


def test_a_dry_run_has_brought_nothing(tmp_path, monkeypatch):
    printed: list[str] = []
    monkeypatch.setattr("lightning_lr.callbacks._compat.rank_zero_info", printed.append)
    control = LearningRateController(policy="conservative", dry_run=True, journal=tmp_path / "journal.jsonl")
    events = fitted(tmp_path, Scripted({"val_loss": [1.0, 0.8, *[0.7] * 14, 0.6, 0.5, 0.4]}), [control], max_epochs=19)
    assert control.decisions
    assert len(texts(events, "lr_controller/decisions")) == len(control.decisions)
    assert not [line for line in printed if "did not help" in line or "helped" in line]
    assert not [tag for tag in events.Tags()["tensors"] if "/tab/reviews/" in tag]
    effects = adjustment_effects(summarize(open_run(tmp_path / "journal.jsonl").lines(), settings_from()))
    assert {effect.sentence for effect in effects} == {"nothing: it was not carried out"}


def test_a_second_fit_with_the_same_logger(tmp_path):
    """Lightning closes the writer at the end of a fit; the first number of the next one opens it again."""
    logger = TensorBoardLogger(tmp_path)
    for _ in range(2):
        trainer([eager()], tmp_path, max_epochs=2, logger=logger).fit(Scripted(STEADY), data(4), data())
        assert logger.experiment.file_writer is None
    found = [EventAccumulator(str(file)).Reload().Tags()["tensors"] for file in tmp_path.rglob("events.*")]
    fits = {tag.split("/")[3] for tags in found for tag in tags if tag.startswith("lr_controller/tab/checks/")}
    assert len(fits) == 2


def test_names_that_break_lists(tmp_path):
    """Markup, line ends and letters from anywhere stay inside their line."""
    bad = "a|b <script>alert(1)</script>\n## ü→漢"

    class Named(Scripted):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([{"params": self.parameters(), "name": "x|<b>y</b>\nü"}], lr=0.1)

    events = fitted(tmp_path, Named({bad: [1.0] * 9}), [eager(bad)], max_epochs=3)
    for tag in ("setup", "decisions"):
        for _, text in texts(events, f"lr_controller/{tag}"):
            assert "<" not in text
            assert all(line.lstrip().startswith("- ") for line in text.splitlines())
    assert f"lr_controller/{bad}/best" in events.Tags()["scalars"]


def test_two_instances_have_tags_of_their_own(tmp_path):
    """The one with a name has it in the prefix."""
    pair = [
        LearningRateController(policy="conservative", verbose=False),
        LearningRateController(policy="conservative", name="second", verbose=False, dry_run=True),
    ]
    events = fitted(tmp_path, Scripted(), pair)
    tags = events.Tags()["scalars"]
    assert {"lr_controller/scale", "lr_controller/second/scale"} <= set(tags)
    assert all(len(scalars(events, tag)) == 4 for tag in tags if tag.endswith("/scale"))


def test_pages_keep_the_file_linear(tmp_path, monkeypatch):
    """A decision an epoch: the table has the newest of them, numbered pages the rest, and each page costs the same."""
    assert page_size.PAGE == 100
    monkeypatch.setattr(page_size, "PAGE", 20)
    size: dict[int, int] = {}
    log = TensorBoardLogger(tmp_path)

    class Measured(Scripted):
        def on_train_epoch_start(self) -> None:
            log.experiment.flush()
            size[self.current_epoch] = next(tmp_path.rglob("events.out.*")).stat().st_size

    control = eager(ratio=0.99)
    fit = trainer([control], tmp_path, max_epochs=85, logger=log, log_every_n_steps=1000, num_sanity_val_steps=0)
    fit.fit(Measured(), data(1), data(1))
    assert len(control.decisions) == 85  # more than a checkpoint has room for
    events = read(tmp_path)

    def checks(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"^- .*\(check (\d+),", text, re.MULTILINE)]

    assert checks(texts(events, "lr_controller/decisions")[-1][1]) == list(range(84, 64, -1))
    pages = sorted(tag for tag in events.Tags()["tensors"] if "/page_" in tag)
    assert pages == [f"lr_controller/decisions/page_00{n}/text_summary" for n in (1, 2, 3, 4)]
    written = [checks(texts(events, page.removesuffix("/text_summary"))[0][1]) for page in pages]
    assert written == [list(range(20 * n + 19, 20 * n - 1, -1)) for n in range(4)]
    assert size[84] - size[64] == pytest.approx(size[64] - size[44], rel=0.1)
