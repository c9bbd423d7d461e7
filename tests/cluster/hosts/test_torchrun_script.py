"""The torchrun script on one machine: a killed process is started again, with all the others, from the checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.hosts.witness import installed, steps_seen
from tests.helpers.replays import assert_replays

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]


def journal(folder: Path) -> list[str]:
    """Its lines so far."""
    path = folder / "tensorboard" / "lr_journal.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def start(folder: Path, *launcher: str) -> subprocess.Popen[str]:
    """A launcher with the options of train.py; its output in ``folder``."""
    folder.mkdir()
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **installed(folder)}
    with (folder / "out.log").open("w") as stream:
        return subprocess.Popen(
            [*launcher, "--folder", str(folder), "--epochs", "30"],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )


def one_of(folder: Path) -> int:
    """A training process that writes into this folder: torchrun's own command line holds more than the program."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().decode().split("\0") if path.exists() else []
        if str(folder) in words and "torch.distributed.run" not in words and words[0] == sys.executable:
            return int(path.parent.name)
    raise AssertionError("no training process")


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """The journal is that of plain Python with two devices, which nobody killed."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    plain = start(quiet, sys.executable, str(ROOT / "examples/cluster/train.py"), "--devices", "2")
    assert plain.wait() == 0, (quiet / "out.log").read_text()

    job = start(killed, str(ROOT / "examples/cluster/torchrun.sh"))
    while len(journal(killed)) < 8:
        assert job.poll() is None, (killed / "out.log").read_text()
        time.sleep(0.02)
    os.kill(one_of(killed), signal.SIGKILL)
    assert job.wait() == 0, (killed / "out.log").read_text()

    assert "Restoring states from the checkpoint path" in (killed / "out.log").read_text()
    assert journal(killed)[1:] == journal(quiet)[1:]
    assert set(steps_seen(quiet)) == set(steps_seen(killed)) == {0, 1}
    assert steps_seen(quiet)[0] == 30 * 19  # epochs and batches
    assert assert_replays(killed / "tensorboard" / "lr_journal.jsonl") > 20
