"""Memory: a snapshot holds what training changes, never more than the host has, and nothing is held twice.

Three classes: weights that do not change are copied and written all the same; the host has less memory than it seems
(a container, a limit of the shell, other ranks beside); a checkpoint builds a second copy in memory.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lightning_lr import Snapshots
from lightning_lr.errors import ArgumentError
from lightning_lr.run.trainer import state_keeper
from lightning_lr.snapshot import files
from lightning_lr.snapshot.constant import fingerprints
from lightning_lr.snapshot.host_memory import free_memory
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import data, trainer
from tests.helpers.versions import ANY_CHECKPOINT
from tests.run.test_restores_that_cannot_be_made import Net, controller

MIB = 2**20
WIDE = 1024
"""A square layer of this width has 4 MiB."""

# --- what does not change ---------------------------------------------------------------------------------------------


class FrozenBase(Net):
    """A large base that is not trained, as with adapters."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDE, WIDE).requires_grad_(False)


class LargeTable(Net):
    """Data, or a mask, that lie on the module as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(WIDE, WIDE), persistent=False)


class FrozenLayers(Net):
    """All but the last of equal layers are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(WIDE, WIDE, bias=False) for _ in range(4))
        self.blocks.requires_grad_(False)
        self.small = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))


class Teacher(Net):
    """An average of trained weights, which changes without a gradient and behind torch's back."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(4, 1).requires_grad_(False)

    def on_train_batch_end(self, *_: Any) -> None:
        self.teacher.weight.data.mul_(0.5).add_(0.5 * self.layer.weight.data)


class Queue(Net):
    """A large buffer that does change."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", torch.zeros(WIDE, WIDE))

    def on_train_batch_end(self, *_: Any) -> None:
        self.queue[self.trainer.global_step].fill_(1.0)


def snapshot_of(module: Net, epochs: int, **options: Any) -> Any:
    """The snapshot at the end of a run whose every check is a new best."""
    ours = controller(**options)
    held: list[Any] = []
    end = ours.on_train_end

    def on_train_end(fit: Any, pl_module: Any) -> None:
        held.append(ours._fit_run.snapshot)  # type: ignore[union-attr]
        end(fit, pl_module)

    ours.on_train_end = on_train_end  # type: ignore[method-assign]
    trainer([ours], max_epochs=epochs, num_sanity_val_steps=0).fit(module, data(), data(1))
    return held[0]


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("cls", [FrozenBase, FrozenLayers, LargeTable])
def test_what_does_not_change_is_not_copied(cls: type[Net], epochs: int) -> None:
    assert snapshot_of(cls(), epochs).nbytes < 10_000


@pytest.mark.parametrize(("cls", "name"), [(Teacher, "teacher.weight"), (Queue, "queue")])
def test_what_changes_without_a_gradient_is_copied(cls: type[Net], name: str) -> None:
    module = cls()
    snapshot = snapshot_of(module, 3)
    assert torch.equal(snapshot.tensors[snapshot.module[name]], module.state_dict()[name])


