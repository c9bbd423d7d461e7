"""Files: a journal is written only where this run writes, remote folders work, and no fault of a logger ends a run.

The classes, each with members of its own below: a checkpoint names a file (it may come from anybody); a run that is
finished is continued as another; a folder is remote; a logger, or what lies in its folder, is broken.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lightning_lr import LayerwiseLearningRate, LearningRateController
from lightning_lr.callbacks import controller
from lightning_lr.loggers import journal_storage
from lightning_lr.loggers.journal_file import JournalFile, folders_of_run, journal_path
from lightning_lr.tensorboard_plugin.pages import PageError, read_page
from tests.helpers.replays import assert_replays
from tests.helpers.scripted import Scripted, data, eager, trainer
from tests.helpers.versions import ANY_CHECKPOINT

pytestmark = [
    pytest.mark.damages_journal,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
]

FALLS = [1.0 - 0.05 * i for i in range(19)]


def fit(folder: Path | str, *callbacks: Any, epochs: int = 4, checkpoint: Any = None, **options: Any) -> Any:
    made = trainer([eager(), *callbacks], folder, max_epochs=epochs, **options)
    loads = {"ckpt_path": checkpoint, **ANY_CHECKPOINT} if checkpoint else {}
    made.fit(Scripted({"val_loss": FALLS}), data(), data(), **loads)
    return made


def checks(path: Path) -> list[int]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record["reading"]["check"] for record in records if record["kind"] == "check"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed for the user."""
    sentences: list[str] = []
    monkeypatch.setattr(controller, "say", lambda _, sentence: sentences.append(sentence))
    return sentences


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run of four epochs, killed after it wrote a checkpoint of its third; its journal is in ``run``."""
    folder = tmp_path / "run"

    class Killed(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")
            if trainer.current_epoch == 3:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(folder, Killed(), epochs=9)
    return tmp_path / "saved.ckpt"


def with_journal(checkpoint: Path, **state: Any) -> Path:
    """The checkpoint with another journal in it, as anybody could write it."""
    loaded = torch.load(checkpoint, weights_only=True)
    (key,) = [key for key in loaded["callbacks"] if "LearningRateController" in key]
    loaded["callbacks"][key]["journal"].update(state)
    torch.save(loaded, checkpoint.with_name("other.ckpt"))
    return checkpoint.with_name("other.ckpt")


# --- a checkpoint names a file ----------------------------------------------------------------------------------------


def anywhere(folder: Path) -> Path:
    return folder / "precious.txt"


def beside_the_journal(folder: Path) -> Path:
    return folder / "run" / "precious.txt"


def another_journal(folder: Path) -> Path:
    return folder / "run" / "lr_journal_other.jsonl"


def a_journal_elsewhere(folder: Path) -> Path:
    return folder / "elsewhere" / "lr_journal.jsonl"


def by_a_way_around(folder: Path) -> Path:
    return folder / "run" / ".." / "elsewhere" / "lr_journal.jsonl"


def a_device(folder: Path) -> Path:
    """Reading it would never end."""
    (folder / "run" / "lr_journal_zero.jsonl").symlink_to("/dev/zero")
    return folder / "run" / "lr_journal_zero.jsonl"


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (anywhere, "it has not the name of a journal"),
        (beside_the_journal, "it has not the name of a journal"),
        (another_journal, "it is not that of this run"),
        (a_journal_elsewhere, "it is not that of this run"),
        (by_a_way_around, "it is not that of this run"),
        (a_device, "it is no regular file"),
    ],
)
@pytest.mark.parametrize("lines", [0, 2])
def test_a_checkpoint_can_name_no_file_of_others(place: Callable[[Path], Path], why: str, lines: int, saved, tmp_path):
    victim = place(tmp_path)
    victim.parent.mkdir(parents=True, exist_ok=True)
    text = '{"schema": 1, "kind": "header", "run_id": "another"}\nline 2\nline 3\n'
    if victim.is_symlink():
        text = None
    else:
        victim.write_text(text)
    before = sorted(tmp_path.rglob("*"))
    checkpoint = with_journal(saved, path=str(victim), lines=lines)
    with pytest.warns(UserWarning, match="cannot be continued") as warned:
        fit(tmp_path / "run", epochs=5, checkpoint=checkpoint)
    assert [why in str(one.message) for one in warned if "journal" in str(one.message)] == [True]
    assert text is None or victim.read_text() == text
    new = [path for path in tmp_path.rglob("*") if path not in before and path.suffix == ".jsonl"]
    assert [path.name for path in new] == ["lr_journal-2.jsonl"]
    assert checks(new[0]) == [3, 4]


def test_a_link_is_followed_before_it_is_believed(saved, tmp_path, tmp_path_factory, said):
    victim = tmp_path_factory.mktemp("others") / "elsewhere" / "deep" / "lr_journal.jsonl"
    victim.parent.mkdir(parents=True)
    victim.write_text((tmp_path / "run" / "lr_journal.jsonl").read_text())
    (tmp_path / "run" / "lr_journal_link.jsonl").symlink_to(victim)
    text = victim.read_text()
    checkpoint = with_journal(saved, path=str(tmp_path / "run" / "lr_journal_link.jsonl"), lines=1)
    (tmp_path / "below" / "it").mkdir(parents=True)
    checkpoint = checkpoint.rename(tmp_path / "below" / "it" / "saved.ckpt")
    made = trainer([eager(verbose=True)], tmp_path / "run", max_epochs=5)
    made.fit(Scripted({"val_loss": FALLS}), data(), data(), ckpt_path=checkpoint, **ANY_CHECKPOINT)
    assert "it lies outside of the folders of this run" in said[0]
    assert victim.read_text() == text
    assert checks(tmp_path / "run" / "lr_journal-2.jsonl") == [0, 3, 4]


@pytest.mark.parametrize("name", ["lr_journal.jsonl", "lr_journal-7.jsonl"])
def test_a_folder_in_its_place_is_no_traceback(name: str, saved, tmp_path):
    path = tmp_path / "run" / name
    path.unlink(missing_ok=True)
    path.mkdir()
    with pytest.warns(UserWarning, match="Is a directory"):
        fit(tmp_path / "run", epochs=5, checkpoint=with_journal(saved, path=str(path)))
    assert checks(tmp_path / "run" / "lr_journal-2.jsonl")


def test_the_record_of_the_layers_is_bound_to_its_run_too(tmp_path):
    class Two(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.other = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx) + self.other(batch[0]).pow(2).mean()

    def run(folder: Path, epochs: int, **loads: Any) -> Any:
        made = trainer([LayerwiseLearningRate(every_n_steps=2)], folder, max_epochs=epochs)
        made.fit(Two(), data(4), data(), **loads)
        return made

    run(tmp_path / "a", 20).save_checkpoint(tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    (key,) = [key for key in loaded["callbacks"] if "Layerwise" in key]
    victim = tmp_path / "precious.txt"
    victim.write_text("line 1\nline 2\n")
    loaded["callbacks"][key]["record"]["path"] = str(victim)
    torch.save(loaded, tmp_path / "b.ckpt")
    with pytest.warns(UserWarning, match="cannot be continued"):
        run(tmp_path / "b", 40, ckpt_path=tmp_path / "b.ckpt", **ANY_CHECKPOINT)
    assert victim.read_text() == "line 1\nline 2\n"
    assert (tmp_path / "b" / "layerwise_lr.jsonl").read_text()


# --- finished, continued, forked --------------------------------------------------------------------------------------


def finished(folder: Path, epochs: int = 6) -> Path:
    saves = ModelCheckpoint(folder / "saved", "{epoch}", save_top_k=-1)
    fit(folder, saves, epochs=epochs, logger=CSVLogger(folder, "A"), enable_checkpointing=True)
    return folder / "A" / "version_0" / "lr_journal.jsonl"


@pytest.mark.parametrize("same_folder", [False, True])
def test_a_fork_leaves_the_finished_journal_alone(same_folder: bool, tmp_path, said):
    journal = finished(tmp_path / "a")
    text = journal.read_text()
    folder = tmp_path / ("a" if same_folder else "b")
    control = eager(verbose=True)
    made = trainer([control], folder, max_epochs=5, logger=CSVLogger(folder, "B"))
    loads = {"ckpt_path": tmp_path / "a/saved/epoch=2.ckpt", **ANY_CHECKPOINT}
    made.fit(Scripted({"val_loss": FALLS}), data(), data(), **loads)
    assert len([sentence for sentence in said if "is not continued" in sentence]) == 1
    assert journal.read_text() == text
    fork = folder / "B" / "version_0" / "lr_journal.jsonl"
    assert checks(fork) == [0, 1, 2, 3, 4]
    assert_replays(fork)
    ids = [json.loads(path.read_text().splitlines()[0])["run_id"] for path in (journal, fork)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("stops", [True, False], ids=["EarlyStopping", "a callback of the user's"])
def test_who_has_stopped_a_run_decides_whether_it_is_finished(stops: bool, tmp_path):
    """A callback that stops it for a while (a quota, a signal) leaves a run that goes on in its own journal."""

    class Stops(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")
            if trainer.current_epoch == 3 and not stops:
                trainer.should_stop = True

    early = [EarlyStopping("val_loss", patience=3, min_delta=10.0)] if stops else []
    fit(tmp_path, Stops(), *early, epochs=9)
    length = len(checks(tmp_path / "lr_journal.jsonl"))
    fit(tmp_path, Stops(), *early, epochs=9 if stops else 6, checkpoint=tmp_path / "saved.ckpt")
    found = {path.name: checks(path) for path in tmp_path.glob("*.jsonl")}
    if stops:
        assert found["lr_journal.jsonl"] == [*range(length)]
        assert found["lr_journal-2.jsonl"][:2] == [0, 1]
    else:
        assert found == {"lr_journal.jsonl": [0, 1, 2, 3]}


def test_a_finished_run_that_is_given_more_epochs_goes_on_in_its_journal(tmp_path):
    journal = finished(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not continued")
        fit(tmp_path, epochs=8, checkpoint=tmp_path / "saved/epoch=5.ckpt", logger=CSVLogger(tmp_path, "A"))
    assert checks(journal) == [*range(8)]
    assert json.loads(journal.read_text().splitlines()[0])["run_state"] == "done"


def test_a_killed_run_is_cut_back(saved, tmp_path):
    journal = tmp_path / "run" / "lr_journal.jsonl"
    assert checks(journal) == [0, 1, 2, 3]
    assert json.loads(journal.read_text().splitlines()[0])["run_state"] == "open"
    fit(tmp_path / "run", epochs=6, checkpoint=saved)
    assert checks(journal) == [*range(6)]
    assert json.loads(journal.read_text().splitlines()[0])["run_state"] == "done"


def test_another_run_at_the_same_path(saved, tmp_path):
    """The folder was removed and used again; a copy of the first run's checkpoint still names the file."""
    shutil.rmtree(tmp_path / "run")
    fit(tmp_path / "run", epochs=6)
    journal = tmp_path / "run" / "lr_journal.jsonl"
    text = journal.read_text()
    with pytest.warns(UserWarning, match="it is not that of this run"):
        fit(tmp_path / "run", epochs=5, checkpoint=saved)
    assert journal.read_text() == text


