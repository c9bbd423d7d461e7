"""``python -m benchmarks.detection``: our probabilities, policies and peers on labelled curves; writes RESULTS.md."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.detection.cases import SHORT, Case, public, recorded, short_synthetic, synthetic
from benchmarks.detection.figure import draw
from benchmarks.detection.fit import left_out
from benchmarks.detection.judge import Judged, judge
from benchmarks.detection.table import Pool, report

HERE = Path(__file__).parent


def main() -> None:
    """Judge, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the public logs; without it that part is left out")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--quick", action="store_true", help="4 curves a family; prints, writes nothing")
    parser.add_argument("--tuning-half", action="store_true", help="the even seeds; prints, writes nothing")
    options = parser.parse_args()
    began, odd = time.monotonic(), int(not options.tuning_half)
    first = 100 * odd + odd
    seeds = range(first, first + (8 if options.quick else 100), 2)
    groups: dict[str, list[Case]] = {
        "Synthetic curves": synthetic(seeds),
        f"Synthetic curves of 8 to {SHORT} checks": short_synthetic(seeds),
        "Recorded runs": recorded(odd),
        "Recorded runs, 20 checks": recorded(odd, every=4),
        "Recorded runs, 10 checks": recorded(odd, every=8),
        "Public logs": public(options.data) if options.data else [],
    }
    with ProcessPoolExecutor(options.jobs) as pool:
        judged: dict[str, list[Judged]] = {
            title: list(pool.map(judge, cases, chunksize=8)) for title, cases in groups.items()
        }
    pools = [Pool(title, runs, (0.005, 0.02, 0.04, 0.1)) for title, runs in judged.items() if "Public" not in title]
    logs = judged["Public logs"]
    weights = left_out(logs) if logs else {}
    for title, low, high, rates in (
        ("Public logs", 0, 10**6, (0.03, 0.05, 0.1, 0.15, 0.2, 0.27)),
        (f"Public logs of up to {SHORT} checks", 0, SHORT, (0.03, 0.05, 0.07, 0.1)),
        ("Public logs of 31 to 60 checks", SHORT + 1, 60, (0.05, 0.1, 0.2)),
        ("Public logs of more than 60 checks", 61, 10**6, (0.07, 0.1, 0.15, 0.25)),
    ):
        runs = [run for run in logs if low <= len(run.case.over) <= high]
        pools += [Pool(title, runs, rates, weights, together=True)] if runs else []
    text = report("python -m benchmarks.detection --data ../shared/data", pools)
    if options.quick or options.tuning_half:
        print(text)
    else:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
        drawn = draw(pools, HERE / "results.png")
        print(f"wrote {HERE / 'RESULTS.md'}" + (" and results.png" if drawn else " (no matplotlib: no figure)"))
    print(f"{sum(map(len, groups.values()))} curves in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
