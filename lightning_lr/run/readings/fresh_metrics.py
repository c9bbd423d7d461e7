"""Which logged values are new since they were last looked at.

``trainer.callback_metrics`` is never cleared within a fit: a value there may be as old as the run. But Lightning puts a
new object there each time that it computes one, so a value is fresh exactly if the object is another than last time.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from lightning_lr.errors import MissingMetricError


class FreshMetrics:
    """Watches some of the logged metrics.

    Args:
        names: metrics to watch.

    >>> fresh_metrics, logged = FreshMetrics(["val_loss"]), {"val_loss": float("0.5")}
    >>> fresh_metrics.note(logged); fresh_metrics.take()
    {'val_loss': 0.5}
    >>> fresh_metrics.note(logged); fresh_metrics.take()          # the very same object: nothing new
    {}
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._fresh: dict[str, Any] = {}
        # The objects themselves, not their ids: an id may be given to another object once the first is gone.
        self._seen: dict[str, Any] = {}

    def add(self, name: str) -> None:
        """Watch one more metric."""
        self.names = (*self.names, name)

    def note(self, metrics: Mapping[str, Any]) -> None:
        """Take note of the values that are new; they stay noted until :meth:`take`."""
        for name in self.names:
            value = metrics.get(name)
            if value is not None and value is not self._seen.get(name):
                self._fresh[name] = self._seen[name] = value

    def pass_over(self, metrics: Mapping[str, Any]) -> None:
        """These values are known, though Lightning has put them into new objects."""
        self._seen.update({name: metrics[name] for name in self.names if name in metrics and name not in self._fresh})

    def any_fresh(self, names: Iterable[str]) -> bool:
        """Whether there are values of these noted and not yet taken."""
        return not self._fresh.keys().isdisjoint(names)

    def take(self) -> dict[str, float]:
        """The values noted since the last call, as plain numbers, each counted once."""
        fresh = {name: float(value) for name, value in self._fresh.items()}
        self._fresh = {}
        return fresh

    def settle(self, read: Callable[[list[Any]], list[float]]) -> None:
        """Turn the tensors among the values noted into numbers, with one reading of the device."""
        tensors = {name: value for name, value in self._fresh.items() if hasattr(value, "reshape")}
        self._fresh.update(zip(tensors, read(list(tensors.values())), strict=True))

    def state_dict(self) -> dict[str, float]:
        """The values noted and not yet taken: a checkpoint may be written between a validation and its check."""
        return {name: float(value) for name, value in self._fresh.items()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Continue from :meth:`state_dict`."""
        self._fresh = {name: value for name, value in state.items() if name in self.names}


def is_pattern(name: str) -> bool:
    """Whether a monitor stands for several metrics: ``*`` matches anything, ``?`` one character.

    >>> is_pattern("val_loss*"), is_pattern("val_loss")
    (True, False)
    """
    return any(character in name for character in "*?")


def matching(monitors: Sequence[str], logged: Iterable[str]) -> list[str]:
    """The metrics that the monitors mean, in their order, then in that of the alphabet; none before one is logged.

    A pattern leaves out the values of single steps, and ``x_epoch`` where there is ``x``, which is the same value.

    >>> matching(["val_loss*"], ["val_loss/b", "val_loss/a", "train_loss", "val_loss/a_step", "val_loss/a_epoch"])
    ['val_loss/a', 'val_loss/b']
    """
    names = set(logged)
    once = [n for n in sorted(names) if not n.endswith("_step") and n.removesuffix("_epoch") not in names - {n}]
    found: dict[str, None] = {}
    for monitor in monitors:
        plain = monitor in names or not is_pattern(monitor)
        found.update(dict.fromkeys([monitor] if plain else [name for name in once if fnmatchcase(name, monitor)]))
    return list(found) if names & found.keys() else []


def missing_metric(missing: Sequence[str], logged: Iterable[str]) -> MissingMetricError:
    """The error for monitors that no rank has logged, with what was logged and the nearest name.

    >>> print(missing_metric(["val_los"], {"val_loss": 0.5, "acc": 0.9}))
    Expected `val_los` among the logged metrics but it was not logged. Logged: `acc`, `val_loss`. Did you mean ...
    """
    names = ", ".join(f"`{name}`" for name in missing)
    known = ", ".join(f"`{name}`" for name in sorted(logged)) or "nothing"
    near = [_nearest(name, list(logged)) for name in missing]
    hint = " ".join(f"Did you mean `{match[0]}`?" for match in near if match)
    return MissingMetricError(
        f"Expected {names} among the logged metrics but {'it was' if len(missing) == 1 else 'they were'} not logged. "
        f"Logged: {known}. {hint + ' ' if hint else ''}Pass one of these as `monitor`, or log it in `validation_step` "
        "or `training_step`; without `monitor`, the validation loss that is logged or the training loss is taken."
    )


def _nearest(name: str, logged: list[str]) -> list[str]:
    """The logged name most like this one; first of all the same metric of one of several loaders."""
    of_a_loader = [other for other in logged if other.startswith(f"{name}/dataloader_idx_")]
    return of_a_loader[:1] or difflib.get_close_matches(name, logged, n=1, cutoff=0.4)
