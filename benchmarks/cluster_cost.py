"""What a check's two messages take on 1 to 8 processes of this machine, and on paper on 1,000 ranks.

    python -m benchmarks.cluster_cost

The messages are those that ``tests/cluster/test_cost.py`` counts: 816 bytes added up over the ranks, 864 bytes from
rank 0 to all. Each process times the pair many times; the slowest rank counts, as it does in a run. The tables of
docs/cluster-cost.md are what this prints.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from multiprocessing import get_context
from typing import Any

import torch
import torch.distributed as dist

from lightning_lr.run.distributed import Ranks

READINGS, DECISION = 102, 108
"""Numbers in the two messages, eight bytes each."""
SIZES = (1, 2, 4, 8)


def one_rank(rank: int, size: int, store: str, repeats: int, results: Any) -> None:
    """Time the pair on one rank."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    ranks, taken = Ranks(size, rank), []
    for number in range(repeats + 20):
        dist.barrier()
        began = time.perf_counter()
        ranks.sum([1.0] * READINGS)
        ranks.from_rank_zero([1.0] * DECISION)
        if number >= 20:  # the first ones connect
            taken.append(time.perf_counter() - began)
    results.put(taken)
    dist.barrier()
    dist.destroy_process_group()


def measure(size: int, repeats: int) -> list[float]:
    """Seconds of each pair, on the slowest of so many processes."""
    fork = get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        results = fork.Queue()
        arguments = (size, f"{folder}/store", repeats, results)
        processes = [fork.Process(target=one_rank, args=(rank, *arguments)) for rank in range(size)]
        for process in processes:
            process.start()
        of_all = [results.get(timeout=300) for _ in processes]
        for process in processes:
            process.join()
    return [max(pair) for pair in zip(*of_all, strict=True)]


def rounds(size: int, shape: str) -> int:
    """Messages that follow one another in an all-reduce and a broadcast.

    >>> rounds(2, "tree"), rounds(1000, "tree"), rounds(1000, "ring")
    (3, 30, 2997)
    """
    steps = size - 1 if shape == "ring" else math.ceil(math.log2(size))
    return 3 * steps  # there and back for the sum, there for the decision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    print("| processes | median, µs | quartiles, µs | rounds, tree | rounds, ring |\n|---|---|---|---|---|")
    latency = 0.0
    for size in SIZES:
        taken = [1e6 * seconds for seconds in measure(size, options.repeats)]
        low, median, high = statistics.quantiles(taken, n=4)
        numbers = [rounds(size, shape) for shape in ("tree", "ring")]
        print(f"| {size} | {median:.0f} | {low:.0f} to {high:.0f} | {numbers[0]} | {numbers[1]} |")
        if size > 1 and not latency:
            latency = median / numbers[0]
    print(f"\nOne round on two processes takes {latency:.0f} µs. On paper, in ms:\n")
    assumed = {"5 µs (InfiniBand)": 5.0, "30 µs (Ethernet)": 30.0, f"{latency:.0f} µs (two processes here)": latency}
    print(f"| ranks | shape | {' | '.join(assumed)} |\n|---|---|{'---|' * len(assumed)}")
    for size in (8, 64, 1000):
        for shape in ("tree", "ring"):
            paper = " | ".join(f"{rounds(size, shape) * one / 1000:.2g}" for one in assumed.values())
            print(f"| {size:,} | {shape} | {paper} |")


if __name__ == "__main__":
    main()
