"""Every block of the documentation that calls `lightning-lr` runs as it is written, and prints what it shows.

In a block with prompts (`$ …`) the lines after a command are its output, in which `...` stands for what is left out; a
number stands for any number, as they differ a little from machine to machine. A command without output is only run. In
a block without prompts each line is a command. A block that shows the message of an error ends with status 2, every
other one with 0. `make quickstart` is really run, once.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, Example, OutputChecker
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the run that the documentation speaks of is trained", exc_type=ImportError)
pytest.importorskip("sklearn", reason="its data are the digits")

from tests.helpers.logs import plain_run, write_csv

pytestmark = pytest.mark.timeout(900)  # a real run is trained

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:text|bash|console|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"^(?:\$ )?(?:.*&& )?(?:lightning-lr |make quickstart$)", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE

OVERFITS = [1.0, 0.8, 0.7, 0.65, 0.62, 0.6, *(0.6 + 0.04 * i for i in range(1, 20))]
"""Validation losses: from epoch 5 on they rise, while training goes on falling."""


def commands_of(block: str) -> list[tuple[str, str]]:
    """Each command and the output that is shown below it."""
    if not block.startswith("$ "):
        return [(line, "") for line in block.splitlines()]
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}:{text.count(chr(10), 0, found.start()) + 1}")
    for page in PAGES
    for text in [page.read_text(encoding="utf-8")]
    for found in BLOCK.finditer(text)
    for block in [found[1]]
    if CALL.search(block)
]


def about(output: str) -> str:
    """Without what numbers change: themselves, and the width of a table."""
    return re.sub("─+", "─", NUMBER.sub("0", output))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that the blocks name, and the two programs that they call."""
    folder = tmp_path_factory.mktemp("home")
    quickstart = [sys.executable, str(ROOT / "examples" / "quickstart.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        quickstart, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    (folder / "printed.txt").write_bytes(ended.stdout)
    for number in (0, 3):
        write_csv(folder / "lightning_logs" / f"version_{number}", plain_run(OVERFITS))
    programs = {
        "lightning-lr": f'exec "{sys.executable}" -m lightning_lr.offline.cli "$@"',
        "make": 'test "$*" = quickstart && cat printed.txt',
    }
    for name, line in programs.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_quickstart_is_what_the_documentation_runs() -> None:
    """What is run in place of `make quickstart` above."""
    assert "examples/quickstart.py" in (ROOT / "Makefile").read_text(encoding="utf-8").split("quickstart: ")[1]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_does_what_it_shows(block: str, home: Path) -> None:
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}
    for command, shown in commands_of(block):
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ended.returncode == (2 if shown.startswith("lightning-lr: ") else 0), ended.stdout
        checker, expected, got = OutputChecker(), about(shown), about(ended.stdout)
        if shown and not checker.check_output(expected, got, FLAGS):
            pytest.fail(f"{command}\n{checker.output_difference(Example('', expected), got, FLAGS)}\n{ended.stdout}")
