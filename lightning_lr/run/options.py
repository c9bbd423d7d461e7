"""All options of the callback, checked: a run takes them from here and never sees the callback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal

from lightning_lr.engine.policies.epochs import refuse_for_epochs
from lightning_lr.engine.settings import Settings
from lightning_lr.errors import ArgumentError, check_integer, check_number
from lightning_lr.metrics.probe import Probe


@dataclass(frozen=True)
class Snapshots:
    """Where the state for a restore is kept: weights, optimizer state and gradient scaler.

    Attributes:
        folder: folder for one file a rank, removed at the end of the fit. Default ``None``: host memory. Set it if a
            second copy of weights and optimizer state does not fit into host memory.
        in_checkpoint: whether a checkpoint carries the snapshot, so that a resumed run can restore it. Default
            ``True``. Set it to ``False`` if checkpoints must not grow by a copy of weights and optimizer state; until
            its next best check, a resumed run then reduces the learning rate without restoring.
        limit: most host memory that snapshots may take: up to 1 a share of what is free, for all processes of the host
            together; above 1 the bytes of one process. Default 0.5. Beyond it nothing is restored, with a warning.
            Raise it, or set ``folder``, if that happens and a restore is wanted.

    Raises:
        ArgumentError: if an argument cannot work.
    """

    folder: str | PathLike[str] | None = None
    in_checkpoint: bool = True
    limit: float = 0.5

    def __post_init__(self) -> None:
        _check_path("folder", self.folder)
        check_number("limit", self.limit, above=0.0)
        _check_flag("in_checkpoint", self.in_checkpoint)


def snapshots_from(given: Any) -> Snapshots | None:
    """The callback's ``snapshots``: ``True`` for the defaults of :class:`Snapshots`, ``False`` for none.

    Raises:
        ArgumentError: if it is something else.
    """
    if isinstance(given, bool):
        return Snapshots() if given else None
    if isinstance(given, Snapshots):
        return given
    raise ArgumentError(f"Expected `snapshots` to be True, False or Snapshots(...) but got {given!r}.")


@dataclass(frozen=True)
class ControllerOptions:
    """The options of one callback. :class:`~lightning_lr.LearningRateController` describes each and has the defaults.

    Attributes:
        settings: those of the engine, checked by ``settings_from``.
        monitor_by_rule: whether the user named no monitor: the validation loss that is logged, or the training loss.
        snapshots: ``None`` if no snapshot is taken.

    Raises:
        ArgumentError: if an option cannot work.
    """

    settings: Settings
    monitor_by_rule: bool
    restore_best: bool | None
    find_lr: bool | Literal["auto"]
    anneal: bool | Literal["auto"]
    check_every_n_steps: int | None
    objective_changes: Sequence[int]
    param_groups: Sequence[int | str] | None
    probes: Sequence[Probe]
    snapshots: Snapshots | None
    dry_run: bool
    verbose: bool
    journal: str | PathLike[str] | Literal[False] | None
    name: str | None

    def __post_init__(self) -> None:
        for switch in ("find_lr", "anneal"):
            if getattr(self, switch) not in (True, False, "auto"):
                raise ArgumentError(
                    f"Expected `{switch}` to be True, False or 'auto' but got {getattr(self, switch)!r}."
                )
        if self.check_every_n_steps is not None:
            check_integer("check_every_n_steps", self.check_every_n_steps, 0)
            refuse_for_epochs(self.settings.policy, check_every_n_steps=self.check_every_n_steps or None)
        _check_epochs(self.objective_changes)
        _check_param_groups(self.param_groups)
        self._set(probes=_probes(self.probes))
        if self.snapshots is None:
            self._without_snapshots()
        _check_flag("dry_run", self.dry_run)
        _check_flag("verbose", self.verbose)
        for switch in ("find_lr", "anneal"):
            if self.dry_run and getattr(self, switch) is True:
                raise ArgumentError(
                    f"Expected no `{switch}=True` with `dry_run=True`, which changes no learning rate. "
                    "Leave one of them out."
                )
        if self.journal is not False:
            _check_path("journal", self.journal, "a path, False")
        name: Any = self.name
        if name is not None and (not isinstance(name, str) or not name or set(name) & set("/\\")):
            raise ArgumentError(f"Expected `name` to be a word without slashes or None but got {name!r}.")

    @property
    def may_search(self) -> bool:
        """Whether the first learning rate may be searched, as far as the options say."""
        wanted = self.settings.policy.searches if self.find_lr == "auto" else bool(self.find_lr)
        return wanted and self.snapshots is not None and not self.dry_run

    def _without_snapshots(self) -> None:
        """Let nothing rest on a restore."""
        for option in ("restore_best", "find_lr"):
            if getattr(self, option) is True:
                raise ArgumentError(
                    f"Expected snapshots with `{option}=True` but got snapshots=False: without a snapshot nothing can "
                    "be restored. Leave one of the two out."
                )
        self._set(settings=replace(self.settings, policy=self.settings.policy.tuned(restores=False)))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _check_epochs(epochs: Any) -> None:
    listed = isinstance(epochs, Sequence) and not isinstance(epochs, str)
    if not listed or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in epochs):
        raise ArgumentError(f"Expected `objective_changes` to be a list of epochs, from 0, but got {epochs!r}.")


def _check_param_groups(chosen: Any) -> None:
    listed = chosen if isinstance(chosen, Sequence) and not isinstance(chosen, str) else ()
    fits = all(isinstance(one, (int, str)) and not isinstance(one, bool) for one in listed)
    if chosen is not None and not (listed and fits):
        raise ArgumentError(
            "Expected `param_groups` to be a list of indices of optimizers and names of parameter groups but got "
            f"{chosen!r}."
        )


def _listed(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)


def _probes(given: Any) -> tuple[Probe, ...]:
    probes = _listed(given)
    for probe in probes:
        if not isinstance(probe, Probe):
            raise ArgumentError(
                "Expected `probes` to be a list of NeuronCoherence(), UpdateRatio(), GradientDisparity() and "
                f"CriticalRatio() but got {probe!r}."
            )
    if len({type(probe) for probe in probes}) < len(probes):
        raise ArgumentError(f"Expected `probes` to hold one of each kind at most but got {list(probes)!r}.")
    return probes


def _check_path(argument: str, path: Any, expected: str = "a path") -> None:
    if path is not None and not (isinstance(path, (str, PathLike)) and str(path)):
        raise ArgumentError(f"Expected `{argument}` to be {expected} or None but got {path!r}.")


def _check_flag(argument: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ArgumentError(f"Expected `{argument}` to be True or False but got {value!r}.")
