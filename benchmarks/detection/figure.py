"""False alarms against delay: one curve a judge, one panel a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.detection.judge import DEFAULT, Judged
from benchmarks.detection.peers import PEERS
from benchmarks.detection.table import QUESTIONS, asked, points, scored


def draw(pools: dict[str, Sequence[Judged]], path: Path) -> bool:
    """Draw the figure; says whether matplotlib was there to do it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, axes = pyplot.subplots(len(pools), len(QUESTIONS), figsize=(13, 4 * len(pools)), squeeze=False)
    for line, (title, runs) in zip(axes, pools.items(), strict=False):
        for panel, condition in zip(line, QUESTIONS, strict=False):
            chosen = asked(runs, condition)
            for name in (*PEERS, f"{condition} detector"):
                curve = points(chosen, name)
                panel.plot([100 * false for false, _ in curve], [delay for _, delay in curve], ".-", label=name)
            ours = scored(chosen, ("pipeline", DEFAULT))
            panel.plot([100 * ours.false_runs], [ours.delay], "k*", markersize=14, label="pipeline, policy auto")
            panel.set(
                title=f"{title}: {condition}",
                xlabel="runs with a false alarm, %",
                ylabel="delay, checks",
                ylim=(0, None),
            )
            panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    return True
