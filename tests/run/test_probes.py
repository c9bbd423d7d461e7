"""Probes in a running Trainer: what they measure reaches the decision, and nothing of them is left in the run."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from benchmarks.metrics.cut import compare
from lightning_lr import CriticalRatio, GradientDisparity, LearningRateController, NeuronCoherence, UpdateRatio
from lightning_lr.engine.journal import read_line
from lightning_lr.errors import ArgumentError
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import trainer
from tests.helpers.versions import ANY_CHECKPOINT
from tests.run.test_no_trace import WORSE, Real, learnable, traces


def probes(**options: Any) -> list[Any]:
    return [
        NeuronCoherence(**options),
        UpdateRatio(every_n_steps=3),
        GradientDisparity(every_n_steps=2),
        CriticalRatio(every_n_steps=3, loss=loss_of),
    ]


def loss_of(module: Real, batch: Any) -> torch.Tensor:
    """The validation step of these runs logs and returns nothing."""
    return torch.nn.functional.mse_loss(module.net(batch[0]), batch[1])


def quiet(**options: Any) -> LearningRateController:
    plain = {"patience": 99, "find_lr": False, "anneal": False, "verbose": False, "probes": probes()}
    return LearningRateController(**{**plain, **options})


def inputs_of(module: Real, batch: Any) -> Any:
    return module.net(batch[0])


OPTIONS = [{}, {"val_check_interval": 0.5}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("own_loader", [False, True], ids=["validation batch", "own loader"])
def test_a_run_with_probes_is_bit_for_bit_the_run_without(options, own_loader, tmp_path):
    loader = DataLoader(learnable().dataset, batch_size=32) if own_loader else None
    control = quiet(
        probes=probes(loader=loader, forward=inputs_of), journal=str(tmp_path / "journal"), policy="conservative"
    )
    watched, plain = traces([control], {}, options), traces([], {}, options)
    assert [a == b for a, b in zip(watched, plain, strict=True)] == [True] * len(plain)
    assert control.decisions == []
    names = set().union(*(reading.probes for reading in readings(tmp_path / "journal")))
    assert {"flip_rate", "dead_units", "output_change", "update_ratio", "gradient_disparity", "critical_ratio"} <= names


def test_a_dry_run_with_probes_decides_and_is_bit_for_bit_the_run_without(tmp_path):
    """The rate that it would cut stays, and so do the flips that it sees."""
    script = {"script": WORSE}
    control = quiet(dry_run=True, patience=1, journal=str(tmp_path / "journal"))
    watched, plain = traces([control], script, {}), traces([], script, {})
    assert watched == plain
    assert [decision.action for decision in control.decisions][:1] == ["restore"]
    assert all(reading.rates["lr-Adam"].scale == 1 for reading in readings(tmp_path / "journal"))
    assert "flip_rate" in readings(tmp_path / "journal")[-1].probes


def test_in_half_precision_the_probes_see_about_the_same(tmp_path):
    """The network runs in bfloat16, three digits; the probes' own sums do not."""

    def fit(precision: str) -> list[dict[str, float]]:
        torch.manual_seed(3)
        control = quiet(journal=str(tmp_path / precision))
        data = learnable(shuffle=False)
        trainer([control], None, max_epochs=3, precision=precision).fit(Smooth(), data, data)
        return [reading.probes for reading in readings(tmp_path / precision)]

    for half, whole in zip(fit("bf16-mixed"), fit("32-true"), strict=True):
        assert half.keys() == whole.keys()
        for name in ("update_ratio", "gradient_disparity", "relative_disparity"):
            assert half[name] == pytest.approx(whole[name], rel=0.1), name
        assert half.get("flip_rate", 0.0) == pytest.approx(whole.get("flip_rate", 0.0), abs=0.03)


def test_the_cut_that_incoherence_asks_for_calms_the_neurons():
    """Digits, plain SGD at a rate that is too high: up to the cut both runs are one; the one that is cut flips less."""
    found = compare(lr=0.2, seed=0, checks=32)
    at, cut, left = found["check"], found["cut"], found["left"]
    assert at is not None
    assert cut[: at + 1] == left[: at + 1]
    assert found["before"] > 0.02
    assert found["after"] < 0.5 * found["before"]
    assert found["after"] < 0.75 * found["alone"]


def readings(path: Path) -> list[Any]:
    return [read_line(line).reading for line in path.read_text().splitlines()[1:]]


