"""The any-start benchmark: its arithmetic on made-up lines, stopping and continuing, and one short real run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import lightning.pytorch as pl
import pytest
from rich.console import Console

from benchmarks.any_start import harm, missing, report, results, score
from benchmarks.any_start.methods import PEERS, Method, method_named, plain
from benchmarks.any_start.pool import run_all
from benchmarks.any_start.tasks import TASKS
from benchmarks.any_start.training import train

DIGITS = next(task for task in TASKS if task.name == "digits-sgd")
SHORT = DIGITS.shortened(0.1)
NOWHERE = Console(quiet=True)


def line(method="cosine", start=1.0, seed=0, val=1.0, test=1.0, task="t", **more):
    record = {"task": task, "method": method, "start": start, "seed": seed, "val_loss": val, "test_loss": test}
    return {**record, "untrained_test": 3.0, "diverged": False, "seconds": 1.0, "budget": 10, "code": "c", **more}


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_the_champion_is_chosen_on_validation_and_all_are_scored_on_test():
    lines = [
        line("cosine", 1.0, val=0.5, test=1.0),
        line("wsd", 10.0, val=0.6, test=0.8),  # better on test, which nobody may know
        line("auto", 1.0, val=0.1, test=1.1),  # never the champion: it is the one to be judged
    ]
    ratios = {outcome.method: outcome.ratio for outcome in score.outcomes(lines, PEERS)}
    assert ratios == pytest.approx({"cosine": 1.0, "wsd": 0.8, "auto": 1.1})


def test_the_runs_behind_the_champion_are_counted_by_how_they_end():
    lines = [
        line("prodigy", 0.1, val=0.5, test=1.0),
        line("prodigy", 1.0, val=0.5, test=1.0),  # ignores the start: the same run
        line("wsd", 1.0, val=0.6, test=0.9),
        line("cosine", 1.0, val=None, test=None),
        line("auto", 1.0, val=0.55, test=7.0),
    ]
    behind = [score.champions(lines, PEERS, place) for place in (1, 2, 3)]
    assert [[run["method"] for run in runs.values()] for runs in behind] == [["prodigy"], ["wsd"], []]
    assert [o.ratio for o in score.compared_with(behind[0], behind[1].values())] == [0.9]


def test_regret_is_the_share_not_gained():
    lines = [line(test=1.0), line("auto", test=1.5), line("auto", 100.0, test=9.0)]
    regrets = [outcome.regret for outcome in score.outcomes(lines, PEERS)]
    assert regrets == pytest.approx([0.0, 0.25, 4.0])
    assert score.summary(score.outcomes(lines, PEERS)).regret == pytest.approx((0 + 0.25 + 1) / 3)


def test_a_run_that_failed_counts_as_infinite_and_diverged():
    failed = {"task": "t", "method": "auto", "start": 1.0, "seed": 0, "error": "TypeError: no such option"}
    nan = line("auto", 10.0, val=None, test=None, diverged=True)
    outcome = score.outcomes([line(), failed, nan], PEERS)
    assert [o.ratio for o in outcome] == [1.0, math.inf, math.inf]
    assert score.summary(outcome).diverged == 2


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.6, 2.4), (0.9, math.inf), (1.0, math.inf)])
def test_quantiles_hold_infinite_values(share, expected):
    assert score.quantile([2.0, 1.0, math.inf, 3.0, 1.0], share) == pytest.approx(expected)


def test_the_interval_needs_two_seeds_and_is_the_same_each_time():
    one = score.outcomes([line(), line("auto", test=1.2)], PEERS)
    assert score.bootstrap(one) is None
    two = score.outcomes([line(seed=s) for s in (0, 1)] + [line("auto", seed=s, test=1 + s) for s in (0, 1)], PEERS)
    ours = [outcome for outcome in two if outcome.method == "auto"]
    low, high = score.bootstrap(ours)
    assert (low, high) == score.bootstrap(ours)
    assert low == pytest.approx(0.0)
    assert high == pytest.approx(0.5)


def test_the_report_says_what_was_run_and_where_ours_loses(tmp_path):
    lines = [line(seed=s) for s in (0, 1)] + [line("auto", 10.0, seed=s, test=1.3) for s in (0, 1)]
    lines += [line("auto(x=1)", error="TypeError: x")]
    report.write_report(lines, tmp_path / "RESULTS.md", "python -m benchmarks.any_start --seeds 2")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "5 runs so far" in text
    assert "--seeds 2" in text
    assert "| auto | t | × 10 | 0 | 1.30 |" in text
    assert "`TypeError: x`" in text
    assert (tmp_path / "results.png").stat().st_size > 1000


# --- the file, stopping and continuing --------------------------------------------------------------------------------


def test_a_line_cut_off_is_left_out_and_the_next_begins_afresh(tmp_path):
    path = tmp_path / "results.jsonl"
    results.append(path, line(seed=0))
    path.write_text(path.read_text() + '{"task": "t", "meth')
    results.append(path, line(seed=1))
    assert [record["seed"] for record in results.read(path)] == [0, 1]


def test_a_second_call_does_only_what_is_missing(tmp_path, monkeypatch):
    def pretend(task, method, start, seed, data):
        error = {"error": "lost"} if start == 10.0 else {}
        return line(method.name, start, seed, task=task.name) | error

    monkeypatch.setattr(missing, "train", pretend)
    path = tmp_path / "results.jsonl"
    runs = list(results.runs([SHORT], [PEERS["constant"], PEERS["wsd"]], [1.0, 10.0], seeds=1))

    def again(**options):
        return missing.run_missing(runs, None, path, console=NOWHERE, **options)

    assert again(jobs=2) == 4
    assert again() == 0
    assert again(retry_failed=True) == 2
    kept = path.read_text().splitlines()[:4]
    path.write_text("\n".join(kept[:-1]) + "\n" + kept[-1][:20])  # killed while it wrote
    assert again() == 1
    path.write_text(path.read_text().replace('"code": "', '"code": "older'))
    assert again(any_code=True) == 0
    assert again() == 4


def test_the_tag_knows_the_options_and_the_task():
    tags = [
        results.code_tag(task, method_named(name))
        for task, name in [(SHORT, "cosine"), (DIGITS, "cosine"), (SHORT, "wsd"), (SHORT, "auto"), (SHORT, "auto(x=1)")]
    ]
    assert len(set(tags)) == len(tags)
    assert results.code_tag(SHORT, PEERS["cosine"]) == tags[0]


def test_a_process_that_dies_takes_no_other_along():
    ended = dict(run_all(lambda n: os._exit(1) if n == 1 else n * n, [(0,), (1,), (2,)], jobs=2))
    assert ended == {(0,): 0, (1,): None, (2,): 4}


# --- methods and runs -------------------------------------------------------------------------------------------------


def test_a_real_run_has_every_figure_and_is_the_same_twice():
    runs = [(SHORT, method_named(name), 1.0, 0, None) for name in ("constant", "constant", "auto", "auto(nonsense=1)")]
    one, two, ours, failed = (record for _, record in run_all(train, runs, jobs=1))
    assert one | {"seconds": 0} == two | {"seconds": 0}
    for record in (one, ours):
        assert record["steps"] <= record["budget"] == 4 * 31
        assert record["test_loss"] < record["untrained_test"]
        assert 0 < record["val_acc"] <= 1
        assert not record["diverged"]
    assert "nonsense" in failed["error"]
    assert str(Path.cwd()) not in json.dumps([one, ours, failed])


class Peeks(pl.Callback):
    """Three forward passes before each of the first ten steps: what a method that looks for a rate might do."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step < 10:
            for _ in range(3):
                pl_module(batch[0])


