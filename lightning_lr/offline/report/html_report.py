"""The report as one page that opens offline: plotly's own JavaScript stands in it, nothing is fetched.

All text from the log is escaped where it stands as HTML, and the data of the chart is JSON in which no ``<`` is left: a
metric that is named ``<script>`` is shown as that name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from lightning_lr.engine.detectors import look_of
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.report.palette import MONITORS, TRAINING
from lightning_lr.offline.report.report import HEADS, Report

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
        ImportError: where plotly is not installed.
    """
    from plotly.offline import get_plotlyjs

    title = escape(f"Learning rate: {report.run.path}")
    data = json.dumps({"curves": _curves(report), "layout": _layout(report)}, allow_nan=False).replace("<", "\\u003c")
    return "\n".join(
        (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
            _paragraphs(report.summary),
            '<div id="chart"></div>',
            f"<h2>Decisions</h2>{_table(report)}",
            f"<h2>Rates that performed well</h2>{_paragraphs((*report.band.sentences, *report.margin))}",
            f"<h2>Advice</h2>{_paragraphs(report.advice)}" if report.advice else "",
            f'<script type="application/json" id="data">{data}</script>',
            f"<script>{get_plotlyjs()}</script><script>{DRAW}</script></body></html>\n",
        )
    )


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _table(report: Report) -> str:
    if not report.changes:
        return "<p>The learning rate was never changed.</p>"
    heads = "".join(f"<th>{escape(head)}</th>" for head in HEADS)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in report.rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def _curves(report: Report) -> list[dict[str, Any]]:
    readings = [line.reading for line in report.story.lines]
    curves = []
    for place, name in enumerate(dict.fromkeys(name for r in readings for name in r.metrics)):
        points = [(r.check, r.metrics[name]) for r in readings if name in r.metrics]
        line = {"color": MONITORS[place % len(MONITORS)], "width": 2.5}
        curves.append(_curve(name, points, line) | {"ink": not place})
    training = [(r.check, r.train.mean) for r in readings if r.train]
    if training:
        curves.append(_curve("training loss", training, {"color": TRAINING, "dash": "dash"}))
    for name in list(dict.fromkeys(name for r in readings for name in r.rates))[:8]:
        known = [(r.check, r.rates[name].applied) for r in readings if name in r.rates]
        curves.append(_curve(name, known, {"shape": "vh"}) | {"yaxis": "y2"})
    return [*curves, _marks(report)]


def _curve(name: str, points: Sequence[tuple[int, float]], line: dict[str, Any]) -> dict[str, Any]:
    thin = points[:: math.ceil(len(points) / POINTS) or 1]
    ys = [y if math.isfinite(y) else None for _, y in thin]
    # plotly takes a few HTML tags in names and hover texts.
    return {
        "name": escape(name),
        "x": [x for x, _ in thin],
        "y": ys,
        "mode": "lines",
        "line": line,
        "connectgaps": False,
    }


def _marks(report: Report) -> dict[str, Any]:
    """A point on the rate at each decision; hovering shows the sentence and what came of it."""
    decided = [c for c in report.changes if report.story.lines[c.place].decision.action is not Action.HOLD]
    decisions = [report.story.lines[change.place].decision for change in decided]
    texts = [f"{escape(str(d))}<br>then: {escape(c.sentence)}" for d, c in zip(decisions, decided, strict=True)]
    rates = [c.old_rate if math.isfinite(c.old_rate) else None for c in decided]
    colours = [look_of(d.condition, report.run.settings.detectors)[0] for d in decisions]
    marker = {"color": colours, "size": 10, "line": {"width": 1}}
    return {
        "name": "decisions", "x": [d.check for d in decisions], "y": rates, "text": texts, "yaxis": "y2",
        "mode": "markers", "marker": marker, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _layout(report: Report) -> dict[str, Any]:
    decisions = report.story.acted[:MARKS]
    lines = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": d.check, "x1": d.check, "y0": 0, "y1": 1,
         "line": {"color": look_of(d.condition, report.run.settings.detectors)[0], "width": 1.2}, "opacity": 0.7}
        for d in decisions
    ]  # fmt: skip
    finite = [abs(value) for value in report.story.values if math.isfinite(value)]
    positive = bool(finite) and min(report.story.shown(v) for v in report.story.values if math.isfinite(v)) > 0
    wide = positive and max(finite) > 4 * min(finite)
    return {
        "margin": {"l": 70, "r": 20, "t": 20, "b": 45},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.08},
        "xaxis": {"title": {"text": "check"}, "anchor": "y2"},
        "yaxis": {"domain": [0.36, 1.0], "type": "log" if wide else "linear"},
        "yaxis2": {"domain": [0.0, 0.30], "type": "log", "title": {"text": "learning rate"}, "exponentformat": "power"},
        "shapes": lines,
    }
