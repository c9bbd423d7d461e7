"""``lightning-lr report``: the decisions of a run, what each brought, which rates performed well, and advice.

The same :class:`Report` is printed in the terminal and written as a page; the sentences are those of the journal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.lr_search.choice import margin_in_words
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.logs.sources import Run
from lightning_lr.offline.report import terminal
from lightning_lr.offline.report.adjustment_effects import Change, changes_of
from lightning_lr.offline.report.advice import advice_of
from lightning_lr.offline.report.good_lr_range import Band, band_of
from lightning_lr.offline.report.run_summary import Story, story_of

WIDE = 110
"""Columns of a terminal from which on the table can be read; below, each decision is a paragraph."""

RECORDED = {
    False: "recorded without lightning_lr",
    True: "lightning_lr was in this run, but the log does not hold its policy and its sentences: its journal does",
}
"""Whether our callback was in a run that is no journal → what the report says of it."""

ARROW = " → "

HEADS = ("check", "epoch", "what", "learning rate", "why", "what it brought")


@dataclass(frozen=True)
class Report:
    """All that the report says.

    Attributes:
        run: where it comes from.
        story: the run as the report looks at it.
        changes: what each change brought.
        band: the range of rates that performed well.
        advice: for the next run.
    """

    run: Run
    story: Story
    changes: tuple[Change, ...]
    band: Band
    advice: tuple[str, ...]

    @property
    def summary(self) -> list[str]:
        """What the run was, one sentence each."""
        lines, story = self.story.lines, self.story
        last = lines[-1].reading
        known = [value for value in story.values if math.isfinite(value)]
        best = f"; best {story.name} {story.shown(min(known)):.4g}" if known else ""
        policy = f"policy {self.run.settings.policy.name}" if self.run.decided else RECORDED[self.run.present]
        checks = f"{len(lines)} check{plural(len(lines))}, to epoch {last.epoch} (step {last.step})"
        return [f"{checks}{best}; {policy}", *self.run.said]

    @property
    def margin(self) -> tuple[str, ...]:
        """How far the rate that an exploration kept could be moved, as its short trials tell; empty without one."""
        for line in self.story.lines:
            if line.trial is not None and line.decision.new_lr:
                return margin_in_words(next(iter(line.decision.new_lr.values())), line.trial)
        return ()

    @property
    def rows(self) -> list[list[str]]:
        """One row a change, in the columns of :data:`HEADS`."""
        return [self._row(change) for change in self.changes]

    def _row(self, change: Change) -> list[str]:
        line = self.story.lines[change.place]
        decision = line.decision
        ours = decision.action is not Action.HOLD
        rates = rates_text(decision) if ours else f"{change.old_rate:.3g} → {change.new_rate:.3g}"
        what, why = terminal.short(decision), reason_alone(decision)
        if not ours and not line.has_decision:
            what, why = "changed by its schedule", "not decided by lightning_lr"
        elif not ours:
            known = "" if decision.condition is Condition.HEALTHY else f"{decision.condition}: "
            what = f"{known}changed by lightning_lr"
        brought = change.sentence if decision.action is not Action.STOP else "training ended"
        return [str(decision.check), str(decision.epoch), what, rates, why, brought]


def rates_text(decision: Decision) -> str:
    """Old → new rate; where annealing begins, the end that it leads to."""
    if decision.action is Action.ANNEAL and decision.old_lr:
        return f"{next(iter(decision.old_lr.values())):.3g} → 0 at the end"
    return terminal.rate_change(decision.old_lr, decision.new_lr)


def reason_alone(decision: Decision) -> str:
    """The sentence between condition and arrow: what stands before and after it has columns of its own.

    Within brackets an arrow says how a number moved: the one that is meant has as many closed before it as opened.
    """
    parts = decision.reason.split(ARROW)
    heads = (ARROW.join(parts[:count]) for count in range(1, len(parts)))
    said = next((head for head in heads if head.count("(") == head.count(")")), decision.reason)
    return said.removeprefix(f"{decision.condition}: ").removeprefix(f"{decision.action}: ")


def report_of(run: Run) -> Report:
    """Everything that there is to say of a run."""
    story = story_of(run)
    band = band_of(story)
    return Report(run, story, tuple(changes_of(story)), band, tuple(advice_of(story, band)))


def show(report: Report) -> None:
    """Print the report in the terminal."""
    out = terminal.console()
    terminal.say(out, str(report.run.path), style="bold")
    terminal.say(out, *report.summary)
    if report.changes and out.width >= WIDE:
        out.print(terminal.table("", HEADS, report.rows, right=2, whole=4))
    elif report.changes:
        for check, epoch, what, rates, why, brought in report.rows:
            terminal.say(out, f"check {check} · epoch {epoch} · {what} · {rates}", style="bold")
            terminal.say(out, why, f"{HEADS[-1]}: {brought}", indent=4)
        terminal.say(out, "")
    else:
        terminal.say(out, "", "The learning rate was never changed.")
    terminal.say(out, "Rates that performed well", style="bold")
    terminal.say(out, *report.band.sentences, *report.margin, indent=2)
    if report.advice:
        terminal.say(out, "Advice", style="bold")
        terminal.say(out, *report.advice, indent=2)
