"""Logs of other tools, as these write them: read with no option, the right monitor, the right rates.

The kinds of fault: a log is refused that holds all that is needed; a part is watched in place of the whole; the
training loss in place of a validation metric; a rate is not seen because it has another name; steps are taken for what
they are not.
"""

# ruff: noqa: E501  (the rows of tables)

from __future__ import annotations

import csv
import gzip
import json
import math
import os
from pathlib import Path

import pytest

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.run import Watch
from lightning_lr.offline.logs.sources import open_run
from tests.helpers.logs import write_csv, write_events

VALIDATION = [1.0, 0.75, 0.5, 0.625]
TRAINING = [2.0, 1.0, 0.5, 0.25]
RATES = [0.1, 0.1, 0.01, 0.01]
EPOCHS = list(enumerate(zip(VALIDATION, TRAINING, RATES, strict=True)))


def table(text, rows, name="log.csv", encoding="utf-8"):
    """A table with a line of names, and one line an epoch made by ``rows``."""

    def write(folder):
        lines = [text, *(rows(epoch, *values) for epoch, values in EPOCHS)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
        return folder

    return write


def given(name, text, packed=False):
    """A file that is to be named itself."""

    def write(folder):
        (folder / name).write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        return folder / name

    return write


def each_epoch(line):
    return "".join(line(epoch, *values) for epoch, values in EPOCHS)


def german(*values):
    return ";".join(str(value).replace(".", ",") for value in values)


def ultralytics(folder):
    """Names and cells are set to a width, and there is no total."""
    names = ["epoch", *(f"{data}/{part}_loss" for data in ("train", "val") for part in ("box", "cls", "dfl"))]
    names += ["metrics/mAP50(B)", "lr/pg0", "lr/pg1"]
    parts = [1 / 2, 1 / 4, 1 / 4]
    rows = [[e + 1, *(t * p for p in parts), *(v * p for p in parts), 0.1, lr, lr] for e, (v, t, lr) in EPOCHS]
    lines = [",".join(f"{cell:>23}" for cell in row) for row in [names, *rows]]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    return folder


def hugging_face(folder):
    """Two checkpoints of one run, and the means of the whole run at its end."""
    history = []
    for epoch, (v, t, lr) in EPOCHS:
        step = 10 * epoch + 10
        history.append({"epoch": epoch + 0.5, "step": step - 5, "loss": t, "learning_rate": lr, "grad_norm": 1.0})
        history.append({"epoch": epoch + 1.0, "step": step, "loss": t, "learning_rate": lr, "grad_norm": 1.0})
        history.append({"epoch": epoch + 1.0, "step": step, "eval_loss": v, "eval_runtime": 1.0})
        if epoch in (1, 3):
            (folder / f"checkpoint-{step}").mkdir()
            state = {"log_history": history, "best_metric": None, "global_step": step}
            (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    history.append({"epoch": 4.0, "step": 40, "train_loss": 99.0, "train_runtime": 1.0})
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return folder


def mlflow_store(folder):
    run = folder / "mlruns" / "0" / "abc"
    (run / "metrics" / "val").mkdir(parents=True)
    (folder / "mlruns" / "0" / "meta.yaml").touch()
    (run / "meta.yaml").touch()
    for place, name in enumerate(("val/loss", "train_loss", "lr")):
        lines = [f"1700000000{epoch} {values[place]} {epoch}" for epoch, values in EPOCHS]
        (run / "metrics" / name).write_text("\n".join(lines) + "\n")
    return folder


def wandb_chart(folder):
    names = ["Step"]
    for name in ("val_loss", "train_loss", "lr"):
        names += [f"brisk-fog-7 - {name}", f"brisk-fog-7 - {name}__MIN", f"brisk-fog-7 - {name}__MAX"]
    rows = [[10 * epoch, *(value for value in values for _ in range(3))] for epoch, values in EPOCHS]
    with (folder / "wandb_export_2024.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    return folder


def wandb_chart_over_epochs(folder):
    rows = [["epoch", "a-1 - val_loss", "a-1 - val_loss__MIN", "a-1 - train_loss", "a-1 - lr"]]
    rows += [[e, v, v, t, r] for e, (v, t, r) in EPOCHS]
    with (folder / "wandb_export_2025.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return folder


def wandb_history(folder):
    """As older clients wrote it, beside the last values."""
    files = folder / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "wandb-summary.json").write_text('{"val": {"loss": 0.5}}')
    lines = [
        {"val": {"loss": v}, "train": {"loss": t}, "lr": lr, "_step": 3 * e, "_runtime": 1} for e, (v, t, lr) in EPOCHS
    ]
    (files / "wandb-history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def keras_board(folder):
    return write_events(
        folder, [(e, {"epoch_loss": t, "epoch_val_loss": v, "learning_rate": r}) for e, (v, t, r) in EPOCHS]
    )


def keras_folders(folder):
    """Keras' TensorBoard callback: one folder for each set of data."""
    write_events(folder / "train", [(e, {"epoch_loss": t, "epoch_learning_rate": r}) for e, (_, t, r) in EPOCHS])
    write_events(folder / "validation", [(e, {"epoch_loss": v}) for e, (v, _, _) in EPOCHS])
    return folder


def add_scalars(folder):
    """``SummaryWriter.add_scalars("loss", {"train": …, "val": …})``: a folder for each curve, beside the run's own file."""
    write_events(folder, [(e, {"lr": r}) for e, (_, _, r) in EPOCHS])
    for place, curve in ((0, "val"), (1, "train")):
        write_events(folder / f"loss_{curve}", [(e, {"loss": values[place]}) for e, values in EPOCHS])
    return folder


OPENMMLAB = [
    {"mode": mode, "epoch": epoch + 1, "iter": 10 * epoch + 10, **logged}
    for epoch, (v, t, r) in EPOCHS
    for mode, logged in (("train", {"lr": r, "loss": t}), ("val", {"lr": r, "loss": v, "bbox_mAP": 0.5}))
]

# what wrote it → files, monitor, training loss, rate
FORMATS = {
    "Keras 2": (
        table("epoch,accuracy,loss,lr,val_accuracy,val_loss", lambda e, v, t, r: f"{e},0.5,{t},{r},0.4,{v}", "training.log"),
        "val_loss", "loss", "lr"),
    "Keras 3": (
        table("epoch,learning_rate,loss,val_loss", lambda e, v, t, r: f"{e},{r},{t},{v}"), "val_loss", "loss", "learning_rate"),
    "fastai": (
        table("epoch,train_loss,valid_loss,error_rate,time", lambda e, v, t, r: f"{e},{t},{v},0.1,00:12", "history.csv"),
        "valid_loss", "train_loss", None),
    "by hand, semicolons": (
        table("Epoch;TrainLoss;ValLoss;LearningRate", lambda *row: german(row[0], row[2], row[1], row[3])),
        "ValLoss", "TrainLoss", "LearningRate"),
    "by hand, tabs": (
        table("Epoch\tTrain MSE\tValid MSE\tlr", lambda e, v, t, r: f"{e}\t{t}\t{v}\t{r}", "log.tsv"),
        "Valid MSE", "Train MSE", "lr"),
    "by hand, from a spreadsheet": (
        table("epoch,loss (train),loss (val),LR", lambda e, v, t, r: f"{e},{t},{v},{r}", encoding="utf-8-sig"),
        "loss (val)", "loss (train)", "LR"),
    "by hand, from a shell of Windows": (
        table("epoch,train_loss,val_loss,lr", lambda e, v, t, r: f"{e},{t},{v},{r}", encoding="utf-16"),
        "val_loss", "train_loss", "lr"),
    "by hand, printed tensors": (
        table("epoch,train_loss,dev_loss,lr", lambda e, v, t, r: f"{e},tensor({t}),\"tensor({v}, device='cuda:0')\",{r}"),
        "dev_loss", "train_loss", "lr"),
    "numpy.savetxt": (
        table("# epoch train_loss val_loss lr", lambda e, v, t, r: f"{e:.3e} {t:.3e} {v:.3e} {r:.3e}", "log.txt"),
        "val_loss", "train_loss", "lr"),
    "by hand, blanks": (
        table("epoch   Train Loss   Val Loss    lr", lambda e, v, t, r: f"{e}   {t}    {v}   {r}", "log.txt"),
        "Val Loss", "Train Loss", "lr"),
    "by hand, test set in place of a validation set": (
        table("epoch,train_loss,test_loss,test_acc,lr", lambda e, v, t, r: f"{e},{t},{v},0.5,{r}"),
        "test_loss", "train_loss", "lr"),
    "by hand, a total and its parts": (
        table("epoch,loss_cls,loss_box,mean_loss,val_loss_cls,val_mean_loss,lr",
              lambda e, v, t, r: f"{e},9,9,{t},9,{v},{r}"), "val_mean_loss", "mean_loss", "lr"),
    "Ultralytics": (ultralytics, "val/loss", "train/loss", "lr/pg0"),
    "Hugging Face": (hugging_face, "eval_loss", "loss", "learning_rate"),
    "MLflow": (mlflow_store, "val/loss", "train_loss", "lr"),
    "W&B, a chart": (wandb_chart, "val_loss", "train_loss", "lr"),
    "W&B, the history as a table": (
        table(",_step,_runtime,_timestamp,train/loss,eval/loss,train/learning_rate,train/epoch",
              lambda e, v, t, r: f"{e},{5 * e},1.5,1e9,{t},{v},{r},{e}.0"), "eval/loss", "train/loss", "train/learning_rate"),
    "W&B, the history of older clients": (wandb_history, "val.loss", "train.loss", "lr"),
    "Keras in TensorBoard": (keras_board, "epoch_val_loss", "epoch_loss", "learning_rate"),
    "Keras in TensorBoard, a folder for each set": (
        keras_folders, "validation/epoch_loss", "train/epoch_loss", "train/epoch_learning_rate"),
    "add_scalars of torch": (add_scalars, "loss_val", "loss_train", "lr"),
    "W&B, a chart over epochs": (wandb_chart_over_epochs, "val_loss", "train_loss", "lr"),
    "by hand, comments above": (
        table("# my run\n# seed 3\nepoch,loss,val_loss,lr", lambda e, v, t, r: f"{e},{t},{v},{r}"), "val_loss", "loss", "lr"),
    "by hand, decimal commas in quotes": (
        table("epoch,loss,val_loss,lr", lambda *row: ",".join(f'"{x}"' for x in german(row[0], row[2], row[1], row[3]).split(";"))),
        "val_loss", "loss", "lr"),
    "by hand, letters of Latin-1": (
        table("epoch,Güte,loss,val_loss,lr", lambda e, v, t, r: f"{e},9,{t},{v},{r}", encoding="latin-1"), "val_loss", "loss", "lr"),
    "by hand, compressed": (
        given("log.csv.gz", "epoch,loss,val_loss,lr\n" + each_epoch(lambda e, v, t, r: f"{e},{t},{v},{r}\n"), packed=True),
        "val_loss", "loss", "lr"),
    "JSON, nested, one object a line": (
        given("log.jsonl", each_epoch(lambda e, v, t, r: json.dumps({"epoch": e, "train": {"loss": t}, "val": {"loss": v}, "lr": r}) + "\n")),
        "val.loss", "train.loss", "lr"),
    "JSON, a list": (
        given("log.json", json.dumps([{"epoch": e, "loss": t, "val_loss": v, "lr": r} for e, (v, t, r) in EPOCHS])),
        "val_loss", "loss", "lr"),
    "JSON, Keras' history": (
        given("history.json", json.dumps({"loss": TRAINING, "val_loss": VALIDATION, "lr": RATES})), "val_loss", "loss", "lr"),
    "JSON, OpenMMLab": (
        given("20240101.log.json", "".join(json.dumps(one) + "\n" for one in OPENMMLAB)), "val/loss", "train/loss", "val/lr"),
    "printed, name=value": (
        given("train.txt", each_epoch(lambda e, v, t, r: f"Epoch {e}: loss={t} val_loss={v} lr={r}\n")), "val_loss", "loss", "lr"),
    "printed, by a logger": (
        given("run.log", each_epoch(lambda e, v, t, r: f"[2024-01-01 10:00:00] INFO epoch: {e} | train loss: {t} | valid loss: {v} | lr: {r:.1e}\n")),
        "valid loss", "train loss", "lr"),
    "printed, in brackets": (
        given("nohup.out", "epochs: 9, lr: 9\n" + each_epoch(lambda e, v, t, r: f"Epoch [{e}/4], Loss: {t:.4f}, Val Loss: {v:.4f}, LR: {r}\n")),
        "Val Loss", "Loss", "LR"),
    "printed, Hugging Face": (
        given("slurm-1.out", "".join(
            f"  5%|#  | {e}/9 [00:01<00:20]\r{{'loss': {t}, 'learning_rate': '{r}', 'epoch': {e}.5}}\n{{'eval_loss': {v}, 'eval_runtime': 1.0, 'epoch': {e}.5}}\n"
            for e, (v, t, r) in EPOCHS) + "{'train_runtime': 9.0, 'train_loss': 99.0, 'epoch': 4.0}\n"),
        "eval_loss", "loss", "learning_rate"),
    "printed, Keras": (
        given("out.log", each_epoch(lambda e, v, t, r: f"Epoch {e + 1}/4\n9/9 [=====] - 0s 2ms/step - loss: {t} - val_loss: {v} - lr: {r}\n")),
        "val_loss", "loss", "lr"),
}  # fmt: skip


@pytest.mark.parametrize("tool", FORMATS)
def test_read_with_no_option(tmp_path, tool):
    write, monitor, train, rate = FORMATS[tool]

    run = open_run(write(tmp_path))
    readings = [line.reading for line in run.lines()]

    assert run.settings.monitors == (monitor,)
    assert [r.metrics[monitor] for r in readings] == pytest.approx(VALIDATION)
    assert f"training loss {train} (rule" in run.chosen[0]
    assert [r.train.mean for r in readings] == pytest.approx(TRAINING)
    used = [next(iter(r.rates.values())).applied if r.rates else None for r in readings]
    assert used == (pytest.approx(RATES) if rate else [None] * 4)
    assert rate is None or rate in readings[0].rates


def test_a_wandb_file_of_the_client_itself(tmp_path):
    """And one that is longer than a block of it, with entries that go over its border."""
    wandb = pytest.importorskip("wandb")
    run = wandb.init(project="test", dir=str(tmp_path), mode="offline")
    for epoch, (v, t, lr) in EPOCHS:
        for batch in range(60):
            run.log({"train/loss": t, "text": "x" * 300, "batch": batch})
        run.log({"val": {"loss": v, "worst": math.nan}, "epoch": epoch, "lr": lr})
    run.finish()
    wandb.teardown()  # the client's service writes the last records in its own time

    found = open_run(tmp_path)

    (path,) = tmp_path.rglob("*.wandb")
    assert path.stat().st_size > 2 * 32768
    readings = [line.reading for line in found.lines()]
    assert found.settings.monitors == ("val.loss",)
    assert [r.metrics["val.loss"] for r in readings] == VALIDATION
    assert [(r.epoch, r.train.mean, r.train.steps) for r in readings] == [(e, t, 61) for e, t in enumerate(TRAINING)]
    path.write_bytes(path.read_bytes()[:-40_000])
    with pytest.raises(LogError, match="it breaks off"):
        open_run(tmp_path)
    assert len(list(open_run(tmp_path, Watch(partial=True)).lines())) < 4


# what is logged → what is watched: a validation metric before any training loss, in the direction that its name says
METRICS = [
    (["loss", "accuracy", "val_accuracy"], "val_accuracy", "max, as its name says"),
    (["train_loss", "val_mse", "val_acc"], "val_mse", "min, as its name says"),
    (["train_loss", "val_score"], "val_score", "min, though its name does not tell"),
    (["loss", "eval_runtime", "eval_samples_per_second"], "loss", "min, as its name says"),
    (["train_loss", "train_loss_aux"], "train_loss", "min, as its name says"),
]


@pytest.mark.parametrize(("names", "monitor", "mode"), METRICS)
def test_a_validation_metric_before_any_training_loss(tmp_path, names, monitor, mode):
    write_csv(tmp_path, [(step, {**dict.fromkeys(names, 0.5), "epoch": float(step)}) for step in range(3)])
    run = open_run(tmp_path)
    assert run.settings.monitors == (monitor,)
    assert run.chosen[1].startswith(f"mode {mode}")
    assert "(rule: " in run.chosen[0]


def test_a_test_set_that_is_looked_at_once_is_not_watched(tmp_path):
    write_csv(tmp_path, [*((step, {"train_loss": 0.5}) for step in range(5)), (5, {"test_loss": 0.4})])
    assert open_run(tmp_path).settings.monitors == ("train_loss",)


# columns that count → steps that the checks stand at
COUNTED = [
    ("epoch,loss", ["0,1", "1,1", "2,1"], [0, 1, 2]),
    ("epoch,loss", ["0,1", "0,1", "1,1"], [0, 1, 2]),  # several rows an epoch
    ("epoch,loss", ["0.5,1", "1.0,1", "1.5,1"], [0, 1, 2]),
    ("epoch,iter,loss", ["0,10,1", "0,20,1", "1,10,1"], [0, 1, 2]),  # counted within each epoch
    ("epoch,global_step,loss", ["0,10,1", "1,20,1", "2,30,1"], [10, 20, 30]),
    ("epoch,iteration,loss", ["0,10,1", "1,20,1", "1,20,1"], [10, 20]),
    ("loss,acc", ["1,1", "1,1"], [0, 1]),
    ("epoch,loss", ["0,1", "1,1", "epoch,loss", "0,2", "1,2"], [0, 1]),  # begun anew, with its head
]


@pytest.mark.parametrize(("head", "rows", "steps"), COUNTED)
def test_what_counts_as_a_step(tmp_path, head, rows, steps):
    (tmp_path / "log.csv").write_text("\n".join([head, *rows]) + "\n")
    assert [line.reading.step for line in open_run(tmp_path / "log.csv").lines()] == steps


def test_a_run_that_was_begun_anew_in_the_same_file(tmp_path):
    """Keras' CSVLogger(append=True): epochs that were logged last count."""
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,1,9\n1,1,9\n2,1,9\n1,1,5\n2,1,4\n")
    run = open_run(tmp_path)
    assert [line.reading.metrics["val_loss"] for line in run.lines()] == [9, 5, 4]
    assert run.chosen[-1] == "the run was resumed 1 time; the steps logged last count"


def test_tables_that_are_no_logs_are_passed_over(tmp_path):
    """Data sets and results lie beside logs in every project."""
    (tmp_path / "labels.csv").write_text("file,label\na.png,3\n")
    (tmp_path / "predictions.csv").write_text("id,loss\n1,0.5\n")
    (tmp_path / "notes.txt").write_text("epoch 3 was the best\n")
    with pytest.raises(LogError, match="but it holds none"):
        open_run(tmp_path)
    write_csv(tmp_path / "run", [(9, {"val_loss": 1.0})])
    assert open_run(tmp_path).path == tmp_path / "run" / "metrics.csv"


def two_runs_in_a_chart(folder):
    (folder / "wandb_export.csv").write_text('"Step","a-1 - val_loss","b-2 - val_loss"\n0,1,2\n1,1,2\n')
    return folder / "wandb_export.csv"


def summary_alone(folder):
    (folder / "wandb-summary.json").write_text('{"val_loss": 0.5}')
    return folder


def file(name, content):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


DAMAGED = "the file is damaged or cut off (int too "

REFUSED = [
    # a step or a value that no machine number holds
    (file("log.csv", b"step,val_loss\n0,1\n1e30,0.5\n"), DAMAGED),
    (file("log.csv", b"epoch,val_loss\n0,1\n1e30,0.5\n"), DAMAGED),
    (file("trainer_state.json", json.dumps({"log_history": [{"step": 10**30, "eval_loss": 1.0}]}).encode()), DAMAGED),
    (file("trainer_state.json", json.dumps({"log_history": [{"step": 1, "eval_loss": 10**400}]}).encode()), DAMAGED),
    (file("wandb-history.jsonl", b'{"val_loss": 1, "_step": 1e400}\n'), "damaged or cut off (cannot convert float infinity"),
    (file("log.json", json.dumps([{"epoch": 1, "val_loss": 10**400}]).encode()), "but it holds others"),
    (file("log.csv.gz", gzip.compress(b"")[:10] + b"\xff" * 40), "it is no text table (Error -3"),
    (file("log.csv", "epoch,loss\n0,1\n".encode("utf-16-le")), "it holds NUL bytes; a text in UTF-16 without its mark is to be saved"),
    (file("log.csv.gz", gzip.compress(b"epoch,loss\n0,1\n")[:12]), "it is no text table (Compressed file ended"),
    (file("log.csv.gz", b"epoch,loss\n0,1\n"), "it is no text table (Not a gzipped file"),
    (file("log.jsonl", b'{"epoch": 0, "loss": 1.0}\n{"epoch": 1, "lo'), "one a line or in one list, but it holds others; it may be cut off."),
    (file("log.json", b"[1, 2, 3]"), "one a line or in one list, but it holds others"),
    (file("log.json", b"{}"), "but it has no numbers under names."),
    (file("notes.txt", b"Epoch 3 was the best, loss: low\n"), "but it has no numbers under names."),
    (two_runs_in_a_chart, "it holds 2: a-1, b-2. Export them one by one, or name a column with --monitor."),
    (summary_alone, 'that holds the last values alone. Export it: wandb.Api'),
]  # fmt: skip


def test_the_metric_of_a_table_that_tensorboard_exports_is_in_its_name(tmp_path):
    (tmp_path / "run-version_0-tag-val_loss.csv").write_text("Wall time,Step,Value\n1.7e9,10,0.5\n1.8e9,20,0.25\n")
    run = open_run(tmp_path / "run-version_0-tag-val_loss.csv")
    assert run.settings.monitors == ("val_loss",)
    assert [(line.reading.step, line.reading.metrics["val_loss"]) for line in run.lines()] == [(10, 0.5), (20, 0.25)]


def test_what_is_printed_beside_a_log_is_no_run_of_the_folder(tmp_path):
    """Hydra writes ``train.log`` beside the folder of the logger."""
    FORMATS["printed, name=value"][0](tmp_path)
    FORMATS["JSON, a list"][0](tmp_path)
    write_csv(tmp_path / "logs", [(9, {"val_loss": 1.0})])
    assert open_run(tmp_path).path == tmp_path / "logs" / "metrics.csv"


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused_with_what_to_do(tmp_path, make, message):
    with pytest.raises(LogError) as raised:
        open_run(make(tmp_path))
    assert message in str(raised.value)


DATA = Path(os.environ.get("LIGHTNING_LR_DATA", "no_folder")) / "public_logs_dev.jsonl.gz"


def as_keras(folder, val, train):
    rows = [
        (e, {"val_loss": v, **({"loss": t} if t is not None else {})})
        for e, (v, t) in enumerate(zip(val, train, strict=True))
    ]
    names = ["epoch", "loss", "val_loss"]
    cells = [",".join([str(e), *(str(values.get(name, "")) for name in names[1:])]) for e, values in rows]
    (folder / "training.log").write_text("\n".join([",".join(names), *cells]) + "\n")


def as_hugging_face(folder, val, train):
    history = []
    for epoch, (v, t) in enumerate(zip(val, train, strict=True)):
        history += [{"step": epoch, "epoch": float(epoch), "loss": t}] if t is not None else []
        history += [{"step": epoch, "epoch": float(epoch), "eval_loss": v}] if v is not None else []
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def as_mlflow(folder, val, train):
    (folder / "metrics").mkdir()
    (folder / "meta.yaml").touch()
    for name, values in (("val_loss", val), ("train_loss", train)):
        lines = [f"0 {value} {epoch}" for epoch, value in enumerate(values) if value is not None]
        if lines:
            (folder / "metrics" / name).write_text("\n".join(lines) + "\n")


@pytest.mark.skipif(not DATA.is_file(), reason="LIGHTNING_LR_DATA names no folder with public_logs_dev.jsonl.gz")
@pytest.mark.parametrize("write", [as_keras, as_hugging_face, as_mlflow])
def test_public_curves_in_three_formats(tmp_path, write):
    with gzip.open(DATA, "rt") as file:
        curves = [json.loads(line) for line in file]
    assert len(curves) == 63
    for curve in curves:
        folder = tmp_path / curve["id"]
        folder.mkdir()
        train = curve["train"] or [None] * len(curve["val"])
        write(folder, curve["val"], train)
        found = [line.reading for line in open_run(folder).lines()]
        known = [v for v in curve["val"] if v is not None]
        assert [v for r in found for v in r.metrics.values()] == pytest.approx(known, nan_ok=True)
        assert [r.train.mean for r in found if r.train] == pytest.approx(
            [t for t in train if t is not None], nan_ok=True
        )
