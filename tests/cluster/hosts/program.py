"""What each rank of a test on two hosts runs: the scripted run of tests/helpers/resume.py, watched at every step.

``python -m tests.cluster.hosts.program FOLDER TIMEOUT [HOLD_AT]``, started by torchrun. The rates are gathered from all
ranks after every step, and must be bit-identical. Each rank writes down what it did, in files that the test reads.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from tests.cluster.hosts.witness import assert_same_everywhere
from tests.helpers.resume import Run, train
from tests.helpers.schedulers import CASES


class Witness(Callback):
    """Sees that all ranks hold the same rates, and notes rates and weights.

    Args:
        folder: where the notes go, ``steps-<rank>-<attempt>.jsonl``.
        hold_at: before this step of the first attempt, rank 1 says that it is there and waits until it may go on.
    """

    def __init__(self, folder: Path, hold_at: int | None) -> None:
        self.folder, self.hold_at = folder, hold_at
        self.attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.hold_at and trainer.global_rank == 1 and not (self.folder / "held").exists():
            (self.folder / "held").touch()
            while not (self.folder / "go").exists():
                time.sleep(0.02)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        rates = [float(group["lr"]) for group in trainer.optimizers[0].param_groups]
        assert_same_everywhere(rates)
        weights = torch.cat([parameter.detach().flatten() for parameter in pl_module.parameters()])
        note = {"step": trainer.global_step, "rates": rates, "weights": zlib.crc32(weights.numpy().tobytes())}
        with (self.folder / f"steps-{trainer.global_rank}-{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(note) + "\n")


def scripted_run(folder: Path, **options: Any) -> Run:
    """Cuts and restores at known checks; the batches are a function of step and rank."""
    return Run(folder, case=CASES[0], stateful=False, options={"use_distributed_sampler": False, **options})


def main() -> None:
    folder, timeout = Path(sys.argv[1]), float(sys.argv[2])
    hold_at = int(sys.argv[3]) if len(sys.argv) > 3 else None
    torch.set_num_threads(1)
    run = scripted_run(
        folder,
        strategy=DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=timeout)),
        devices=int(os.environ["LOCAL_WORLD_SIZE"]),
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
    )
    saving = ModelCheckpoint(folder / "checkpoints", save_last=True)
    last = folder / "checkpoints" / "last.ckpt"
    trace = train(run, [saving, Witness(folder, hold_at)], ckpt_path=last if last.exists() else None)
    answer = {name: getattr(trace, name) for name in ("decisions", "scale", "weights", "journal", "acts")}
    (folder / f"end-{os.environ['RANK']}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
