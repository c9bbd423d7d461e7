"""Which metrics of a run to watch, if the user names none: a written rule, and a sentence with its choice.

A name is read word by word. One that ends in ``_step`` is a batch's value, never the run's.

**The monitor** is the validation loss, by the same rule as in a live run
(:func:`~lightning_lr.engine.history.metric_names.validation_losses`). If none was logged, another validation metric is
monitored: one that is meant to fall (``val_mse``), else one that is meant to rise (``val_acc``), else any; the same of
a test set, if it was measured more than once. If there is none at all, the training loss is; or the only metric.

**The training loss** is the mean over all steps that our own callback logged, if it was in the run; else the loss with
the words train, training and trn, or with no word for data at all: of these the one that measures what the monitor
measures, else the one with the fewest other words. Its ``_step`` values serve as well, as the training loss between two
checks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lightning_lr.engine.history.metric_names import (
    DATA,
    FALLS,
    OTHER,
    RISES,
    TRAINING,
    VALIDATION,
    WHEN,
    bare_name,
    other_words,
    validation_losses,
    with_loaders,
    words,
)
from lightning_lr.engine.log_tags import is_ours, quantity_of
from lightning_lr.engine.text import plural
from lightning_lr.errors import MissingMetricError
from lightning_lr.offline.logs.column_roles import is_lr

TEST = OTHER & {"test", "testing"}

COSTS = frozenset("time runtime second seconds sec samples size memory count num steps".split())  # noqa: SIM905
"""Words of what is no measure of a model at all."""

LOSS, FALLING, RISING, UNKNOWN = range(4)

RULES = (
    "rule: the validation loss, a total before its parts",
    "rule: no validation loss is logged, so another validation metric that is meant to fall",
    "rule: no validation loss is logged, so a validation metric that is meant to rise",
    "rule: no validation loss is logged, so another validation metric",
)
"""Kind of the monitor → the rule that chose it."""

TRAINED = "rule: no validation metric is logged, so the training loss, a total before its parts"
ALONE = "rule: the only metric that is logged"
SAME = "rule: the training loss of the monitor's kind"
OWN = "rule: the training loss, a total before its parts"
ASKED = "as asked for"


@dataclass(frozen=True)
class Choice:
    """What is watched, and why.

    Attributes:
        monitors: metric names.
        train: metric with the training loss of a check; ``None`` if there is none.
        train_steps: metric with the training loss of single steps, likewise.
        sentence: what was chosen, and by which rule.
    """

    monitors: tuple[str, ...]
    train: str | None
    train_steps: str | None
    sentence: str


def choose(
    names: Collection[str], monitors: Collection[str] = (), train: str | None = None, where: str = "the run"
) -> Choice:
    """The user's own choice if there is one, else the rule's.

    Args:
        names: all metrics of the run; without a test metric that was measured once, at the end.
        monitors: the user's choice.
        train: the user's choice of the training loss.
        where: the run, in words, for the message.

    Raises:
        MissingMetricError: if a name is not there, or the rule finds none.

    >>> print(choose(["epoch", "val/loss", "val/acc", "train_loss_step"]).sentence)
    monitor val/loss (rule: the validation loss, a total before its parts); training loss train_loss_step (rule: ...)
    >>> choose(["valid_loss_epoch", "val_loss_aux"]).monitors, choose(["loss", "val_acc"]).monitors
    (('valid_loss_epoch',), ('val_acc',))
    """
    offered = [name for name in names if not is_ours(name)]
    for name in (*monitors, *([train] if train else [])):
        if name not in offered:
            raise _missing(f"a metric {name!r}", offered, where)
    held_out = _best(_held_out(offered, VALIDATION)) or _best(_held_out(offered, TEST))
    watched = tuple(monitors) or validation_losses(offered) or (with_loaders(held_out, offered) if held_out else ())
    quantity = bare_name(watched[0]) if watched else "loss"
    logged = train or _best(_trained(offered, quantity))
    per_step = _best(_trained(offered, quantity, steps=True))
    alone = [name for name in offered if not set(words(name)) & {"epoch", "step", "hp", *COSTS} and not is_lr(name)]
    chosen = watched or (() if logged is None else (logged,)) or (tuple(alone) if len(alone) == 1 else ())
    # Our own callback logs the mean over all steps, also if the module logs one step in fifty, or none.
    gathered = (name for name in names if quantity_of(name) == "train")
    per_check = logged if logged is not None and logged in (train, *chosen) else next(gathered, logged)
    if not chosen:
        raise _missing("a metric with a name like val_loss", offered, where)
    loss = per_check or per_step
    trained = TRAINED if logged else ALONE
    by = ASKED if monitors else RULES[_kind(words(chosen[0]))] if watched else trained
    said = f"monitor{plural(len(chosen))} {', '.join(chosen)} ({by})"
    if watched:
        own = ASKED if train else SAME if loss and bare_name(loss) == quantity else OWN
        said += f"; training loss {f'{loss} ({own})' if loss else 'not logged'}"
    return Choice(chosen, per_check, per_step, said)


Rank = tuple[int, int, int, int, bool, str]
"""How near a name is to the wanted one, smaller is nearer; ends with the name."""


def _best(ranked: Collection[Rank]) -> str | None:
    return min(ranked)[-1] if ranked else None


def _held_out(names: Collection[str], data: frozenset[str]) -> list[Rank]:
    found = []
    for name in names:
        read = words(name)
        there = set(read)
        kind = _kind(read)
        cost = kind == UNKNOWN and (there & COSTS or is_lr(name) or not there - data - WHEN)
        if there & data and not there & (DATA - data) and read[-1] != "step" and not cost:
            found.append((0, kind, 0, *other_words(there, data), name))
    return found


def _trained(names: Collection[str], quantity: str, steps: bool = False) -> list[Rank]:
    found: list[Rank] = []
    for name in names:
        read = words(name)
        there = set(read)
        kind = _kind(read)
        if kind in (LOSS, FALLING) and not there & (DATA - TRAINING) and (read[-1] == "step") == steps:
            other, ours = bare_name(name) != quantity, there & TRAINING
            found.append((other, kind, not ours, *other_words(there, TRAINING), name))
    return found


def _kind(read: Collection[str]) -> int:
    there = set(read)
    kinds = ("loss" in there, bool(there & FALLS), bool(there & RISES))
    return kinds.index(True) if True in kinds else UNKNOWN


def _missing(what: str, names: Collection[str], where: str) -> MissingMetricError:
    there = sorted(name for name in names if name not in {"epoch", "step", "hp_metric"})
    listed = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
    remedy = " Pass --monitor NAME." if there else ""
    return MissingMetricError(f"Expected {what} in {where} but it logged {listed or 'no metric at all'}.{remedy}")
