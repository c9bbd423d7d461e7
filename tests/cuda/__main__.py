"""``python -m tests.cuda``: every part on the GPU and on the CPU, as one table that also says what was not run.

Six minutes at most: what is left then is named. If there is a GPU, the table is written to ``tests/cuda/RESULTS.md``.
"""

from __future__ import annotations

import datetime
import platform
import sys
import time
import traceback
import warnings
from pathlib import Path

import lightning
import torch

from tests.cuda.parts import PARTS, NotRunError

MOST = 360.0
"""Seconds."""

RESULTS = Path(__file__).parent / "RESULTS.md"


def outcome(name: str, device: str, left: float) -> str:
    """How one part went."""
    if device == "cuda" and not torch.cuda.is_available():
        return "not run: no GPU"
    if left <= 0:
        return "not run: the time was up"
    began = time.monotonic()
    try:
        PARTS[name](device)
    except NotRunError as why:
        return f"not run: {why}"
    except Exception as error:
        traceback.print_exc()
        return f"FAILED: {type(error).__name__}"
    return f"passed, {time.monotonic() - began:.1f} s"


def main() -> int:
    """Print the table; 1 if a part failed."""
    warnings.simplefilter("ignore")
    began, rows = time.monotonic(), []
    for name, part in PARTS.items():
        row = [outcome(name, device, MOST - (time.monotonic() - began)) for device in ("cuda", "cpu")]
        rows.append((name, (part.__doc__ or "").strip(), *row))
        print(f"{name}: GPU {row[0]}; CPU {row[1]}", flush=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}"
    today = datetime.datetime.now(tz=datetime.UTC).date()
    table = "\n".join(
        [
            "# On a GPU",
            "",
            f"`make test-cuda` of {today}: {gpu}, {versions}; {time.monotonic() - began:.0f} s.",
            "",
            "| part | what it shows | GPU | CPU |",
            "| --- | --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
        ]
    )
    print(table)
    if torch.cuda.is_available():
        RESULTS.write_text(table, encoding="utf-8")
    missing = [f"{row[0]} ({row[2].removeprefix('not run: ')})" for row in rows if row[2].startswith("not run")]
    print(f"Not run on a GPU: {', '.join(missing) or 'nothing'}.")
    return int(any("FAILED" in one for row in rows for one in row[2:]))


if __name__ == "__main__":
    sys.exit(main())
