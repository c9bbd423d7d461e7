"""The four commands, after their options were read: each finds its data first, and prints or writes last."""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.logs.sources import Watch, open_run
from lightning_lr.offline.report import terminal


def demo(policy: str | None, sets: Sequence[str], seed: int, curve: str | None, png: str | None) -> None:
    """The engine over curves whose end is known, as sentences."""
    from lightning_lr.offline.demo import CURVES, decided, first_answer
    from lightning_lr.offline.replay.variants import parsed

    settings = settings_from(**parsed([*([f"policy={policy}"] if policy else []), *sets]))
    if curve is not None and curve not in CURVES:
        raise ArgumentError(f"Expected a curve of {', '.join(CURVES)} but got {curve!r}.")
    if png and curve is None:
        raise ArgumentError("Expected --curve to say which curve --png draws.")
    out = terminal.console()
    for name, make in CURVES.items():
        if curve not in (None, name):
            continue
        drawn = make(seed)
        lines = decided(drawn, settings)
        terminal.say(out, f"{drawn}; {first_answer(lines, drawn)}", style="bold")
        terminal.say(out, *(f"  {line.decision}" for line in lines if line.decision.action is not Action.HOLD))
        if png:
            from lightning_lr.offline.report.figure import draw

            draw(lines).savefig(png, dpi=100)


def replay(
    path: str, watch: Watch, policy: str | None, sets: Sequence[str], others: Sequence[str], as_json: bool
) -> None:
    """A run decided once more, beside what really happened."""
    from lightning_lr.offline.replay import replay_report
    from lightning_lr.offline.replay.variants import variants_of

    run = open_run(path, watch)
    outcome = replay_report.outcome_of(run, variants_of(run, policy, sets, others))
    if as_json:
        terminal.console().out(replay_report.as_json(outcome), highlight=False)
    else:
        replay_report.show(outcome)


def report(path: str, watch: Watch, html: str | None, png: str | None) -> None:
    """The decisions of a run, what each brought, which rates performed well, and advice."""
    from lightning_lr.offline.report import report as made

    found = made.report_of(open_run(path, watch))
    files: dict[str, bytes] = {}
    if html:
        from lightning_lr.offline.report.html_report import page

        files[html] = page(found).encode()
    if png:
        from lightning_lr.offline.report.figure import draw

        drawn = io.BytesIO()
        draw(found.story.lines, detectors=found.run.settings.detectors).savefig(drawn, dpi=100, format="png")
        files[png] = drawn.getvalue()
    _write(files)
    made.show(found)
    for file in files:
        terminal.say(terminal.console(), f"written: {file}")


def _write(files: Mapping[str, bytes]) -> None:
    """All of them, or none where one has no folder."""
    for file in files:
        if not Path(file).parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
    for file, content in files.items():
        Path(file).write_bytes(content)


def evaluate(paths: Sequence[str], watch: Watch, onsets: Sequence[str], condition: str | None, seeds: int) -> None:
    """How late and how often wrong the detectors are."""
    from lightning_lr.offline import labelled_curves

    if not paths:
        _evaluate_curves(seeds, onsets, condition)
        return
    if len(onsets) not in (1, len(paths)):
        raise ArgumentError(
            f"Expected --onset once for each of the {len(paths)} run{plural(len(paths))} but got {len(onsets)}."
        )
    rows, silent = [], []
    for place, path in enumerate(paths):
        onset = onsets[place % len(onsets)]
        run = open_run(path, watch)
        found = labelled_curves.run_alarms(run, onset, condition)
        if not found:
            silent.append(str(run.path))
        for alarms in found:
            first = "none" if alarms.first is None else f"check {alarms.first[0]} (epoch {alarms.first[1]})"
            delay = "–" if math.isnan(alarms.delay) else f"{alarms.delay:g} check{plural(alarms.delay)}"
            false = ", ".join(map(str, alarms.false[:8])) + (" …" if len(alarms.false) > 8 else "") or "none"
            rows.append([str(run.path), onset, alarms.detector, first, delay, false])
    heads = ["run", "onset", "detector", "first alarm from then on", "delay", "false alarms at"]
    out = terminal.console()
    if rows:
        out.print(terminal.table("", heads, rows))
    for path in silent:
        terminal.say(out, f"{path} holds nothing that a detector of {condition} judges.")


def _evaluate_curves(seeds: int, onsets: Sequence[str], condition: str | None) -> None:
    from lightning_lr.offline import labelled_curves

    if onsets:
        raise ArgumentError("Expected a run to go with --onset but got none.")
    if seeds < 1:
        raise ArgumentError(f"Expected `seeds` to be an integer ≥ 1 but got {seeds}.")
    rows, idle = [], []
    for name, onsets_there, score in labelled_curves.curve_scores(seeds, condition):
        if score is None:
            idle.append(name)
            continue
        false = f"{100 * score.false_runs:.3g} % of {score.runs} runs"
        found = [f"{score.delay:.3g} checks", f"{100 * score.missed:.3g} %"] if onsets_there else ["–", "–"]
        rows.append([name, str(onsets_there), *found, false, f"{score.false_per_100:.2g}"])
    heads = ["detector", "onsets", "mean delay", "missed", "false alarms in", "in 100 checks"]
    out = terminal.console()
    if rows:
        out.print(terminal.table(f"detectors on curves with a known onset, {seeds} of each family", heads, rows))
    if idle:
        terminal.say(out, f"Not asked, as the curves hold nothing that they judge: {', '.join(idle)}.")
