"""Judged curves → RESULTS.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.detection.intervals import bootstrap, delay_at
from benchmarks.detection.judge import DEFAULT, Judged, Key
from benchmarks.detection.peers import PATIENCES, PEERS
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.offline.evaluate import Score, charged_delay, episodes, false_alarms, score

QUESTIONS = (Condition.PLATEAU, Condition.OVERFITTING, Condition.DIVERGENCE)
"""Conditions that the peers can be asked about: they see that the metric stopped improving, whatever the cause."""

OWN_PATIENCE = {Condition.PLATEAU: 3, Condition.OVERFITTING: 2}
"""Patience of policy auto; 1 elsewhere."""


PREFACE = """\
Written by `{command}`; nothing here is typed by hand. Defaults were tuned on the even seeds below 100
(`--tuning-half`); these are other curves, odd seeds above 100, and of the recorded runs those with odd seeds.

- *Delay*: mean checks from the onset to the first alarm at or after it; a missed onset counts with all the checks left.
- *False*: runs with an alarm before the onset, or anywhere on a healthy run. Brackets: 95 % bootstrap over the runs.
- *Pipeline*: all detectors, diagnosis, debounce and policy `auto`. Any action counts, under any name, since the peers
  know no names.
- A peer's delay is interpolated on its own curve over patience 1 to 20 (dlib: a window of patience + 2).
- Where the rate rests on a few runs, so does the comparison: the whole curves stand below each table.
- The peers' rules are in `peers.py`, how real runs are labelled in `labels.py`, how they were made in `record.py`. A
  real run that diverges or overfits late may have lain on a plateau before; an alarm there counts as false anyway.
"""


def asked(runs: Iterable[Judged], condition: Condition) -> list[Judged]:
    """The runs that a question is judged on: those with the condition, and the healthy ones."""
    return [run for run in runs if run.condition in (condition, Condition.HEALTHY)]


def scored(runs: Sequence[Judged], key: Key) -> Score:
    """Figures of one judge."""
    return score([(run.alarms[key], run.onset, run.checks) for run in runs])


def points(runs: Sequence[Judged], name: str) -> list[tuple[float, float]]:
    """(false alarms a run, delay) of one judge at each patience."""
    return [(s.false_runs, s.delay) for s in (scored(runs, (name, patience)) for patience in PATIENCES)]


def claim_rows(runs: Sequence[Judged], condition: Condition) -> list[str]:
    """Ours at its default beside each peer at no more false alarms."""
    chosen = asked(runs, condition)
    judges: list[Key] = [("pipeline", DEFAULT), (f"{condition} detector", OWN_PATIENCE.get(condition, 1))]
    rows = []
    for key in judges:
        own = scored(chosen, key)
        delays = [charged_delay(run.alarms[key], run.onset, run.checks) for run in chosen if run.onset is not None]
        false = [float(bool(false_alarms(episodes(run.alarms[key]), run.onset))) for run in chosen]
        peers = [beside(own, points(chosen, peer)) for peer in PEERS]
        cells = [
            key[0],
            f"{own.delay:.1f} {interval(delays)}",
            f"{100 * own.missed:.0f} %",
            f"{100 * own.false_runs:.1f} % {interval([100 * f for f in false])}",
            f"{own.false_per_100:.3f}",
            *peers,
        ]
        rows.append(row(cells))
    return rows


def beside(own: Score, curve: Sequence[tuple[float, float]]) -> str:
    """A peer's delay at no more false alarms, and ours as a share of it."""
    delay = delay_at(curve, own.false_runs)
    if math.isinf(delay):
        quietest = min(curve)
        return f"never so quiet (at best {100 * quietest[0]:.1f} %, delay {quietest[1]:.1f})"
    return f"{delay:.1f} (ours × {own.delay / delay:.2f})" if delay else f"{delay:.1f}"


def interval(values: Sequence[float]) -> str:
    """95 % bootstrap interval, in brackets."""
    low, high = bootstrap(values)
    return f"[{low:.1f}, {high:.1f}]"


