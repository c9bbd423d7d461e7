"""The callback in public projects that train with Lightning, each by a recipe of a few seconds: ``make test-projects``.

What is shown of each, in the table of docs/compatibility.md:

- *silent*: with ``dry_run=True``, the curve and the weights are bit for bit those without the callback;
- *saved*: a checkpoint of mid-run loads, the callback pickles, and where the project can resume, the run goes on;
- *low*, *high*: the final value of the monitor from a learning rate 30 times too low and too high, with us,
  beside the project's own default without it.

A recipe is a file in ``recipes``: ``train(lr, options, ckpt_path)``, the project's own learning rate, and a monitor.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib
import importlib.metadata
import io
import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
RECIPES = sorted(path.stem for path in (HERE / "recipes").glob("*.py"))
WRONG = 30.0
"""By how much the learning rate is wrong, in either direction."""

AS_GOOD = 0.02
"""Share of the default's value within which another counts as good: runs of seconds are noisy."""

MARK = "RESULT "
SECONDS = 900
PARTS = ("plain", "silent", "saved", "low", "high")


# --- the runs of one recipe, in a process of their own ----------------------------------------------------------------


def run_one(recipe: str, part: str, folder: Path) -> dict[str, Any]:
    """Train once and say how it ended."""
    import torch
    from lightning.pytorch import Callback, seed_everything

    from lightning_lr import LearningRateController

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    made = importlib.import_module(f"recipes.{recipe}")
    score, mode = getattr(made, "SCORE", made.MONITOR), getattr(made, "MODE", "min")
    result: dict[str, Any] = {"curve": [], "saved": [], "sign": 1 if mode == "min" else -1}

    class Recorder(Callback):
        """Notes the curve, and looks at the weights at the end."""

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking and score in trainer.callback_metrics:
                result["curve"].append(float(trainer.callback_metrics[score]))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            weights = hashlib.sha1()
            for name, value in pl_module.state_dict().items():
                weights.update(name.encode())
                if isinstance(value, torch.Tensor):
                    weights.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            result.update(weights=weights.hexdigest(), steps=trainer.global_step)
            result["final"] = float(trainer.callback_metrics[score])
            decisions = [d for c in trainer.callbacks if isinstance(c, LearningRateController) for d in c.decisions]
            result["decided"] = list(map(str, decisions))
            last = decisions[-1] if decisions else None
            if last is not None and last.step == trainer.global_step and (last.snapshot_check or 0) > 0:
                # The weights at the end are those of an earlier check, whose value this was.
                result["final"] = result["curve"][-1 - (last.check - last.snapshot_check)]

    class Middle(Callback):
        """Saves one checkpoint in the middle of the run; it comes behind the controller."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch >= made.EPOCHS // 2 - 1 and not result["saved"]:
                trainer.save_checkpoint(folder / "middle.ckpt")
                result["saved"].append(trainer.global_step)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if not result["saved"]:  # a run of one long epoch
                trainer.save_checkpoint(folder / "middle.ckpt")

    def train(lr: float, controllers: list[Any], ckpt_path: str | None = None) -> None:
        seed_everything(0, verbose=False)
        options = {
            "callbacks": [Recorder(), *controllers, *([Middle()] if part == "saved" else [])],
            "default_root_dir": str(folder),
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": part == "saved",
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        made.train(lr, options, ckpt_path)

    def controller(**options: Any) -> LearningRateController:
        return LearningRateController(made.MONITOR, mode=mode, verbose=False, journal=False, **options)

    if part == "plain":
        train(made.LR, [])
    elif part == "silent":
        train(made.LR, [controller(dry_run=True)])
    elif part in ("low", "high"):
        train(made.LR / WRONG if part == "low" else made.LR * WRONG, [controller()])
    else:
        one = controller()
        train(made.LR, [one])
        pickle.loads(pickle.dumps(one))
        torch.load(folder / "middle.ckpt", weights_only=False)
        if getattr(made, "RESUMES", True):
            before = result["steps"]
            train(made.LR, [controller()], str(folder / "middle.ckpt"))
            result["resumed"] = result["steps"] == before
    return result


def run_all(recipe: str) -> None:
    """Each part, one after the other; its result on standard output, one line each."""
    for part in PARTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    result = run_one(recipe, part, Path(folder))
            except Exception as error:
                result = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[-1:]}"[:300]}
        sys.stdout.write(f"{MARK}{part} {json.dumps(result)}\n")
        sys.stdout.flush()


def in_process(recipe: str) -> dict[str, dict[str, Any]]:
    """The same in a new process."""
    found: dict[str, dict[str, Any]] = {}
    command = [sys.executable, str(HERE), "--one", recipe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        said, why = done.stdout, (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
    except subprocess.TimeoutExpired as over:
        said, why = (over.stdout or b"").decode(), f"longer than {SECONDS} s"
    for line in said.splitlines():
        if line.startswith(MARK):
            part, _, result = line.removeprefix(MARK).partition(" ")
            found[part] = json.loads(result)
    return {part: found.get(part, {"error": why}) for part in PARTS}


# --- one project ------------------------------------------------------------------------------------------------------


def look_at(recipe: str) -> dict[str, Any]:
    """All parts of one recipe."""
    parts = in_process(recipe)
    plain, silent = parts["plain"], parts["silent"]
    errors = [f"{part}: {one['error']}" for part, one in parts.items() if "error" in one]
    row: dict[str, Any] = {"recipe": recipe, "errors": errors}
    if "error" in plain:
        return row
    row["silent"] = all(silent.get(key) == plain[key] for key in ("curve", "weights", "steps"))
    row["saved"] = parts["saved"].get("resumed", "no error")
    row["saved"] = False if "error" in parts["saved"] else row["saved"]
    row["default"] = plain["final"]
    for part in ("low", "high"):
        final = parts[part].get("final", float("nan"))
        row[part] = final
        row[f"{part} is as good"] = plain["sign"] * (final - plain["final"]) <= AS_GOOD * abs(plain["final"])
    return row


def version_of(recipe: str) -> tuple[str, str]:
    """Name and version of the package that a recipe uses, without importing it."""
    source = (HERE / "recipes" / f"{recipe}.py").read_text(encoding="utf-8")
    name = next(line for line in source.splitlines() if line.startswith("PACKAGE")).split('"')[1]
    try:
        return name, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name, ""


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    said = {True: "yes", False: "**no**", "no error": "saved and loaded"}
    heads = ("project", "version", "silent", "saved and resumed", "default, without us", "rate / 30", "rate × 30")
    cells: list[tuple[str, ...]] = [heads, ("---",) * len(heads)]
    for row in rows:
        name, version = version_of(row["recipe"])
        if "default" not in row:
            cells.append((name, version, "; ".join(row["errors"]), "", "", "", ""))
            continue
        ends = [f"{row[part]:.4g}{'' if row[f'{part} is as good'] else ' (worse)'}" for part in ("low", "high")]
        cells.append((name, version, said[row["silent"]], said[row["saved"]], f"{row['default']:.4g}", *ends))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> int:
    """Run recipes and rewrite the table; 1 if one does not run, is not silent or is not resumed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", help=f"of {', '.join(RECIPES)}; all by default")
    parser.add_argument("--one", metavar="RECIPE", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="write the table into docs/compatibility.md")
    options = parser.parse_args()
    if options.one:
        run_all(options.one)
        return 0
    rows = []
    for recipe in options.recipes or RECIPES:
        if not version_of(recipe)[1]:
            sys.stdout.write(f"{recipe}: not installed\n")
            continue
        rows.append(look_at(recipe))
        sys.stdout.write(json.dumps(rows[-1]) + "\n")
        sys.stdout.flush()
    sys.stdout.write(table(rows) + "\n")
    if options.write:
        head, mark, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
        tail = rest.partition("<!-- end of the table -->")[2]
        stamp = f"Measured on {datetime.date.today()} with lightning {importlib.metadata.version('lightning')}."
        PAGE.write_text(f"{head}{mark}{stamp}\n\n{table(rows)}\n<!-- end of the table -->{tail}", encoding="utf-8")
    return int(any(row["errors"] or row.get("silent") is not True or row.get("saved") is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
