"""``python -m benchmarks.reactive``: train what has no line yet in results.jsonl, and write RESULTS.md.

The lines of our policies belong to a state of the engine: they are trained anew if it has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

import lightning_lr
from benchmarks.reactive.report import report
from benchmarks.reactive.rules import OURS
from benchmarks.reactive.run import trained
from benchmarks.reactive.tasks import TASKS

RESULTS = Path(__file__).with_name("results.jsonl")


def engine_tag() -> str:
    """Changes with every file of the engine."""
    folder = Path(lightning_lr.__file__).parent / "engine"
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()[:8]


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def plain(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def main() -> None:
    """Train, and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reactive", description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, help="default: RESULTS.md beside the results")
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--ours-only", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun, tag = time.monotonic(), engine_tag()
    lines = {(line["task"], line["seed"], line["rule"], line["start"]): line for line in read(given.results)}
    kinds: list[tuple[str, bool, tuple[str, ...]]] = [("", True, ()), (tag, False, OURS)]
    for task, (code, peers, ours) in () if given.report_only else itertools.product(TASKS, kinds):
        known = {(line["task"], line["seed"]) for line in lines.values() if line["engine"] == code}
        seeds = [seed for seed in given.seeds if (task.name, seed) not in known]
        if task.name not in given.tasks or not seeds or (peers and given.ours_only) or (ours and given.peers_only):
            continue
        for run in trained(task, seeds, peers, ours):
            key = task.name, run.seed, run.name, round(run.start, 4)
            if lines.get(key, {}).get("engine") != code:
                names = dict(zip(("task", "seed", "rule", "start"), key, strict=True))
                lines[key] = names | {"engine": code, "ended": {}, "actions": {}}
            line = lines[key]
            line["ended"] |= {str(n): [plain(last), plain(best), made] for n, (last, best, made) in run.ended.items()}
            line["actions"] |= {str(max(run.budgets)): run.actions} if run.actions else {}
        given.results.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values()))
        print(f"{time.monotonic() - begun:6.0f} s  {task.name}  {' '.join(ours) or 'peers'}", flush=True)
    if given.peers_only:
        return
    target = given.report or given.results.with_name("RESULTS.md")
    target.write_text(report(list(lines.values())), encoding="utf-8")
    print(f"written: {target}")


if __name__ == "__main__":
    main()