def test_forward_passes_of_ours_shorten_the_run_by_a_third_of_a_step_each():
    peeking = Method("peeks", plain, lambda plan: [Peeks()], forwards=True, ours=True)
    (_, record), *_ = run_all(train, [(SHORT, peeking, 1.0, 0, None)], jobs=1)
    assert record["forwards"] == 30
    assert record["steps"] == record["budget"] - 10


# --- do no harm -------------------------------------------------------------------------------------------------------


def test_twins_are_compared_and_an_action_that_cost_more_than_the_seeds_is_false():
    short = {"task": "t:short"}
    lines = [line(seed=s, test=1.0 + 0.1 * s) | short for s in (0, 1, 2)]
    lines += [line("cosine+auto", seed=0, test=1.05, actions={"reduce": 1}) | short]  # worse, as seeds differ
    lines += [line("cosine+auto", seed=1, test=1.5, actions={"reduce": 1}) | short]
    lines += [line("cosine+auto", seed=2, test=1.2, actions={}) | short]
    pairs = harm.pairs(lines, "auto")
    assert [pair.seed for pair in pairs if pair.identical] == [2]
    assert [pair.seed for pair in harm.false_actions(pairs, lines)] == [1]
    text = harm.report(lines, "auto", "command")
    assert "3 pairs, 2 with an action, 1 of them false" in text


def test_the_best_schedule_of_the_results_is_what_gets_the_callback_on_top():
    known = [line("wsd", 10.0, val=0.1, task=SHORT.name), line("constant", val=0.01, task=SHORT.name)]
    first, second, *rest = harm.planned(known, [SHORT], seeds=1, ours="auto", share=0.5)
    assert [(run[1].name, run[2]) for run in (first, second)] == [("wsd", 10.0), ("wsd+auto", 10.0)]
    assert len(rest) == 2 * len(harm.SHORT)
