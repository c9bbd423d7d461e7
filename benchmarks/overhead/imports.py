"""Line 5: what it takes to import the callback after Lightning, and until the command line shows its help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.overhead.figures import Figure, paired, shown

IMPORT = """
import json, time, warnings
warnings.filterwarnings("ignore")
began = time.process_time()
import lightning.pytorch
lightning = time.process_time()
try:
    import pytorch_lightning
except ImportError:
    pass
second = time.process_time()
from lightning_lr import LearningRateController
print(json.dumps([lightning - began, second - lightning, time.process_time() - second]))
"""

COMMANDS = {
    "help": "import sys; sys.argv = ['lightning-lr', '--help']; from lightning_lr.offline.cli import main; main()",
    "bare": "pass",
}


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed package is compiled once, when it is installed; a checkout that may not keep bytecode, at each start."""


def import_figures(quick: bool) -> Iterator[Figure]:
    """Each time a fresh process; CPU time, so that others on the machine matter less."""
    _run(IMPORT)  # compiles what is not compiled yet
    _seconds(COMMANDS["help"])
    times = [json.loads(_run(IMPORT)) for _ in range(2 if quick else 7)]
    ours, second, first = ([t[i] for t in times] for i in (2, 1, 0))
    yield Figure(
        key="import/callback",
        line=5,
        what="from lightning_lr import LearningRateController, after both Lightning namespaces",
        over="import lightning.pytorch",
        **paired([a / b for a, b in zip(ours, first, strict=True)]),
        here=shown(min(ours)),
        target="≤ 50 ms",
        met=min(ours) <= 0.05,
    )
    yield Figure(
        key="import/second",
        line=5,
        what="import pytorch_lightning, the second namespace, which the callback imports where it is installed",
        over="import lightning.pytorch",
        **paired([a / b for a, b in zip(second, first, strict=True)]),
        here=shown(min(second)),
    )
    help_, bare = [], []
    for _ in range(3 if quick else 9):
        help_.append(_seconds(COMMANDS["help"]))
        bare.append(_seconds(COMMANDS["bare"]))
    yield Figure(
        key="import/help",
        line=5,
        what="lightning-lr --help, the interpreter's own start included",
        over="python -c pass",
        **paired([a / b for a, b in zip(help_, bare, strict=True)]),
        here=f"{shown(min(help_))}; the interpreter alone {shown(median(bare))}",
        target="< 0.3 s",
        met=min(help_) < 0.3,
    )


def _run(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout


def _seconds(program: str) -> float:
    """CPU time of the whole process, as the kernel counted it."""
    timed = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], stdout=-3, check=True)"
    )
    timed += "; used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    command = [sys.executable, "-c", timed, program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout)
