"""``RESULTS.md``: the shares, by whatever the runs are divided, and what the reductions rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from benchmarks.any_start.report import table
from benchmarks.healthy.judge import POLICIES, Verdict, judge, share
from benchmarks.healthy.logs import Log

HEAD = """# False actions over many healthy runs

Written by `make bench-healthy`; the notes at the end stand in `notes.md`. What was trained: [plan.py](plan.py);
what counts as healthy: [logs.py](logs.py).

{runs} runs were recorded, and all of them are in the file; {healthy} are healthy. Each was replayed through the core as
`lightning-lr replay` does it.

{summary}
*Early*: more than {early:g} % of all that the run gained, from the untrained model to its best, came after the first
reduction. Any other came when nearly all was won: the run was flat by then, as the detection benchmark defines a
plateau. *Acted*: any decision but to hold, the best state that is restored at the end included.
"""

EARLY = 0.01

Found = dict[str, list[Verdict]]
"""Policy → one verdict for each run."""

KINDS: dict[str, Callable[[Log], str]] = {
    "task and optimizer": lambda log: f"{log.run.task.rpartition('-')[0]}, {log.run.optimizer}",
    "schedule": lambda log: log.run.schedule,
    "checks": lambda log: next(f"up to {most}" for most in (10, 20, 40, 80, 160) if len(log.val) <= most),
    "validation set": lambda log: "whole" if log.run.validation == 1 else "a quarter",
}
"""By what the runs are divided."""


def report(logs: Sequence[Log]) -> str:
    """The text."""
    healthy = [log for log in logs if log.healthy]
    found = {policy: [judge(log, policy) for log in healthy] for policy in POLICIES}
    others = {policy: [judge(log, policy) for log in logs if not log.healthy] for policy in POLICIES}
    summary = table(("", *POLICIES), _summary(found, others))
    parts = [HEAD.format(runs=len(logs), healthy=len(healthy), summary=summary, early=100 * EARLY)]
    for kind, of in KINDS.items():
        parts += [f"## Share with any reduction, by {kind}\n", table((kind, *POLICIES), _by(of, found))]
    conditions = _counted(found, lambda verdict: str(verdict.reductions[0].condition))
    parts += ["## The condition of the first reduction\n", table(("condition", *POLICIES), conditions)]
    rates = _counted(found, _rate)
    parts += ["## The schedule at the first reduction\n", table(("share of its highest rate", *POLICIES), rates)]
    early = {policy: [verdict for verdict in found[policy] if verdict.gained_after > EARLY] for policy in POLICIES}
    parts += [
        "## The early ones\n",
        "Runs of one task, optimizer and seed begin with the same weights and batches: they are not independent.\n",
        table(("task, optimizer, seed", *POLICIES), _counted(early, _start)),
        "## Examples\n",
        "The earliest first reduction of each condition, as a share of the run.\n",
        *_examples(found),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _summary(found: Found, others: Found) -> Iterator[tuple[str, ...]]:
    yield "healthy, any reduction", *(share(found[policy]) for policy in POLICIES)
    yield "of these early", *(str(sum(v.gained_after > EARLY for v in found[policy])) for policy in POLICIES)
    yield "healthy, acted", *(str(sum(v.acted for v in found[policy])) for policy in POLICIES)
    yield "not healthy, any reduction", *(share(others[policy]) for policy in POLICIES)


def _by(of: Callable[[Log], str], found: Found) -> Iterator[tuple[str, ...]]:
    names = dict.fromkeys(of(verdict.log) for verdict in found[POLICIES[0]])
    for name in sorted(names, key=lambda name: (name.startswith("up to") and len(name), name)):
        yield name, *(share(verdict for verdict in found[policy] if of(verdict.log) == name) for policy in POLICIES)


def _counted(found: Found, of: Callable[[Verdict], str]) -> Iterator[tuple[str, ...]]:
    counts = {policy: Counter(of(verdict) for verdict in found[policy] if verdict.reductions) for policy in POLICIES}
    for name in sorted({name for count in counts.values() for name in count}):
        yield name, *(str(counts[policy][name]) for policy in POLICIES)


def _rate(verdict: Verdict) -> str:
    of = verdict.log.rates[verdict.reductions[0].check] / max(verdict.log.rates)
    return "below 10 %" if of < 0.1 else "10 to 50 %" if of < 0.5 else "50 % and more"


def _start(verdict: Verdict) -> str:
    return f"{KINDS['task and optimizer'](verdict.log)}, {verdict.log.run.seed}"


def _examples(found: Found) -> Iterator[str]:
    for policy in POLICIES:
        lowered = [verdict for verdict in found[policy] if verdict.reductions]
        lowered.sort(key=lambda verdict: verdict.reductions[0].check / len(verdict.log.val), reverse=True)
        for verdict in {str(verdict.reductions[0].condition): verdict for verdict in lowered}.values():
            yield (
                f"- `{policy}`, {verdict.log.run}, {len(verdict.log.val)} checks: {verdict.reductions[0]}; "
                f"{100 * verdict.gained_after:.2g} % of the gain was still to come"
            )
