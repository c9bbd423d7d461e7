"""What each probe costs a step, at its default cadence: ``python -m benchmarks.metrics.overhead``.

Blocks of training steps with a probe and without alternate in one process, on one thread; each block ends with a
check, at which one batch is validated in either case. Two figures: the ratio of the blocks of each pair, which holds
everything but is as noisy as the machine; and the time within the probe's own calls, beside the rest of the same block,
which is steady (what the hooks copy of the one validated batch is only in the first). CPU time of the process, so that
waiting for neighbours does not count. The images and texts are random: their content costs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch.nn import functional

from benchmarks.any_start.models import CharacterModel, ConvNet
from lightning_lr import GradientDisparity, NeuronCoherence, UpdateRatio
from lightning_lr.run.readings.probes import Probes

STEPS = 100
"""Steps of a block, and so between two checks: a short epoch; a longer one makes the looks rarer."""


def convnet() -> tuple[Any, Any, Any]:
    """The Fashion-MNIST CNN of the any-start benchmark, 64 images a batch."""
    model = ConvNet(10, norm=True)
    return model, torch.optim.SGD(model.parameters(), 0.1, 0.9), (torch.randn(64, 1, 28, 28), torch.randint(10, (64,)))


def transformer() -> tuple[Any, Any, Any]:
    """The tiny-shakespeare transformer, 16 windows of 64 characters."""
    model = CharacterModel(65, 64)
    text = torch.randint(65, (16, 65))
    return model, torch.optim.AdamW(model.parameters(), 1e-3), (text[:, :-1], text[:, 1:])


MODELS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {"CNN": convnet, "transformer": transformer}
PROBES: dict[str, Callable[[], Any]] = {
    # The activations of torch's transformer layers are functions inside, which only an explicit name reaches.
    "NeuronCoherence": lambda: NeuronCoherence(layers=["body.*[258]", "*.linear1"]),
    "UpdateRatio": UpdateRatio,
    "GradientDisparity": GradientDisparity,
}


class Timed(Probes):
    """Probes that know how long their calls took; the look itself is timed at its end, where its work is done."""

    spent = 0.0

    def timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.process_time()
        try:
            return call(*arguments)
        finally:
            self.spent += time.process_time() - begun


def block(model: Any, optimizer: Any, batch: Any, probes: Timed) -> tuple[float, float]:
    """Seconds of CPU time of one block, and of the probe's calls in it."""
    probes.spent = 0.0
    inputs, targets = batch
    begun = time.process_time()
    for _ in range(STEPS):
        logits = model(inputs)
        loss = functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        probes.timed(probes.before_step)
        optimizer.step()
        probes.timed(probes.after_step)
    model.eval()
    probes.timed(probes.begin_batch, batch)
    with torch.no_grad():
        model(inputs)
    probes.timed(probes.end_batch)
    model.train()
    probes.timed(lambda: probes.readings(probes.totals()))
    probes.timed(probes.restart)
    return time.process_time() - begun, probes.spent


def measure(model_name: str, probe_name: str, pairs: int) -> dict[str, Any]:
    """The share that the probe adds, of each pair of blocks; the order within a pair changes."""
    torch.manual_seed(0)
    model, optimizer, batch = MODELS[model_name]()
    with_probe = Timed.attached([PROBES[probe_name]()], model, optimizer, None)
    without = Timed()
    block(model, optimizer, batch, with_probe)
    shares, own, bare = [], [], []
    for pair in range(pairs):
        order = (with_probe, without) if pair % 2 else (without, with_probe)
        spent = {id(probes): block(model, optimizer, batch, probes) for probes in order}
        (whole, inside), (plain, nothing) = spent[id(with_probe)], spent[id(without)]
        shares.append(whole / plain - 1)
        own.append((inside - nothing) / (whole - inside))
        bare.append(plain / STEPS)
    low, _, high = quantiles(shares, n=4)
    return {
        "model": model_name,
        "probe": probe_name,
        "own": round(median(own), 5),
        "share": round(median(shares), 5),
        "quartiles": [round(low, 5), round(high, 5)],
        "bare": round(median(bare), 6),
        "pairs": pairs,
    }


def main() -> None:
    """Measure all and write overhead.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for model in MODELS:
        for probe in PROBES:
            found.append(measure(model, probe, options.pairs))
            print(found[-1], flush=True)
    Path(__file__).with_name("overhead.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
