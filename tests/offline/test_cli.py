"""The command line: what it prints, what it leaves alone, how it ends."""

# ruff: noqa: E501  (the rows of tables)

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys

import jsonargparse
import pytest

from lightning_lr.engine.policies import PRESETS
from lightning_lr.offline.cli import COMMANDS, EXAMPLES, main
from tests.helpers.logs import plain_run, write_csv, write_events
from tests.offline.test_sources import BAD, journal

FLAT = [1.0, 0.8, 0.7] + [0.7] * 12


def printed(capsys, *arguments) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["replay", "report"])
@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, make, message, command):
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    extra = (
        ["--html", str(tmp_path / "a.html"), "--png", str(tmp_path / "a.png")] if command == "report" else ["--json"]
    )

    assert main([command, str(path), *extra]) == 2

    out, err = capsys.readouterr()
    assert (out, err) == ("", f"lightning-lr: {message.format(tmp_path)}\n")
    assert sorted(tmp_path.rglob("*")) == before


WRONG = [
    (["replay", "RUN", "--set", "patience=0"], "Expected `patience` to be an integer ≥ 1 but got 0."),
    (["replay", "RUN", "--set", "patience"], "Expected NAME=VALUE, as in patience=3, but got 'patience'."),
    (["replay", "RUN", "--set", "patienc=3"], "Expected the name of an argument but got 'patienc'. Did you mean 'patience'?"),
    (["replay", "RUN", "--set", "monitor=a"], "Expected --monitor to say what is watched but got 'monitor=a'."),
    (["replay", "RUN", "--policy", "halvin"], "Expected `policy` to be a Policy or one of "
     f"{', '.join(map(repr, PRESETS))} but got 'halvin'. Did you mean 'halving'?"),
    (["replay", "RUN", "--set", "epochs=5"], "Expected `epochs` only with policy='halving' or 'exponential' but got it with "
     "'auto'. Leave it out or choose one of these policies."),
    (["replay", "RUN", "--monitor", "nope"], "Expected a metric 'nope' in RUN/metrics.csv but it logged lr-SGD, train_loss_epoch, "
     "train_loss_step, val_loss. Pass --monitor NAME."),
    (["report", "RUN", "--html", "RUN/no/where.html"], "RUN/no/where.html: No such file or directory."),
    (["report", "RUN", "--html", "RUN/a.html", "--png", "RUN/no/a.png"], "RUN/no/a.png: No such file or directory."),
    (["report", "RUN", "--png", "RUN/a.png", "--html", "RUN/no/a.html"], "RUN/no/a.html: No such file or directory."),
    (["evaluate", "RUN", "--onset", "17"], "Expected an onset like epoch=17, check=17 or none but got '17'."),
    (["evaluate", "RUN", "--onset", "epoch=99"], "Expected an onset within the run but got 'epoch=99': it ends at epoch 14."),
    (["evaluate", "RUN"], "Expected --onset once for each of the 1 run but got 0."),
    (["evaluate", "--onset", "epoch=1"], "Expected a run to go with --onset but got none."),
    (["demo", "--curve", "x"], "Expected a curve of healthy, plateau, overfitting, divergence, loss_spike, non_finite but got 'x'."),
    (["demo", "--png", "RUN/a.png"], "Expected --curve to say which curve --png draws."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments[:6]) for arguments, _ in WRONG])
