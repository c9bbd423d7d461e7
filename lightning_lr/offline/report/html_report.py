"""The report as one page that opens offline: plotly's own JavaScript stands in it, nothing is fetched.

All text from the log is escaped in the HTML, and the data of the chart is JSON in which no ``<`` is left: a
metric that is named ``<script>`` is shown as that name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from html import escape
from typing import Any

from lightning_lr.engine.detectors import look_of
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.report.report import HEADS, Report
from lightning_lr.offline.report.series import MONITORS, TRAINING, Series, is_wide, metric_series, rate_series

POINTS = 5000
"""Points of one curve."""

MARKS = 500
"""Marks that are drawn as lines of their own; the table has all."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --rule: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181d; --rule: #3a3d44; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin-top: 1.8rem; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--rule); }
td:nth-child(-n+2) { text-align: right; } td { overflow-wrap: anywhere; } #chart { height: 560px; }
"""

DRAW = """
const spec = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const ink = dark.matches ? "#e6e6e6" : "#1a1a1a", rule = dark.matches ? "#3a3d44" : "#ddd";
  const layout = structuredClone(spec.layout);
  for (const axis of ["xaxis", "yaxis", "yaxis2"]) Object.assign(layout[axis], {gridcolor: rule, zeroline: false});
  Object.assign(layout, {font: {color: ink}, paper_bgcolor: "transparent", plot_bgcolor: "transparent"});
  const curves = spec.curves.map(c => c.ink ? {...c, line: {...c.line, color: ink}} : c);
  Plotly.react("chart", curves, layout, {responsive: true, displaylogo: false});
}
dark.addEventListener("change", draw);
draw();
"""


def page(report: Report) -> str:
    """The whole page.

    Raises:
        ImportError: if plotly is not installed.
    """
    from plotly.offline import get_plotlyjs

    title = escape(f"Learning rate: {report.run.path}")
    data = json.dumps(_chart(report), allow_nan=False).replace("<", "\\u003c")
    return "\n".join(
        (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
            _paragraphs(report.head),
            '<div id="chart"></div>',
            f"<h2>Decisions</h2>{_table(report)}",
            f"<h2>Rates that performed well</h2>{_paragraphs(report.rates)}",
            f"<h2>Conclusion</h2>{_paragraphs(report.advice)}",
            f'<script type="application/json" id="data">{data}</script>',
            f"<script>{get_plotlyjs()}</script><script>{DRAW}</script></body></html>\n",
        )
    )


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _table(report: Report) -> str:
    if not report.effects:
        return _paragraphs([report.unchanged or "No change of it was recorded."])
    heads = "".join(f"<th>{escape(head)}</th>" for head in HEADS)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in report.rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def _chart(report: Report) -> dict[str, Any]:
    """Data and layout for plotly."""
    lines, own = report.summary.lines, report.run.settings.detectors
    metrics = metric_series(lines, POINTS)
    curves = []
    for one in metrics:
        style = {"dash": "dash"} if one.color == TRAINING else {"width": 2.5}
        curves.append(_curve(one, {"color": one.color, **style}) | {"ink": one.color == MONITORS[0]})
    curves += [_curve(one, {"shape": "vh"}) | {"yaxis": "y2"} for one in rate_series(lines, POINTS)]
    shapes = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": d.check, "x1": d.check, "y0": 0, "y1": 1,
         "line": {"color": look_of(d.condition, own)[0], "width": 1.2}, "opacity": 0.7}
        for d in report.summary.acted[:MARKS]
    ]  # fmt: skip
    layout = {
        "margin": {"l": 70, "r": 20, "t": 20, "b": 45},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.08},
        "xaxis": {"title": {"text": "check"}, "anchor": "y2"},
        "yaxis": {"domain": [0.36, 1.0], "type": "log" if is_wide(metrics) else "linear"},
        "yaxis2": {"domain": [0.0, 0.30], "type": "log", "title": {"text": "learning rate"}, "exponentformat": "power"},
        "shapes": shapes,
    }
    return {"curves": [*curves, _marks(report)], "layout": layout}


def _curve(series: Series, line: dict[str, Any]) -> dict[str, Any]:
    ys = [None if math.isnan(y) else y for y in series.ys]
    # plotly takes a few HTML tags in names and hover texts.
    return {"name": escape(series.name), "x": series.xs, "y": ys, "mode": "lines", "line": line, "connectgaps": False}


def _marks(report: Report) -> dict[str, Any]:
    """A point on the rate at each decision; hovering shows the sentence and what came of it."""
    own = report.run.settings.detectors
    decided = [(report.summary.lines[effect.place].decision, effect) for effect in report.effects]
    decided = [(decision, effect) for decision, effect in decided if decision.action is not Action.HOLD]
    colors = [look_of(decision.condition, own)[0] for decision, _ in decided]
    return {
        "name": "decisions",
        "x": [decision.check for decision, _ in decided],
        "y": [effect.old_rate if math.isfinite(effect.old_rate) else None for _, effect in decided],
        "text": [f"{escape(str(decision))}<br>then: {escape(effect.sentence)}" for decision, effect in decided],
        "yaxis": "y2",
        "mode": "markers",
        "marker": {"color": colors, "size": 10, "line": {"width": 1}},
        "hovertemplate": "%{text}<extra></extra>",
    }
