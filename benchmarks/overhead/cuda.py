"""``python -m benchmarks.overhead.cuda``: line 3 where there is a GPU.

Each step of ours runs under ``torch.cuda.set_sync_debug_mode("error")``, which raises at any call that makes the host
wait; and a ResNet-18 and a small GPT in bf16 are trained with and without the callback, in alternating blocks, plain
and under ``torch.compile``, with the number of graphs that were compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.overhead.figures import paired
from benchmarks.overhead.lanes import quiet
from benchmarks.overhead.relay import Runner, relay
from benchmarks.overhead.sides import Empty
from lightning_lr import LearningRateController

BLOCK, ROUNDS, WARMUP = 20, 30, 150


class Strict(LearningRateController):
    """Ours, with an error at each synchronization within the hooks of a step."""

    def on_train_batch_start(self, *args: Any) -> None:
        with _no_synchronization():
            super().on_train_batch_start(*args)

    def on_train_batch_end(self, *args: Any) -> None:
        exploring = self._session is not None and self._session.course.explorer is not None
        with _no_synchronization(allowed=exploring):  # a sweep reads each loss: it has to know when to end
            super().on_train_batch_end(*args)


class _no_synchronization:
    def __init__(self, allowed: bool = False) -> None:
        self.mode = "default" if allowed else "error"

    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode(self.mode)

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


class Net(LightningModule):
    """A network and one batch."""

    def __init__(self, net: nn.Module, batch: torch.Tensor, classes: int, compiled: bool) -> None:
        super().__init__()
        self.net, self.batch, self.classes = net, batch, classes
        self.run = torch.compile(net) if compiled else net

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        outputs = self.run(batch)
        return nn.functional.cross_entropy(
            outputs.flatten(0, -2),
            batch.flatten() % self.classes
            if batch.dtype == torch.long
            else torch.zeros(len(batch), dtype=torch.long, device=batch.device),
        )

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


class GPT(nn.Module):
    """Four layers of width 256: small, so that the host's part of a step is large."""

    def __init__(self, words: int = 256, width: int = 256) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        return self.head(self.layers(self.words(tokens), mask=mask, is_causal=True))  # type: ignore[no-any-return]


class Batches:
    """As ``relay.TimedBatches``, with the GPU's queue emptied at both ends of a block, and the wall clock."""

    def __init__(self, runner: Runner, batch: torch.Tensor) -> None:
        self.runner, self.batch = runner, batch

    def __len__(self) -> int:
        return WARMUP + ROUNDS * BLOCK

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(WARMUP):
            yield self.batch
        for number in range(ROUNDS):
            self.runner.pause()
            torch.cuda.synchronize()
            began = perf_counter()
            for step in range(BLOCK):
                if number == ROUNDS - 1 and step == BLOCK - 1:
                    break  # the last batch ends the fit, and nobody asks for another
                yield self.batch
            torch.cuda.synchronize()
            self.runner.rounds.append(perf_counter() - began)
        yield self.batch


def _fit(runner: Runner, callback: Callback, net: nn.Module, batch: torch.Tensor, classes: int, compiled: bool) -> None:
    trainer = Trainer(
        accelerator="gpu",
        devices=1,
        precision="bf16-mixed",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Net(net, batch, classes, compiled), Batches(runner, batch))


def main() -> None:
    """Compare, and print."""
    if not torch.cuda.is_available():
        print("no CUDA here: not run")
        return
    quiet()
    for name in ("ResNet-18", "small GPT"):
        for compiled in (False, True):
            graphs, blocks = [], {}
            lanes = {"without": Empty, "with": lambda: Strict("train_loss", verbose=False)}
            runners = []
            for lane, make in lanes.items():
                net, batch, classes = _task(name)
                body = lambda r, m=make, n=net, b=batch, c=classes: _fit(r, m(), n, b, c, compiled)  # noqa: B023, E731
                runners.append(Runner(lane, body))
                blocks[lane] = runners[-1].rounds
            counters.clear()
            relay(runners, ROUNDS)
            graphs.append(int(counters["stats"]["unique_graphs"]))
            ratio = paired([a / b for a, b in zip(blocks["with"], blocks["without"], strict=False)])
            step = median(blocks["without"]) / BLOCK
            print(
                f"{name}{', compiled' if compiled else ''}: × {ratio['ratio']:.4f} "
                f"[{ratio['low']:.4f}, {ratio['high']:.4f}] of {1e3 * step:.2f} ms a step; "
                f"{graphs[0]} graphs in both lanes together"
            )


def _task(name: str) -> tuple[nn.Module, torch.Tensor, int]:
    torch.manual_seed(0)
    if name == "small GPT":
        return GPT(), torch.randint(0, 256, (16, 128)), 256
    from torchvision.models import resnet18  # an extra of this script alone

    return resnet18(num_classes=10), torch.randn(64, 3, 64, 64), 10


if __name__ == "__main__":
    main()
