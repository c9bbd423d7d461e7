"""A pytest plugin: put the callback into every Trainer that a test makes, and record how each test and fit ended.

Loaded with ``-p`` in an environment where ``LR_SUITE_VARIANT`` names one of :data:`VARIANTS` and ``LR_SUITE_RECORD`` a
file; one process a variant. What differs between the files is reported by ``tests/lightning_suite/__main__.py``.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lightning_lr import LearningRateController

torch.set_num_threads(1)

VARIANTS: dict[str, Callable[[], list[LearningRateController]]] = {
    "without": list,
    "conservative": lambda: [LearningRateController(policy="conservative")],
    "dry_run": lambda: [LearningRateController(dry_run=True)],
    "auto": lambda: [LearningRateController()],
}
VARIANT = os.environ["LR_SUITE_VARIANT"]
RECORD = Path(os.environ["LR_SUITE_RECORD"])
PARAMETERS = int(os.environ["LR_SUITE_PARAMETERS"])
"""Sets of parameters that are run of one test, at most."""

SEVERAL_PROCESSES = (
    "ddp_spawn",
    "ddp_fork",
    "num_processes",
    "devices=2",
    "ddp_notebook",
    "fsdp",
    "deepspeed",
    "(0, 1)",
)
"""In the source of a test: it starts processes, of which nothing can be recorded here."""

_now: dict[str, Any] = {"test": "", "fits": 0}


def _record(**line: Any) -> None:
    with RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# --- every Trainer ----------------------------------------------------------------------------------------------------

_init, _fit = Trainer.__init__, Trainer.fit


@functools.wraps(_init)
def _init_with_callback(self: Trainer, *args: Any, **kwargs: Any) -> None:
    given = kwargs.get("callbacks")
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    if not any(isinstance(callback, LearningRateController) for callback in listed):
        added = VARIANTS[VARIANT]()
        if added:
            kwargs["callbacks"] = [*listed, *added]
    _init(self, *args, **kwargs)


@functools.wraps(_fit)
def _recorded_fit(self: Trainer, *args: Any, **kwargs: Any) -> Any:
    error = None
    try:
        return _fit(self, *args, **kwargs)
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        number, _now["fits"] = _now["fits"], _now["fits"] + 1
        ours = [c for c in self.callbacks if isinstance(c, LearningRateController)]
        decided = [str(decision) for callback in ours for decision in callback.decisions]
        _record(test=_now["test"], fit=number, error=error, decided=decided, **_state_of(self))


Trainer.__init__ = _init_with_callback  # type: ignore[method-assign]
Trainer.fit = _recorded_fit  # type: ignore[method-assign]


def _state_of(trainer: Trainer) -> dict[str, Any]:
    """Everything that a run without an action must leave as it is without us."""
    module = trainer.lightning_module
    loop = trainer.fit_loop.epoch_loop
    parts: dict[str, Callable[[], Any]] = {
        "global_step": lambda: trainer.global_step,
        "epoch": lambda: trainer.current_epoch,
        "batches": lambda: [loop.batch_idx, loop.total_batch_idx, loop._batches_that_stepped],
        "should_stop": lambda: bool(trainer.should_stop),
        "weights": lambda: _digest(module.state_dict()),
        "optimizers": lambda: [_digest(one.state_dict()) for one in trainer.optimizers],
        "schedulers": lambda: [_digest(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        "loops": lambda: _digest(trainer.fit_loop.state_dict()),
        "metrics": lambda: _digest({name: float(trainer.callback_metrics[name]) for name in trainer.callback_metrics}),
        "module": lambda: sorted(vars(module)),
        "hooks": lambda: sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()),
        "modes": lambda: [part.training for part in module.modules()],
        "random": lambda: _digest([torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()]),
    }
    return {name: _or_error(part) for name, part in parts.items()}


def _or_error(part: Callable[[], Any]) -> Any:
    try:
        return part()
    except Exception as error:
        return type(error).__name__


def _digest(thing: Any) -> str:
    sha = hashlib.sha1()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            plain = part.detach().cpu().contiguous()
            sha.update(str((tuple(plain.shape), plain.dtype)).encode())
            sha.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        elif isinstance(part, dict):
            for key, value in part.items():
                sha.update(str(key).encode())
                add(value)
        elif isinstance(part, (list, tuple)):
            for value in part:
                add(value)
        else:
            plain_value = isinstance(part, (int, float, str, bool, type(None)))
            sha.update((repr(part) if plain_value else type(part).__name__).encode())

    add(thing)
    return sha.hexdigest()[:16]


# --- every test -------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Markers of plugins that need not be installed."""
    for name in ("flaky", "cloud"):
        config.addinivalue_line("markers", f"{name}: of Lightning's own tests")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Data that are made as a file is imported are the same in each process."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Keep what trains in this process, with its first sets of parameters."""
    kept, seen = [], {}
    for item in items:
        function = getattr(item, "function", None)
        source = inspect.getsource(function) if function is not None else ""
        parameters = str(getattr(getattr(item, "callspec", None), "params", ""))
        trains = any(word in source for word in ("rainer", "_run", "run_"))
        if not trains or any(word in source + parameters for word in SEVERAL_PROCESSES):
            continue
        name = item.nodeid.split("[")[0]
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= PARAMETERS:
            kept.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Each test begins with the same random numbers."""
    _now.update(test=_name(item), fits=0)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What came of it."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        text = str(report.longrepr)[-3000:] if report.outcome == "failed" else ""
        _record(test=_name(item), when=report.when, outcome=report.outcome, text=text)
    return report


def _name(item: pytest.Item) -> str:
    return item.nodeid.split("tests_pytorch/")[-1]
