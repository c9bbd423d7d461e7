"""What ``lightning-lr replay`` prints: decisions beside what really happened, or the same as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_lr.engine.journal import JournalLine, plain
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.logs.sources import Run
from lightning_lr.offline.replay.replay import UNKNOWN, Replayed, Replayer, replay
from lightning_lr.offline.replay.variants import Variant
from lightning_lr.offline.report import terminal
from lightning_lr.offline.report.run_summary import JUMP

WELL = frozenset({Condition.HEALTHY, Condition.IMPROVING})
"""Conditions in which our own callback follows its curve over the budget, a little at each check."""


@dataclass
class Outcome:
    """What a replay came to; holds the checks at which something was decided, and no others.

    Attributes:
        run: what was replayed.
        variants: with which settings.
        checks: how many there were.
        acted: those at which anything was decided or happened.
        happened: check → what really happened, in words.
        differing: for each variant, how many decisions are not the recorded ones; 0 where none were recorded.
    """

    run: Run
    variants: Sequence[Variant]
    checks: int = 0
    acted: list[Replayed] = field(default_factory=list)
    happened: dict[int, str] = field(default_factory=dict)
    differing: list[int] = field(default_factory=list)

    @property
    def only_own(self) -> bool:
        """Whether nothing but the run's own settings was asked for."""
        return all(variant.own for variant in self.variants)


def outcome_of(run: Run, variants: Sequence[Variant]) -> Outcome:
    """Replay a run with each of the settings."""
    outcome = Outcome(run, variants, differing=[0] * len(variants))
    former: JournalLine | None = None
    for replayed in replay(run.lines(), [Replayer(v.settings, as_recorded=v.own) for v in variants]):
        line = replayed.line
        happened = _recorded(line) if run.decided else _rate_jump(former, line)
        outcome.checks += 1
        if run.decided:
            for place, decision in enumerate(replayed.decisions):
                outcome.differing[place] += _differs(line.decision, decision)
        if happened or replayed.acted:
            outcome.acted.append(replayed)
            outcome.happened[line.reading.check] = happened
        former = line
    return outcome


def _differs(recorded: Decision, now: Decision) -> bool:
    return recorded.action is not now.action or str(recorded) != str(now)


def _recorded(line: JournalLine) -> str:
    return "" if line.decision.action is Action.HOLD else terminal.short(line.decision)


def _rate_jump(former: JournalLine | None, line: JournalLine) -> str:
    """What a log tells: our own callback changed the scale, or the learning rate was another since the check before."""
    if line.has_decision and line.decision.condition not in WELL:
        return f"{line.decision.condition}: {line.decision.reason.partition(';')[0]}"
    if former and former.has_decision:
        return ""  # seen, and said, at the check before
    old = {name: rate.applied for name, rate in former.reading.rates.items()} if former else {}
    new = {name: rate.applied for name, rate in line.reading.rates.items()}
    jumped = any(not 1 / JUMP < (new[n] / old[n] if old[n] else 1.0) < JUMP for n in new if n in old)
    return f"learning rate {terminal.rate_change(old, new)}" if jumped else ""


def as_json(outcome: Outcome) -> str:
    """One document: what was found, what really happened, what each of the settings decides."""
    replays: list[dict[str, Any]] = []
    for place, variant in enumerate(outcome.variants):
        acted = [r.decisions[place] for r in outcome.acted if r.decisions[place].action is not Action.HOLD]
        replays.append(
            {
                "name": variant.name,
                "settings": plain(variant.settings),
                "own": variant.own,
                "differing": outcome.differing[place] if outcome.run.decided else None,
                "decisions": [plain(decision) for decision in acted],
            }
        )
    happened = [
        {"check": r.line.reading.check, "epoch": r.line.reading.epoch, "what": outcome.happened[r.line.reading.check]}
        for r in outcome.acted
        if outcome.happened[r.line.reading.check]
    ]
    document = {
        "run": str(outcome.run.path),
        "kind": outcome.run.kind,
        "chosen": list(outcome.run.said),
        "checks": outcome.checks,
        "happened": happened,
        "replays": replays,
        "unknown": "" if outcome.only_own else UNKNOWN,
    }
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)


def show(outcome: Outcome) -> None:
    """Print a replay for a reader."""
    out, run = terminal.console(), outcome.run
    terminal.say(out, f"{run.path}: {run.kind}, {outcome.checks} check{plural(outcome.checks)}", style="bold")
    terminal.say(out, *run.said, f"replayed with: {'; '.join(variant.name for variant in outcome.variants)}")
    if outcome.acted:
        heads = ["check", "epoch", "what really happened", *(variant.name for variant in outcome.variants)]
        out.print(terminal.table("", heads, [_row(outcome, replayed) for replayed in outcome.acted], right=2))
        for place, variant in enumerate(outcome.variants):
            acted = [r.decisions[place] for r in outcome.acted if r.decisions[place].action is not Action.HOLD]
            terminal.say(out, f"{variant.name}: {len(acted)} decision{plural(len(acted))}", style="bold")
            terminal.say(out, *(f"  {decision}" for decision in acted))
    else:
        terminal.say(out, "Nothing was decided at any check: every one of them holds.")
    terminal.say(out, "", *_conclusions(outcome))


def _row(outcome: Outcome, replayed: Replayed) -> list[str]:
    reading = replayed.line.reading
    happened = outcome.happened[reading.check] or "hold"
    return [str(reading.check), str(reading.epoch), happened, *map(terminal.short, replayed.decisions)]


def _conclusions(outcome: Outcome) -> list[str]:
    said = []
    for variant, differing in zip(outcome.variants, outcome.differing, strict=True):
        if variant.own and not differing:
            said.append(f"All {outcome.checks} decisions are the recorded ones, sentence for sentence.")
        elif variant.own:
            version = outcome.run.summary.get("version", "unknown")
            said.append(
                f"{differing} of {outcome.checks} decisions are not the recorded ones: "
                f"this version decides otherwise than the one that wrote the journal ({version})."
            )
    return said if outcome.only_own else [*said, UNKNOWN]
