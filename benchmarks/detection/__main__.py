"""``python -m benchmarks.detection``: detectors and peers on labelled curves; writes RESULTS.md."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.detection.figure import draw
from benchmarks.detection.judge import Judged, judge
from benchmarks.detection.labels import recorded_curves
from benchmarks.detection.record import RECORDED
from benchmarks.detection.table import report
from lightning_lr.offline.curves import FAMILIES, Curve

HERE = Path(__file__).parent


def judge_seed(task: tuple[str, int]) -> Judged:
    """One synthetic curve."""
    family, seed = task
    return judge(FAMILIES[family](seed), family)


def judge_recorded(curve: Curve) -> Judged:
    """One real run; its family is its condition."""
    return judge(curve, f"recorded-{curve.condition}")


def main() -> None:
    """Judge, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--quick", action="store_true", help="4 curves a family; prints, writes nothing")
    parser.add_argument(
        "--tuning-half", action="store_true", help="the even seeds, on which defaults are tuned; prints, writes nothing"
    )
    options = parser.parse_args()
    began, odd = time.monotonic(), int(not options.tuning_half)
    first = 100 * odd + odd
    seeds = range(first, first + (8 if options.quick else 100), 2)
    curves = [c for c in recorded_curves(RECORDED) if int(c.name.rsplit("-s", 1)[1]) % 2 == odd]
    with ProcessPoolExecutor(options.jobs) as pool:
        synthetic = list(pool.map(judge_seed, [(f, s) for f in FAMILIES for s in seeds], chunksize=8))
        recorded = list(pool.map(judge_recorded, sorted(curves, key=lambda c: str(c.condition)), chunksize=4))
    text = report("python -m benchmarks.detection", synthetic, recorded)
    if options.quick or options.tuning_half:
        print(text)
    else:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
        drawn = draw({"synthetic": synthetic, "recorded": recorded}, HERE / "results.png")
        print(
            f"wrote {HERE / 'RESULTS.md'}" + (" and results.png" if drawn else " (matplotlib is not there: no figure)")
        )
    print(f"{len(synthetic)} curves and {len(recorded)} recorded runs in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
