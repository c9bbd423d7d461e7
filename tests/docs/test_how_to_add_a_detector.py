"""The how-to, done as it says: its detector in the package, its test, and the same class as a user's own."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_lr import Policy, Response
from lightning_lr.engine import detectors
from lightning_lr.engine.detectors import base
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Verdict
from lightning_lr.offline.cli import main
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.replay.replay import Replayer, replay
from lightning_lr.offline.report.html_report import page
from lightning_lr.offline.report.report import report_of
from tests.helpers.readings import Run
from tests.helpers.scripted import Scripted, data, trainer

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "add-a-detector.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
STUCK = [2.303, 2.295, 2.304, 2.303, 2.3]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package, with the how-to's detector in its folder of detectors."""
    (tmp_path / "no_start.py").write_text(BLOCKS["no_start.py"], encoding="utf-8")
    (tmp_path / "test_no_start.py").write_text(BLOCKS["test_no_start.py"], encoding="utf-8")
    monkeypatch.setattr(detectors, "__path__", [*detectors.__path__, str(tmp_path)])
    detectors.default_detectors.cache_clear()
    yield tmp_path
    detectors.default_detectors.cache_clear()
    sys.modules.pop("lightning_lr.engine.detectors.no_start", None)


def test_a_module_in_the_folder_is_registered(package):
    ranks = {str(d.condition): place for place, d in enumerate(detectors.default_detectors())}
    assert ranks["divergence"] < ranks["no_start"] < ranks["overfitting"]
    run = Run(DecisionEngine(Settings()))
    run.feed(STUCK)
    assert str(run.decisions[2].condition) == "no_start"
    assert run.decisions[2].reason.startswith("no_start: val_loss has gained 0.35 % of its first value in 3 checks")


def test_its_test_and_its_example_pass(package):
    importlib.import_module("lightning_lr.engine.detectors.no_start")
    assert pytest.main(["-q", "--doctest-modules", "-p", "no:cacheprovider", str(package)]) == 0


def test_its_tables_are_complete():
    given = PAGE.partition("Precedence in use: ")[2].partition("\n")[0]
    in_use = {(str(d.precedence), str(d.condition)) for d in detectors.default_detectors()}
    assert set(re.findall(r"(\d+) `(\w+)`", given)) == in_use
    (look,) = re.findall(r"^\| `color`.*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", look.partition("one of")[2].partition(" | ")[0])) == base.MARKS
    assert f"`{base.Detector.color}` (grey), `{base.Detector.mark}`" in look
    assert f"| {base.Detector.precedence}, just before `plateau` |" in PAGE


def test_without_a_cooldown_a_condition_that_holds_is_answered_at_each_check():
    class Standing(base.Detector):
        condition = "standing"

        def examine(self, views):
            return (self.finding(Verdict.YES, "val_loss", 1.0, 1.0),)

        def describe(self, finding):
            return "it holds"

    def cuts(patience, cooldown):
        policy = Policy("mine", {"standing": Response("reduce", 0.1, patience=patience)})
        settings = Settings(policy=policy, detectors=(Standing(),), cooldown=cooldown)
        run = Run(DecisionEngine(settings))
        run.feed(STUCK)
        return run.actions

    assert (cuts(1, 0), cuts(3, 0), cuts(1, 2)) == ("rrrrr", "..r..", "r..r.")


def own() -> dict[str, Any]:
    """The names of a user's own module."""
    names: dict[str, Any] = {"__name__": "own"}
    module = sys.modules.setdefault("own", type(sys)("own"))  # a dataclass looks its module up
    code, replaced = re.subn(r"^from lightning_lr\.engine.*\n", "", BLOCKS["no_start.py"], flags=re.MULTILINE)
    assert replaced == 3, "as the how-to says"
    code = code.replace("from dataclasses", BLOCKS["own_imports"] + "from dataclasses", 1)
    exec(code, names)
    vars(module).update(names)
    return names


def test_a_detector_of_the_users_own_acts_in_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = own()
    exec(BLOCKS["own"], names)
    callback = names["callback"]
    callback.options = replace(callback.options, journal="lr_journal.jsonl")
    fit = trainer([callback], tmp_path, logger=[CSVLogger("log"), TensorBoardLogger("board")], max_epochs=4)
    fit.fit(Scripted({"val_loss": STUCK}), data(), data())

    (decision,) = callback.decisions[:1]
    assert (decision.check, str(decision.condition), decision.action, decision.factor) == (2, "no_start", "reduce", 0.1)
    lines = [json.loads(line) for line in Path("lr_journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[3]["decision"]["condition"] == "no_start"
    assert lines[3]["decision"]["evidence"]["gain"] == pytest.approx(0.008 / 2.303, rel=1e-4)  # the log is float32
    assert "lr_controller/condition/no_start" in next(Path("log").rglob("metrics.csv")).read_text()

    events = next(Path("board").rglob("events.out.*")).read_bytes()
    assert b'"color":"#8a5a44","mark":"cross"' in events, "for the tab"

    run = open_run("lr_journal.jsonl")
    assert not [said for said in run.chosen if "NoStartDetector" in said], "of a report it is no matter"
    capsys.readouterr()
    assert main(["replay", "lr_journal.jsonl"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    why = "the detector NoStartDetector is not available here: a replay does not find no_start"
    assert said.count(why) == 2
    assert said.endswith(f"decisions are not the recorded ones: {why}.")
    assert "#8a5a44" in page(report_of(run)), "coloured as its class says"
    assert all(r.decisions[0].condition != "no_start" for r in replay(run.lines(), [Replayer(run.settings)]))
    exec(BLOCKS["replay"], names)
    assert [str(d) for d in names["decisions"]] == [str(line.decision) for line in run.lines()]
    exec(BLOCKS["judged"], names)
    assert "plateau" in capsys.readouterr().out
