"""Judged curves → RESULTS.md."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.detection.fit import Weights
from benchmarks.detection.intervals import bootstrap, delay_at
from benchmarks.detection.judge import LEVELS, POLICIES, Judged
from benchmarks.detection.peers import PATIENCES, PEERS
from lightning_lr.engine.history.stall import WEIGHTS
from lightning_lr.engine.vocabulary import Condition

QUESTIONS: dict[str, tuple[Condition, ...]] = {
    "plateau": (Condition.PLATEAU,),
    "overfitting": (Condition.OVERFITTING,),
    "divergence": (Condition.DIVERGENCE,),
}
"""Question → conditions that answer it; the healthy runs are always beside them."""

BINS = (0.0, 0.2, 0.5, 0.8, 0.95, 1.01)
"""Bounds of the stated probabilities in the table of calibration."""

PREFACE = """\
Written by `{command}`; nothing here is typed by hand. The weights of the ages were fitted on the public logs
(`fit.py`); there, each run is judged with the weights that the other groups give. Synthetic and recorded curves: odd
seeds only, synthetic ones above 100; the even ones are for tuning.

- *Delay*: mean checks from the onset to the first alarm at or after it; a missed onset counts with all the checks left.
- *False*: runs with an alarm before the onset, or anywhere on a healthy run. A public log was labelled by eye: there an
  alarm may come two checks (or 5 % of the run) before the onset.
- *Forfeited*: what was still to be gained at the first alarm, as a share of the whole gain: mean over all runs that
  have an alarm, in hindsight, on the smoothed curve.
- *Stated p*: an alarm is a probability of a stall or a divergence of p or more. *Policy*: every action of the whole
  engine counts, under any name, since the peers know no names.
- *At equal false alarms*: the delay of ours and of a peer, each interpolated on its own line of (false, delay).
- The peers' rules are in `peers.py`, the labels of real runs in `labels.py`, how they were made in `record.py`. A real
  run that diverges or overfits late may have lain on a plateau before; an alarm there counts as false anyway.
