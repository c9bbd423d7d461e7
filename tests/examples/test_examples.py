"""Each example runs from its first line to its last, as a user would call it, for a few epochs."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the data of the examples come from scikit-learn")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = {
    # program → (its options, what it has to print)
    "any_start.py": (["--epochs", "2"], "validation loss at the end"),
    "quickstart.py": (["--epochs", "2"], "tensorboard --logdir"),
    "image_classification.py": (["--epochs", "2"], "accuracy"),
    "finetune.py": (["--epochs", "3"], "backbone"),
    "transformer.py": (["--epochs", "1"], "accuracy"),
    "gan.py": (["--epochs", "2"], "distance to the data"),
    "fabric_loop.py": (["--epochs", "2"], ""),
    "cluster/train.py": (["--epochs", "2"], "tensorboard --logdir"),
}
ELSEWHERE = {
    "cluster/ray_train.py": "tests/cluster/hosts/test_ray.py",
    "cluster/requeue.py": "tests/cluster/hosts/test_slurm.py",
}


def test_each_example_is_tried() -> None:
    there = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert there == {*PROGRAMS, *ELSEWHERE}
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice is for the reader of the example
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_runs(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if program == "transformer.py":
        pytest.importorskip("transformers")
    options, shown = PROGRAMS[program]
    path = EXAMPLES / program
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), *options])
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        for name in ("quickstart", "requeue"):
            sys.modules.pop(name, None)
    assert shown in capsys.readouterr().out
    journals = list(tmp_path.rglob("lr_journal*.jsonl"))
    assert journals
    assert all(json.loads(line)["schema"] for journal in journals for line in journal.read_text("utf-8").splitlines())
