"""Figures → RESULTS.md and results.json, and what changed since another results.json."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch

from benchmarks.overhead.figures import Figure

LINES = {
    1: "A step",
    2: "A check",
    4: "Snapshots",
    7: "Replay",
}

PREFACE = """\
# What the callback costs

Written by `make bench-overhead`; the notes at the end stand in `notes.md`.

- Each row is a ratio of two times that were measured in turn, block by block, in one process: the median of
  the paired ratios, and in brackets where that median lies with 95 % confidence.
- Times are CPU time of the thread that works, so that others on the machine count for little. *Here* is the same on
  this machine: for microseconds the ratio to a fixed piece of plain Python, at the fastest that this one ran.
- Steps and checks: each run goes with the callback and, in every other turn, with an empty one in its place; a row is
  the median of several runs, and its interval that between them. The row with an empty Callback on both sides shows
  what is noise.
"""


def report(figures: Sequence[Figure], notes: str) -> str:
    """The page."""
    met = [figure.met for figure in figures if figure.met is not None]
    parts = [PREFACE, f"{machine()}. **{sum(met)} of {len(met)} targets are met.**", ""]
    for line, title in LINES.items():
        rows = [figure for figure in figures if figure.line == line]
        if rows:
            parts += [f"## {title}", "", *_table(rows), ""]
    return "\n".join([*parts, notes])


def _table(rows: Iterable[Figure]) -> list[str]:
    head = ["| what | ratio | to | here | target | met |", "| --- | ---: | --- | --- | --- | :-: |"]
    return head + [
        f"| {f.what} | {_number(f.ratio)} [{_number(f.low)}, {_number(f.high)}] | {f.over} | {f.here} | {f.target} "
        f"| {'' if f.met is None else 'yes' if f.met else '**no**'} |"
        for f in rows
    ]


def _number(value: float) -> str:
    return f"{value:.4f}" if 0.5 < value < 2 else f"{value:.3g}"


def machine() -> str:
    """What it ran on."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {lightning.__version__}"
    return f"{versions}, {platform.machine()}, one thread"


def save(figures: Iterable[Figure], path: Path) -> None:
    """For a later run to compare with."""
    document = {"version": 1, "machine": machine(), "figures": [figure.as_dict() for figure in figures]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Key → figure of an earlier run; empty where there is none."""
    if not path.exists():
        return {}
    return {figure["key"]: figure for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]}


def changes(figures: Iterable[Figure], before: dict[str, dict[str, Any]], least: float = 0.02) -> list[str]:
    """Sentences on ratios whose intervals lie apart by more than ``least`` of the earlier one.

    >>> now = Figure("step", 1, "a step", "none", 1.2, 1.19, 1.21, 9)
    >>> changes([now], {"step": {"ratio": 1.0, "low": 0.99, "high": 1.01}})
    ['a step: 1.0000 → 1.2000, dearer']
    """
    found = []
    for figure in figures:
        if (old := before.get(figure.key)) is None:
            continue
        if figure.low > old["high"] * (1 + least) or figure.high < old["low"] * (1 - least):
            verdict = "dearer" if figure.ratio > old["ratio"] else "cheaper"
            found.append(f"{figure.what}: {_number(old['ratio'])} → {_number(figure.ratio)}, {verdict}")
    return found
