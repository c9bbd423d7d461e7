"""False alarms against delay: one line a judge, one panel a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection.judge import POLICIES
from benchmarks.detection.peers import PEERS
from benchmarks.detection.table import Pool, acts, figures


def draw(pools: Sequence[Pool], path: Path) -> bool:
    """Draw the figure; says whether matplotlib was there to do it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    asked = [(pool, name, runs) for pool in pools for name, runs in pool.questions()]
    lines = -(-len(asked) // 3)
    figure, axes = pyplot.subplots(lines, 3, figsize=(13, 3.6 * lines), squeeze=False)
    for panel, (pool, name, runs) in zip(axes.flat, asked, strict=False):
        for judge in (*PEERS, ""):
            line = pool.line(runs, judge)
            panel.plot([100 * x for x, _ in line], [y for _, y in line], ".-", label=judge or "stated probability")
        for policy, mark in zip(POLICIES, "*P", strict=True):
            found = figures(runs, acts(policy))
            panel.plot([100 * found.false], [found.delay], f"k{mark}", markersize=10, label=f"policy {policy}")
        panel.set(title=f"{pool.title}: {name}", xlabel="runs with a false alarm, %", ylabel="delay", ylim=(0, None))
        panel.title.set_fontsize(8)
        panel.legend(fontsize=6)
    for panel in list(axes.flat)[len(asked) :]:
        panel.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    return True
