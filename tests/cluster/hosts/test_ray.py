"""The Ray example: two workers on a cluster of its own; one is killed, and Ray starts both again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.hosts.witness import installed, steps_seen
from tests.helpers.replays import assert_replays

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip("ray.train", reason="Ray is not installed; `make test-cluster` does it")


def start(folder: Path) -> subprocess.Popen[str]:
    """The example as a user starts it, its output in ``folder``."""
    command = [sys.executable, str(ROOT / "examples/cluster/ray_train.py"), "--folder", str(folder), "--epochs", "30"]
    folder.mkdir()
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **installed(folder)}
    with (folder / "out.log").open("w") as stream:
        return subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


def checks(folder: Path) -> list[dict]:
    """The lines of the journal after its header."""
    journal = folder / "tensorboard" / "lr_journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line) for line in lines[1:] if line.endswith("}")]


def test_a_killed_worker_is_replaced_and_nothing_is_decided_otherwise(tmp_path: Path) -> None:
    """The journals of a run that was killed and of one that was not are the same, line by line."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    assert start(quiet).wait() == 0, (quiet / "out.log").read_text()

    job = start(killed)
    while len(checks(killed)) < 6:
        assert job.poll() is None, (killed / "out.log").read_text()
        time.sleep(0.02)
    workers = re.findall(r"RayTrainWorker pid=(\d+)", (killed / "out.log").read_text())
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert job.wait() == 0, (killed / "out.log").read_text()

    assert "Restoring states from the checkpoint path" in (killed / "out.log").read_text()
    assert len(checks(quiet)) > 20
    assert checks(killed) == checks(quiet)
    assert set(steps_seen(quiet)) == set(steps_seen(killed)) == {0, 1}
    assert_replays(killed / "tensorboard" / "lr_journal.jsonl")
