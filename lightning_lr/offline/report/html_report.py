"""The report as one page that opens offline: plotly's own JavaScript stands in it, nothing is fetched.

All text from the log is escaped in the HTML, and the data of the chart is JSON in which no ``<`` is left: a
metric that is named ``<script>`` is shown as that name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from lightning_lr.offline.report.report import HEADS, Report
from lightning_lr.offline.report.series import (
    MONITORS,
    TRAINING,
    Mark,
    Series,
    is_wide,
    marks_of,
    metric_series,
    rate_series,
)

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
td:nth-child(-n+2) { text-align: right; } td:nth-child(3), td:nth-child(4) { min-width: 8.5rem; }
td { overflow-wrap: break-word; } #chart { height: 560px; }
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
    lines = report.summary.lines
    metrics = metric_series(lines, POINTS)
    curves = []
    for one in metrics:
        style = {"dash": "dash"} if one.color == TRAINING else {"width": 2.5}
        curves.append(_curve(one, {"color": one.color, **style}) | {"ink": one.color == MONITORS[0]})
    curves += [_curve(one, {"shape": "vh", "color": one.color}) | {"yaxis": "y2"} for one in rate_series(lines, POINTS)]
    marks = marks_of(lines, report.run.settings.detectors)
    shapes = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": mark.check, "x1": mark.check, "y0": 0, "y1": 1,
         "line": {"color": mark.color, "width": 1.2}, "opacity": 0.7}
        for mark in marks[:MARKS]
    ]  # fmt: skip
    plain = {"exponentformat": "none", "tickformat": "~g", "hoverformat": ".4~g", "nticks": 6}
    layout = {
        "margin": {"l": 80, "r": 20, "t": 20, "b": 45},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#888", "activecolor": "#444"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "check"}, "anchor": "y2"},
        "yaxis": {
            "domain": [0.36, 1.0],
            "title": {"text": "metrics"},
            "type": "log" if is_wide(metrics) else "linear",
            **plain,
        },
        "yaxis2": {"domain": [0.0, 0.30], "type": "log", "title": {"text": "learning rate"}, **plain},
        "shapes": shapes,
    }
    return {"curves": [*curves, *_points(report, marks)], "layout": layout}


def _curve(series: Series, line: dict[str, Any]) -> dict[str, Any]:
    ys = [None if math.isnan(y) else y for y in series.ys]
    # plotly takes a few HTML tags in names and hover texts.
    return {"name": escape(series.name), "x": series.xs, "y": ys, "mode": "lines", "line": line, "connectgaps": False}


def _points(report: Report, marks: Sequence[Mark]) -> Iterator[dict[str, Any]]:
    """Points on the rate, one legend entry a kind; hovering shows the sentence and what came of it."""
    brought = {report.summary.lines[e.place].decision.check: e.sentence for e in report.effects if e.sentence}
    for kind in dict.fromkeys(mark.kind for mark in marks):
        these = [mark for mark in marks if mark.kind == kind]
        then = [f"<br>then: {escape(brought[mark.check])}" if mark.check in brought else "" for mark in these]
        yield {
            "name": kind,
            "x": [mark.check for mark in these],
            "y": [mark.rate if math.isfinite(mark.rate) else None for mark in these],
            "text": [f"{escape(str(mark.decision))}{text}" for mark, text in zip(these, then, strict=True)],
            "yaxis": "y2",
            "mode": "markers",
            "marker": {"color": these[0].color, "symbol": these[0].symbol, "size": 10, "line": {"width": 1}},
            "hovertemplate": "%{text}<extra></extra>",
        }
