"""Does the cut that ``incoherence`` asks for calm the neurons? Run it: ``python -m benchmarks.metrics.cut``.

Digits from scikit-learn, plain SGD, real Trainer runs with the default policy. Each rate and seed is run twice: once as
it is, and once with ``dry_run=True``, which decides the same but changes nothing. Up to the decision the two are the
same run bit for bit, so that all that differs after it is the cut's doing. Writes cut.json; takes about four minutes.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.any_start.data import digits
from benchmarks.metrics.record import model_of
from lightning_lr import LearningRateController, NeuronCoherence
from lightning_lr.engine.journal import read_line
from lightning_lr.engine.vocabulary import Condition

CUT = Path(__file__).with_name("cut.json")
CHECKS = 40
BEFORE, PAUSE, AFTER = 5, 2, 5
"""Checks before the decision; checks after it that do not count, as the first still holds steps at the old rate and the
weights roll down at once; checks after these."""


class Digits(pl.LightningModule):
    """The two hidden layers of the other runs, plain SGD."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.net, _ = model_of("digits", digits(None))
        self.lr = lr

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.lr)


def run(lr: float, seed: int, dry_run: bool, checks: int = CHECKS) -> tuple[int | None, list[float | None]]:
    """The check at which ``incoherence`` first had the rate cut, or would have, and the flip rate of each check."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = digits(None)
    shuffled = torch.Generator().manual_seed(seed)
    training = DataLoader(data.train, batch_size=32, shuffle=True, generator=shuffled)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder, "journal.jsonl")
        # Neither search nor anneal: the rate stays where it was put until somebody decides.
        control = LearningRateController(
            "val_loss",
            find_lr=False,
            anneal=False,
            probes=[NeuronCoherence()],
            dry_run=dry_run,
            verbose=False,
            journal=str(journal),
        )
        trainer = pl.Trainer(
            max_epochs=checks,
            callbacks=[control],
            logger=False,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.fit(Digits(lr), training, DataLoader(data.validation, batch_size=128))
        lines = [read_line(line) for line in journal.read_text().splitlines()[1:]]
    # A run in which something else was decided first says nothing about this cut.
    first = next((line.decision for line in lines if line.decision.factor < 1), None)
    asked = first is not None and first.condition is Condition.INCOHERENCE
    return first.check if first and asked else None, [line.reading.probes.get("flip_rate") for line in lines]


def compare(lr: float, seed: int, checks: int = CHECKS) -> dict[str, Any]:
    """Flip rates around the cut, with it and without."""
    (at, cut), (_, left) = run(lr, seed, False, checks), run(lr, seed, True, checks)
    found: dict[str, Any] = {"lr": lr, "seed": seed, "check": at, "cut": rounded(cut), "left": rounded(left)}
    if at is not None:
        found |= {"before": mean(cut, at - BEFORE + 1, at + 1)}
        found |= {name: mean(one, at + PAUSE, at + PAUSE + AFTER) for name, one in (("after", cut), ("alone", left))}
    return found


def mean(flips: list[float | None], first: int, last: int) -> float:
    """Over some checks."""
    return round(fmean(value for value in flips[first:last] if value is not None), 5)


def rounded(flips: list[float | None]) -> list[float | None]:
    """Five digits are enough for a table."""
    return [None if value is None else round(value, 5) for value in flips]


def main() -> None:
    """Run all and write cut.json."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found = []
    for lr in (0.1, 0.2, 0.3):
        for seed in range(5):
            found.append(compare(lr, seed))
            print({key: value for key, value in found[-1].items() if key not in ("cut", "left")}, flush=True)
    CUT.write_text("[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n")


if __name__ == "__main__":
    main()
