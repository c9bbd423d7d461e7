"""The four commands, given their options: each finds its data first, and prints or writes last."""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.logs.run import Run, Watch
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.report import terminal


def demo(options: Any) -> None:
    """The engine's decisions on curves with a known end."""
    from lightning_lr.offline.demo import CURVES, decided, first_answer
    from lightning_lr.offline.replay.variants import parsed

    settings = settings_from(**parsed(options.set, options.policy))
    if options.curve not in (None, *CURVES):
        raise ArgumentError(f"Expected a curve of {', '.join(CURVES)} but got {options.curve!r}.")
    if options.png and options.curve is None:
        raise ArgumentError("Expected --curve to say which curve --png draws.")
    out = terminal.console()
    for name in CURVES if options.curve is None else [options.curve]:
        curve = CURVES[name](options.seed)
        lines = decided(curve, settings)
        terminal.say(out, f"{curve}; {first_answer(lines, curve)}", style="bold")
        terminal.say(out, *(f"  {line.decision}" for line in lines if line.decision.action is not Action.HOLD))
        if options.png:
            from lightning_lr.offline.report.figure import draw

            draw(lines).savefig(options.png, dpi=100)


def replay(options: Any) -> None:
    """A run decided once more, beside what really happened."""
    from lightning_lr.offline.replay import replay_report
    from lightning_lr.offline.replay.variants import variants_of

    run = _run(options.run, options)
    outcome = replay_report.outcome_of(run, variants_of(run, options.policy, options.set, options.variant))
    if options.json:
        terminal.console().out(replay_report.as_json(outcome), highlight=False)
    else:
        replay_report.show(outcome)


def report(options: Any) -> None:
    """The decisions of a run, what each brought, which rates performed well, and advice."""
    from lightning_lr.offline.report.report import report_of, show

    made = report_of(_run(options.run, options))
    files: dict[str, bytes] = {}
    if options.html:
        from lightning_lr.offline.report.html_report import page

        files[options.html] = page(made).encode()
    if options.png:
        from lightning_lr.offline.report.figure import draw

        drawn = io.BytesIO()
        draw(made.summary.lines, detectors=made.run.settings.detectors).savefig(drawn, dpi=100, format="png")
        files[options.png] = drawn.getvalue()
    _write(files)
    show(made)
    terminal.say(terminal.console(), *(f"written: {file}" for file in files))


def _run(path: str, options: Any) -> Run:
    watch = Watch(tuple(options.monitor), options.mode, options.train, options.train_monitor, options.partial)
    return open_run(path, watch)


def _write(files: Mapping[str, bytes]) -> None:
    """All of them, or none if one has no folder."""
    for file in files:
        if not Path(file).parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
    for file, content in files.items():
        Path(file).write_bytes(content)


def evaluate(options: Any) -> None:
    """How late and how often wrong the detectors are."""
    (_evaluate_runs if options.runs else _evaluate_curves)(options)


def _evaluate_runs(options: Any) -> None:
    from lightning_lr.offline.evaluate import run_alarms

    paths, onsets = options.runs, options.onset
    if len(onsets) not in (1, len(paths)):
        raise ArgumentError(
            f"Expected --onset once for each of the {len(paths)} run{plural(len(paths))} but got {len(onsets)}."
        )
    rows, silent = [], []
    for place, path in enumerate(paths):
        onset, run = onsets[place % len(onsets)], _run(path, options)
        found = run_alarms(run, onset, options.condition)
        if not found:
            silent.append(f"{run.path} holds nothing that a detector of {options.condition} judges.")
        for alarms in found:
            first = "none" if alarms.first is None else f"check {alarms.first[0]} (epoch {alarms.first[1]})"
            delay = "–" if math.isnan(alarms.delay) else f"{alarms.delay:g} check{plural(alarms.delay)}"
            false = ", ".join(map(str, alarms.false[:8])) + (" …" if len(alarms.false) > 8 else "") or "none"
            rows.append([str(run.path), onset, alarms.detector, first, delay, false])
    heads = ["run", "onset", "detector", "first alarm from then on", "delay", "false alarms at"]
    out = terminal.console()
    if rows:
        out.print(terminal.table("", heads, rows))
    terminal.say(out, *silent)


def _evaluate_curves(options: Any) -> None:
    from lightning_lr.offline.evaluate import curve_scores

    seeds = options.seeds
    if options.onset:
        raise ArgumentError("Expected a run to go with --onset but got none.")
    if seeds < 1:
        raise ArgumentError(f"Expected `seeds` to be an integer ≥ 1 but got {seeds}.")
    rows, idle = [], []
    for name, onsets, score in curve_scores(seeds, options.condition):
        if score is None:
            idle.append(name)
            continue
        false = f"{100 * score.false_runs:.3g} % of {score.runs} runs"
        found = [f"{score.delay:.3g} checks", f"{100 * score.missed:.3g} %"] if onsets else ["–", "–"]
        rows.append([name, str(onsets), *found, false, f"{score.false_per_100:.2g}"])
    heads = ["detector", "onsets", "mean delay", "missed", "false alarms in", "in 100 checks"]
    out = terminal.console()
    if rows:
        out.print(terminal.table(f"detectors on curves with a known onset, {seeds} of each family", heads, rows))
    if idle:
        terminal.say(out, f"Not asked, as the curves hold nothing that they judge: {', '.join(idle)}.")
