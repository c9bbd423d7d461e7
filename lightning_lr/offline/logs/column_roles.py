"""Which column of a log is what: the step, the epoch, the learning rates; and totals that a framework does not log.

Every framework has names of its own for these; they are read word by word, as metric names are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import pairwise

from lightning_lr.engine.history.metric_names import FALLS, RISES, words
from lightning_lr.engine.log_tags import is_ours
from lightning_lr.offline.logs.columns import Log

STEP = frozenset({"step", "steps", "iter", "iters", "iteration", "iterations", "update", "updates"})
EPOCH = frozenset({"epoch", "epochs"})
BESIDE = frozenset({"global", "trainer", "train", "training", "current", "optimizer", "num", "no", "number", "index"})
"""Words that may stand beside one for a step or an epoch: ``trainer/global_step``."""

NO_RATE = frozenset(
    {"momentum", "decay", "scale", "mult", "multiplier", "ratio", "factor", "step", "steps", "patience", "grad", "best"}
)
"""Words that make something else of a name with a learning rate in it."""

PARTS = frozenset({"box", "obj", "cls", "dfl", "seg", "sem", "pose", "kobj", "rle", "giou", "l1", "angle"})
"""Losses of Ultralytics (YOLO, RT-DETR): it trains on their sum, logs each with its weight, and no sum."""

_PART = re.compile(r"(train|val)/(\w+)_loss")
_LR = re.compile(r"lrs?\d*")


def step_name(names: Iterable[str]) -> str | None:
    """The column that counts steps; one that is called ``step`` before all others.

    >>> step_name(["epoch", "train_loss_step", "trainer/global_step"]), step_name(["epoch", "loss"])
    ('trainer/global_step', None)
    """
    return _counter(names, STEP)


def epoch_name(names: Iterable[str]) -> str | None:
    """The column that counts epochs.

    >>> epoch_name(["Step", "Epoch", "epoch_loss"])
    'Epoch'
    """
    return _counter(names, EPOCH)


def _counter(names: Iterable[str], what: frozenset[str]) -> str | None:
    found = [(len(read), name) for name in names if (read := set(words(name))) & what and read <= what | BESIDE]
    return min(found)[1] if found else None


def is_lr(name: str) -> bool:
    """Whether a column holds a learning rate.

    >>> [name for name in ("lr", "learning_rate", "LearningRate", "lr-Adam/pg1", "lr/pg0", "x/lr0") if not is_lr(name)]
    []
    >>> is_lr("lr-SGD-momentum"), is_lr("lr_scale"), is_lr("val_loss_at_lr"), is_lr("color")
    (False, False, False, False)
    """
    read = words(name)
    there = set(read)
    named = any(map(_LR.fullmatch, read)) or any(pair == ("learning", "rate") for pair in pairwise(read))
    return named and not there & (NO_RATE | FALLS | RISES) and not is_ours(name)


def add_totals(log: Log) -> list[str]:
    """Add the total loss, where a log of Ultralytics holds nothing but its parts; what was added, one sentence each.

    >>> log = Log()
    >>> for name, value in [("val/box_loss", 1.0), ("val/cls_loss", 0.5)]:
    ...     log.add(name, 0, value)
    >>> add_totals(log), log.columns["val/loss"].values.tolist()
    (['val/loss is the sum of val/box_loss and val/cls_loss, which Ultralytics logs without it'], [1.5])
    """
    said = []
    for data in ("train", "val"):
        total, parts = f"{data}/loss", _parts(log.columns, data)
        if total in log.columns or len(parts) < 2:
            continue
        columns = [log.columns[part] for part in parts]
        for step, value in list(columns[0]):
            others = [column.at(step) for column in columns[1:]]
            if None not in others:
                log.add(total, step, value + sum(other for other in others if other is not None))
        said.append(f"{total} is the sum of {', '.join(parts[:-1])} and {parts[-1]}, which Ultralytics logs without it")
    return said


def _parts(names: Collection[str], data: str) -> list[str]:
    found = ((name, _PART.fullmatch(name)) for name in names)
    return [name for name, match in found if match and match[1] == data and match[2] in PARTS]
