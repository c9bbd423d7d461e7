"""What ``lightning-lr replay`` prints: decisions beside what really happened, or the same as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_lr.engine.journal import JournalLine, plain
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.logs.run import Run
from lightning_lr.offline.replay.replay import UNKNOWN, Replayed, Replayer, not_found, replay
from lightning_lr.offline.replay.variants import Variant
from lightning_lr.offline.report import terminal
from lightning_lr.offline.report.run_summary import jumped


@dataclass
class Outcome:
    """What a replay came to; holds the checks at which something was decided or happened, and no others.

    Attributes:
        run: what was replayed.
        variants: with which settings.
        checks: how many there were.
        acted: those at which anything was decided or happened, each with what really happened, in words.
        differing: for each variant, how many decisions are not the recorded ones; 0 if none were recorded.
        first: number of the first check; above 0 if the beginning is missing.
    """

    run: Run
    variants: Sequence[Variant]
    checks: int = 0
    acted: list[tuple[Replayed, str]] = field(default_factory=list)
    differing: list[int] = field(default_factory=list)
    first: int = 0

    @property
    def only_own(self) -> bool:
        """Whether nothing but the run's own settings was asked for."""
        return all(variant.own for variant in self.variants)

    def decisions(self, place: int) -> list[Decision]:
        """Those of one variant that are not to hold."""
        decisions = (replayed.decisions[place] for replayed, _ in self.acted)
        return [decision for decision in decisions if decision.action is not Action.HOLD]


def outcome_of(run: Run, variants: Sequence[Variant]) -> Outcome:
    """Replay a run with each of the settings."""
    outcome = Outcome(run, variants, differing=[0] * len(variants))
    former: JournalLine | None = None
    for replayed in replay(run.lines(), [Replayer(v.settings, as_recorded=v.own) for v in variants]):
        outcome.first = outcome.first if outcome.checks else replayed.line.reading.check
        outcome.checks += 1
        for place, decision in enumerate(replayed.decisions):
            outcome.differing[place] += run.decided and _differs(replayed.line.decision, decision)
        happened = _happened(former, replayed.line, run.decided)
        if happened or replayed.acted:
            outcome.acted.append((replayed, happened))
        former = replayed.line
    return outcome


def _differs(recorded: Decision, now: Decision) -> bool:
    return recorded.action is not now.action or str(recorded) != str(now)


def _happened(former: JournalLine | None, line: JournalLine, decided: bool) -> str:
    """The recorded decision; in a log without decisions, a jump of the rate that no decision of ours explains."""
    if line.decision.action is not Action.HOLD:
        return terminal.short(line.decision)
    if decided or former is None or former.decision.action is not Action.HOLD:
        return ""
    old, new = former.decision.old_lr, line.decision.old_lr
    if any(jumped(old[name], rate) for name, rate in new.items() if name in old):
        return f"learning rate {terminal.rate_change(old, new)}"
    return ""


def as_document(outcome: Outcome) -> dict[str, Any]:
    """One document: what was found, what really happened, what each of the settings decides."""
    replays = [
        {
            "name": variant.name,
            "settings": plain(variant.settings),
            "own": variant.own,
            "differing": outcome.differing[place] if outcome.run.decided else None,
            "decisions": [plain(decision) for decision in outcome.decisions(place)],
        }
        for place, variant in enumerate(outcome.variants)
    ]
    happened = [
        {"check": replayed.line.reading.check, "epoch": replayed.line.reading.epoch, "what": what}
        for replayed, what in outcome.acted
        if what
    ]
    return {
        "run": str(outcome.run.path),
        "kind": outcome.run.kind,
        "chosen": [*outcome.run.chosen, *not_found(outcome.run.settings)],
        "checks": outcome.checks,
        "happened": happened,
        "replays": replays,
        "unknown": "" if outcome.only_own else UNKNOWN,
    }


def show(outcome: Outcome) -> None:
    """Print a replay for a reader."""
    out, run = terminal.console(), outcome.run
    terminal.say(out, f"{run.path}: {run.kind}, {outcome.checks} check{plural(outcome.checks)}", style="bold")
    terminal.say(out, *run.chosen, *not_found(run.settings))
    terminal.say(out, f"replayed with: {'; '.join(variant.name for variant in outcome.variants)}")
    if outcome.acted:
        heads = ["check", "epoch", "what really happened", *(variant.name for variant in outcome.variants)]
        rows = [
            [str(r.line.reading.check), str(r.line.reading.epoch), what or "hold", *map(terminal.short, r.decisions)]
            for r, what in outcome.acted
        ]
        out.print(terminal.table("", heads, rows, right=2))
        for place, variant in enumerate(outcome.variants):
            decisions = outcome.decisions(place)
            terminal.say(out, f"{variant.name}: {len(decisions)} decision{plural(len(decisions))}", style="bold")
            terminal.say(out, *(f"  {decision}" for decision in decisions))
    else:
        terminal.say(out, "Nothing was decided at any check: every one of them holds.")
    terminal.say(out, "", *_conclusions(outcome))


def _conclusions(outcome: Outcome) -> list[str]:
    version = outcome.run.header.get("version", "unknown")
    why = "; ".join(not_found(outcome.run.settings))
    if not why and outcome.first:
        why = f"the journal begins at check {outcome.first}, and a replay does not know what came before"
    why = why or f"this version decides otherwise than the one that wrote the journal ({version})"
    sentences = [
        f"{differing} of {outcome.checks} decisions are not the recorded ones: {why}."
        if differing
        else f"All {outcome.checks} decisions are the recorded ones, sentence for sentence."
        for variant, differing in zip(outcome.variants, outcome.differing, strict=True)
        if variant.own
    ]
    return sentences if outcome.only_own else [*sentences, UNKNOWN]