def surely(percents: Sequence[float]) -> str:
    """The interval; where nothing happened, the rule of three, since a bootstrap of zeros knows nothing.

    >>> surely([0.0] * 300)
    '(none in 300: below 1.0 % with 95 % confidence)'
    """
    none = f"(none in {len(percents)}: below {300 / len(percents):.1f} % with 95 % confidence)"
    return interval(percents) if any(percents) else none


def row(cells: Iterable[object]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def claims(title: str, runs: Sequence[Judged]) -> list[str]:
    """The main table of one pool of runs."""
    lines = [f"## {title}", ""]
    for condition in QUESTIONS:
        chosen = asked(runs, condition)
        ill = sum(run.onset is not None for run in chosen)
        if not ill:
            continue
        lines += [
            f"### {condition}: {ill} runs with an onset, {len(chosen) - ill} healthy",
            "",
            row(
                [
                    "judge",
                    "delay (checks)",
                    "missed",
                    "runs with a false alarm",
                    "in 100 checks",
                    *[f"{p}: delay at that rate" for p in PEERS],
                ]
            ),
            row(["---"] * (5 + len(PEERS))),
            *claim_rows(runs, condition),
            "",
            row(["patience", *[f"{name}: false % / delay" for name in (*PEERS, f"{condition} detector", "pipeline")]]),
            row(["---"] * (3 + len(PEERS))),
            *[
                row([p, *[cell(scored(chosen, (name, p))) for name in (*PEERS, f"{condition} detector", "pipeline")]])
                for p in (1, 2, 3, 5, 8, 12, 16, 20)
            ],
            "",
        ]
    return lines


def cell(s: Score) -> str:
    """False alarms and delay, in one cell."""
    return f"{100 * s.false_runs:.1f} / {s.delay:.1f}"


def families(runs: Sequence[Judged]) -> list[str]:
    """What policy auto does on each family, and what the detector of the family's condition says."""
    lines = [
        row(
            [
                "family",
                "runs",
                "pipeline: delay",
                "missed",
                "false actions",
                "named right",
                "own detector: delay",
                "missed",
                "false",
            ]
        ),
        row(["---"] * 9),
    ]
    for family in dict.fromkeys(run.family for run in runs):
        own = [run for run in runs if run.family == family]
        s = scored(own, ("pipeline", DEFAULT))
        condition = own[0].condition
        named = [run.named["pipeline", DEFAULT] == str(condition) for run in own if run.named["pipeline", DEFAULT]]
        if condition is Condition.HEALTHY:
            lines.append(row([family, len(own), "", "", f"{100 * s.false_runs:.1f} %", "", "", "", ""]))
            continue
        bare = scored(own, (f"{condition} detector", OWN_PATIENCE.get(condition, 1)))
        right = f"{100 * sum(named) / len(named):.0f} %" if named else "–"
        lines.append(
            row(
                [
                    family,
                    len(own),
                    f"{s.delay:.1f}",
                    f"{100 * s.missed:.0f} %",
                    f"{100 * s.false_runs:.1f} %",
                    right,
                    f"{bare.delay:.1f}",
                    f"{100 * bare.missed:.0f} %",
                    f"{100 * bare.false_runs:.1f} %",
                ]
            )
        )
    healthy = [run for run in runs if run.condition is Condition.HEALTHY]
    if healthy:
        s = scored(healthy, ("pipeline", DEFAULT))
        false = [100.0 * bool(run.alarms["pipeline", DEFAULT]) for run in healthy]
        lines += [
            "",
            f"**False actions on all {len(healthy)} healthy runs: {100 * s.false_runs:.2f} % {surely(false)}.**",
        ]
    return [*lines, ""]


def report(command: str, synthetic: Sequence[Judged], recorded: Sequence[Judged]) -> str:
    """The whole of RESULTS.md."""
    return (
        "\n".join(
            [
                "# Detection: delay, missed and false alarms",
                "",
                PREFACE.format(command=command),
                *claims("Synthetic curves", synthetic),
                *claims("Recorded runs", recorded),
                "## By family (policy auto at its defaults)",
                "",
                *families(synthetic),
                "## Recorded runs by condition",
                "",
                *families(recorded),
            ]
        ).rstrip()
        + "\n"
    )
