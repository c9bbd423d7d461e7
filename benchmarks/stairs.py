"""What is lost where the rate falls in stairs: the same runs under a line, and under stairs, fine and coarse.

    python -m benchmarks.stairs --seeds 6

A small network on digits with a fifth of the training labels wrong, so that what the end of a run takes out is noise.
All runs of one seed see the same batches from the same weights; the table is that of docs/decisions/0013-stairs.md.
"""

from __future__ import annotations

import argparse
import math
from statistics import fmean, stdev
from unittest import mock

import torch
from sklearn.datasets import load_digits
from torch import nn

from lightning_lr.engine import schedule
from lightning_lr.engine.schedule import Curve

LINE = 10**9
STAIRS = {"a line": LINE, "1/1000": 1000, "1/100": 100, "1/30": 30, "1/10": 10, "1/3": 3}
RATE = {"SGD": 0.1, "AdamW": 2e-3}


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training and test part: images and labels."""
    chance = torch.Generator().manual_seed(seed)
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(images), generator=chance)
    images, labels = images[order].float() / 16, labels[order]
    wrong = torch.rand(1200, generator=chance) < 0.2
    taught = torch.where(wrong, torch.randint(0, 10, (1200,), generator=chance), labels[:1200])
    return images[:1200], taught, images[1200:], labels[1200:]


def train(optimizer: str, stair: int, steps: int, seed: int) -> float:
    """Test loss after a run whose rate falls over its last half."""
    images, labels, unseen, truth = data(seed)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    made = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}[optimizer](net.parameters(), lr=RATE[optimizer])
    curve = Curve(first=0, budget=steps)
    with mock.patch.object(schedule, "STAIR", stair):
        for step in range(steps):
            made.param_groups[0]["lr"] = RATE[optimizer] * curve.at(step)
            batch = torch.randint(0, len(images), (32,))
            made.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch], label_smoothing=0.1).backward()
            made.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(net(unseen), truth))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stairs", description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| optimizer | stairs | test loss | against the line, seed by seed |\n| --- | --- | ---: | ---: |")
    for optimizer in RATE:
        lines = [train(optimizer, LINE, options.steps, seed) for seed in range(options.seeds)]
        for name, stair in STAIRS.items():
            losses = [train(optimizer, stair, options.steps, seed) for seed in range(options.seeds)]
            ratios = [math.log(loss / line) for loss, line in zip(losses, lines, strict=True)]
            spread = f" ± {stdev(ratios) / math.sqrt(len(ratios)):.4f}" if len(ratios) > 1 else ""
            print(f"| {optimizer} | {name} | {fmean(losses):.4f} | {math.exp(fmean(ratios)):.4f}{spread} |", flush=True)


if __name__ == "__main__":
    main()
