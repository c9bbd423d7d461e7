"""What every test can rely on: it starts clean, and leaves nothing behind.

Core and offline tests must run where there is no torch, so nothing here imports torch or Lightning: the fixture looks
whether a test module has imported them, and cleans up what it finds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

SEED = 20240229

# Run in environments of their own: `make test-projects`, `make test-lightning`.
collect_ignore_glob = ["projects/*", "lightning_suite/plugin.py"]

# Processes that tests start inherit these; they must stand before the first import of torch or a logger.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(
    COMET_AUTO_LOG_ENV_DETAILS="false",  # it would ask the network what cloud this is
    COMET_LOGGING_CONSOLE="ERROR",
    COMET_START_MODE="create",
    COMET_START_ONLINE="false",
    HF_HUB_OFFLINE="1",
    MLFLOW_ALLOW_FILE_STORE="true",  # mlflow-skinny has no other store
    MPLBACKEND="Agg",
    TOKENIZERS_PARALLELISM="false",
    WANDB_MODE="offline",
    WANDB_SILENT="true",
)
# The tests may themselves run inside a cluster job, whose variables would make every Trainer join that cluster.
for _name in [*os.environ]:
    if _name.startswith(("SLURM_", "TORCHELASTIC_", "PL_")) or _name in {
        "GROUP_RANK",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "NODE_RANK",
        "RANK",
        "WORLD_SIZE",
    }:
        del os.environ[_name]

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# SIGALRM belongs to pytest-timeout.
_SIGNALS = [s for s in signal.valid_signals() if s not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM}]
_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric")


@pytest.fixture(autouse=True)
def clean_process() -> Iterator[None]:
    """Restore environment, rank, signal handlers and torch's switches; leave no process group."""
    environment = dict(os.environ)
    # A handler that was not installed from Python reads as None, and cannot be put back.
    handlers = {s: h for s in _SIGNALS if (h := signal.getsignal(s)) is not None}
    rank = _rank_holder()
    rank_before = getattr(rank, "rank", None)
    _quieten_lightning()
    _seed()

    yield

    _destroy_process_group()
    os.environ.clear()
    os.environ.update(environment)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    if (rank := _rank_holder()) is not None:
        rank.rank = 0 if rank_before is None else rank_before
    _reset_torch()


def _rank_holder():
    """Lightning keeps the rank of this process as an attribute of a function; None before it is imported."""
    module = sys.modules.get("lightning_utilities.core.rank_zero")
    return None if module is None else module.rank_zero_only


def _quieten_lightning() -> None:
    # Lightning sets its level to INFO when it is imported, so this is done for each test.
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _seed() -> None:
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    _reset_torch()
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


def _reset_torch() -> None:
    if (torch := sys.modules.get("torch")) is None:
        return
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)


def _destroy_process_group() -> None:
    if (torch := sys.modules.get("torch")) is None:
        return
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()
