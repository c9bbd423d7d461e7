"""Those parameter groups of a Trainer's optimizers that one callback controls, under the names that users know."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_lr.engine.records import Rate
from lightning_lr.errors import ArgumentError
from lightning_lr.optim.lr_names import rate_names
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.optim.param_group_lrs import ORIGIN, innermost, rated_groups, read
from lightning_lr.optim.scales import CURVE


class ControlledGroups:
    """The learning rates that a callback may change.

    Args:
        owner: name under which the callback's scale is kept beside those of others.
        chosen: optimizers by index, or parameter groups by their ``name``; ``None`` for all.
        min_lr: lower bound of the applied rate, one number or one a group.
        max_lr: upper bound, likewise.
        read_only: touch nothing, for a dry run.

    Attributes:
        unhidden: schedulers that could not be kept from seeing the scale; wrap whatever steps them.
    """

    def __init__(
        self,
        owner: str,
        chosen: Sequence[int | str] | None = None,
        min_lr: float | Sequence[float] = 0.0,
        max_lr: float | Sequence[float] | None = None,
        read_only: bool = False,
    ) -> None:
        self.owner = owner
        self.chosen = None if chosen is None else tuple(chosen)
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.optimizers: list[Any] = []
        self.configs: list[Any] = []
        self.read_only = read_only
        self.unhidden: list[Any] = []
        self._watched: list[tuple[int, LRScale]] = []
        self._multiple: float | None = None

    def scan(self, optimizers: Sequence[Any], configs: Sequence[Any]) -> list[str]:
        """Look at the Trainer's optimizers and schedulers anew, and say what others changed.

        Args:
            optimizers: ``trainer.optimizers``.
            configs: ``trainer.lr_scheduler_configs``; a scheduler may have been exchanged in mid-run.
        """
        self.optimizers, self.configs = list(optimizers), list(configs)
        self._check_choice()
        if self.read_only:
            return []
        notes: list[str] = []
        self.unhidden = []
        self._watched = []
        self._multiple = None  # groups that are new are set with the next value
        for index, control in self._controls():
            self._watched.append((index, control))
            notes += control.take_notes()
            control.set_bounds(self.owner, *self._bounds(index))
            self.unhidden += control.attach(self._schedulers_of(self.optimizers[index]))
        return notes

    def before_step(self) -> None:
        """Scale what others wrote since the last sync: what is shown between two steps is what the next one uses."""
        for _, control in self._watched:
            control.before_step()

    def rates(self) -> dict[str, Rate]:
        """Name → learning rate, of the controlled groups."""
        return {
            name: rate
            for index, names in rate_names(self.optimizers, self.configs).items()
            if any(mine := self._mine(index))
            for name, rate, chosen in zip(names, self._rates_of(index), mine, strict=True)
            if chosen
        }

    def held(self) -> list[float]:
        """What the groups of the optimizers hold this moment, whatever wrote it."""
        return [rate for optimizer in self.optimizers for rate in read(rated_groups(optimizer))]

    def follow_writer(self) -> bool:
        """Take code of the user's own that writes rates between steps for one that sets them; not if schedulers do."""
        if self.configs:
            return False
        for _, control in self._watched:
            control.follow_writer()
        return True

    def parameters(self) -> dict[str, list[Any]]:
        """Name → parameters that train, of the controlled groups; the names are those of :meth:`rates`."""
        return {
            name: [parameter for parameter in group["params"] if parameter.requires_grad]
            for index, names in rate_names(self.optimizers, self.configs).items()
            for name, group, chosen in zip(names, rated_groups(self.optimizers[index]), self._mine(index), strict=True)
            if chosen
        }

    def multiply(self, factor: float) -> None:
        """Multiply the scale of every controlled group."""
        for index, control in self._controls():
            control.multiply(self.owner, factor, [group for group, chosen in enumerate(self._mine(index)) if chosen])

    def set_curve(self, multiple: float) -> None:
        """Set the multiple of the curve over the budget, which stands beside the decisions' own scale."""
        if self._multiple == multiple:
            return  # called at every step
        self._multiple = multiple
        for index, control in self._watched:
            control.set_scale(self.owner + CURVE, [multiple if chosen else 1.0 for chosen in self._mine(index)])

    def detach(self) -> None:
        """Give every scheduler back as it was; the groups keep their rates."""
        if not self.read_only:
            for _, control in self._controls():
                control.detach()

    def state_dict(self) -> list[dict[str, Any]]:
        """Scale and rates of every controlled optimizer, as plain values."""
        if self.read_only:
            return []
        return [
            {own: control.state(own) for own in (self.owner, self.owner + CURVE)} for _, control in self._controls()
        ]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> list[str]:
        """Continue after the optimizers' own state was restored, and say what differs from what was saved."""
        pairs = [] if self.read_only else zip(self._controls(), state, strict=False)
        notes = [note for (_, control), saved in pairs for owner in saved for note in control.load(owner, saved[owner])]
        return list(dict.fromkeys(notes))

    def _controls(self) -> list[tuple[int, LRScale]]:
        return [(index, LRScale.of(one)) for index, one in enumerate(self.optimizers) if any(self._mine(index))]

    def _rates_of(self, index: int) -> list[Rate]:
        if self.read_only:
            return [Rate(rate, 1.0, rate) for rate in read(rated_groups(self.optimizers[index]))]
        return LRScale.of(self.optimizers[index]).rates()

    def _schedulers_of(self, optimizer: Any) -> list[Any]:
        schedulers = [config.scheduler for config in self.configs]
        return [s for s in schedulers if innermost(getattr(s, "optimizer", None)) is innermost(optimizer)]

    def _mine(self, index: int) -> list[bool]:
        """For each group of one optimizer, whether it is controlled."""
        groups = rated_groups(self.optimizers[index])
        if self.chosen is None or index in self.chosen:
            return [True] * len(groups)
        # "backbone" is every group that was cut from it: "backbone/conv1".
        wanted = tuple(one for one in self.chosen if isinstance(one, str))
        names = [str(group.get("name")) for group in groups]
        return [any(name == one or name.startswith(f"{one}/") for one in wanted) for name in names]

    def _bounds(self, index: int) -> tuple[list[float], list[float] | None]:
        """Bounds of the groups of one optimizer: those of others are left open."""
        before = sum(len(self._rates_of(i)) for i, _ in self._controls() if i < index)
        # A group that was cut from another has the bounds of that one.
        origins = [before + group.get(ORIGIN, g) for g, group in enumerate(rated_groups(self.optimizers[index]))]
        mine = self._mine(index)
        low = [_at(self.min_lr, at) if chosen else 0.0 for at, chosen in zip(origins, mine, strict=True)]
        if self.max_lr is None:
            return low, None
        top = sys.float_info.max
        return low, [_at(self.max_lr, at) if chosen else top for at, chosen in zip(origins, mine, strict=True)]

    def _check_choice(self) -> None:
        groups = {g["name"] for o in self.optimizers for g in rated_groups(o) if "name" in g}
        groups |= {name.rpartition("/")[0] for name in groups} - {""}
        for one in self.chosen or ():
            if one not in groups and not (isinstance(one, int) and 0 <= one < len(self.optimizers)):
                raise ArgumentError(
                    f"Expected `param_groups` to hold indices below {len(self.optimizers)} or names of parameter "
                    f"groups ({', '.join(map(repr, sorted(groups))) or 'no group has one'}) but got {one!r}."
                )


def _at(bound: float | Sequence[float], group: int) -> float:
    return bound[min(group, len(bound) - 1)] if isinstance(bound, Sequence) else bound
