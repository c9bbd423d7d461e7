"""What stands on the console: short lines, whole lines, and the same numbers as everywhere else."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_lr import LearningRateController
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import Decision, Review
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import markdown
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.offline.cli import main
from lightning_lr.offline.report import report
from lightning_lr.run.console import decision_line, end_line, fitted, start_line
from lightning_lr.tensorboard_plugin.pages import read_page
from tests.helpers.scripted import Scripted, data, trainer

ROOT = Path(__file__).parents[2]
LONGEST = 120
RISES = [1.0, 0.8, 0.7, 0.65, 0.62, 0.6, *(0.6 + 0.04 * i for i in range(1, 15))]

words = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=300)


@given(
    st.sampled_from(Action),
    st.sampled_from([Condition.PLATEAU, Condition.HEALTHY, Condition.NON_FINITE]),
    st.dictionaries(st.text("lr-SGD/_", min_size=1, max_size=60), st.floats(1e-12, 1e6), min_size=1, max_size=60),
    words,
    st.integers(0, 10**6),
)
def test_a_decision_is_one_line_of_a_terminal(action, condition, rates, cause, check):
    """Whatever the names, the numbers and the reason: one line, which begins with where and what."""
    every = ("restore", "scale", "anneal", "stop")
    decision = Decision(check, check, check, action, condition, 0.3, rates, rates, "", {}, 0, cause, None, every)
    line = decision_line(decision, dry_run=True)
    assert len(f"lightning_lr: {line}") <= LONGEST
    assert line.startswith(f"check {check} · epoch {check} · ")


@pytest.mark.parametrize(
    ("kept", "best", "said"),
    [(-1, 4.0, "start restored"), (4, 4.0, "best restored"), (5, 4.0, "check 5 restored"), (5, None, "best restored")],
)
def test_what_is_restored_is_called_the_best_only_if_it_is(kept, best, said):
    evidence = {} if best is None else {"best_check": best}
    decision = Decision(
        9, 8, 80, "restore", "plateau", 0.3, {"lr": 0.1}, {"lr": 0.03}, "", evidence, kept, "", None, ("restore",)
    )
    assert f"plateau: {said}" in decision_line(decision)


@pytest.mark.parametrize("width", range(12, 60))
def test_a_line_is_cut_between_words(width):
    line = "no new best for 17 checks (best 0.4668 at check 13), slope"
    cut = fitted(line, width)
    assert len(cut) <= width
    assert cut == line or (cut[-1] == "…" and re.match(rf"{re.escape(cut[:-1])}[ ,;:(]", line))


@pytest.mark.parametrize(
    ("policy", "off", "dry_run", "said"),
    [
        ("auto", {}, False, "will search the first lr, restore, cut or raise if need be, anneal at the end"),
        (
            "auto",
            {"search": "the schedule is the user's own", "annealing": "the schedule is the user's own"},
            False,
            "will restore, cut or raise if need be · no search, no annealing (the schedule is the user's own)",
        ),
        (
            "conservative",
            {"search": "policy 'conservative' does not explore", "annealing": "the budget is unknown"},
            False,
            "will cut if need be · no search (policy 'conservative' does not explore) · "
            "no annealing (the budget is unknown)",
        ),
        ("halving", {"search": "x", "annealing": "x"}, False, "will lower the lr by epochs (halving) · no search"),
        ("auto", {}, True, "dry run, nothing is changed"),
    ],
)
def test_the_first_line_says_what_is_watched_what_will_be_done_and_what_not(policy, off, dry_run, said):
    settings = settings_from(monitor="val_acc", mode="max", policy=policy)
    assert start_line(settings, off, dry_run).startswith(f"watches val_acc (max) · {said}")


def test_the_last_line_of_a_run_without_a_change():
    assert end_line(DecisionHistory(), MetricHistory("val_loss"), None) == "end: nothing was changed"


@pytest.mark.parametrize(("last", "said"), [
    (None, "1 search, 1 restore (1 of 1 helped)"),
    (Action.ANNEAL, "1 search, 1 restore, 1 anneal (1 of 1 helped)"),
    (Action.RESTORE, "1 search, 2 restores (1 of 1 reviewed helped)"),
])  # fmt: skip
def test_the_last_line_counts_what_was_reviewed(last, said):
    """A change too near the end has no review: it has neither helped nor not."""
    history = DecisionHistory()
    for check, action in enumerate(filter(None, [Action.EXPLORE, Action.RESTORE, last])):
        history.add(Decision(check, check, check, action, Condition.PLATEAU, 0.3, {}, {}, ""))
    history.add_review(Review(1, Action.RESTORE, Condition.PLATEAU, 0.3, "val_loss", True, 0.1, None, 0.2, 3))
    assert end_line(history, MetricHistory("val_loss"), None) == f"end: {said}"


@pytest.fixture(scope="module")
def fitted_run(tmp_path_factory):
    folder, printed = tmp_path_factory.mktemp("run"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_lr.callbacks._compat.rank_zero_info", printed.append)
        control = LearningRateController(find_lr=False, anneal=True, journal=folder / "lr_journal.jsonl")
        logger = TensorBoardLogger(folder, "", "")
        run = trainer([control], folder, max_epochs=len(RISES), num_sanity_val_steps=0, logger=logger)
        run.fit(Scripted({"val_loss": RISES}), data(), data())
    return control, folder, [line.removeprefix("lightning_lr: ") for line in printed]


def test_a_run_from_its_first_line_to_its_last(fitted_run):
    control, _, printed = fitted_run
    first, *middle, last = printed
    assert first == (
        "watches val_loss (min) · will restore, cut or raise if need be, anneal at the end · no search (find_lr=False)"
    )
    changes = [line for line in middle if ": " in line and " helped: " not in line and " not help: " not in line]
    assert len(changes) == len(control.decisions) > 1  # one line each
    assert last.startswith("end: ")
    assert " · best val_loss 0.6 (check 5) · details: lightning-lr report " in last
    assert main(["report", last.rpartition(" ")[2]]) == 0


def test_what_a_change_brought_is_the_same_everywhere(fitted_run, capsys, monkeypatch):
    """In the journal, on the console, in the report and its document, in the tab and on the page Text."""
    _, folder, printed = fitted_run
    monkeypatch.setattr(report, "WIDE", 500)  # a table would break the sentences
    main(["report", str(folder)])
    shown = " ".join(capsys.readouterr().out.split())
    main(["report", str(folder), "--json"])
    changes = {row["check"]: row for row in json.loads(capsys.readouterr().out)["changes"]}
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    texts = {
        tag: [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
    pages = [read_page(text) for tag, found in texts.items() if "/tab/reviews/" in tag for text in found]
    in_the_tab = {review["check"]: review["brought"] for page in pages for review in page["reviews"]}
    lines = map(json.loads, (folder / "lr_journal.jsonl").read_text().splitlines())
    reviews = [line["review"] for line in lines if line.get("review")]
    assert reviews
    for review in reviews:
        numbers = (
            f"{'helped' if review['helped'] else 'did not help'}: val_loss gained {review['gain_before']:.3g} a check "
            f"before, {review['gain_after']:.3g} since"
        )
        assert any(f"of check {review['check']} {numbers}" in line for line in printed)
        assert numbers in shown
        assert changes[str(review["check"])]["what it brought"].startswith(numbers)
        assert in_the_tab[review["check"]].startswith(numbers)
        assert markdown(numbers) in texts["lr_controller/decisions/text_summary"][-1]


IN_A_TERMINAL = """
import logging, sys
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning_lr import LearningRateController
from tests.helpers.scripted import Scripted, data, trainer
from tests.run.test_console import RISES
bar = {"tqdm": TQDMProgressBar, "rich": RichProgressBar}[sys.argv[1]]()
logging.getLogger("lightning.pytorch").addHandler(logging.FileHandler(sys.argv[3]))
run = trainer([LearningRateController(find_lr=False), bar], sys.argv[2], max_epochs=12, enable_progress_bar=True)
run.fit(Scripted({"val_loss": RISES}), data(), data())
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bar", ["tqdm", "rich"])
def test_no_line_is_glued_to_a_progress_bar(bar, tmp_path):
    """In a real terminal: whatever stands on a line before one of ours has been erased. A log file has each too."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "150", "LINES": "50"}
    command = [sys.executable, "-c", IN_A_TERMINAL, bar, str(tmp_path), str(tmp_path / "run.log")]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0, shown.decode(errors="replace")
    before = [part.rpartition("\n")[2] for part in shown.decode().split("lightning_lr: ")[:-1]]
    assert len(before) >= 3  # start, decision, end
    logged = [line for line in (tmp_path / "run.log").read_text().splitlines() if line.startswith("lightning_lr: ")]
    assert len(logged) == len(before)
    left = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", re.split(r"\r|\x1b\[2K", line)[-1]) for line in before]
    assert left == [""] * len(before)


def test_quiet_means_quiet(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr("lightning_lr.callbacks._compat.rank_zero_info", printed.append)
    callbacks = [LearningRateController(find_lr=False, verbose=False), EarlyStopping("val_loss", patience=9)]
    trainer(callbacks, tmp_path, max_epochs=3).fit(Scripted({"val_loss": RISES}), data(), data())
    assert printed == []
