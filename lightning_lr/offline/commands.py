"""The commands, given their options: each finds its data first, and prints or writes last."""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action
from lightning_lr.errors import ArgumentError, JournalError, LogError, MissingMetricError
from lightning_lr.offline.logs.run import Run, Watch
from lightning_lr.offline.logs.sources import chosen_runs, find_runs, open_run
from lightning_lr.offline.report import terminal

Seen = TypeVar("Seen")


def demo(options: Any) -> None:
    """The engine's decisions on curves with a known end."""
    from lightning_lr.offline.demo import CURVES, decided, first_answer
    from lightning_lr.offline.replay.variants import parsed

    settings = settings_from(**parsed(options.set, options.policy))
    if options.curve not in (None, *CURVES):
        raise ArgumentError(f"Expected a curve of {', '.join(CURVES)} but got {options.curve!r}.")
    if options.png and options.curve is None:
        raise ArgumentError("Expected --curve to say which curve --png draws.")
    out, documents = terminal.console(), []
    for name in CURVES if options.curve is None else [options.curve]:
        curve = CURVES[name](options.seed)
        lines = decided(curve, settings)
        acted = [line.decision for line in lines if line.decision.action is not Action.HOLD]
        documents.append({"curve": str(curve), "onset": curve.onset, "decisions": acted})
        if options.json:
            continue
        terminal.say(out, f"{curve}; {first_answer(lines, curve)}", style="bold")
        terminal.say(out, *(f"  {decision}" for decision in acted))
    if options.png:
        from lightning_lr.offline.report.figure import draw

        draw(lines).savefig(options.png, dpi=100)
    if options.json:
        terminal.as_json(documents)


def replay(options: Any) -> None:
    """Each run decided once more, beside what really happened."""
    from lightning_lr.offline.replay import replay_report
    from lightning_lr.offline.replay.variants import variants_of

    def outcome(run: Run) -> replay_report.Outcome:
        return replay_report.outcome_of(run, variants_of(run, options.policy, options.set, options.variant))

    _each(options, outcome, replay_report.as_document, replay_report.show)


def report(options: Any) -> None:
    """The decisions of each run, what each brought, which rates performed well, and advice."""
    from lightning_lr.offline.report.report import Report, as_document, report_of, show

    if options.epoch is not None:
        from lightning_lr.offline.report import check_details

        _each(
            options,
            lambda run: check_details.checks_of_epoch(run, options.epoch),
            check_details.as_document,
            check_details.show,
        )
        return
    written: list[str] = []

    def made(run: Run) -> Report:
        report, files = report_of(run), {}
        if options.html:
            from lightning_lr.offline.report.html_report import page

            files[options.html] = page(report).encode()
        if options.png:
            from lightning_lr.offline.report.figure import draw

            files[options.png] = _png(draw(report.summary.lines, detectors=report.run.settings.detectors))
        _write(files)
        written.extend(files)
        return report

    if options.all and (options.html or options.png):
        raise ArgumentError("Expected one run for --html and --png but got --all.")
    _each(options, made, as_document, show)
    if not options.json:
        terminal.say(terminal.console(), *(f"written: {file}" for file in written))


def tune(options: Any) -> None:
    """When each of many settings would have acted in the runs that are there already."""
    from lightning_lr.offline.replay import tune_report

    watch, runs = _watch(options), []
    names: tuple[str, ...] = ()
    for path in options.runs:
        for found in find_runs(Path(path)):
            try:
                run = found.open(watch)
            except (LogError, JournalError, MissingMetricError) as error:
                if not options.json:
                    terminal.say(terminal.console(), f"not read: {error}")
                continue
            variants = tune_report.settings_grid(run, options.policy, options.grid)
            names = tuple(variant.name for variant in variants)
            runs.append(tune_report.tuned(run, variants))
    if not runs:
        raise LogError(f"Expected a run that can be read in {', '.join(options.runs)} but there is none.")
    tuning = tune_report.Tuning(names, tuple(runs))
    if options.png:
        from lightning_lr.offline.replay.tune_figure import draw

        _write({options.png: _png(draw(tuning))})
    if options.json:
        terminal.as_json(tune_report.as_document(tuning))
    else:
        tune_report.show(tuning)
        terminal.say(terminal.console(), *([f"written: {options.png}"] if options.png else []))


def _png(figure: Any) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100, format="png")
    return drawn.getvalue()


def _each(
    options: Any, look: Callable[[Run], Seen], document: Callable[[Seen], Any], show: Callable[[Seen], None]
) -> None:
    """Look at the run of a path, or with ``--all`` at every run in a folder, and print what was seen."""
    path, watch = Path(options.run), _watch(options)
    if not options.all:
        if not options.json:
            _list_several(path)
        seen = look(open_run(path, watch))
        terminal.as_json(document(seen)) if options.json else show(seen)
        return
    out, documents, read = terminal.console(), [], 0
    for found in find_runs(path):
        try:
            seen = look(found.open(watch))
        except (LogError, JournalError, MissingMetricError) as error:
            documents.append({"run": str(found.path), "error": str(error)})
            terminal.say(out, *([] if options.json else [f"{found.path}: not read", str(error), ""]))
            continue
        read += 1
        if options.json:
            documents.append(document(seen))
        else:
            show(seen)
            terminal.say(out, "")
    if not read:
        raise LogError(f"Expected a run that can be read in {path} but none of its {len(documents)} can be.")
    if options.json:
        terminal.as_json(documents)


def _list_several(path: Path) -> None:
    """The runs of a folder that holds several: one of them is to be named."""
    runs = chosen_runs(path, find_runs(path))
    if len(runs) > 1:
        rows = [[str(run.path.relative_to(path)), run.reader.KIND] for run in runs]
        terminal.console().print(terminal.table("", [f"{len(runs)} runs in {path}", "format"], rows))
        terminal.say(terminal.console(), "Name one of them, or go through all with --all.")


def _watch(options: Any) -> Watch:
    return Watch(tuple(options.monitor), options.mode, options.train, options.train_monitor, options.partial)


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
        onset, run = onsets[place % len(onsets)], open_run(path, _watch(options))
        found = run_alarms(run, onset, options.condition)
        if not found:
            silent.append(f"{run.path} holds nothing that a detector of {options.condition} judges.")
        for alarms in found:
            first = "none" if alarms.first is None else f"check {alarms.first[0]} (epoch {alarms.first[1]})"
            delay = "–" if math.isnan(alarms.delay) else f"{alarms.delay:g} check{plural(alarms.delay)}"
            false = ", ".join(map(str, alarms.false[:8])) + (" …" if len(alarms.false) > 8 else "") or "none"
            rows.append([str(run.path), onset, alarms.detector, first, delay, false])
    heads = ["run", "onset", "detector", "first alarm from then on", "delay", "false alarms at"]
    _print_rows(options, "", heads, rows, silent)


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
    title = f"detectors on curves with a known onset, {seeds} of each family"
    unasked = [f"Not asked, as the curves hold nothing that they judge: {', '.join(idle)}."] if idle else []
    _print_rows(options, title, heads, rows, unasked)


def _print_rows(options: Any, title: str, heads: list[str], rows: list[list[str]], notes: list[str]) -> None:
    if options.json:
        terminal.as_json({"rows": [dict(zip(heads, row, strict=True)) for row in rows], "notes": notes})
        return
    out = terminal.console()
    if rows:
        out.print(terminal.table(title, heads, rows))
    terminal.say(out, *notes)
