"""``python -m benchmarks.overhead``: measure all, write RESULTS.md and results.json, say what changed since."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.overhead.checks import check_figures
from benchmarks.overhead.figures import Figure
from benchmarks.overhead.lanes import quiet
from benchmarks.overhead.replays import replay_figures
from benchmarks.overhead.snapshots import snapshot_figures
from benchmarks.overhead.steps import hook_figures, step_figures
from benchmarks.overhead.table import changes, load, report, save

HERE = Path(__file__).parent
PARTS = {
    "checks": check_figures,
    "replay": replay_figures,
    "snapshots": snapshot_figures,
    "hooks": hook_figures,
    "steps": step_figures,
}


def main() -> int:
    """Measure; 1 where something became dearer than in the run compared with, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds; prints, writes nothing")
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=[*PARTS], help="parts; the others stay as they were"
    )
    parser.add_argument("--against", type=Path, default=HERE / "results.json", help="an earlier results.json")
    options = parser.parse_args()
    quiet()
    before, began, measured = load(options.against), time.monotonic(), []
    for part in options.only:
        for figure in PARTS[part](options.quick):
            print(f"{figure.what}: × {figure.ratio:.4g} {figure.over}; {figure.here}", flush=True)
            measured.append(figure)
    if not options.quick:
        fresh = {figure.key: figure for figure in measured}
        kept = {key: Figure(**old) for key, old in load(HERE / "results.json").items()}
        figures = [*({**kept, **fresh} if len(options.only) < len(PARTS) else fresh).values()]
        save(figures, HERE / "results.json")
        text = report(figures, (HERE / "notes.md").read_text(encoding="utf-8"))
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
    changed = changes(measured, before)
    print(*(changed or ["nothing changed beyond its spread"]), sep="\n")
    print(f"{len(measured)} figures in {time.monotonic() - began:.0f} s")
    return int(any(sentence.endswith("dearer") for sentence in changed))


if __name__ == "__main__":
    raise SystemExit(main())
