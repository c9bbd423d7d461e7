"""Every logger gets the numbers, none is needed, and the journal lies where its rules say."""

from __future__ import annotations

import csv
import io
import json
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from lightning.pytorch.loggers import CometLogger, CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_lr.engine.journal import read_line
from lightning_lr.engine.records import Decision, Review
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.loggers import tables as decision_tables
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.loggers.tables import HEADS
from lightning_lr.offline.logs.sources import open_run
from tests.helpers.scripted import Scripted, data, eager, trainer

FALLS = [1.0 - 0.05 * i for i in range(9)]
BAD = "a|b <script>alert(1)</script>\nü→漢"
NUMBERS = ("lr/lr-SGD", "scale", "gap", "train", "condition/healthy", "val_loss/best")


def fit(folder: Path | None, logger: Any, *controls: Any, script: Any = None, **options: Any) -> Scripted:
    model = Scripted({"val_loss": FALLS} if script is None else script)
    controls = controls or (eager(),)
    trainer(list(controls), folder, logger=logger, **{"max_epochs": 4, **options}).fit(model, data(), data())
    return model


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_csv(tmp_path):
    """New columns in mid-run are welcome to it; each check is one row, at the step of ``val_loss``."""
    fit(tmp_path, CSVLogger(tmp_path), script={"val_loss": FALLS, BAD: FALLS})
    with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["lr_controller/scale"]]
    assert [row["step"] for row in ours] == [row["step"] for row in rows if row["val_loss"]] == ["1", "3", "5", "7"]
    assert [float(row["lr_controller/lr/lr-SGD"]) for row in ours] == pytest.approx([0.05, 0.025, 0.0125, 0.00625])
    assert {f"lr_controller/{name}" for name in NUMBERS} | {BAD} <= rows[0].keys()


@pytest.mark.parametrize("logger", [CSVLogger, TensorBoardLogger])
def test_the_log_of_a_named_controller_is_known_offline(tmp_path, logger):
    """Its tags have its name in them; without the journal, report and replay still see what it did."""
    fit(None, logger(tmp_path / "log"), eager(name="head", journal=tmp_path / "journal.jsonl"))
    run = open_run(tmp_path / "log")
    lines = list(run.lines())
    assert (run.present, run.decided) == (True, False)
    assert [line.decision.factor for line in lines if line.decision.action is not Action.HOLD] == [0.5, 0.5, 0.5]
    assert lines[0].reading.train is not None
    assert list(lines[1].reading.rates) == ["lr-SGD"]


def test_mlflow(tmp_path):
    """With a store of plain files, and names that it must shorten (Lightning says so)."""
    logger = MLFlowLogger(tracking_uri=f"file:{tmp_path}/mlruns")
    with pytest.warns(RuntimeWarning, match="MLFlow only allows"):
        fit(
            tmp_path,
            logger,
            eager(["val_loss", BAD]),
            script={"val_loss": FALLS, BAD: FALLS},
        )
    run = logger.experiment.get_run(logger.run_id)
    assert run.info.status == "FINISHED"
    expected = {f"lr_controller/{name}" for name in NUMBERS if name != "gap"} | {"lr_controller/gap"}
    assert expected <= run.data.metrics.keys()
    history = logger.experiment.get_metric_history(logger.run_id, "lr_controller/scale")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (3, 0.25), (5, 0.125), (7, 0.0625)]