"""

Alarms = Callable[[Judged], Sequence[int]]
"""The checks at which one judge would act on a run."""

Line = Sequence[tuple[float, float]]
"""(False alarms a run, delay) of one judge at each of its settings."""


@dataclass(frozen=True)
class Figures:
    """Those of one judge on several runs.

    Attributes:
        delay: checks; NaN if no run has an onset.
        missed: share of the onsets.
        false: share of the runs.
        forfeited: share of the gain.
    """

    delay: float
    missed: float
    false: float
    forfeited: float


def figures(runs: Sequence[Judged], alarms_of: Alarms) -> Figures:
    """What one judge did."""
    delays, missed, false, forfeited = [], [], [], []
    for run in runs:
        alarms, onset, checks = alarms_of(run), run.case.curve.onset, len(run.case.over)
        earliest = checks if onset is None else onset - run.case.slack
        false.append(any(alarm < earliest for alarm in alarms))
        forfeited += [run.case.rest[alarm] for alarm in alarms[:1]]
        if onset is not None:
            late = next((alarm for alarm in alarms if alarm >= earliest), None)
            missed.append(late is None)
            delays.append(checks - onset if late is None else max(0, late - onset))
    return Figures(*(fmean(values) if values else math.nan for values in (delays, missed, false, forfeited)))


class Pool:
    """Runs that are judged together.

    Args:
        title: heading.
        runs: the judged runs.
        rates: shares of runs with a false alarm at which ours is compared with the peers.
        weights: group → weights of the ages; those in use for a group that is not there.
        together: whether all conditions are one question, as labels by eye hardly tell them apart.
    """

    def __init__(
        self,
        title: str,
        runs: Sequence[Judged],
        rates: Sequence[float],
        weights: Mapping[str, Weights] | None = None,
        together: bool = False,
    ) -> None:
        self.title, self.runs, self.rates, self.together = title, runs, rates, together
        self.stated = {
            id(run): (run.stated(own), run.alarmed(own))
            for run in runs
            for own in [(weights or {}).get(run.case.group, WEIGHTS)]
        }

    def at_level(self, level: float) -> Alarms:
        """Ours at a probability."""
        return lambda run: [check for check, p in enumerate(self.stated[id(run)][1]) if p >= level]

    def line(self, runs: Sequence[Judged], peer: str = "") -> Line:
        """That of a peer, or ours."""
        settings = [peer_at(peer, p) for p in PATIENCES] if peer else [self.at_level(level) for level in LEVELS]
        return [(found.false, found.delay) for found in (figures(runs, setting) for setting in settings)]

    def questions(self) -> Iterable[tuple[str, list[Judged]]]:
        """Heading and runs of each question that these runs can answer."""
        if self.together:
            yield "stalled or overfitted", list(self.runs)
            return
        for name, conditions in QUESTIONS.items():
            chosen = [r for r in self.runs if r.case.curve.condition in (*conditions, Condition.HEALTHY)]
            if any(run.case.curve.onset is not None for run in chosen):
                yield name, chosen


def peer_at(name: str, patience: int) -> Alarms:
    """A peer at a patience."""
    return lambda run: run.alarms[name, patience]


def acts(policy: str) -> Alarms:
    """A policy as it is."""
    return lambda run: run.alarms[policy, 0]


def section(pool: Pool) -> list[str]:
    """The tables of one pool."""
    lines = [f"## {pool.title}", ""]
    for name, runs in pool.questions():
        ill = sum(run.case.curve.onset is not None for run in runs)
        lines += [f"### {name}: {ill} runs with an onset, {len(runs) - ill} healthy", ""]
        lines += [*compared(pool, runs), "", *ours(pool, runs), "", *peers(runs), ""]
    return lines


def compared(pool: Pool, runs: Sequence[Judged]) -> list[str]:
    """Ours beside each peer at equal false alarms."""
    own = pool.line(runs)
    rows = [["at equal false alarms", "ours: delay", *[f"{peer}: delay (ours ×)" for peer in PEERS]]]
    for rate in pool.rates:
        delay = delay_at(own, rate)
        beside = [delay_at(pool.line(runs, peer), rate) for peer in PEERS]
        rows.append([percent(rate), number(delay), *[f"{number(d)} ({ratio(delay, d)})" for d in beside]])
    return table(rows)


def ours(pool: Pool, runs: Sequence[Judged]) -> list[str]:
    """Ours at a few levels, and the policies."""
    settings: list[tuple[str, Alarms]] = [
        (f"stated p ≥ {level:g}", pool.at_level(level)) for level in (0.7, 0.8, 0.85, 0.9, 0.95)
    ]
    settings += [(f"policy {name}", acts(name)) for name in POLICIES]
    rows = [["ours", "false", "delay", "missed", "forfeited", "torch: delay at that rate"]]
    for name, setting in settings:
        found = figures(runs, setting)
        rows.append([name, *cells(found), number(delay_at(pool.line(runs, "torch"), found.false))])
    return table(rows)


def peers(runs: Sequence[Judged]) -> list[str]:
    """Every peer at every patience."""
    rows = [["patience", *[f"{peer}: false / delay / missed / forfeited" for peer in PEERS]]]
    rows += [
        [str(patience), *[" / ".join(cells(figures(runs, peer_at(peer, patience)))) for peer in PEERS]]
        for patience in PATIENCES
    ]
    return table(rows)


def calibration(pools: Sequence[Pool]) -> list[str]:
    """Stated against true, by source; from the fifth check on."""
    heads = [f"{low:g} to {min(high, 1):g}" for low, high in itertools.pairwise(BINS)]
    rows = [["source", *heads]]
    for pool in pools:
        said = [pair for run in pool.runs for pair in zip(pool.stated[id(run)][0][4:], run.case.over[4:], strict=True)]
        row = [pool.title]
        for low, high in itertools.pairwise(BINS):
            inside = [(p, over) for p, over in said if low <= p < high]
            mean, true = (fmean(column) for column in zip(*inside, strict=True)) if inside else (math.nan, math.nan)
            row.append(f"{mean:.2f}: {true:.2f} ({len(inside)})")
        rows.append(row)
    return [
        "## Calibration",
        "",
        "Mean stated probability of a stall: share that was so (checks).",
        "",
        *table(rows),
        "",
    ]


def families(pools: Sequence[Pool]) -> list[str]:
    """What the policies do on each family."""
    rows = [["family", "runs", *[f"{name}: {of}" for name in POLICIES for of in ("false", "delay", "missed", "named")]]]
    judged = {id(run): run for pool in pools for run in pool.runs}.values()
    for family in dict.fromkeys(run.case.family for run in judged):
        runs = [run for run in judged if run.case.family == family]
        row = [family, str(len(runs))]
        for policy in POLICIES:
            false, delay, missed, _ = cells(figures(runs, acts(policy)))
            named = [run.named[policy] == run.case.curve.condition for run in runs if run.named[policy]]
            row += [false, delay, missed, percent(fmean(named)) if named else "–"]
        rows.append(row)
    return [
        "## Policies by family",
        "",
        "*Named*: first action at or after the onset has the right name.",
        "",
        *table(rows),
        "",
    ]


def healthy(pools: Sequence[Pool]) -> list[str]:
    """How many healthy runs are acted on."""
    rows = [["healthy runs of", "runs", *POLICIES]]
    for pool in pools:
        runs = [run for run in pool.runs if run.case.curve.condition is Condition.HEALTHY]
        acted = [[100.0 * bool(run.alarms[policy, 0]) for run in runs] for policy in POLICIES]
        rows.append([pool.title, str(len(runs)), *[surely(percents) for percents in acted]])
    return ["## Healthy runs acted on", "", *table(rows), ""]


def surely(percents: Sequence[float]) -> str:
    """Mean and interval; if nothing happened, the rule of three, since a bootstrap of zeros knows nothing.

    >>> surely([0.0] * 300)
    '0 (below 1.0 % with 95 % confidence)'
    """
    if not any(percents):
        return f"0 (below {300 / max(1, len(percents)):.1f} % with 95 % confidence)"
    low, high = bootstrap(percents)
    return f"{fmean(percents):.1f} % [{low:.1f}, {high:.1f}]"


def cells(found: Figures) -> list[str]:
    """False, delay, missed, forfeited."""
    return [percent(found.false), number(found.delay), percent(found.missed), percent(found.forfeited)]


def percent(share: float) -> str:
    """A share in per cent."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def number(delay: float) -> str:
    """A delay, if there is one."""
    return "–" if math.isnan(delay) or math.isinf(delay) else f"{delay:.1f}"


def ratio(ours: float, theirs: float) -> str:
    """Ours as a multiple of theirs.

    >>> ratio(3.0, 4.0), ratio(3.0, math.inf)
    ('× 0.75', 'never so quiet')
    """
    if math.isinf(theirs) or math.isinf(ours):
        return "never so quiet" if math.isinf(theirs) else "ours never so quiet"
    return f"× {ours / theirs:.2f}" if theirs else "–"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "| " + " | ".join(["---"] * len(rows[0])) + " |", *lines[1:]]


def report(command: str, pools: Sequence[Pool]) -> str:
    """The whole of RESULTS.md."""
    lines = ["# Detection: delay, missed and false alarms", "", PREFACE.format(command=command)]
    for pool in pools:
        lines += section(pool)
    return "\n".join([*lines, *calibration(pools), *healthy(pools), *families(pools)]).rstrip() + "\n"