def test_a_checkpoint_without_an_id_is_not_believed(saved, tmp_path):
    with pytest.warns(UserWarning, match="it is not that of this run"):
        fit(tmp_path / "run", epochs=5, checkpoint=with_journal(saved, run_id=None))
    assert checks(tmp_path / "run" / "lr_journal.jsonl") == [0, 1, 2, 3]


# --- remote folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Any:
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


def remote_checks(files: Any, path: str) -> list[int]:
    records = [json.loads(line) for line in files.cat_file(path).decode().splitlines()]
    return [record["reading"]["check"] for record in records if record["kind"] == "check"]


def test_the_folder_of_a_remote_logger(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = fit(tmp_path / "root", logger=CSVLogger("memory://bucket/logs"))
    assert made.logger.log_dir == "memory://bucket/logs/lightning_logs/version_0"
    assert remote_checks(bucket, "/bucket/logs/lightning_logs/version_0/lr_journal.jsonl") == [0, 1, 2, 3]
    assert [path for path in tmp_path.rglob("*") if "memory" in str(path)] == []


def test_a_remote_root(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit("memory://bucket/root")
    fit("memory://bucket/root", epochs=2)  # another run: the next free name
    assert remote_checks(bucket, "/bucket/root/lr_journal.jsonl") == [0, 1, 2, 3]
    assert remote_checks(bucket, "/bucket/root/lr_journal-2.jsonl") == [0, 1]
    assert [*tmp_path.iterdir()] == []


def test_the_users_own_remote_path_is_continued(bucket, tmp_path):
    path = "memory://bucket/mine.jsonl"

    def run(epochs: int, **loads: Any) -> Any:
        made = trainer([eager(journal=path)], tmp_path, max_epochs=epochs)
        made.fit(Scripted({"val_loss": FALLS}), data(), data(), **loads)
        return made

    run(4).save_checkpoint(tmp_path / "saved.ckpt")
    run(7, ckpt_path=tmp_path / "saved.ckpt", **ANY_CHECKPOINT)
    assert remote_checks(bucket, "/bucket/mine.jsonl") == [*range(7)]


def test_what_is_sent_grows_linearly(bucket, monkeypatch):
    """Beyond a size it is written anew only each time that it has grown; a checkpoint and the end write all of it."""
    monkeypatch.setattr(journal_storage, "SMALL", 2_000)
    sent = []
    plain = type(bucket).pipe_file
    monkeypatch.setattr(
        type(bucket), "pipe_file", lambda self, path, value, **more: (sent.append(len(value)), plain(self, path, value))
    )
    journal = JournalFile.begun("memory://bucket/long.jsonl", "{}", pytest.fail)
    for number in range(2_000):
        journal.write(json.dumps({"line": number}))
    whole = journal._size
    assert sum(sent) < 30 * whole
    journal.flush()
    assert len(bucket.cat_file("/bucket/long.jsonl")) == whole


NOWHERE = {
    "a scheme that is none": lambda folder: "nosuchscheme://bucket/a.jsonl",
    "a pipe": lambda folder: os.mkfifo(folder / "a.jsonl") or folder / "a.jsonl",
    "a link to a device": lambda folder: (folder / "a.jsonl").symlink_to(os.devnull) or folder / "a.jsonl",
    "below a file": lambda folder: (folder / "file").write_text("mine") and folder / "file" / "a.jsonl",
}


@pytest.mark.parametrize("where", NOWHERE)
def test_a_place_that_takes_no_file_is_one_warning(where: str, tmp_path):
    """And none is made under another name: beside ``/dev/null`` there is nothing to look for."""
    control = LearningRateController(policy="conservative", verbose=False, journal=NOWHERE[where](tmp_path))
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        trainer([control], tmp_path, max_epochs=3).fit(Scripted(), data(), data())
    assert len([one for one in warned if "journal" in str(one.message)]) == 1
    assert not list(tmp_path.glob("**/a-2.jsonl"))


# --- loggers and files that are broken --------------------------------------------------------------------------------


class Down(Logger):
    """A service that fails in some of its methods."""

    def __init__(self, *fails: str, error: Exception | None = None) -> None:
        super().__init__()
        self.fails, self.error = fails, error or ConnectionError("the service is down")
        self.got = 0

    def _call(self, name: str) -> None:
        if name in self.fails:
            raise self.error

    @property
    def name(self) -> str:
        return "down"

    @property
    def version(self) -> int:
        return 0

    @property
    def log_dir(self) -> str | None:
        self._call("log_dir")
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("lr_controller/") for name in metrics):
            self._call("log_metrics")
            self.got += 1

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Takes none."""

    def save(self) -> None:
        if self.got:
            self._call("save")


def ours(warned: Any) -> list[str]:
    return [str(one.message) for one in warned if "lightning_lr" in str(one.message)]


@pytest.mark.parametrize(
    "error", [ConnectionError("down"), ValueError("no such column"), AssertionError(), KeyError(1)]
)
def test_a_logger_that_fails_is_one_warning(error: Exception, tmp_path):
    down, fine = Down("log_metrics", error=error), Down()
    with pytest.warns(UserWarning, match="Down raised an error") as warned:
        made = fit(tmp_path, logger=[down, fine])
    assert made.current_epoch == 4
    assert fine.got == 4
    assert len(ours(warned)) == 1


def test_a_logger_without_a_folder_to_name_is_left_out(tmp_path):
    assert journal_path(None, [Down("log_dir")], str(tmp_path), None) == str(tmp_path / "lr_journal.jsonl")
    assert folders_of_run([Down("log_dir")], str(tmp_path)) == [str(tmp_path)]


def test_a_board_that_fails(tmp_path, monkeypatch):
    """Its texts, its tab and its numbers: all of it under one warning."""
    logger = TensorBoardLogger(tmp_path)

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise OSError("no space left on device")

    made = trainer([eager()], tmp_path, logger=logger, max_epochs=4)
    monkeypatch.setattr(type(logger), "log_metrics", lambda self, metrics, step=None: None)
    monkeypatch.setattr(type(logger), "log_hyperparams", lambda *_, **__: None)
    monkeypatch.setattr(type(logger), "save", lambda self: None)
    monkeypatch.setattr(type(logger), "experiment", Broken())
    monkeypatch.setattr(type(logger), "finalize", lambda self, status: None)
    with pytest.warns(UserWarning, match="TensorBoardLogger raised an error") as warned:
        made.fit(Scripted(), data(), data())
    assert len(ours(warned)) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_a_page_that_is_nested_without_end_is_no_page(text: str):
    with pytest.raises(PageError):
        read_page(text)


def test_a_journal_that_is_nested_without_end_is_not_continued(saved, tmp_path):
    journal = tmp_path / "run" / "lr_journal.jsonl"
    journal.write_text("[" * 100_000 + "\n")
    with pytest.warns(UserWarning, match="it is not that of this run"):
        fit(tmp_path / "run", epochs=5, checkpoint=saved)
    assert journal.stat().st_size == 100_001
