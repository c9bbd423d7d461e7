"""Which metrics of a run to watch, if the user names none: a written rule, and a sentence with its choice.

**The monitor** is the validation loss: of all names with a word for held-out data (val, valid, validation, eval,
evaluation, dev, holdout) and the word loss, those with the fewest other words; of these the one without ``_epoch``,
then the first of the alphabet. A name that ends in ``_step`` is a batch's value, never the run's. All data loaders of
the chosen name are monitors (``val_loss/dataloader_idx_0`` …). If there is no such name, the training loss is
monitored.

**The training loss** is found in the same way, with the words train, training and trn, or no word for data at all. Its
``_step`` values serve as well, as the training loss between two checks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lightning_lr.engine.history.metric_names import DATA, LOADER, TRAINING, VALIDATION, WHEN, words
from lightning_lr.engine.log_tags import is_ours, quantity_of
from lightning_lr.engine.text import plural
from lightning_lr.errors import MissingMetricError


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
        names: all metrics of the run.
        monitors: the user's choice.
        train: the user's choice of the training loss.
        where: the run, in words, for the message.

    Raises:
        MissingMetricError: if a name is not there, or the rule finds none.

    >>> print(choose(["epoch", "val/loss", "val/acc", "train_loss_step", "train_loss_epoch"]).sentence)
    monitor val/loss, training loss train_loss_epoch (by the rule: names like val_loss and train_loss)
    >>> choose(["valid_loss_epoch", "val_loss_aux"]).monitors
    ('valid_loss_epoch',)
    """
    offered = [name for name in names if not is_ours(name)]
    for name in (*monitors, *([train] if train else [])):
        if name not in offered:
            raise _missing(f"a metric {name!r}", offered, where)
    held_out = tuple(monitors) or _loaders(_best(offered, VALIDATION), offered)
    per_check = train or _best(offered, TRAINING)
    per_step = _best(offered, TRAINING, steps=True)
    chosen = held_out or (() if per_check is None else (per_check,))
    # Our own callback logs the training loss that it saw, also where the module logs none.
    gathered = (name for name in names if quantity_of(name) == "train")
    per_check = per_check or (None if per_step else next(gathered, None))
    if not chosen:
        raise _missing("a metric with a name like val_loss", offered, where)
    by = "as asked for" if monitors else "by the rule: names like val_loss and train_loss"
    loss = per_check or per_step or "not logged"
    sentence = f"monitor{plural(len(chosen))} {', '.join(chosen)}, training loss {loss} ({by})"
    return Choice(chosen, per_check, per_step, sentence)


def _best(names: Collection[str], data: frozenset[str], steps: bool = False) -> str | None:
    ranked = sorted(rank for name in names if (rank := _rank(name, data, steps)) is not None)
    return ranked[0][-1] if ranked else None


def _rank(name: str, data: frozenset[str], steps: bool) -> tuple[bool, int, bool, str] | None:
    """How near a name is to the wanted one, smaller is nearer; ``None`` if it is something else."""
    read = words(name)
    there = set(read)
    ours, theirs = there & data, there & (DATA - data)
    if "loss" not in there or theirs or (read[-1] == "step") != steps or (not ours and data is VALIDATION):
        return None
    return not ours, len(there - data - WHEN), "epoch" in there, name


def _loaders(name: str | None, names: Collection[str]) -> tuple[str, ...]:
    if name is None or not LOADER.search(name):
        return () if name is None else (name,)
    bare = LOADER.sub("", name)
    return tuple(sorted(other for other in names if LOADER.sub("", other) == bare and other != bare))


def _missing(what: str, names: Collection[str], where: str) -> MissingMetricError:
    there = sorted(name for name in names if name not in {"epoch", "step", "hp_metric"})
    listed = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
    remedy = " Pass --monitor NAME." if there else ""
    return MissingMetricError(f"Expected {what} in {where} but it logged {listed or 'no metric at all'}.{remedy}")
