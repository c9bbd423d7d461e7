"""Two gloo processes with DDP: whatever the ranks log, they hold the same rates and weights after every step."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from lightning_lr import LearningRateController
from lightning_lr.errors import MissingMetricError
from lightning_lr.run.readings.loss_window import TOTALS
from lightning_lr.run.readings.reduction_format import pack_readings, unpack_readings
from tests.helpers.ranks import RankError, run_on_ranks
from tests.helpers.scripted import Scripted, data, eager, trainer

# Lightning advises `sync_dist=True`; that many users never set it is the point here.
pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")]

NAN = math.nan
FALLS = [1.0 - 0.05 * i for i in range(9)]
TIMEOUT = 20.0


class OnRanks(Scripted):
    """Each rank logs what its own script says; notes its rates and weights before every step.

    Args:
        scripts: rank → value of ``val_loss`` at each validation; ``None`` there: this rank does not log it.
        options: further arguments of ``self.log``.
        training: whether ``training_step`` logs a loss that only a collective can read.
        raises: rank → epoch at whose validation it raises.
    """

    def __init__(
        self, scripts: list[list[float] | None], options: Any = None, training: bool = False, raises: Any = None
    ) -> None:
        super().__init__({})
        self.scripts, self.options, self.training_logged = scripts, options or {}, training
        self.raises = raises or {}
        self.noted: list[tuple[float, ...]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.training_logged:
            self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.noted.append((rate, *self.layer.weight.flatten().tolist(), *self.layer.bias.tolist()))

    def on_validation_epoch_end(self) -> None:
        rank, epoch = self.global_rank, self.current_epoch
        if self.raises.get(rank) == epoch and not self.trainer.sanity_checking:
            raise ValueError("the user's own")
        script = self.scripts[rank]
        if script is not None:
            value = 0.5 if self.trainer.sanity_checking else script[epoch]
            self.log("val_loss", torch.tensor(value), **self.options)


def strategy() -> DDPStrategy:
    return DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=TIMEOUT))


def fit_on_ranks(control: LearningRateController, model: Scripted, **options: Any) -> None:
    options = {"max_epochs": 5, "strategy": strategy(), "devices": 2, "use_distributed_sampler": True, **options}
    trainer(control, None, **options).fit(model, data(4), data(4))


def told(control: LearningRateController) -> list[tuple[Any, ...]]:
    return [(d.check, str(d.action), str(d.condition), d.factor, dict(d.new_lr)) for d in control.decisions]


# what the two ranks log → the mean that both decide on, check by check
READINGS = [
    pytest.param([FALLS, FALLS], {}, FALLS[:5], id="the-same"),
    pytest.param([FALLS, [2.0 + value for value in FALLS]], {}, [1.0 + value for value in FALLS[:5]], id="unsynced"),
    pytest.param([FALLS, [2 + x for x in FALLS]], {"sync_dist": True}, [1.0 + x for x in FALLS[:5]], id="synced"),
    pytest.param([FALLS, [9.0] * 9], {"rank_zero_only": True}, None, id="rank-zero-only"),
    pytest.param([FALLS, None], {}, FALLS[:5], id="on-rank-0-alone"),
    pytest.param([None, FALLS], {}, FALLS[:5], id="on-rank-1-alone"),
    pytest.param([FALLS, [0.9, NAN, NAN, NAN, NAN]], {}, [0.95, NAN, NAN, NAN, NAN], id="nan-on-rank-1"),
    pytest.param([[0.9, NAN, NAN, NAN, NAN], FALLS], {}, [0.95, NAN, NAN, NAN, NAN], id="nan-on-rank-0"),
    pytest.param([[math.inf] * 9, [-math.inf] * 9], {}, [NAN] * 5, id="both-infinities"),
]


@pytest.mark.parametrize(("scripts", "log", "expected"), READINGS)
def test_ranks_agree(scripts, log, expected):
    """The same readings, decisions, rates and weights, after every single step."""

    def run(rank: int) -> tuple[Any, ...]:
        answers = []
        for control in (eager(), LearningRateController(verbose=False, patience=1)):
            model = OnRanks(scripts, log, training=True)
            readings: list[float] = []
            watch(control, readings)
            fit_on_ranks(control, model)
            answers.append((told(control), control.scale, model.noted, [repr(value) for value in readings]))
        return answers

    ranks = run_on_ranks(run)
    assert ranks[0] == ranks[1]
    (halved, scale, noted, readings), (decided, *_) = ranks[0]
    assert len(readings) == 5
    assert len(halved) >= 1
    assert scale["lr-SGD"] == pytest.approx(math.prod(factor for _, _, _, factor, _ in halved))
    assert len({rates[0] for rates in noted}) > 1
    if expected is not None:
        assert [float(value) for value in readings] == pytest.approx(expected, nan_ok=True)
    if any(math.isnan(value) for value in expected or []):
        # The training loss is finite: such a monitor is undefined, and the weights are sound.
        assert "non_finite" not in {condition for _, _, condition, _, _ in decided}


def watch(control: LearningRateController, readings: list[float]) -> None:
    """Note what the core was asked about, on this rank."""
    begin = control.on_train_start

    def started(fit: Any, module: Any) -> None:
        begin(fit, module)
        handle = control._fit_run.engine.handle

        def noted(event: Any, reading: Any, *trial: Any) -> Any:
            readings.append(next(iter(reading.metrics.values())))
            return handle(event, reading, *trial)

        control._fit_run.engine.handle = noted

    control.on_train_start = started


# who raises, where → what the other says, well before the process group's own timeout is up twice
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_raises_hangs_nobody(rank):
    """The other learns of it from the broken connection, or at the latest at the timeout."""

    def run(own: int) -> None:
        fit_on_ranks(eager(), OnRanks([FALLS, FALLS], raises={rank: 2}))

    began = time.monotonic()
    with pytest.raises(RankError, match=rf"rank {rank} raised:[\s\S]*the user's own|rank {1 - rank} raised"):
        run_on_ranks(run, timeout=3 * TIMEOUT)
    assert time.monotonic() - began < 2 * TIMEOUT


# monitor → what is said beside the rest: a name, and patterns that match nothing on any rank, nor on one process
@pytest.mark.parametrize(
    ("monitor", "hint"),
    [("val_los", "Did you mean `val_loss`?"), ("vall_loss*", "Did you mean `val_loss`?"), ("metric?", "Pass one of")],
)
def test_our_own_error_is_on_all_ranks_alike(monitor, hint):
    """A monitor that nobody logs: the same sentence on one process and on each of two, and no rank waits."""

    def run(rank: int) -> str:
        with pytest.raises(MissingMetricError) as error:
            fit_on_ranks(eager(monitor), OnRanks([FALLS, FALLS]))
        return str(error.value)

    one, other = run_on_ranks(run, timeout=TIMEOUT)
    with pytest.raises(MissingMetricError) as alone:
        trainer([eager(monitor)], max_epochs=3).fit(OnRanks([FALLS]), data(), data(1))
    assert one == other == str(alone.value)
    assert one.startswith(f"Expected `{monitor}` among the logged metrics but it was not logged. Logged: ")
    assert hint in one


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, 0.0])
def test_values_that_overflow_when_added_up_stay_finite(value):
    own = pack_readings(["val_loss"], {"val_loss": value}, [0.0] * TOTALS)
    shared = unpack_readings(["val_loss"], None, [4 * number for number in own], world_size=4)
    assert shared.metrics["val_loss"] == pytest.approx(max(-1e300, min(value, 1e300)))


def test_a_core_that_fails_on_rank_zero_is_an_error_on_all():
    """The others wait for its broadcast: they are told, and say where to look."""

    def run(rank: int) -> str:
        control = eager()
        begin = control.on_train_start

        def started(fit: Any, module: Any) -> None:
            begin(fit, module)
            if rank == 0:
                control._fit_run.engine.handle = lambda *_: 1 / 0

        control.on_train_start = started
        with pytest.raises((ZeroDivisionError, RuntimeError)) as error:
            fit_on_ranks(control, OnRanks([FALLS, FALLS]))
        return str(error.value)

    assert run_on_ranks(run, timeout=TIMEOUT) == [
        "division by zero",
        "Rank 0 could not decide at this check; its own error says why.",
    ]


def test_a_logged_training_metric_is_read_by_all(tmp_path):
    """Reading an epoch's ``sync_dist`` value is itself a collective: all ranks read the same, in one order."""

    def run(rank: int) -> Any:
        control = eager(train_monitor="train_loss")
        model = OnRanks([FALLS, FALLS], {"sync_dist": True}, training=True)
        fit_on_ranks(control, model, max_epochs=3)
        return told(control), model.noted

    one, other = run_on_ranks(run)
    assert one == other
    assert len(one[0]) == 3


def test_only_rank_zero_writes(tmp_path):
    """One journal and one event file, with the lines of one process."""

    def run(rank: int) -> int:
        from lightning.pytorch.loggers import TensorBoardLogger

        fit_on_ranks(eager(), OnRanks([FALLS, FALLS]), logger=TensorBoardLogger(tmp_path), max_epochs=3)
        return rank_zero_only.rank

    assert run_on_ranks(run) == [0, 1]
    (journal,) = tmp_path.rglob("*.jsonl")
    assert len(journal.read_text().splitlines()) == 4
    assert len(list(tmp_path.rglob("events.out.*"))) == 1
