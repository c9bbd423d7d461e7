"""``lightning-lr``: demo, replay, report, tune, evaluate.

Exit status: 0, or 2 with one line on standard error if something cannot be read or cannot work; nothing is written
then. Nothing here imports torch, and a command imports what it needs when it runs, so that ``--help`` comes at once.
"""

from __future__ import annotations

import os
import sys
from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from lightning_lr.__about__ import __version__
from lightning_lr.errors import LightningLRError

WRONG = 2
"""Exit status if a run cannot be read, or an option cannot work; argparse uses the same."""

DESCRIPTION = "Look at the learning-rate decisions of a training run, and replay any run that some tool logged."
RUN = (
    "a journal (lr_journal.jsonl), TensorBoard event files, a table of metrics (Lightning, Keras, fastai, "
    "Ultralytics, W&B exports, by hand), JSON records, the printed lines of a training loop, Hugging Face's "
    "trainer_state.json, a W&B or MLflow run, or a folder with one"
)

COMMANDS = {
    "demo": "the engine's decisions on curves with a known end",
    "replay": "what it would have decided in a run that exists already, beside what really happened",
    "report": "the decisions of a run, what each brought, which rates performed well, and advice",
    "tune": "when each of many settings would have acted in the runs that are there already",
    "evaluate": "delay, missed and false alarms of the detectors on labelled runs",
}
"""Command, a function of `commands` → what it shows."""

EXAMPLES = {
    "demo": ("lightning-lr demo --policy conservative", "lightning-lr demo --curve overfitting --png overfitting.png"),
    "replay": (
        "lightning-lr replay lightning_logs/version_0",
        "lightning-lr replay lightning_logs/version_0 --policy halving --set epochs=5",
        "lightning-lr replay run/ --set patience=3 --variant patience=8 --variant 'factor=0.5 cooldown=2'",
        "lightning-lr replay metrics.csv --monitor val/acc --json",
        "lightning-lr replay lightning_logs --all",
    ),
    "report": (
        "lightning-lr report lightning_logs/version_0",
        "lightning-lr report lightning_logs/version_0 --epoch 12",
        "lightning-lr report lr_journal.jsonl --html report.html --png report.png",
    ),
    "tune": (
        "lightning-lr tune lightning_logs",
        "lightning-lr tune lightning_logs --grid patience=2,4,8 --grid factor=0.1,0.5 --png tune.png",
        "lightning-lr tune run_1 run_2 --policy conservative --grid min_delta=0,0.001,0.01 --json",
    ),
    "evaluate": (
        "lightning-lr evaluate",
        "lightning-lr evaluate lightning_logs/version_0 --onset epoch=17 --condition overfitting",
    ),
}


class Help(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Help that keeps the examples' lines, and names a default only if the text does."""

    def _get_help_string(self, action: Action) -> str:
        return action.help or ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    if arguments is None:
        arguments = sys.argv[1:]
        with suppress(TypeError):  # before 4.42 jsonargparse offered completion by itself
            set_parsing_settings(add_print_completion_argument=True)
    try:
        options = _parser().parse_args(list(arguments))
        from lightning_lr.offline import commands

        getattr(commands, options.command)(options[options.command])
        sys.stdout.flush()
    except LightningLRError as error:
        return _wrong(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `lightning-lr report … | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _wrong(f"{error.filename or 'a file'}: {error.strerror or error}.")
    except ImportError as error:
        return _wrong(f"{error.name or error} is not installed: pip install 'lightning-lr[plot]'.")
    return 0


def _wrong(message: str) -> int:
    from lightning_lr.offline.report.terminal import safe

    print(f"lightning-lr: {safe(message)}", file=sys.stderr)
    return WRONG


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="lightning-lr", description=DESCRIPTION, version=__version__, formatter_class=Help)
    commands = parser.add_subcommands(dest="command")
    for name, shows in COMMANDS.items():
        examples = "\n".join(f"  {example}" for example in EXAMPLES[name])
        command = ArgumentParser(description=f"Show {shows}.", epilog=f"examples:\n{examples}", formatter_class=Help)
        OPTIONS[name](command)
        commands.add_subcommand(name, command, help=shows)
    return parser


def _demo_options(parser: ArgumentParser) -> None:
    _settings_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the curves' noise")
    parser.add_argument(
        "--curve", help="only this one: healthy, plateau, overfitting, divergence, loss_spike, non_finite"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    _file(parser, "--png", metavar="FILE", help="draw the curve that --curve names")


def _replay_options(parser: ArgumentParser) -> None:
    _run_options(parser)
    _settings_options(parser)
    parser.add_argument(
        "--variant", action="append", default=[], metavar="SETTINGS", help="one more column: several NAME=VALUE"
    )
    _watch_options(parser)


def _report_options(parser: ArgumentParser) -> None:
    _run_options(parser)
    parser.add_argument("--epoch", type=int, help="show every check of this epoch instead, and what blocked a change")
    _file(parser, "--html", metavar="FILE", help="write the report into one file that opens offline")
    _file(parser, "--png", metavar="FILE", help="write the figure")
    _watch_options(parser)


def _tune_options(parser: ArgumentParser) -> None:
    _file(parser, "runs", nargs="+", help=f"{RUN}, or with many")
    parser.add_argument("--policy", help="auto or conservative, in place of the run's own")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="values of an argument of the callback, with commas; repeat it: all combinations are tried",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    _file(parser, "--png", metavar="FILE", help="draw each run, with the changes of each setting below it")
    _watch_options(parser)


def _evaluate_options(parser: ArgumentParser) -> None:
    _file(parser, "runs", nargs="*", help=f"{RUN}; none: the curves of the package")
    parser.add_argument("--onset", action="append", default=[], help="epoch=17, check=17 or none; one for each run")
    parser.add_argument("--condition", help="only the detectors of this condition")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seeds", type=int, default=5, help="how many curves of each family; 5 by default")
    _watch_options(parser)


OPTIONS = {
    "demo": _demo_options,
    "replay": _replay_options,
    "report": _report_options,
    "tune": _tune_options,
    "evaluate": _evaluate_options,
}


def _run_options(parser: ArgumentParser) -> None:
    _file(parser, "run", help=RUN)
    parser.add_argument("--all", action="store_true", help="go through all runs of a folder, one after the other")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _settings_options(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", help="auto, conservative, halving or exponential, in place of the run's own")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the callback, as in patience=3; repeat it",
    )


def _watch_options(parser: ArgumentParser) -> None:
    parser.add_argument("--monitor", action="append", default=[], help="metric to watch; repeat it for several")
    parser.add_argument("--mode", choices=["min", "max"], help="which direction of it is better; min by default")
    parser.add_argument("--train", metavar="METRIC", help="the training loss, if it has no name like train_loss")
    parser.add_argument("--train-monitor", metavar="METRIC", help="metric to compare the monitor with")
    parser.add_argument("--partial", action="store_true", help="if a file breaks off, read what stands before")


def _file(parser: ArgumentParser, name: str, **options: Any) -> None:
    """An argument that a shell completes with the names of files."""
    argument = parser.add_argument(name, **options)
    with suppress(ImportError):  # an environment without completion
        import shtab

        argument.complete = shtab.FILE


if __name__ == "__main__":
    sys.exit(main())
