"""The report: what each change brought, which rates performed well, advice; as a table, a page and a figure."""

# ruff: noqa: E501  (the rows of tables)

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import JournalLine, entry_line, header_line
from lightning_lr.engine.records import Adjustment, Decision, Rate, Reading, Review, SearchResult
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action, Condition, Event
from lightning_lr.offline.cli import main
from lightning_lr.offline.curves import overfitting
from lightning_lr.offline.demo import decided
from lightning_lr.offline.logs.run import Run
from lightning_lr.offline.report import report
from lightning_lr.offline.report.adjustment_effects import adjustment_effects
from lightning_lr.offline.report.advice import advice_of
from lightning_lr.offline.report.conclusion import conclusion_of
from lightning_lr.offline.report.figure import draw
from lightning_lr.offline.report.figure_labels import GAP, placed
from lightning_lr.offline.report.good_lr_range import good_lr_range
from lightning_lr.offline.report.html_report import page
from lightning_lr.offline.report.run_summary import summarize
from tests.helpers.logs import plain_run, write_csv


def line(check, value, rate, condition=None, factor=0.5):
    """A check at a rate; with a condition, a cut follows it."""
    action = Action.REDUCE if condition else Action.HOLD
    rates = {} if rate is None else {"lr-SGD": rate}
    after = {name: r * (factor if condition else 1) for name, r in rates.items()}
    decision = Decision(check, check, check, action, condition or Condition.HEALTHY, factor if condition else 1.0,
                        rates, after, f"{condition}: x → y")  # fmt: skip
    reading = Reading(check, check, check, {"val_loss": value}, rates={n: Rate(r, 1.0, r) for n, r in rates.items()})
    return JournalLine(reading, decision, Adjustment({n: Rate(r, 1.0, r) for n, r in after.items()}))


def summary_of(*checks):
    return summarize((line(number, *check) for number, check in enumerate(checks)), settings_from())


def concluded(summary):
    return conclusion_of(summary, [line.decision for line in summary.lines])


DIVERGENCE, PLATEAU = Condition.DIVERGENCE, Condition.PLATEAU
TOO_HIGH = [
    (2.0, 1.0),
    (3.0, 1.0, DIVERGENCE, 0.1),
    (1.5, 0.1),
    (1.2, 0.1),
    (1.0, 0.1, PLATEAU, 0.5),
    (0.9, 0.05),
    (0.85, 0.05),
]
RAISED = [(2.0, 0.001), (1.999, 0.001), (1.998, 0.001), (1.5, 0.01), (1.2, 0.01), (1.0, 0.01)]

