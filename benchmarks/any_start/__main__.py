r"""``python -m benchmarks.any_start``: run what is missing, then write the report and the picture.

It can be stopped at any time, and goes on where it was: what has a line in the file of results is skipped. With
``--data`` all tasks, without it those on the data that scikit-learn ships. Some ways to call it::

    python -m benchmarks.any_start --data ../shared/data --jobs 2
    python -m benchmarks.any_start --data ../shared/data --tasks digits-sgd --methods "auto" "auto(find_lr=False)"
    python -m benchmarks.any_start --report-only

To try a variant without touching the committed file::

    python -m benchmarks.any_start --data ../shared/data --methods "auto(patience=5)" --results mine.jsonl \
        --also benchmarks/any_start/results.jsonl --report mine.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.any_start import methods, results, tasks
from benchmarks.any_start.missing import run_missing
from benchmarks.any_start.report import write_report

OURS = ("auto",)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.any_start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, help="folder with the data sets; without it digits and wine")
    options.add_argument("--tasks", nargs="+", default=[], help="names; default: all whose data is there")
    options.add_argument(
        "--methods",
        nargs="+",
        default=["peers", *OURS],
        help="names of peers, 'peers' for all of them, 'auto', 'auto(option=value)', 'cosine+auto'",
    )
    options.add_argument("--starts", nargs="+", type=float, default=list(tasks.STARTS))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--jobs", type=int, default=1, help="processes at a time, of one thread each")
    options.add_argument("--results", type=Path, default=results.RESULTS, help="file that lines are appended to")
    options.add_argument("--also", type=Path, nargs="+", default=[], help="more files of results to score, only read")
    options.add_argument("--report", type=Path, help="default: RESULTS.md beside the results; a picture goes with it")
    options.add_argument("--report-only", action="store_true", help="run nothing")
    options.add_argument("--any-code", action="store_true", help="skip keys whose line is of another state of the code")
    options.add_argument("--retry-failed", action="store_true", help="do runs again that ended in an error")
    return options


def chosen(names: Sequence[str]) -> list[methods.Method]:
    """``peers`` stands for all of them."""
    flat = [name for word in names for name in (methods.PEERS if word == "peers" else [word])]
    return [methods.method_named(name) for name in dict.fromkeys(flat)]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    console = Console()
    if not options.report_only:
        run_missing(
            list(
                results.runs(
                    tasks.available(options.data, options.tasks), chosen(options.methods), options.starts, options.seeds
                )
            ),
            options.data,
            options.results,
            jobs=options.jobs,
            any_code=options.any_code,
            retry_failed=options.retry_failed,
            console=console,
        )
    target = options.report or options.results.with_name("RESULTS.md")
    given = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != "--report-only"]
    command = shlex.join(["python", "-m", "benchmarks.any_start", *given])
    write_report(results.read(*options.also, options.results), target, command)
    console.print(f"written: {target}")


if __name__ == "__main__":
    main()
