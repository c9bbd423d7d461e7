"""``lightning_lr.plot(journal)``: a run's figure in a notebook, in the manner of torchmetrics' ``.plot()``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_lr.offline.logs.journal_reader import Journal
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.report.figure import draw


def plot(journal: str | Path | Journal) -> tuple[Any, Any]:
    """Draw a run: its curves, its learning rate, a mark at each decision.

    Args:
        journal: a journal that was read, or the path of one, or of any run that ``lightning-lr report`` reads.

    Returns:
        The figure, and its two axes: curves and learning rate.

    Raises:
        LogError: if there is no run at the path.
        ImportError: if matplotlib is not installed (``pip install 'lightning-lr[plot]'``).
    """
    from matplotlib import pyplot

    run = journal if isinstance(journal, Journal) else open_run(journal)
    lines = run.lines if isinstance(run, Journal) else tuple(run.lines())
    figure = draw(lines, pyplot.figure(), run.settings.detectors)
    return figure, figure.axes
