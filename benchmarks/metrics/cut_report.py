"""cut.json as a table and a figure; needs neither torch nor data."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

FOLDER = Path(__file__).parent
FIGURE = FOLDER.parents[1] / "docs" / "images" / "flips_cut.svg"
AROUND = range(-8, 13)
"""Checks of the figure, counted from the decision."""


def compared() -> list[dict[str, Any]]:
    """All pairs of runs."""
    return list(json.loads((FOLDER / "cut.json").read_text()))


def cut_table() -> list[str]:
    """One row a rate."""
    pairs = compared()
    rows = ["| learning rate | seeds | with such a cut | at check | flips before | after the cut | left alone |"]
    rows += ["| ---: | ---: | ---: | --- | ---: | ---: | ---: |"]
    for rate in sorted({pair["lr"] for pair in pairs}):
        own = [pair for pair in pairs if pair["lr"] == rate]
        acted = [pair for pair in own if pair["check"] is not None]
        checks = ", ".join(str(pair["check"]) for pair in acted)
        cells = [_shown([pair[name] for pair in acted]) for name in ("before", "after", "alone")]
        rows.append(f"| {rate:g} | {len(own)} | {len(acted)} | {checks} | {' | '.join(cells)} |")
    return rows


def _shown(shares: list[float]) -> str:
    if not shares:
        return ""
    return f"{100 * fmean(shares):.2f} % ({100 * min(shares):.2f} … {100 * max(shares):.2f})"


def cut_figure() -> None:
    """Flips around the decision, with the cut and without it; mean over all pairs."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lightning_lr"
    import matplotlib.pyplot as plt

    acted = [pair for pair in compared() if pair["check"] is not None]
    drawn, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    for name, label, style in (("left", "left alone (dry run)", "--"), ("cut", "rate halved", "-")):
        means = [
            fmean(pair[name][pair["check"] + at] for pair in acted if pair["check"] + at < len(pair[name]))
            for at in AROUND
        ]
        colour = "#D55E00" if name == "left" else "#0072B2"
        axes.plot(AROUND, [100 * value for value in means], style, color=colour, label=label)
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set(xlabel="checks since the decision", ylabel="flip rate (%)", ylim=(0, None))
    axes.set_title(f"Incoherence: {len(acted)} runs on digits, plain SGD")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(FIGURE, metadata={"Date": None})