def test_wrong_options_are_one_line_and_status_2(tmp_path, capsys, arguments, message):
    if {"report", "--png"} <= set(arguments):
        pytest.importorskip("matplotlib")  # asked for first: it is an extra
    write_csv(tmp_path, plain_run(FLAT))
    assert main([argument.replace("RUN", str(tmp_path)) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"lightning-lr: {message.replace('RUN', str(tmp_path))}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["replay"], ["report", "x", "--nonsense"], []])
def test_usage_errors_are_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(example in out for example in EXAMPLES[command])


def test_replay_stands_beside_what_really_happened(tmp_path, capsys):
    rates = [0.1] * 6 + [0.01] * 9
    write_events(
        tmp_path,
        [
            (10 * i + 9, {"val/loss": v, "lr-SGD": r, "epoch": float(i)})
            for i, (v, r) in enumerate(zip(FLAT, rates, strict=True))
        ],
    )
    out = printed(capsys, "replay", tmp_path, "--set", "patience=2", "--variant", "policy=halving epochs=4")
    assert "monitor val/loss (rule: the validation loss, a total before its parts); training loss not logged" in out
    assert "replayed with: patience=2; policy halving, epochs=4" in out
    assert "6 6 learning rate 0.1 → 0.01" in out
    assert "What replay cannot know: how the metrics would have changed." in out


SLUMP = {
    "name": "Slump", "condition": "slump", "precedence": 25, "votes": True, "urgent": False, "color": "#8a5a44",
    "mark": "cross",
}  # fmt: skip


def test_replay_of_a_journal_with_its_own_settings(tmp_path, capsys):
    journal(tmp_path / "lr_journal.jsonl")
    out = printed(capsys, "replay", tmp_path)
    assert "All 20 decisions are the recorded ones, sentence for sentence." in out
    assert "cannot know" not in out


@pytest.mark.parametrize(("change", "why"), [
    (lambda h, c: [{**h, "settings": {**h["settings"], "detectors": [SLUMP]}}, *c],
     "the detector Slump is not available here: a replay does not find slump"),
    (lambda h, c: [h, *c[1:]], "the journal begins at check 1, and a replay does not know what came before"),
    (lambda h, c: [{**h, "run": {"version": "0.0.9"}}, *c],
     "this version decides otherwise than the one that wrote the journal (0.0.9)"),
], ids=["detector", "beginning", "version"])  # fmt: skip
def test_replay_says_why_its_decisions_differ(tmp_path, capsys, change, why):
    """The version only if nothing else explains it."""
    journal(path := tmp_path / "lr_journal.jsonl")
    head, *checks = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    checks[5]["decision"]["reason"] = "slump: x"
    checks[5]["decision"]["condition"] = "slump"
    path.write_text("".join(json.dumps(line) + "\n" for line in change(head, checks)), encoding="utf-8")
    out = " ".join(printed(capsys, "replay", tmp_path).split())
    assert re.search(rf"[1-9]\d* of \d+ decisions are not the recorded ones: {re.escape(why)}\.$", out)
    assert "is not available here" not in printed(capsys, "report", tmp_path)


def test_replay_as_json(tmp_path, capsys):
    write_csv(tmp_path, plain_run(FLAT))
    assert main(["replay", str(tmp_path), "--json", "--set", "patience=2", "--variant", "policy=conservative"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(r["name"], r["own"], r["differing"]) for r in document["replays"]] == [
        ("patience=2", False, None), ("policy conservative", False, None)
    ]  # fmt: skip
    assert document["replays"][0]["decisions"][0]["condition"] == "plateau"
    assert (document["checks"], document["happened"]) == (15, [])
    assert document["unknown"].startswith("What replay cannot know")


def two_runs(folder):
    for version in ("version_0", "version_1"):
        write_csv(folder / version, plain_run(FLAT))
    (folder / "version_2").mkdir()
    (folder / "version_2" / "metrics.csv").write_text("epoch,acc,score\n0,0.5,0.5\n")
    return folder


@pytest.mark.parametrize("command", ["replay", "report"])
def test_several_runs_are_listed(tmp_path, capsys, command):
    assert main([command, str(two_runs(tmp_path))]) == 2
    out, err = capsys.readouterr()
    there = "version_0/metrics.csv, version_1/metrics.csv, version_2/metrics.csv"
    assert err == f"lightning-lr: Expected one run in {tmp_path} but it holds 3: {there}. Name one of them.\n"
    assert [line.split() for line in out.splitlines() if "version_1" in line] == [
        ["version_1/metrics.csv", "table", "of", "metrics"]
    ]
    assert "--all" in out


@pytest.mark.parametrize("command", ["replay", "report"])
def test_all_goes_through_several_runs(tmp_path, capsys, command):
    """One that cannot be read is said, and does not stop the others."""
    out = printed(capsys, command, two_runs(tmp_path), "--all")
    assert out.count("mode min, as its name says") == 2
    assert "version_2/metrics.csv: not read Expected a metric with a name like val_loss" in out
    assert main([command, str(tmp_path), "--all", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [document.get("checks") for document in documents] == [15, 15, None]
    assert "Expected a metric" in documents[2]["error"]
    assert main([command, str(tmp_path / "version_2"), "--all"]) == 2
    assert capsys.readouterr().err.endswith("but none of its 1 can be.\n")


@pytest.mark.parametrize("arguments", [["demo"], ["evaluate", "--seeds", "1"]])
def test_every_command_prints_json(capsys, arguments):
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_evaluate_a_run_of_ones_own(tmp_path, capsys):
    rising = [1.0, 0.8, 0.7, *(0.7 + 0.06 * i for i in range(1, 12))]
    write_csv(tmp_path, plain_run(rising))
    out = printed(capsys, "evaluate", tmp_path, "--onset", "epoch=3", "--condition", "overfitting")
    assert "epoch=3 overfitting check" in out
    assert "none" in out


def test_evaluate_a_run_without_what_the_detectors_need(tmp_path, capsys):
    write_csv(tmp_path, plain_run(FLAT))
    out = printed(capsys, "evaluate", tmp_path, "--onset", "none", "--condition", "incoherence")
    assert out == f"{tmp_path}/metrics.csv holds nothing that a detector of incoherence judges."
    rows = printed(capsys, "evaluate", tmp_path, "--onset", "none")
    assert rows.count("overfitting") == 1  # two look for it; the other one reads a probe that was not there
    assert "gradient_disparity" not in rows


def test_evaluate_curves(capsys):
    assert "divergence 2 " in printed(capsys, "evaluate", "--seeds", "1", "--condition", "divergence")
    out = printed(capsys, "evaluate", "--seeds", "1")
    assert "nan" not in out
    assert out.count("overfitting") == 1
    assert out.endswith(
        "Not asked, as the curves hold nothing that they judge: gradient_disparity, oscillation, "
        "incoherence, slow_progress, improving."
    )


def test_demo(capsys):
    out = printed(capsys, "demo", "--curve", "divergence")
    assert "divergence-0: divergence from check" in out
    assert "→ restore the state of check" in out


def run(*arguments, program: str | None = None) -> tuple[float, subprocess.CompletedProcess]:
    command = ["-m", "lightning_lr.offline.cli", *map(str, arguments)] if program is None else ["-c", program]
    started = os.times()
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    now = os.times()
    return now.children_user + now.children_system - started.children_user - started.children_system, ended


def test_it_starts_at_once():
    """Processor time, the best of three: the machine may be busy."""
    assert min(run("--help")[0] for _ in range(3)) < 0.3


def test_nothing_imports_torch(tmp_path):
    write_csv(tmp_path, plain_run(FLAT))
    program = f"""
import sys
from lightning_lr.offline.cli import main
for command in (["demo"], ["replay", {str(tmp_path)!r}], ["report", {str(tmp_path)!r}], ["evaluate", "--seeds", "1"]):
    assert main(command) == 0
print([name for name in ("torch", "lightning", "torchmetrics") if name in sys.modules], file=sys.stderr)
"""
    assert run(program=program)[1].stderr == "[]\n"


def test_a_reader_that_has_read_enough():
    command = f"{sys.executable} -m lightning_lr.offline.cli demo | head -1"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


COMPLETIONS = [
    ("lightning-lr rep", ["replay", "report"]),
    ("lightning-lr report --h", ["--help", "--html"]),
    ("lightning-lr replay run --mode m", ["min", "max"]),
    ("lightning-lr report lr_j", ["lr_journal.jsonl"]),
    ("lightning-lr report x --html lr_j", ["lr_journal.jsonl"]),
]

TAB = """
words=($1); COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]} - 1)); COMPREPLY=()
_shtab_lightning_lr
echo "${COMPREPLY[@]}"
"""


def test_completion(tmp_path):
    """What the Tab key offers in bash, with the script that the command prints."""
    pytest.importorskip("shtab")
    if "add_print_completion_argument" not in inspect.signature(jsonargparse.set_parsing_settings).parameters:
        pytest.skip("an older jsonargparse calls the option --print_shtab")
    script = run("--print_completion=shtab-bash")[1]
    assert script.returncode == 0
    (tmp_path / "lr_journal.jsonl").touch()
    (tmp_path / "completion").write_text(script.stdout)
    for line, offered in COMPLETIONS:
        program = f"source completion{TAB}"
        ended = subprocess.run(
            ["bash", "--norc", "-c", program, "bash", line], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert ended.stdout.split() == offered, line
