"""The attention model on round trips of ten cities: a policy gradient, whose loss is no measure of the reward."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from rl4co.envs import TSPEnv
from rl4co.models import AttentionModel

PACKAGE = "rl4co"
MONITOR, MODE, LR, EPOCHS = "val/reward", "max", 1e-3, 8


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    model = AttentionModel(
        TSPEnv(generator_params={"num_loc": 10}),
        baseline="exponential",
        policy_kwargs={"embed_dim": 32, "num_encoder_layers": 1, "num_heads": 4, "feedforward_hidden": 64},
        batch_size=64,
        train_data_size=1280,
        val_data_size=256,
        test_data_size=1,
        optimizer_kwargs={"lr": lr},
    )
    # New cities each epoch, as its own Trainer does; its checkpoints hold classes of its own.
    trainer = Trainer(max_epochs=EPOCHS, gradient_clip_val=1.0, reload_dataloaders_every_n_epochs=1, **options)
    trainer.fit(model, ckpt_path=ckpt_path, weights_only=False)
