"""Snapshots in files: as exact as those in memory, one a rank, gone after the fit, and nothing lost on a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_lr import LearningRateController, Snapshots
from lightning_lr.errors import ArgumentError
from lightning_lr.snapshot import files as snapshot_files
from lightning_lr.snapshot.files import SnapshotFile
from lightning_lr.snapshot.snapshot import Snapshot
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer
from tests.snapshot.test_snapshot import everything, made
from tests.snapshot.test_snapshot import train as steps
from tests.snapshot.test_undone_raise import CASES, assert_undone, train


def files(folder: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())


class Looks(Callback):
    """The ranks' files in the folder at the end of each epoch; another rank may just be writing its next one beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[list[str]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(sorted(set(files(self.folder))))


@pytest.mark.parametrize("case", ["adamw", "amp", "ema"])
def test_a_rejected_raise_leaves_nothing(case: str, tmp_path: Path) -> None:
    cls, options, parts = CASES[case]
    folder = tmp_path / "new" / "folder"
    looks, given = Looks(folder), options()
    given["callbacks"] = [*given.get("callbacks", ()), looks]
    assert_undone(train(cls, given, tmp_path, snapshots=Snapshots(folder)).states, parts)
    assert looks.seen == [["lr_snapshot-rank0"]] * len(looks.seen)
    assert files(folder) == []


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")
def test_each_rank_has_its_own(tmp_path: Path) -> None:
    from lightning.pytorch.strategies import DDPStrategy

    cls, _, parts = CASES["adamw"]
    folder = tmp_path / "snapshots"

    def run(rank: int) -> tuple[dict[int, dict[str, Any]], list[str]]:
        looks = Looks(folder)
        strategy = DDPStrategy(process_group_backend="gloo", broadcast_buffers=False)
        given = {"strategy": strategy, "devices": 2, "callbacks": [looks]}
        return train(cls, given, tmp_path, snapshots=Snapshots(folder)).states, looks.seen[3]

    ranks = run_on_ranks(run, 2, timeout=100)
    for states, seen in ranks:
        assert_undone(states, parts)
        assert seen == ["lr_snapshot-rank0", "lr_snapshot-rank1"]
    assert files(folder) == []


@pytest.mark.parametrize("cls", [torch.optim.Adam])
def test_every_optimizer(cls: Any, tmp_path: Path) -> None:
    net, optimizer = made(cls, {})
    file = SnapshotFile(tmp_path, 0, print)
    for seed in (1, 2):  # the second takes the place of the first
        steps(net, optimizer, 3, seed)
        then, snapshot = everything(net, optimizer), file.keep(Snapshot.now(net, [optimizer]))
        steps(net, optimizer, 2, seed=9)
        assert snapshot.restore(net, [optimizer]) == ()
        assert everything(net, optimizer) == then
    file.remove()
    steps(net, optimizer, 2, seed=9)
    snapshot.restore(net, [optimizer])  # as a checkpoint that is written after the fit reads it
    assert everything(net, optimizer) == then


def test_on_a_full_disk_it_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, said = nn.Linear(2, 2), []
    file = SnapshotFile(tmp_path, 0, said.append)

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(snapshot_files.torch, "save", full)
    then, snapshot = everything(net), file.keep(Snapshot.now(net, []))
    nn.init.ones_(net.weight)
    snapshot.restore(net, [])
    assert everything(net) == then
    (sentence,) = said
    assert "No space left on device): this one is kept in memory" in sentence


def test_the_file_goes_also_after_an_error(tmp_path: Path) -> None:
    class Broken(Scripted):
        def on_validation_epoch_end(self) -> None:
            assert files(tmp_path) == ["lr_snapshot-rank0"]
            raise ZeroDivisionError

    controller = LearningRateController(snapshots=Snapshots(tmp_path), find_lr=False, verbose=False)
    with pytest.raises(ZeroDivisionError):
        trainer([controller], max_epochs=3, num_sanity_val_steps=0).fit(Broken(), data(), data(1))
    assert files(tmp_path) == []


def test_a_policy_that_restores_nothing_has_no_file(tmp_path: Path) -> None:
    controller = LearningRateController(policy="conservative", snapshots=Snapshots(tmp_path / "none"), verbose=False)
    trainer([controller], max_epochs=1).fit(Scripted(), data(), data(1))
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    controller = LearningRateController(snapshots=Snapshots(taken), verbose=False)
    with pytest.raises(
        ArgumentError, match="(?s)`folder` of Snapshots to be a folder .* but got .*taken.*kept in memory"
    ):
        trainer([controller], max_epochs=1).fit(Scripted(), data(), data(1))
    assert taken.read_text() == "mine"
