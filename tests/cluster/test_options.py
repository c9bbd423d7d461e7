"""Each option of the controller under a strategy, on two ranks: the ranks stay alike, whatever is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightning_lr import AutoPolicy, ExponentialPolicy, HalvingPolicy, Snapshots
from lightning_lr.metrics import UpdateRatio
from tests.helpers.ranks import run_on_ranks
from tests.helpers.strategy_runs import Outcome, Task, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

TASK = Task([1.0, 0.8, 0.7, 0.65, 0.6, 0.58, *[0.58 + 0.3 * i for i in range(1, 7)]], epochs=12)
"""It falls and rises; on each rank around another mean."""

# option → arguments, and what it must have led to: some decision, a learning rate that is another, or none
EAGER: dict[str, Any] = {"policy": ExponentialPolicy(epochs=3), "find_lr": False, "anneal": False}
OPTIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "monitor by the rule": ({**EAGER, "monitor": None}, True),
    "a pattern": ({**EAGER, "monitor": "val*"}, True),
    "several monitors": ({"monitor": ["val_loss", "val_loss_b"], "vote": "all", "policy": "conservative"}, False),
    "mode": ({**EAGER, "mode": "max"}, True),
    "auto": ({}, True),
    "conservative": ({"policy": "conservative", "patience": 1, "cooldown": 1, "factor": 0.3, "min_delta": 0.01}, False),
    "halving": ({"policy": HalvingPolicy(epochs=2)}, True),
    "exponential": ({"policy": "exponential"}, True),
    "a policy of one's own": ({"policy": AutoPolicy(warmup_checks=2, patience=2)}, True),
    "bounds": ({**EAGER, "min_lr": 0.015, "max_lr": [0.5]}, True),
    "restore_best": ({"policy": "conservative", "restore_best": True}, False),
    "find_lr": ({"find_lr": True, "anneal": False}, True),
    "anneal": ({"find_lr": False, "anneal": True}, True),
    "check_every_n_steps": ({"find_lr": False, "check_every_n_steps": 5}, False),
    "param_groups": ({**EAGER, "param_groups": [0]}, True),
    "probes": ({**EAGER, "probes": [UpdateRatio()]}, True),
    "no snapshots": ({"snapshots": False, "find_lr": False, "anneal": False}, False),
    "dry_run": ({**EAGER, "dry_run": True}, True),
    "journal": ({**EAGER, "journal": "PATH"}, True),
    "no journal": ({**EAGER, "journal": False}, True),
    "name": ({**EAGER, "name": "body"}, True),
    "snapshots in files": ({"snapshots": "PATH", "find_lr": True}, True),
}


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp2", marks=pytest.mark.cluster)])
def test_the_ranks_stay_alike(strategy: str, tmp_path: Path) -> None:
    """Rates after every step, decisions and scale; with DDP the weights too."""

    def run(rank: int) -> dict[str, Outcome]:
        found = {}
        for index, (name, (arguments, _)) in enumerate(OPTIONS.items()):
            folder = tmp_path / str(index)
            given = dict(arguments)
            if given.get("journal") == "PATH":
                given["journal"] = folder / "own.jsonl"
            if given.get("snapshots") == "PATH":
                given["snapshots"] = Snapshots(folder / "snapshots")
            found[name] = train(TASK, strategy, 2, folder, **given)
        return found

    first, second = run_on_ranks(run, 2, timeout=550, init=False)
    for name, (arguments, acts) in OPTIONS.items():
        one, other = first[name], second[name]
        assert one.differences == other.differences == [], name
        assert (one.acts, one.scale, one.rates) == (other.acts, other.scale, other.rates), name
        assert bool(one.acts) or not acts, name
        assert (set(one.scale.values()) <= {1.0}) or not arguments.get("dry_run"), name
        if strategy == "ddp":
            assert one.states == other.states, name
    journals = {path.relative_to(tmp_path).parts for path in tmp_path.rglob("*.jsonl")}
    assert (str([*OPTIONS].index("journal")), "own.jsonl") in journals
    assert not any(parts[0] == str([*OPTIONS].index("no journal")) for parts in journals)