def test_a_checkpoint_does_not_grow_by_frozen_weights(tmp_path: Path) -> None:
    sizes = {}
    for name, callbacks in {"alone": [], "with": [controller()]}.items():
        fit = trainer(callbacks, max_epochs=3, num_sanity_val_steps=0)
        fit.fit(FrozenBase(), data(), data(1))
        fit.save_checkpoint(tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["alone"] > 4 * MIB
    assert sizes["with"] < sizes["alone"] + 50_000


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_a_fingerprint_sees_any_change(dtype: torch.dtype) -> None:
    tensor = torch.ones(5, 3).to(dtype).t()
    before = fingerprints({"one": tensor})
    assert fingerprints({"one": tensor.clone()}) == before
    tensor[2, 4] = 0
    assert fingerprints({"one": tensor}) != before


# --- what the host has ------------------------------------------------------------------------------------------------


def host(root: Path, files: dict[str, Any]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(text))
    return root


PLENTY = {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable: 1000000 kB\n", "proc/self/status": "VmSize: 10 kB\n"}
V2 = {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/memory.current": 700}
V1 = {"proc/self/cgroup": "4:cpu:/\n3:memory:/docker/abc\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": 50}

HOSTS: dict[str, tuple[dict[str, Any], float]] = {
    "nothing tells": ({}, float("inf")),
    "the host": (PLENTY, 1024_000_000),
    "a cgroup": ({**PLENTY, **V2, "sys/fs/cgroup/job/memory.max": 1000}, 300),
    "a cgroup that has files in memory": (
        {**PLENTY, **V2, "sys/fs/cgroup/job/memory.max": 1000, "sys/fs/cgroup/job/memory.stat": "inactive_file 200\n"},
        500,
    ),
    "a cgroup above its own": (
        {**PLENTY, **V2, "sys/fs/cgroup/memory.max": 900, "sys/fs/cgroup/memory.current": 800},
        100,
    ),
    "a cgroup without a limit": ({**PLENTY, **V2, "sys/fs/cgroup/job/memory.max": "max"}, 1024_000_000),
    "a cgroup of the first version": ({**PLENTY, **V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": 80}, 30),
    "a cgroup that is full": ({**PLENTY, **V2, "sys/fs/cgroup/job/memory.max": 600}, 0),
}


@pytest.mark.parametrize("name", HOSTS)
def test_the_least_of_what_is_left(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    described, free = HOSTS[name]
    assert free_memory(host(tmp_path, described)) == free


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_RSS"])
def test_a_limit_of_the_shell(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = {getattr(resource, kind): 100 * 1024}
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda asked: (most.get(asked, unlimited), unlimited))
    status = {"proc/self/status": "VmSize: 10 kB\nVmData: 10 kB\nVmRSS: 10 kB\n"}
    assert free_memory(host(tmp_path, status)) == 90 * 1024


class Wide(Net):
    """8 MiB of weights; Adam holds as much again, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, WIDE * 512, bias=False)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


LIMITS: dict[str, tuple[Snapshots, float, bool]] = {
    "enough": (Snapshots(), 80 * MIB, True),
    "enough, but not for the state that Adam will have": (Snapshots(), 20 * MIB, False),
    "a share": (Snapshots(limit=0.2), 80 * MIB, False),
    "bytes": (Snapshots(limit=20 * MIB), 80 * MIB, False),
    "bytes enough": (Snapshots(limit=30 * MIB), 0, True),
}


@pytest.mark.parametrize("name", LIMITS)
def test_beyond_the_limit_nothing_is_restored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, free, restores = LIMITS[name]
    monkeypatch.setattr(state_keeper, "free_memory", lambda: free)
    ours = controller(snapshots=given)
    fit = trainer([ours], max_epochs=5, num_sanity_val_steps=0)
    if restores:
        fit.fit(Wide(), data(), data(1))
    else:
        with pytest.warns(UserWarning, match=r"takes 0.0234 GiB of host memory, beyond .*Snapshots\(folder=\.\.\.\)"):
            fit.fit(Wide(), data(), data(1))
    assert [(d.factor, d.snapshot_check is not None) for d in ours.decisions] == [(0.5, restores)]


@pytest.mark.parametrize("name", ["a share", "bytes"])
def test_a_folder_needs_no_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, free, _ = LIMITS[name]
    monkeypatch.setattr(state_keeper, "free_memory", lambda: free)
    ours = controller(snapshots=Snapshots(tmp_path, limit=given.limit))
    trainer([ours], max_epochs=5, num_sanity_val_steps=0).fit(Wide(), data(), data(1))
    assert [d.snapshot_check for d in ours.decisions] == [3]


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_processes_of_a_host_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for one of two, and only one of them sees that there is less: none restores."""

    def on_rank(rank: int, free: list[float]) -> list[Any]:
        monkeypatch.setattr(state_keeper, "free_memory", lambda: free[rank])
        ours = controller()
        options: dict[str, Any] = {"strategy": DDPStrategy(process_group_backend="gloo"), "devices": 2}
        trainer([ours], max_epochs=5, num_sanity_val_steps=0, **options).fit(Wide(), data(), data(1))
        return [(d.factor, d.snapshot_check is not None) for d in ours.decisions]

    cases: dict[bool, list[float]] = {False: [80.0 * MIB, 80.0 * MIB], True: [120.0 * MIB, 120.0 * MIB]}
    for restores, free in cases.items():
        assert run_on_ranks(lambda rank, free=free: on_rank(rank, free)) == [[(0.5, restores)]] * 2
    assert run_on_ranks(lambda rank: on_rank(rank, [200.0 * MIB, 1.0 * MIB])) == [[(0.5, False)]] * 2


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "half", True])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ArgumentError, match="`limit`"):
        Snapshots(limit=limit)


# --- a checkpoint -----------------------------------------------------------------------------------------------------


def saving(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    kept = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True, save_last="link")
    options = {"max_epochs": 5, "num_sanity_val_steps": 0, "enable_checkpointing": True}
    return [controller(), kept], options


def resume(ours: Any, module: Net, path: Path) -> None:
    fit = trainer([ours], max_epochs=5, num_sanity_val_steps=0)
    fit.fit(module, data(), data(1), ckpt_path=path, **ANY_CHECKPOINT)


class Written:
    """The files beside checkpoints that were written tensor by tensor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._save = torch.save
        monkeypatch.setattr(files.torch, "save", self.save)

    def save(self, payload: Any, path: Any, *rest: Any, **options: Any) -> None:
        if files.SUFFIX in str(path):
            self.names.append(str(path))
        self._save(payload, path, *rest, **options)

    @staticmethod
    def refused(*_: Any) -> None:
        raise OSError("Invalid cross-device link")


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
@pytest.mark.parametrize("name", ["epoch=3.ckpt", "last.ckpt"])
@pytest.mark.parametrize("kept", ["in memory", "in a folder", "on another disk"])
def test_a_large_snapshot_lies_beside_the_checkpoint(
    kept: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning builds a checkpoint in memory: in it the snapshot would be held a second time.

    One that lies in a file is not read for it.
    """
    monkeypatch.setattr(files, "LARGE", 1000)
    (_, kept_by), options = saving(tmp_path)
    written = Written(monkeypatch)
    if kept == "on another disk":
        monkeypatch.setattr(files.os, "link", written.refused)
    folder = None if kept == "in memory" else tmp_path / "folder"
    callbacks = [controller(snapshots=Snapshots(folder)), kept_by]
    trainer(callbacks, **{**options, "max_epochs": 4}).fit(Wide(), data(), data(1))
    size = (tmp_path / "epoch=3.ckpt").stat().st_size
    assert size < 3 * 8 * MIB + 100_000  # weights and Adam's state, once
    (beside,) = (tmp_path / "epoch=3.ckpt.lr_snapshot").iterdir()
    assert beside.stat().st_size > 3 * 8 * MIB
    assert len(written.names) == (4 if folder is None else 0)
    ours = controller()
    resume(ours, Wide(), tmp_path / name)
    assert [d.snapshot_check for d in ours.decisions] == [3]


def test_a_small_one_lies_in_it_and_files_go_with_their_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callbacks, options = saving(tmp_path / "small")
    trainer(callbacks, **options).fit(Net(), data(), data(1))
    assert not list((tmp_path / "small").glob("*.lr_snapshot"))
    monkeypatch.setattr(files, "LARGE", 10)
    kept = ModelCheckpoint(tmp_path / "top", "{epoch}", save_top_k=1, monitor="val_loss")
    trainer([controller(), kept], **options).fit(Net(), data(), data(1))
    names = sorted(path.name for path in (tmp_path / "top").iterdir())
    assert names == ["epoch=3.ckpt", "epoch=3.ckpt.lr_snapshot"]
    same = ModelCheckpoint(tmp_path / "same", "same", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer([controller(), same], **options).fit(Net(), data(), data(1))
    assert len(list((tmp_path / "same" / "same.ckpt.lr_snapshot").iterdir())) == 1


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
def test_a_checkpoint_without_its_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", 10)
    callbacks, options = saving(tmp_path)
    trainer(callbacks, **{**options, "max_epochs": 4}).fit(Net(), data(), data(1))
    (tmp_path / "epoch=3.ckpt").rename(tmp_path / "moved.ckpt")
    ours = controller()
    with pytest.warns(UserWarning, match="carries no snapshot"):
        resume(ours, Net(), tmp_path / "moved.ckpt")
    assert [(d.factor, d.snapshot_check) for d in ours.decisions] == [(0.5, None)]
