"""Two hosts under torchrun: one dies, or the cable between them is pulled; the decisions are those of a quiet run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lightning_lr.engine.journal import read_line
from tests.cluster.hosts.program import scripted_run
from tests.cluster.hosts.two_hosts import Host, TwoHosts, why_not
from tests.helpers.ranks import run_on_ranks
from tests.helpers.resume import LOSSES, Trace, train

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

ROOT = Path(__file__).parents[3]
HOLD_AT = 26
"""Optimizer step; check 5, a cut, lies before it, the best check 6 and the restore of its state after it."""
QUICK = "keep_alive_interval=1,keep_alive_max_attempt=3,last_call_timeout=2,join_timeout=100"
"""Of the rendezvous: a dead host is forgotten after three seconds rather than fifteen."""


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> list[Trace]:
    """Both ranks of the run that nothing befalls."""
    run = scripted_run(tmp_path_factory.mktemp("quiet"), strategy="ddp", devices=2)
    return run_on_ranks(lambda rank: train(run))


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with TwoHosts() as pair:
        yield pair


@dataclass
class Job:
    """A training on two hosts, and its files.

    Attributes:
        folder: which both see.
        head: the host where they meet.
        nodes: as torchrun takes it.
        timeout: of the collectives, in seconds.
    """

    folder: Path
    head: Host
    nodes: str = "2"
    timeout: float = 60
    agents: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, host: Host) -> subprocess.Popen[str]:
        """Start torchrun on a host."""
        # `is_host`: torchrun would look for it among the addresses of the machine's name, which namespaces share.
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", "--max-restarts=3"]
        command += [f"--nnodes={self.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={self.head.address}:29400"]
        command += ["--rdzv-id=job", f"--rdzv-conf={QUICK},is_host={host is self.head}", f"--local-addr={host.address}"]
        command += ["-m", "tests.cluster.hosts.program", str(self.folder), str(self.timeout), str(HOLD_AT)]
        # A host that joins later waits in vain for what torchrun 2.13 publishes once only, unless it opts out of that.
        environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        agent = host.start(command, self.log(host), environment)
        self.agents.append(agent)
        return agent

    def log(self, host: Host) -> Path:
        return self.folder / f"{host.address}.log"

    def until_held(self) -> None:
        """Until both ranks are at the step where the test wants them."""
        while not (self.folder / "held").exists():
            assert all(agent.poll() is None for agent in self.agents), self.said()
            time.sleep(0.05)

    def until_said(self, host: Host, words: str) -> None:
        """Until the training on a host said so; pytest's own limit ends a wait in vain."""
        while not re.search(words, self.log(host).read_text()):
            assert self.agents[0].poll() is None, self.said()
            time.sleep(0.05)

    def go(self) -> None:
        (self.folder / "go").touch()

    def said(self) -> str:
        """The last lines of each host."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def planned_end_step(self, rank: int) -> dict[str, Any]:
        path = self.folder / f"end-{rank}.json"
        assert path.exists(), self.said()
        return json.loads(path.read_text())

    def steps(self, rank: int) -> dict[int, tuple[Any, ...]]:
        """Step → rates and weights after it; a step that was taken twice must have come out alike."""
        seen: dict[int, tuple[Any, ...]] = {}
        for path in sorted(self.folder.glob(f"steps-{rank}-*.jsonl")):
            for note in map(json.loads, path.read_text().splitlines()):
                value = (note["rates"], note["weights"])
                assert seen.setdefault(note["step"], value) == value, f"step {note['step']} differs"
        return seen


def assert_as_quiet(job: Job, quiet: list[Trace]) -> None:
    """Both ranks ended, with the same rates and weights after every step, and with the decisions of the quiet run."""
    planned_end_step = [job.planned_end_step(rank) for rank in (0, 1)]
    for rank, end in enumerate(planned_end_step):
        # What a restart leaves in memory is the history that the checkpoint holds, so nothing may be missing there.
        assert end["acts"] == [list(act) for act in quiet[rank].acts]
        assert end["scale"] == quiet[rank].scale
        assert end["decisions"] == json.loads(json.dumps(quiet[rank].decisions))
        assert end["journal"] == quiet[0].journal
    assert planned_end_step[0]["weights"]["last.weight"] == planned_end_step[1]["weights"]["last.weight"]
    assert job.steps(0) == job.steps(1)
    assert set(job.steps(0)) == set(range(1, 57))
    rates = {step - 1: rates for step, (rates, _) in job.steps(0).items() if step % 4}  # at a check they change
    assert rates == {step: rates for step, rates in quiet[0].rates.items() if (step + 1) % 4}


LATE = "Timed out waiting 5000ms|Application timeout caused pair closure"
"""What gloo says where a rank is silent for longer than the timeout of the strategy."""


def test_a_host_that_loses_its_power_is_replaced(tmp_path: Path, hosts: tuple[Host, Host], quiet: list[Trace]) -> None:
    """Nobody closes its connections: the other learns of it at the timeout, waits for a new host, and both go on."""
    head, other = hosts
    job = Job(tmp_path, head, timeout=5)
    survivor, _ = job.start(head), job.start(other)
    job.until_held()
    other.lose_power()
    job.go()
    job.until_said(head, LATE)
    other.plug()
    replacement = job.start(other)

    assert (survivor.wait(), replacement.wait()) == (0, 0), job.said()

    assert_as_quiet(job, quiet)


def test_the_other_host_goes_on_alone_where_it_may(
    tmp_path: Path, hosts: tuple[Host, Host], quiet: list[Trace]
) -> None:
    """``--nnodes=1:2``: up to the last checkpoint the decisions of two, then those of one, in the same journal."""
    head, other = hosts
    job = Job(tmp_path, head, nodes="1:2")
    survivor, _ = job.start(head), job.start(other)
    job.until_held()
    other.kill()
    job.go()

    assert survivor.wait() == 0, job.said()

    journal = job.planned_end_step(0)["journal"]
    checked = HOLD_AT // 4
    assert journal[: 1 + checked] == quiet[0].journal[: 1 + checked]  # the header, and the checks before the kill
    seen = [read_line(line).reading for line in journal[1:]]
    assert [reading.check for reading in seen] == list(range(14))
    own = [reading.metrics["val_loss"] for reading in seen[checked:]]
    assert own == pytest.approx(LOSSES[checked:], nan_ok=True)  # no longer the mean of both
    assert "Connection closed by peer" in job.log(head).read_text()


def test_a_short_cut_of_the_cable_changes_nothing(tmp_path: Path, hosts: tuple[Host, Host], quiet: list[Trace]) -> None:
    """Shorter than the timeout: both wait, and nobody is started again."""
    head, other = hosts
    job = Job(tmp_path, head)
    agents = job.start(head), job.start(other)
    job.until_held()
    other.unplug()
    job.go()
    time.sleep(4)
    other.plug()

    assert [agent.wait() for agent in agents] == [0, 0], job.said()

    assert_as_quiet(job, quiet)
    assert len(list(tmp_path.glob("steps-*.jsonl"))) == 2  # one process a rank, from beginning to end


def test_a_long_cut_is_an_error_on_both_and_then_a_restart(
    tmp_path: Path, hosts: tuple[Host, Host], quiet: list[Trace]
) -> None:
    """Longer than the timeout: neither goes on by itself; torchrun starts both again from the checkpoint."""
    head, other = hosts
    job = Job(tmp_path, head, timeout=5)
    agents = job.start(head), job.start(other)
    job.until_held()
    other.unplug()
    job.go()
    job.until_said(head, LATE)
    job.until_said(other, LATE)
    assert max(job.steps(0)) == max(job.steps(1)) == HOLD_AT  # both stand where they stood
    other.plug()

    assert [agent.wait() for agent in agents] == [0, 0], job.said()

    assert_as_quiet(job, quiet)
