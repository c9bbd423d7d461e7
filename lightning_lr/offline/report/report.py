"""``lightning-lr report``: the decisions of a run, what each brought, which rates performed well, and advice.

The same :class:`Report` is printed in the terminal and written as a page; the sentences are those of the journal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lightning_lr.engine.text import arrow, plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.logs.log_readings import NOT_OURS
from lightning_lr.offline.logs.run import Run
from lightning_lr.offline.report import terminal
from lightning_lr.offline.report.adjustment_effects import AdjustmentEffect, adjustment_effects
from lightning_lr.offline.report.advice import advice_of
from lightning_lr.offline.report.conclusion import Conclusion, conclusion_of, found_by_detectors
from lightning_lr.offline.report.good_lr_range import good_lr_range
from lightning_lr.offline.report.run_summary import RunSummary, summarize

WIDE = 110
"""Columns of a terminal from which on the table can be read; below, each decision is a paragraph."""

RECORDED = {
    False: "recorded without lightning_lr",
    True: "lightning_lr was in this run, but the log does not hold its policy and its reasons: its journal does",
}
"""Whether our callback was in a run that is no journal → what the report says of it."""

HEADS = ("check", "epoch", "what", "learning rate", "why", "what it brought")


@dataclass(frozen=True)
class Report:
    """All that the report says.

    Attributes:
        run: where it comes from.
        summary: its checks, side by side.
        effects: what each change brought.
        rates: the range of rates that performed well, and what a search has read before training.
        conclusion: what became of the run.
        advice: the same in words, and for the next run.
    """

    run: Run
    summary: RunSummary
    effects: tuple[AdjustmentEffect, ...]
    rates: tuple[str, ...]
    conclusion: Conclusion
    advice: tuple[str, ...]

    @property
    def head(self) -> list[str]:
        """What the run was, one sentence each."""
        summary, last = self.summary, self.summary.lines[-1].reading
        best = f"; best {summary.name} {summary.shown(min(summary.finite)):.4g}" if summary.finite else ""
        policy = f"policy {self.run.settings.policy.name}" if self.run.decided else RECORDED[self.run.present]
        checks = f"{len(summary.lines)} check{plural(len(summary.lines))}"
        return [f"{checks}, to epoch {last.epoch} (step {last.step}){best}; {policy}", *self.run.chosen]

    @property
    def unchanged(self) -> str:
        """What is shown in place of the changes if there is none; nothing of rates that were not recorded."""
        known = [rate for rate in self.summary.rates if math.isfinite(rate)]
        if self.effects or not known:
            return ""
        if max(known) > min(known):
            return f"A schedule moved the learning rate from {known[0]:.3g} to {known[-1]:.3g}, without a jump."
        return "The learning rate was never changed."

    @property
    def rows(self) -> list[list[str]]:
        """One row a change, in the columns of :data:`HEADS`."""
        return [self._row(effect) for effect in self.effects]

    def _row(self, effect: AdjustmentEffect) -> list[str]:
        decision = self.summary.lines[effect.place].decision
        what, why = terminal.short(decision), decision.cause
        kept = decision.action is Action.EXPLORE and decision.factor == 1.0  # whose reason says why
        if " " not in why or kept:  # a mere word, as "budget"
            why = decision.reason
        rates = terminal.rate_change(decision.old_lr, decision.new_lr)
        if decision.action is Action.HOLD:
            what, why = "changed by its schedule", NOT_OURS
            rates = arrow(effect.old_rate, effect.new_rate, 3)
        elif decision.action is Action.ANNEAL and decision.old_lr:
            rates = f"{next(iter(decision.old_lr.values())):.3g} → 0 at the end"
        return [str(decision.check), str(decision.epoch), what, rates, why, effect.sentence]


def report_of(run: Run) -> Report:
    """Everything that there is to say of a run."""
    summary = summarize(run.lines(), run.settings)
    good = good_lr_range(summary)
    searched = next((line.search for line in summary.lines if line.search is not None), None)
    rates = (*good.sentences, *([f"Before training: {searched}."] if searched is not None else []))
    found = [line.decision for line in summary.lines] if run.decided else found_by_detectors(summary)
    conclusion = conclusion_of(summary, found)
    advice = tuple(advice_of(summary, good, conclusion))
    return Report(run, summary, tuple(adjustment_effects(summary)), rates, conclusion, advice)


def as_document(report: Report) -> dict[str, Any]:
    """The report as one JSON document."""
    summary, lines = report.summary, report.summary.lines
    place = summary.values.index(min(summary.finite)) if summary.finite else None
    best = None if place is None else lines[place].reading
    return {
        "run": str(report.run.path),
        "kind": report.run.kind,
        "chosen": list(report.run.chosen),
        "checks": len(lines),
        "monitor": summary.name,
        "mode": summary.settings.mode,
        "best": best and {"value": best.metrics[summary.name], "check": best.check, "epoch": best.epoch},
        "conclusion": {
            "kind": report.conclusion.kind.value,
            "since_check": lines[report.conclusion.since].reading.check,
            "since_epoch": lines[report.conclusion.since].reading.epoch,
            "probabilities": report.conclusion.chances,
        },
        "changes": [dict(zip(HEADS, row, strict=True)) for row in report.rows],
        "rates": list(report.rates),
        "advice": list(report.advice),
    }


def show(report: Report) -> None:
    """Print the report in the terminal."""
    out = terminal.console()
    terminal.say(out, str(report.run.path), style="bold")
    terminal.say(out, *report.head)
    if report.effects and out.width >= WIDE:
        out.print(terminal.table("", HEADS, report.rows, right=2, whole=4))
    elif report.effects:
        for check, epoch, what, rates, why, brought in report.rows:
            terminal.say(out, f"check {check} · epoch {epoch} · {what} · {rates}", style="bold")
            terminal.say(out, why, *([f"{HEADS[-1]}: {brought}"] if brought else []), indent=4)
        terminal.say(out, "")
    else:
        terminal.say(out, "", *filter(None, [report.unchanged]))
    for title, sentences in (("Rates that performed well", report.rates), ("Conclusion", report.advice)):
        if sentences:
            terminal.say(out, title, style="bold")
            terminal.say(out, *sentences, indent=2)