RANGES = [
    (TOO_HIGH,
     "Rates from 0.05 to 0.1 performed well: each improved val_loss by more than 1 % of all it gained. 0.1 brought most; divided by 2 it still "
     "performed well. Above that, 1 did harm. No lower rate was tried: the margin on that side is not known.",
     "val_loss was still improving at the end (new best in the last 3 checks): more epochs may bring more. "
     "The first rate was about 10 times too high; start at 0.1."),
    (RAISED,
     "0.01 performed well: it improved val_loss by more than 1 % of all it gained, as no rate next to it did. No higher rate was tried: the "
     "margin on that side is not known. Below that, 0.001 brought less.",
     "val_loss was still improving at the end (new best in the last 3 checks): more epochs may bring more."),
    ([(2.0, 0.1), (1.0, 0.1), (0.5, 0.1)],
     "0.1, the only rate, performed well: it improved val_loss by more than 1 % of all it gained. The margin on either side is not known.",
     "3 checks are too few to tell more; the best val_loss, 0.5, came in epoch 2."),
    ([(2.0, 0.099), (1.0, 0.09), (1.0, 0.06), (1.0, 0.04), (1.0, 0.02)],
     "0.099 performed well: it improved val_loss by more than 1 % of all it gained, as no rate next to it did. No higher rate was tried: the "
     "margin on that side is not known. Below that, 0.06 brought less.",
     "The best val_loss, 1, came in epoch 1, 3 checks before the end: neither flat nor surely improving. "
     "The rate of the first check, 0.099, was a good start."),
    ([(1.0, 0.1), (1.0, 0.1), (1.0, 0.1)],
     "Of the rates that were tried (0.1) none improved val_loss by more than 1 % of all it gained.", "3 checks are too few to tell more; the best val_loss, 1, came in epoch 0."),
    ([(1.0, None), (0.5, None)],
     "No learning rate was recorded: nothing can be said of it.",
     "2 checks are too few to tell more; the best val_loss, 0.5, came in epoch 1."),
    ([(math.nan, 0.1)],
     "Of the rates that were tried (0.1) none improved val_loss by more than 1 % of all it gained.",
     "val_loss was never finite: look at the data and the loss before the learning rate."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("checks", "sentences", "advice"),
    RANGES,
    ids=["too high", "raised by a schedule", "one", "lowered by a schedule", "flat", "no rate", "NaN"],
)
def test_the_range_of_rates_and_the_advice(checks, sentences, advice):
    summary = summary_of(*checks)
    good = good_lr_range(summary)
    assert " ".join(good.sentences) == sentences
    assert " ".join(advice_of(summary, good, concluded(summary))) == advice


def explored_and_annealed():
    """What the default policy writes: a search, a rate that first rises, a hold, and a fall to zero.

    The scale carries both the decisions (0.05, later × 0.1) and the curve over the budget.
    """
    curve = [0.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.6, 0.4, 0.2]
    values = [2.0, 1.5, 1.0, 0.8, 0.9, 1.0, 0.795, 0.795, 0.6, 0.5, 0.45]
    level, lines = 0.05, [acted(0, math.nan, 1.0, 0.05, Action.EXPLORE, Condition.HEALTHY)]
    for check, (part, value) in enumerate(zip(curve, values, strict=True), start=1):
        if check == 6:
            lines.append(acted(check, value, level * part, 0.1, Action.RESTORE, Condition.OVERFITTING))
            level *= 0.1
        elif check == 8:
            lines.append(acted(check, math.nan, level, 1.0, Action.ANNEAL, Condition.HEALTHY))
        else:
            lines.append(acted(check, value, level * part, 1.0, Action.HOLD, Condition.HEALTHY))
    return summarize(lines, settings_from())


def acted(check, value, scale, factor, action, condition):
    """A check under a scale, and a decision after it; the schedule itself stays at 1."""
    rates, after = {"lr": Rate(1.0, scale, scale)}, {"lr": Rate(1.0, scale * factor, scale * factor)}
    metrics = {} if math.isnan(value) else {"val_loss": value}
    decision = Decision(check, check, check, action, condition, factor, {"lr": scale}, {"lr": scale * factor}, "x → y")
    return JournalLine(Reading(check, check, check, metrics, rates=rates), decision, Adjustment(after))


def test_our_own_curve_is_no_change_and_no_rate_that_was_tried():
    """The rise after the search is no one's schedule; what the annealed end brings is laid to no rate."""
    summary = explored_and_annealed()
    assert summary.rates == pytest.approx([1.0] + [0.05] * 6 + [0.005] * 5)
    assert summary.changes == (0, 6, 8)
    good = good_lr_range(summary)
    assert good.most == pytest.approx(0.05)
    assert good.sentences[1] == "No higher rate was tried: the margin on that side is not known."
    assert good.sentences[2] == "Below that, 0.005 brought less."
    end, cut = advice_of(summary, good, concluded(summary))
    assert end.startswith("val_loss was still improving at the end (new best in the last 3 checks)")
    assert cut == "It had begun to overfit by epoch 6; the best val_loss, 0.45, came in epoch 11, after the cut."


def test_the_report_of_a_narrow_terminal_is_paragraphs(tmp_path, capsys, monkeypatch):
    """A table of six columns could not be read there."""
    write_csv(tmp_path, [(i, {"val_loss": 1.0 - 0.01 * i, "lr-SGD": 0.1 if i < 5 else 0.01}) for i in range(10)])
    assert main(["report", str(tmp_path)]) == 0
    assert any(line.endswith("what it brought") for line in map(str.rstrip, capsys.readouterr().out.splitlines()))
    monkeypatch.setattr(report, "WIDE", 200)
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\ncheck 4 · epoch 4 · changed by its schedule · 0.1 → 0.01\n    not decided by lightning_lr" in out
    assert "    what it brought: helped: val_loss gained 0.01 a check before, 0.01 since (3 checks)" in out


CHANGES = [
    # values, the fifth before a change of a schedule → what it brought
    ([2.0, 1.9, 1.8, 1.7, 1.6, 1.2, 0.8, 0.4], "helped: val_loss gained 0.1 a check before, 0.4 since (3 checks)"),
    ([2.0, 1.6, 1.2, 0.8, 0.4, 0.4, 0.4, 0.4], "did not help: val_loss gained 0.4 a check before, 0 since (3 checks)"),
    ([1.0, 1.1, 1.2, 1.3, 1.4, 1.0, 0.9, 0.8], "helped: val_loss gained 0 a check before, 0.0667 since (3 checks)"),
    ([2.0, 1.9, 1.8, 1.7, 1.6, 1.5], "not known: too few checks came after it"),
]


@pytest.mark.parametrize(("values", "sentence"), CHANGES)
def test_what_a_change_brought(values, sentence):
    checks = [(value, 0.1 if number < 5 else 0.01) for number, value in enumerate(values)]
    (effect,) = adjustment_effects(summary_of(*checks))
    assert (effect.place, effect.old_rate, effect.new_rate, effect.sentence) == (4, 0.1, 0.01, sentence)


def test_the_review_of_the_journal_counts():
    review = Review(1, Action.REDUCE, PLATEAU, 0.5, "val_loss", True, 0.1, 0.1, 0.7, 3)
    lines = [line(0, 1.0, 0.1), line(1, 1.0, 0.1, PLATEAU), *(line(check, 1.0, 0.05) for check in (2, 3, 4))]
    lines[-1] = replace(lines[-1], review=review)
    (effect,) = adjustment_effects(summarize(lines, settings_from()))
    assert effect.sentence == "helped: val_loss gained 0.1 a check before, 0.7 since (3 checks)"


@pytest.mark.parametrize(("event", "action", "sentence"), [
    (Event.SEARCH, Action.EXPLORE, ""),
    (Event.ANNEAL, Action.ANNEAL, ""),
    (Event.EARLY_ANNEAL, Action.ANNEAL, ""),
    (Event.TRAIN_CHECK, Action.REDUCE, "not known: too few checks came after it"),
    (Event.CHECK, Action.ANNEAL, "not known: too few checks came after it"),
    (Event.CHECK, Action.STOP, "training ended"),
])  # fmt: skip
def test_only_what_is_reviewed_can_lack_a_review(event, action, sentence):
    """The first learning rate and the planned end are no answers to a condition: there is nothing to say of them."""
    last = line(1, 1.0, 0.1, PLATEAU)
    last = replace(last, event=event, decision=replace(last.decision, action=action))
    (effect,) = adjustment_effects(summarize([line(0, 1.0, 0.1), last], settings_from()))
    assert effect.sentence == sentence


def test_a_schedule_that_is_not_ours_makes_changes_too():
    assert summary_of(*[(1.0, 0.1)] * 3, *[(1.0, 0.05)] * 3, *[(1.0, 0.049)] * 3).changes == (2,)


def test_a_schedule_in_a_journal_is_not_taken_for_a_decision(tmp_path, capsys, monkeypatch):
    """A step of the user's own scheduler at a check at which the callback held."""
    settings = settings_from()
    engine, lines = DecisionEngine(settings), [header_line(settings, {})]
    for check, rate in enumerate([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]):
        reading = Reading(check, check, check, {"val_loss": 1.0 - 0.1 * check}, rates={"lr": Rate(rate, 1.0, rate)})
        lines.append(entry_line(engine.entry(Event.CHECK, reading, engine.check(reading), Adjustment(reading.rates))))
    (tmp_path / "lr_journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(report, "WIDE", 500)
    assert main(["report", str(tmp_path)]) == 0
    assert "check 2 · epoch 2 · changed by its schedule · 0.1 → 0.01" in capsys.readouterr().out


def chart_of(path):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    return json.loads(data)["curves"]


def test_marks_lie_on_the_curve_of_the_rate(tmp_path):
    """Also where our own curve over the budget lowers it: what is drawn is the rate that the steps used."""
    pytest.importorskip("plotly")
    pytest.importorskip("matplotlib")
    settings = settings_from()
    late = acted(12, 0.45, 0.0005, 0.5, Action.REDUCE, Condition.PLATEAU)
    summary = summarize([*explored_and_annealed().lines, late], settings)
    run = Run(tmp_path, "journal", settings, lambda: iter(summary.lines), ("chosen",), True, True)
    (tmp_path / "a.html").write_text(page(report.report_of(run)), encoding="utf-8")
    curves = chart_of(tmp_path / "a.html")
    (rate,) = (curve for curve in curves if curve["name"] == "lr")
    marks = [curve for curve in curves if curve["mode"] == "markers"]
    assert [curve["name"] for curve in marks] == ["search", "overfitting", "anneal", "plateau"]
    assert len({curve["marker"]["symbol"] for curve in marks}) == 4
    found = [point for curve in marks for point in zip(curve["x"], curve["y"], strict=True)]
    assert off_the_stairs(found, list(zip(rate["x"], rate["y"], strict=True))) == []
    assert found[0] == (0, 0.05)  # the search stands at the rate that it chose
    _, axes = draw(summary.lines).axes
    drawn = {handle.get_label(): list(zip(*handle.get_data(), strict=True)) for handle in axes.get_lines()}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "lr",
        "search",
        "overfitting",
        "anneal",
        "plateau",
    ]
    found = [point for kind in ("search", "overfitting", "anneal", "plateau") for point in drawn[kind]]
    assert off_the_stairs(found, drawn["lr"]) == []


def off_the_stairs(points, curve):
    """Those that lie on no rise and no corner of a rate: at a check it goes from the rate until then to the next."""
    rises = {x: sorted((y, then)) for (x, y), (_, then) in pairwise([*curve, curve[-1]])}
    return [(x, y) for x, y in points if not rises[x][0] <= y <= rises[x][1]]


EVIL = "<script>alert(1)</script>_val_loss"


def test_text_from_a_log_is_escaped_in_the_page(tmp_path, capsys):
    pytest.importorskip("plotly")
    write_csv(tmp_path, plain_run([1.0, 0.8, 0.7] + [0.7] * 9, EVIL))
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;_val_loss" in text
    assert EVIL not in text
    assert text.count("alert(1)") == text.count("alert(1)&lt;/script&gt;") >= 2


def test_what_a_search_has_read(tmp_path, capsys):
    """What is known of the rate before training, and no word on how runs at other rates would have ended."""
    pytest.importorskip("plotly")
    found = SearchResult({0.0: (2.0, 2.2), 1.0: (1.5, 1.7)}, 27.0, 27.0, True, gain=0.5, spread=0.1, horizon=500)
    reading = Reading(0, 0, 1, rates={"lr": Rate(0.001, 1.0, 0.001)}, snapshot_check=-1)
    controller = DecisionEngine(settings_from())
    decision = controller.search_ended(reading, found)
    entry = controller.entry(Event.SEARCH, reading, decision, Adjustment(reading.rates), found)
    lines = [header_line(controller.settings, {}), entry_line(entry)]
    (tmp_path / "lr_journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["report", str(tmp_path), "--html", str(tmp_path / "a.html")]) == 0
    said = "2 readings of the loss along the first update: the best rate for 500 steps is about 27 times the one given"
    for text in (" ".join(capsys.readouterr().out.split()), (tmp_path / "a.html").read_text(encoding="utf-8")):
        assert f"Before training: {said}." in text


def test_a_paragraph_without_a_review_ends_with_its_reason(tmp_path, capsys, monkeypatch):
    engine, lines = DecisionEngine(settings_from()), [header_line(settings_from(), {})]
    for check in range(2):
        reading = Reading(
            check, check, check, {"val_loss": 1.0} if check == 0 else {}, rates={"lr": Rate(0.1, 1.0, 0.1)}
        )
        event = Event.ANNEAL if check else Event.CHECK
        lines.append(entry_line(engine.entry(event, reading, engine.handle(event, reading), Adjustment(reading.rates))))
    (tmp_path / "lr_journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(report, "WIDE", 500)
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\ncheck 1 · epoch 1 · anneal" in out
    assert "what it brought" not in out


def test_the_page_fetches_nothing(tmp_path, capsys):
    pytest.importorskip("plotly")
    write_csv(tmp_path, plain_run([1.0, 0.8]))
    assert main(["report", str(tmp_path), "--html", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", text.split("<script>", 1)[0])
    assert "<script src" not in text


def test_text_from_a_log_does_not_steer_the_terminal(tmp_path, capsys):
    name = "[red]\x1b[31m_val_loss"
    write_csv(tmp_path, plain_run([1.0, 0.8], name))
    assert main(["report", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "[red]\\x1b[31m_val_loss" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", ["_hidden_val_loss", "$val_{loss", EVIL, "val_loss " * 30])
def test_the_figure_takes_any_name(tmp_path, capsys, name):
    pytest.importorskip("matplotlib")
    write_csv(tmp_path, plain_run([1.0, math.nan, 0.8], name.strip()))
    assert main(["report", str(tmp_path), "--png", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("lines", [
    decided(overfitting(0), settings_from()), decided(overfitting(0), settings_from())[:1], [line(0, math.nan, None)],
    [line(0, 0.0, 0.0), line(1, -1.0, 0.0)],
], ids=["many decisions", "one check", "no number at all", "zero and below"])  # fmt: skip
def test_the_figure_takes_any_run(tmp_path, lines):
    pytest.importorskip("matplotlib")
    draw(lines).savefig(tmp_path / "a.png")


def test_labels_do_not_overlap():
    lines = [x for x in decided(overfitting(0), settings_from(patience=3)) if x.decision.action is not Action.HOLD]
    decisions = [x.decision for x in lines]
    labels = placed(decisions, [d.check / 100 for d in decisions], lambda text: 0.01 * len(text))
    assert len(labels) == len(decisions)
    for row in {label[3] for label in labels}:
        spans = sorted((left, left + 0.01 * len(text)) for text, _, left, r in labels if r == row)
        assert all(end + GAP <= start + 1e-9 for (_, end), (start, _) in pairwise(spans))


def test_plot_returns_figure_and_axes(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    import lightning_lr

    write_csv(tmp_path, plain_run([1.0, 0.8]))
    figure, axes = lightning_lr.plot(tmp_path)
    assert axes == figure.axes
    assert len(axes) == 2
    pyplot.close(figure)


def overfitted(folder, **options):
    """A journal of a run that overfits, and its decisions."""
    settings = settings_from(**options)
    engine, lines, decisions = DecisionEngine(settings), [header_line(settings, {})], []
    for reading in overfitting(0).readings:
        decisions.append(engine.check(reading))
        lines.append(entry_line(engine.entry(Event.CHECK, reading, decisions[-1], Adjustment(reading.rates))))
    (folder / "lr_journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return decisions


def test_the_checks_of_one_epoch(tmp_path, capsys):
    """Also those without a change: what blocked it, what was not ruled out, and the scores."""
    blocked = next(decision for decision in overfitted(tmp_path, patience=4) if decision.blocked_by == "patience")
    epoch = str(blocked.epoch)
    assert main(["report", str(tmp_path), "--epoch", epoch]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"check {blocked.check} · epoch {epoch} · " in shown
    assert "blocked by: patience" in shown
    assert "not ruled out: " in shown
    said = {name: f"{probability:.3g}" for name, probability in blocked.probabilities.items()}
    stalled = f"stalled {said['plateau']}, of which overfitting {said['overfitting']}, diverging {said['divergence']}"
    assert f"probabilities: {stalled}" in shown
    assert "score" not in shown.partition("probabilities: ")[2].partition("loss_spike")[0]
    assert main(["report", str(tmp_path), "--epoch", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "probabilities: stalled not known, of which overfitting not known, diverging not known" in shown
    assert "nan" not in shown
    assert main(["report", str(tmp_path), "--epoch", epoch, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["decision"]["blocked_by"] == "patience"


def test_an_epoch_that_cannot_be_shown(tmp_path, capsys):
    overfitted(tmp_path)
    assert main(["report", str(tmp_path), "--epoch", "999"]) == 2
    assert "Expected a check in epoch 999 but" in capsys.readouterr().err
    write_csv(tmp_path / "table", plain_run([1.0, 0.9, 0.8]))
    assert main(["report", str(tmp_path / "table"), "--epoch", "0"]) == 2
    assert "holds no reasons" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factor", "why"), [(1.0, "readings: 3 times; it stays as it was given"), (3.0, "readings: 3 times")]
)
def test_a_search_that_kept_the_rate_says_why(factor, why):
    decision = acted(0, 1.0, 1.0, factor, Action.EXPLORE, Condition.HEALTHY).decision
    sentence = "readings: 3 times; it stays as it was given"
    decision = replace(decision, sentence=sentence, cause="readings: 3 times")
    first = replace(acted(0, 1.0, 1.0, factor, Action.EXPLORE, Condition.HEALTHY), decision=decision)
    summary = summarize([first, acted(1, 0.9, factor, 1.0, Action.HOLD, Condition.HEALTHY)], settings_from())
    run = Run("x", "journal", settings_from(), lambda: iter(summary.lines), (), True, True)
    assert [row[4] for row in report.report_of(run).rows] == [why]
