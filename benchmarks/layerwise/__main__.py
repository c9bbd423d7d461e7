"""Run what is missing in results.jsonl, and write RESULTS.md.

::

    python -m benchmarks.layerwise --data FOLDER [--tasks a,b] [--methods a,b] [--starts 0.3,1,3] [--seeds 3]
    python -m benchmarks.layerwise --report          # the table alone
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from benchmarks.layerwise.report import report
from benchmarks.layerwise.tasks import TASKS
from benchmarks.layerwise.training import METHODS, train

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS))
    parser.add_argument("--methods", default="without,layerwise")
    parser.add_argument("--starts", default="1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    asked = parser.parse_args()
    if not asked.report:
        _run(asked)
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()]
    (HERE / "RESULTS.md").write_text(report(rows), encoding="utf-8")


def _run(asked: argparse.Namespace) -> None:
    known = {task.name: task for task in TASKS}
    done = set()
    if asked.out.exists():
        rows = [json.loads(line) for line in asked.out.read_text().splitlines()]
        done = {(row["task"], row["method"], row["start"], row["seed"]) for row in rows}
    starts = [float(one) for one in asked.starts.split(",")]
    wanted = itertools.product(range(asked.seeds), asked.tasks.split(","), starts, asked.methods.split(","))
    for seed, task, start, method in wanted:
        assert task in known, f"no task {task}; there are {', '.join(known)}"
        assert method in METHODS, f"no method {method}; there are {', '.join(METHODS)}"
        if (task, method, start, seed) not in done:
            record = train(known[task], method, start, seed, asked.data)
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