def test_wandb(tmp_path):
    """Offline: the file that would be sent holds our numbers beside the user's."""
    wandb = pytest.importorskip("wandb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about its own
        fit(tmp_path, WandbLogger(save_dir=tmp_path, mode="offline"), script={"val_loss": FALLS, BAD: FALLS})
        wandb.finish()
    file, scales, deadline = next(tmp_path.rglob("*.wandb")), {}, time.monotonic() + 20
    while len(scales) < 4 and time.monotonic() < deadline:  # a process of wandb's own writes it, some time later
        time.sleep(0.05)
        found = wandb_rows(file.read_bytes())
        scales = {
            row["trainer/global_step"]: row["lr_controller/scale"] for row in found if "lr_controller/scale" in row
        }
    assert scales == {1: 0.5, 3: 0.25, 5: 0.125, 7: 0.0625}
    assert {f"lr_controller/{name}" for name in NUMBERS} <= {key for row in found for key in row}


def wandb_rows(content: bytes) -> list[dict[str, Any]]:
    """The history in its file: records in blocks of 32 KB as LevelDB writes them, each part led by seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, record, rows = 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # what is left of a block
            at += 32768 - at % 32768
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if at + 7 + length > len(content):
            break  # it is still being written
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            items = Record.FromString(record).history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
            record = b""
    return rows


# The table of decisions ----------------------------------------------------------------------------


def wandb_tables(folder: Path, controller: Any) -> dict[str, list[list[Any]]]:
    """Run with W&B offline, and the newest of its tables of each name."""
    wandb = pytest.importorskip("wandb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about its own
        fit(folder, WandbLogger(save_dir=folder, mode="offline"), controller, max_epochs=7, script={BAD: FALLS})
        wandb.finish()
    tables = {}
    for path in sorted(folder.rglob("*.table.json"), key=lambda path: path.stat().st_mtime_ns):
        table = json.loads(path.read_text(encoding="utf-8"))
        assert table["columns"] == list(HEADS)
        name = path.relative_to(next(folder.rglob("media/table"))).as_posix().rsplit("_", 2)[0]
        tables[name] = table["data"]
    return tables


def mlflow_tables(folder: Path, controller: Any) -> dict[str, list[list[Any]]]:
    """Run with MLflow's store of plain files, and the tables among its artifacts."""
    logger = MLFlowLogger(tracking_uri=f"file:{folder}/mlruns")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, about the name of the metric
        fit(folder, logger, controller, max_epochs=7, script={BAD: FALLS})
    tables = {}
    for path in folder.rglob("artifacts/**/*.csv"):
        heads, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        assert heads == list(HEADS)
        name = path.relative_to(next(folder.rglob("artifacts"))).with_suffix("").as_posix()
        tables[name] = [[*map(int, row[:3]), *row[3:]] for row in rows]
    return tables


def rows_of(folder: Path, controller: Any) -> list[list[Any]]:
    """What the table shall hold in the end: every decision, with the review that the journal has of it."""
    journal = [line for path in folder.rglob("lr_journal.jsonl") for line in lines(path)[1:]]
    reviews = [read_line(json.dumps(line)).review for line in journal if line.get("review")]
    brought = {review.check: review.brought for review in reviews}
    return [decision_tables.decision_row(one, brought.get(one.check, "")) for one in controller.decisions]


@pytest.mark.parametrize("tables_after", [wandb_tables, mlflow_tables])
def test_the_table_of_decisions(tmp_path, monkeypatch, tables_after):
    """The newest decisions in one table, each full page once more under its number; names of any kind stay whole."""
    monkeypatch.setattr(decision_tables, "PAGE", 3)
    control = eager(BAD)
    tables = tables_after(tmp_path, control)
    rows = rows_of(tmp_path, control)
    assert tables == {
        "lr_controller/decisions": rows[4:],
        "lr_controller/decisions/page_001": rows[:3],
        "lr_controller/decisions/page_002": rows[3:6],
    }
    assert rows[0][:6] == [0, 0, 1, "healthy", "reduce", "lr-SGD 0.1 → 0.05"]
    assert rows[0][6] == control.decisions[0].reason
    assert rows[0][7] == f"helped: {BAD} gained 0 a check before, 0.05 since (1 check)"
    assert rows[-1][7] == ""


def test_what_a_decision_brought_is_still_in_the_table_of_a_resumed_run():
    history = DecisionHistory()
    for check in (3, 7):
        history.add(Decision(check, check, check, Action.REDUCE, Condition.PLATEAU, 0.5, {}, {}, "flat"))
    history.add_review(Review(3, Action.REDUCE, Condition.PLATEAU, 0.5, "val_loss", True, 0.1, 0.1, 0.2, 3))
    resumed = DecisionHistory.from_state(json.loads(json.dumps(history.state_dict())))
    brought = [row[-1] for row in decision_tables.newest_rows(resumed)]
    assert brought == ["helped: val_loss gained 0.1 a check before, 0.2 since (3 checks)", ""]


def test_comet_gets_a_text_a_decision(tmp_path):
    """Offline: the archive that would be sent. (``online=False`` would not do: Lightning then disables all of it.)"""
    comet = pytest.importorskip("comet_ml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about its own
        options = {"log_code": False, "log_git_metadata": False, "display_summary_level": 0}
        logger = CometLogger(offline_directory=str(tmp_path), auto_output_logging=False, **options)
        assert isinstance(logger.experiment, comet.OfflineExperiment)
        control = eager(BAD)
        fit(tmp_path, logger, control, script={BAD: FALLS})
        logger.experiment.end()
    archive = zipfile.ZipFile(next(tmp_path.glob("*.zip")))
    sent = [json.loads(line) for line in archive.read("messages.json").splitlines()]
    texts = [m["payload"] for m in sent if m["payload"].get("upload_type") == "text-sample"]
    rows = rows_of(tmp_path, control)
    said = [(rows[0], "why", 1)]  # at each further check, the review of the decision before, then the next decision
    for before, row, step in zip(rows, rows[1:], [3, 5, 7], strict=False):
        said += [(before, "brought", step), (row, "why", step)]
    assert [archive.read(text["file_path"]).decode() for text in texts] == [row[HEADS.index(of)] for row, of, _ in said]
    assert [text["metadata"] for text in texts] == [dict(zip(HEADS[:-2], row[:-2], strict=True)) for row, *_ in said]
    assert [text["additional_params"]["step"] for text in texts] == [step for *_, step in said]
    metrics = {m["payload"]["metric"]["metricName"] for m in sent if "metric" in m["payload"]}
    assert {f"lr_controller/{name}" for name in ("lr/lr-SGD", "scale", "condition/healthy", f"{BAD}/best")} <= metrics


def test_a_service_that_takes_no_table(tmp_path, monkeypatch):
    """An artifact store without credentials, say: one warning, the numbers go on, and so does training."""
    logger = MLFlowLogger(tracking_uri=f"file:{tmp_path}/mlruns")
    monkeypatch.setattr(logger.experiment, "log_text", lambda *_: (_ for _ in ()).throw(OSError("no credentials")))
    with pytest.warns(UserWarning, match="MLFlowLogger took no table of decisions") as caught:
        model = fit(tmp_path, logger)
    assert sum("table of decisions (no credentials); it goes on" in str(w.message) for w in caught) == 1
    assert model.validations == len(logger.experiment.get_metric_history(logger.run_id, "lr_controller/scale")) == 4


def test_several_loggers_and_none(tmp_path):
    """Each one gets all; with none nothing is missed."""
    fit(tmp_path, [CSVLogger(tmp_path / "one"), TensorBoardLogger(tmp_path / "two"), CSVLogger(tmp_path / "three")])
    tables = [path.read_text() for path in sorted(tmp_path.rglob("metrics.csv"))]
    assert len(tables) == 2
    assert tables[0] == tables[1]
    assert "lr_controller/scale" in tables[0]
    silent = eager()
    fit(None, False, silent)
    assert len(silent.decisions) == 4


def test_loggers_are_called_as_lightning_calls_them(tmp_path, monkeypatch):
    """By keyword; a mock, which has any attribute, makes no folder and no table, and gets the numbers."""
    monkeypatch.chdir(tmp_path)
    mocks = [MagicMock(), MagicMock(spec=TensorBoardLogger), Mock(spec=Logger)]
    for mock in mocks:
        mock.name, mock.version, mock.save_dir = "mock", 0, None
    fit(None, mocks, eager())
    assert list(tmp_path.iterdir()) == []
    for mock in mocks:
        calls = [call for call in mock.log_metrics.call_args_list if "lr_controller/scale" in call.kwargs["metrics"]]
        assert [call.kwargs["step"] for call in calls] == [1, 3, 5, 7]
        assert not any(call.args for call in calls)


class Elsewhere(Logger):
    """A logger without a folder, as those of a service are."""

    name, version = "elsewhere", 0

    def __init__(self, folder: Path) -> None:
        super().__init__()

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert all(isinstance(value, float) for name, value in metrics.items() if name.startswith("lr_controller/"))

    def log_hyperparams(self, params: Any) -> None:
        pass


# (loggers, whether there is a default_root_dir, the user's path, name) → where the journal lies, from the test's folder
PLACES = [
    pytest.param([CSVLogger], True, None, None, "log0/lightning_logs/version_0/lr_journal.jsonl", id="csv"),
    pytest.param(
        [TensorBoardLogger], True, None, None, "log0/lightning_logs/version_0/lr_journal.jsonl", id="tensorboard"
    ),
    pytest.param(
        [Elsewhere, CSVLogger], True, None, None, "log1/lightning_logs/version_0/lr_journal.jsonl", id="second"
    ),
    pytest.param([Elsewhere], True, None, None, "root/lr_journal.jsonl", id="logger-without-folder"),
    pytest.param([], True, None, None, "root/lr_journal.jsonl", id="root"),
    pytest.param([], True, None, "mine", "root/lr_journal_mine.jsonl", id="named"),
    pytest.param([], False, None, None, None, id="nowhere"),
    pytest.param([], False, "deep/in/run.jsonl", None, "deep/in/run.jsonl", id="user-path"),
    pytest.param([CSVLogger], True, "run.jsonl", None, "run.jsonl", id="user-path-before-logger"),
]


@pytest.mark.parametrize(("loggers", "root", "given", "name", "expected"), PLACES)
def test_where_the_journal_lies(tmp_path, monkeypatch, loggers, root, given, name, expected):
    """Beside the first logger that has a folder, else where the user said, else nowhere."""
    monkeypatch.chdir(tmp_path)
    made = [logger(tmp_path / f"log{index}") for index, logger in enumerate(loggers)]
    control = eager(journal=given, name=name)
    fit(tmp_path / "root" if root else None, made or False, control)
    found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jsonl")]
    assert found == ([expected] if expected else [])
    if expected:
        header, *checks = lines(tmp_path / expected)
        assert "schema" in header
        assert len(checks) == 4


@pytest.mark.parametrize("given", [None, "kept.jsonl"])
def test_a_former_journal_is_not_overwritten(tmp_path, monkeypatch, given):
    """A second and third run in one folder write beside it."""
    monkeypatch.chdir(tmp_path)
    kept = []
    for epochs in (2, 3, 4):
        fit(tmp_path / "root", False, eager(journal=given), max_epochs=epochs)
        kept.append(sorted((path.name, len(lines(path))) for path in tmp_path.rglob("*.jsonl")))
    stem = "kept" if given else "lr_journal"
    assert kept[-1] == sorted([(f"{stem}.jsonl", 3), (f"{stem}-2.jsonl", 4), (f"{stem}-3.jsonl", 5)])


def test_two_instances_write_two_journals(tmp_path):
    """Two monitors, two callbacks, no names: they must not cut each other's file."""
    controls = [eager(monitor) for monitor in ("val_loss", "other")]
    fit(tmp_path, False, *controls, script={"val_loss": FALLS, "other": FALLS})
    found = [lines(path) for path in sorted(tmp_path.glob("*.jsonl"))]
    assert [len(rows) for rows in found] == [5, 5]


def test_a_journal_that_cannot_be_made(tmp_path):
    """A folder that is a file, as good as read-only: one warning, and training goes on."""
    (tmp_path / "file").write_text("")
    control = eager(journal=str(tmp_path / "file" / "j.jsonl"))
    with pytest.warns(
        UserWarning, match=r"The journal .*j\.jsonl cannot be written \(.*\); training goes on"
    ) as caught:
        model = fit(None, False, control)
    assert sum("The journal" in str(warning.message) for warning in caught) == 1
    assert model.validations == 4
    assert len(control.decisions) == 4


def test_texts_go_to_tensorboard_alone(tmp_path):
    """A logger that merely has an ``experiment`` gets no texts: none of them would know what to do."""

    class Own(CSVLogger):
        @property
        def experiment(self) -> Any:
            plain = super().experiment
            plain.add_text = lambda *_: pytest.fail("a text for a logger that is not TensorBoard's")
            return plain

    fit(tmp_path, Own(tmp_path))
