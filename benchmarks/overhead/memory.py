"""``python -m benchmarks.overhead.memory``: peak memory and checkpoint size of 100 M parameters, each run a process.

Prints the table of docs/snapshots.md. Each run trains three epochs of three steps with Adam, and writes a checkpoint at
the end of each.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, LAYERS = 2500, 16
"""100 M parameters."""

RUNS = {
    "without": "",
    "`conservative`": "policy='conservative'",
    "`auto`": "find_lr=False",
    "`auto`, `Snapshots(folder=...)`": "find_lr=False, snapshots=Snapshots(folder=folder + '/snapshots')",
    "`auto`, `Snapshots(limit=2**30)`: less than it takes": "find_lr=False, snapshots=Snapshots(limit=2**30)",
    "`auto`, `Snapshots(in_checkpoint=False)`": "find_lr=False, snapshots=Snapshots(in_checkpoint=False)",
}
GIB = 2**30


def run(arguments: str, checkpoints: bool) -> None:
    """One run in this process; prints what it took as JSON."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, TensorDataset

    from benchmarks.overhead.lanes import quiet
    from lightning_lr import LearningRateController, Snapshots

    class Net(LightningModule):
        """Linear layers; both losses fall, so that each check is a new best."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.net(batch[0]).square().mean() + 1.0 / (1 + self.global_step)  # it learns, so to say

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.log("val_loss", 1.0 / (1 + self.current_epoch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-6)

    quiet()
    with tempfile.TemporaryDirectory() as folder:
        scope = {"Snapshots": Snapshots, "folder": folder}
        controller = eval(f"dict({arguments})", scope) if arguments else None  # of the lines above
        ours = [LearningRateController(verbose=False, **controller)] if controller is not None else []
        kept = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        data = DataLoader(TensorDataset(torch.randn(3, WIDTH)))
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            callbacks=[*ours, *([kept] if checkpoints else [])],
            enable_checkpointing=checkpoints,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            num_sanity_val_steps=0,
        )
        trainer.fit(Net(), data, DataLoader(TensorDataset(torch.randn(1, WIDTH))))
        assert not ours or ours[0].state_dict()["snapshot_check"] in (2, None), "the last check was no new best"
        last = Path(folder, "epoch=2.ckpt")
        beside = [file.stat().st_size for file in Path(f"{last}.lr_snapshot").glob("*")]
        took = {
            "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB,
            "checkpoint": last.stat().st_size / GIB if last.exists() else 0.0,
            "beside": sum(beside) / GIB,
        }
        print(json.dumps(took))


def main() -> None:
    """Print the table."""
    print("| run | peak memory, no checkpoint | peak memory, one each epoch | checkpoint | beside it |")
    print("| --- | --- | --- | --- | --- |")
    for name, arguments in RUNS.items():
        found = []
        for checkpoints in (False, True):
            command = [
                sys.executable,
                "-m",
                __name__ if __spec__ is None else __spec__.name,
                arguments,
                str(checkpoints),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        without, with_one = found
        print(
            f"| {name} | {without['peak']:.2f} GiB | {with_one['peak']:.2f} GiB "
            f"| {with_one['checkpoint']:.2f} GiB | {with_one['beside']:.2f} GiB |",
            flush=True,
        )


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else run(sys.argv[1], sys.argv[2] == "True")
