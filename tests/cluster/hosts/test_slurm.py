"""The SLURM example, with `srun` and `scontrol` of our own on the path: signalled, requeued, continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins.environments import SLURMEnvironment

from lightning_lr import LearningRateController
from tests.cluster.hosts.witness import installed, steps_seen
from tests.helpers.ranks import run_on_ranks
from tests.helpers.replays import assert_replays
from tests.helpers.resume import FIRM, Model, Recorder, Run, Trace, listening, trace_of, train, trainer_of

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "cluster"
sys.path.insert(0, str(EXAMPLES))

from requeue import RequeueBetweenBatches  # noqa: E402  (a file of the examples, not of a package)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

SRUN = """#!/usr/bin/env bash
# What srun does, on one machine: as many tasks as SLURM_NTASKS says.
for ((rank = 0; rank < SLURM_NTASKS; rank++)); do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NODEID=0 "$@" &
    echo $! >> "$FAKE_SLURM/tasks"
done
wait
"""
SCONTROL = """#!/usr/bin/env bash
# What `scontrol requeue` does to a running job: it is stopped, and will start again.
echo "$@" >> "$FAKE_SLURM/scontrol.log"
"""
MID_EPOCH = 30
"""Optimizer step at which both ranks save: in mid-epoch; the best state, two steps old, is restored ten steps later."""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job, with the two commands that it needs."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        command = tmp_path / name
        command.write_text(text)
        command.chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "FAKE_SLURM": str(tmp_path),
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "digits",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "localhost",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
    }


class Signalled(Callback):
    """SLURM's signal comes in the midst of a step: on rank 0 in this one, on rank 1 in the next."""

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if trainer.global_step == MID_EPOCH - 2 + trainer.global_rank and trainer.ckpt_path is None:
            os.kill(os.getpid(), signal.SIGUSR1)


class Died(Exception):
    """The job is over; what was not saved is lost."""


class Dying(Callback):
    """Some steps after the signal, when SLURM kills what is left."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == MID_EPOCH + 4 and trainer.ckpt_path is None:
            raise Died


def job(run: Run, slurm: dict[str, str], rank: int) -> Trace | None:
    """One turn of the job, on one rank; ``None`` where it died."""
    os.environ.update(slurm, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), SLURM_NODEID="0")
    recorder, model = Recorder(None), Model(run)
    controller = LearningRateController("val_loss", patience=2, policy=FIRM)
    callbacks = [Signalled(), Dying(), recorder, controller, RequeueBetweenBatches(every_n_batches=2)]
    with listening() as sentences:
        trainer = trainer_of(run, callbacks)
        assert isinstance(trainer.strategy.cluster_environment, SLURMEnvironment)
        try:
            trainer.fit(model)  # Lightning itself looks for what the former turn of the job has saved
        except Died:
            return None
    return trace_of(run, trainer, model, controller, recorder, sentences)


def test_a_signal_in_the_midst_of_a_step_saves_requeues_and_goes_on_alike(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    """Two ranks are told at different steps; the second turn decides as the run that nobody interrupted."""
    options = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    whole, cut = (Run(tmp_path / name, stateful=False, options=options) for name in ("whole", "cut"))
    expected = run_on_ranks(lambda rank: train(whole))

    assert run_on_ranks(lambda rank: job(cut, slurm, rank)) == [None, None]
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"
    (saved,) = cut.folder.glob("hpc_ckpt_*.ckpt")
    checkpoint = torch.load(saved, weights_only=True)
    assert checkpoint["global_step"] == MID_EPOCH
    (state,) = [value for key, value in checkpoint["callbacks"].items() if "LearningRateController" in key]
    assert state["checks"] == 7 + 1  # seven epochs, and the beginning of the anneal

    got = run_on_ranks(lambda rank: job(cut, slurm, rank))
    for one, other in zip(got, expected, strict=True):
        assert one is not None
        assert (one.acts, one.decisions, one.scale) == (other.acts, other.decisions, other.scale)
        assert (one.weights, one.optimizer) == (other.weights, other.optimizer)
        assert one.journal == expected[0].journal
        assert one.rates == {step: rates for step, rates in other.rates.items() if step >= MID_EPOCH}


@contextmanager
def turn(folder: Path, slurm: dict[str, str], log: Path, witness: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """One turn of the job that the example's batch script describes."""
    environment = {**os.environ, **slurm, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **witness}
    command = ["bash", str(EXAMPLES / "slurm.sh"), "--folder", str(folder), "--epochs", "60"]
    with log.open("w") as stream:
        started = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def test_the_batch_script_goes_through_two_turns(tmp_path: Path, slurm: dict[str, str]) -> None:
    """``slurm.sh`` as a user starts it, told in mid-run and killed; its second turn ends in one whole journal."""
    folder, witness = tmp_path / "run", installed(tmp_path)
    journal = folder / "tensorboard" / "lr_journal.jsonl"
    with turn(folder, slurm, tmp_path / "first.log", witness) as first:
        while not journal.exists() or len(journal.read_text().splitlines()) < 5:
            assert first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.05)
        for pid in (tmp_path / "tasks").read_text().split():
            os.kill(int(pid), signal.SIGUSR1)
        while not (tmp_path / "scontrol.log").exists():
            assert first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.05)
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"

    with turn(folder, slurm, tmp_path / "second.log", witness) as second:
        assert second.wait() == 0, (tmp_path / "second.log").read_text()

    assert set(steps_seen(tmp_path)) == {0, 1}
    said = (tmp_path / "second.log").read_text()
    assert "Restoring states from the checkpoint path" in said
    checks = [json.loads(line)["decision"]["check"] for line in journal.read_text().splitlines()[1:]]
    assert checks == list(range(len(checks)))
    assert assert_replays(journal) == len(checks)
    assert "explored" in (tmp_path / "first.log").read_text()
    assert "explored" not in said
