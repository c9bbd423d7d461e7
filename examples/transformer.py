"""A Hugging Face transformer inside a LightningModule, with its usual warm-up schedule.

    python examples/transformer.py

The model is a tiny BERT with random weights, made from its configuration: nothing is downloaded. The task is made up
too: does a token occur twice in a row? For a real model, replace the configuration by ``from_pretrained(...)``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

from lightning_lr import LearningRateController

TOKENS, LENGTH = 50, 12


class Transformer(pl.LightningModule):
    """Any model of transformers that returns a loss fits in here."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        config = BertConfig(
            vocab_size=TOKENS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            num_labels=2,
        )
        self.model = BertForSequenceClassification(config)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.model(input_ids=batch[0], labels=batch[1]).loss
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        output = self.model(input_ids=batch[0], labels=batch[1])
        self.log("val_loss", output.loss)
        self.log("val_acc", (output.logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=steps // 10, num_training_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loader(size: int, seed: int, shuffle: bool) -> DataLoader:
    """Sequences of random tokens, and whether one of them occurs twice in a row."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, TOKENS, (size, LENGTH), generator=generator)
    doubled = torch.rand(size, generator=generator) < 0.5
    tokens[doubled, 5] = tokens[doubled, 4]
    labels = (tokens[:, 1:] == tokens[:, :-1]).any(1).long()
    return DataLoader(TensorDataset(tokens, labels), 32, shuffle=shuffle)


def main() -> None:
    """Train, and print the result with the decisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--folder", type=Path, default=Path("runs/transformer"))
    options = parser.parse_args()

    pl.seed_everything(0)
    controller = LearningRateController(monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        accelerator="auto",
        default_root_dir=options.folder,
        logger=TensorBoardLogger(options.folder, name=""),
        callbacks=[controller],
        gradient_clip_val=1.0,
        val_check_interval=0.5,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.fit(Transformer(options.lr), loader(1024, seed=1, shuffle=True), loader(256, seed=2, shuffle=False))
    metrics = trainer.callback_metrics
    print(f"validation loss {float(metrics['val_loss']):.3f}, accuracy {float(metrics['val_acc']):.1%}")
    print(f"decisions: {[str(decision.condition) for decision in controller.decisions] or 'none'}")


if __name__ == "__main__":
    main()