@pytest.mark.ranks
def test_one_and_two_processes_measure_the_same(tmp_path):
    """The first validation batches of two ranks of 8 are those of one rank of 16; likewise the gradients."""

    def fit(rank: int, devices: int) -> None:
        torch.manual_seed(3)
        module = Smooth()
        options = {"strategy": "ddp", "use_distributed_sampler": False} if devices > 1 else {}
        own = Subset(learnable().dataset, range(rank, 128, devices))
        data = DataLoader(own, batch_size=16 // devices)
        control = quiet(journal=str(tmp_path / f"{devices}"))
        trainer([control], None, max_epochs=4, devices=devices, **options).fit(module, data, data)

    fit(0, 1)
    run_on_ranks(lambda rank: fit(rank, 2), init=False)
    one, two = (readings(tmp_path / str(devices)) for devices in (1, 2))
    assert len(one) == len(two) == 4
    for alone, together in zip(one, two, strict=True):
        assert alone.probes.keys() == together.probes.keys()
        for name, value in alone.probes.items():
            if name != "dead_units":  # a unit is dead for the samples of a rank
                assert together.probes[name] == pytest.approx(value, rel=1e-3), name
    assert one[2].probes["flip_rate"] > 0


class Smooth(Real):
    """Without dropout and batch norm, whose statistics are of one rank's batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, sync_dist=True)
        return loss


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling")
def test_a_shuffled_validation_loader_is_told_and_compares_nothing(tmp_path):
    control = quiet(journal=str(tmp_path / "journal"))
    with pytest.warns(UserWarning, match="another one at each check"):
        trainer([control], None, max_epochs=4).fit(Real(), learnable(), learnable(shuffle=True))
    assert all("flip_rate" not in reading.probes for reading in readings(tmp_path / "journal"))


def test_after_a_resume_it_compares_with_what_was_before(tmp_path):
    def fit(epochs: int, name: str, **options: Any) -> Any:
        torch.manual_seed(5)
        control = quiet(journal=str(tmp_path / name))
        run = trainer([control], None, max_epochs=epochs)
        run.fit(Smooth(), learnable(shuffle=False), learnable(shuffle=False), **ANY_CHECKPOINT, **options)
        return run

    fit(6, "whole")
    fit(3, "parts").save_checkpoint(tmp_path / "half.ckpt")
    fit(6, "parts", ckpt_path=tmp_path / "half.ckpt")
    whole, parts = ([r.probes for r in readings(tmp_path / name)] for name in ("whole", "parts"))
    assert whole == parts
    assert "flip_rate" in whole[3]


def test_the_loggers_show_what_was_measured(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    trainer([quiet()], None, max_epochs=3, logger=logger).fit(Real(), learnable(), learnable(shuffle=False))
    header = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0]
    for name in ("flip_rate", "flip_rate/net.2", "update_ratio/net.0", "gradient_disparity"):
        assert f"lr_controller/{name}" in header


WRONG = [
    ("a string", "coherence", "Expected `probes` to be a list of NeuronCoherence"),
    ("a class", [NeuronCoherence], "Expected `probes` to be a list of NeuronCoherence"),
    ("twice the same", [UpdateRatio(), UpdateRatio()], "one of each kind at most"),
]


@pytest.mark.parametrize(("given", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_no_probe_is_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        LearningRateController(probes=given)


def test_a_layer_that_is_not_there_is_an_error_that_names_those_that_are():
    control = quiet(probes=[NeuronCoherence(layers=["encoder.*"])])
    with pytest.raises(ValueError, match=r"matches none of: net, net\.0, net\.1"):
        trainer([control], None, max_epochs=1).fit(Real(), learnable(), learnable(shuffle=False))


def test_copies_hold_no_network():
    control = quiet()
    trainer([control], None, max_epochs=1).fit(Real(), learnable(), learnable(shuffle=False))
    for one in (copy.deepcopy(control), pickle.loads(pickle.dumps(control))):
        assert len(pickle.dumps(one)) < 25_000  # about 5 kB for each probe
        trainer([one], None, max_epochs=1).fit(Real(), learnable(), learnable(shuffle=False))


def test_an_exception_in_the_first_batch_leaves_no_hook():
    class Fails(Real):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.net(batch[0])
            raise RuntimeError("the user's own")

    module = Fails()
    with pytest.raises(RuntimeError, match="the user's own"):
        trainer([quiet()], None, max_epochs=1, num_sanity_val_steps=0).fit(module, learnable(), learnable(False))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
