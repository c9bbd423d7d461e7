"""The scale over the user's schedule: the one place that decides what an optimizer's groups hold.

::

    the user's schedule ─► scheduled rate u ─► × scales, within bounds ─► applied rate, in the groups
                                 ▲                                                │
                                 └────── a scheduler's step only sees u ◄─────────┘

u is stored, never computed back from the applied rate: ``x * 0.1 / 0.1 != x`` for one float in seven. The groups are
read anew each time, because ``optimizer.load_state_dict`` replaces them.

Who does what: ``scales`` owners and arithmetic, ``param_group_lrs`` reading and writing (called from here alone),
``scheduler_guard`` the way into a scheduler's step, ``external_lr_changes`` what a rate means that we did not write.
"""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from torch.compiler import is_dynamo_compiling

from lightning_lr.engine.bounds import check_scale
from lightning_lr.engine.records import Rate
from lightning_lr.optim import external_lr_changes
from lightning_lr.optim.param_group_lrs import Group, innermost, rated_groups, read, twins, versions, write
from lightning_lr.optim.scales import Scales
from lightning_lr.optim.scheduler_guard import guard, release

_CONTROLS: weakref.WeakKeyDictionary[Any, LRScale] = weakref.WeakKeyDictionary()


class LRScale:
    """The learning rates of one optimizer.

    Several callbacks may each hold one scale, under a name of their own (the *owner*); the product is applied. They
    share the one control of an optimizer, so get it with :meth:`of`. Groups are counted among those that have a rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> control = LRScale.of(optimizer)
    >>> control.multiply("plateau", 0.5)
    >>> optimizer.param_groups[0]["lr"], str(control.rates()[0])
    (0.05, '0.05 (schedule 0.1 × 0.5)')

    Args:
        optimizer: a torch optimizer, or a wrapper with ``param_groups`` of its own.
    """

    def __init__(self, optimizer: Any) -> None:
        # Weak: the registry lives as long as the process and must not keep the optimizer of a finished run alive.
        self._optimizer = weakref.ref(optimizer)
        self._schedulers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._scheduled = read(self._groups())
        self._written = list(self._scheduled)
        self._restored: list[float] | None = list(self._scheduled)
        self._scales = Scales(len(self._scheduled))
        self._notes: deque[str] = deque(maxlen=100)  # if nothing reads them, they must not fill the memory
        self._depth = 0
        self._habits: dict[int, bool | None] = {}  # group → whether its other writer sets rates or multiplies them
        self._reported: set[int] = set()
        self._hook: Any = None
        self._remember()

    @classmethod
    def of(cls, optimizer: Any) -> LRScale:
        """The one control of an optimizer, made at the first call."""
        optimizer = innermost(optimizer)
        if optimizer not in _CONTROLS:
            _CONTROLS[optimizer] = cls(optimizer)
        return _CONTROLS[optimizer]

    # What callbacks ask for.

    def set_bounds(
        self, owner: str, min_lr: float | Sequence[float] = 0.0, max_lr: float | Sequence[float] | None = None
    ) -> None:
        """Set the bounds of an owner, one number or one per group. Where owners differ, the narrowest bound holds."""
        self.sync()
        self._scales.bound(owner, min_lr, max_lr)
        self.apply()

    def set_scale(self, owner: str, scales: float | Sequence[float]) -> None:
        """Replace the scale of an owner: one number, or one per group."""
        self.sync()
        self._scales.set(owner, scales)
        self.apply()

    def multiply(self, owner: str, factor: float, groups: Iterable[int] | None = None) -> None:
        """Multiply the scale of an owner, in all groups or in those given by index."""
        check_scale(factor)
        self.sync()
        self._restored = None
        self._scales.multiply(owner, factor, groups)
        self.apply()

    def scale(self, owner: str) -> list[float]:
        """The scale of an owner in every group; 1 where it never set one."""
        return self._scales.of(owner)

    def rates(self) -> list[Rate]:
        """What every group is scheduled for and holds, as of the last sync or write."""
        return [Rate(*rate) for rate in zip(self._scheduled, self._scales.product, self._written, strict=True)]

    def apply(self) -> None:
        """Make the groups hold the applied rates, whatever is there now.

        To call after an optimizer state was put back that belongs to another moment of the same run.
        """
        if not self._depth:  # else a scheduler is at work; this is done when it has finished
            held = self._fill(self._scales.applied(self._scheduled))
            self._written[: len(held)] = held

    def follow_writer(self) -> None:
        """Whatever writes the rates beside us sets them: a warm-up in ``optimizer_step``, as Lightning documents it."""
        self._habits = dict.fromkeys(range(len(self._scheduled)), True)

    def follow_split(self, parents: Sequence[int]) -> None:
        """Take in groups that were cut from others: each goes on with the rate and the scales of its parent.

        Args:
            parents: for each group that was added behind the known ones, which of those it was cut from.
        """
        if parents:
            self._scales.grow(list(parents))
            self._scheduled += [self._scheduled[parent] for parent in parents]
            self._written += [self._written[parent] for parent in parents]
            if self._restored is not None:
                self._restored += [self._restored[parent] for parent in parents]
            self.apply()

    # What schedulers do.

    def attach(self, schedulers: Iterable[Any]) -> list[Any]:
        """Hide the scale from schedulers of this optimizer while they step; return those that do not allow it.

        Give the outermost ones: what a ``SequentialLR`` steps inside needs nothing. Attaching twice does no harm.
        For those returned, wrap whatever steps them with :meth:`around`. From now on each step of the optimizer is
        preceded by a look at the groups, so that a rate written in between is scaled before it is used.
        """
        register = getattr(self._optimizer(), "register_step_pre_hook", None)
        if self._hook is None and register is not None:
            # A wrapper that does not call torch's own `__init__` may have no room for it.
            with suppress(TypeError, AttributeError):
                self._hook = register(self._before_step)
        refused = []
        for scheduler in schedulers:
            if guard(scheduler, self.scheduled_visible):
                self._schedulers.add(scheduler)
            else:
                refused.append(scheduler)
        return refused

    def detach(self) -> None:
        """Give all schedulers their classes back; the groups keep the applied rates. Calling it twice does no harm."""
        for scheduler in list(self._schedulers):
            release(scheduler)
        self._schedulers.clear()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @contextmanager
    def scheduled_visible(self) -> Iterator[None]:
        """Inside, the groups hold the scheduled rates; what they hold at the end is the new schedule.

        May be nested: only the outermost counts.
        """
        if self._depth == 0:
            self.sync()
            self._restored = None
            self._fill(self._scheduled)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._adopt_schedule()

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """``step``, with the scheduled rates visible while it runs: for ``pl_module.lr_scheduler_step``."""

        @functools.wraps(step)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.scheduled_visible():
                return step(*args, **kwargs)

        return wrapped

    def _adopt_schedule(self) -> None:
        """Take what the groups hold after a step as the new schedule, and apply the scales to it."""
        found = read(self._groups())
        known = min(len(found), len(self._scheduled))
        self._scheduled[:known] = self._written[:known] = found[:known]
        self._remember()
        self.apply()
        self.sync()  # the step may also have added groups

    # What others do.

    def take_notes(self) -> list[str]:
        """Take in what others did to the groups since the last sync, and say so; ``[]`` where nothing happened."""
        self.sync()
        notes = list(self._notes)
        self._notes.clear()
        return notes

    def _before_step(self, *_: Any) -> None:
        if not is_dynamo_compiling():  # a compiled step would be compiled anew for each rate
            self.before_step()

    def before_step(self) -> None:
        """Scale what others wrote since the last sync, before the optimizer uses it."""
        # ``torch.distributed.checkpoint`` steps with rates of 0 to see which state an optimizer has: no rate to follow.
        if not self._scales.neutral and not self._unchanged() and any(read(self._groups())):
            self.sync()

    def sync(self) -> None:
        """Compare the groups with what was written; follow outside writes and new groups."""
        if self._depth or self._unchanged() or self._optimizer() is None:
            return  # inside a step the groups hold the scheduled rates; without an optimizer the last rates stand
        groups = self._groups()
        found = read(groups)
        if found != self._written:
            self._drop_groups(len(found))
            self._adopt_outside_rates(found)
            self._add_groups(groups, found)
            self.apply()
        self._remember()

    def _unchanged(self) -> bool:
        """Whether nothing was written since the last sync or write of ours; reads no tensor."""
        groups = self._groups()
        return len(groups) == len(self._written) and versions(groups) == self._seen

    def _remember(self) -> None:
        groups = self._groups()
        self._seen = versions(groups)
        self._alive = [group["lr"] for group in groups]  # so that no other tensor gets the id of one of these

    def _drop_groups(self, count: int) -> None:
        """Forget groups that are gone."""
        lost = len(self._written) - count
        if lost > 0:
            self._notes.append(f"The last {lost} parameter group(s) are gone; their scales are forgotten.")
            self._scales.shrink(count)
            del self._scheduled[count:], self._written[count:]
            self._habits = {group: habit for group, habit in self._habits.items() if group < count}
            self._reported = {group for group in self._reported if group < count}

    def _adopt_outside_rates(self, found: Sequence[float]) -> None:
        """Take over rates that others wrote."""
        changed = [i for i, held in enumerate(self._written) if not external_lr_changes.same(found[i], held)]
        kept = {rate for rate, held in zip(found, self._written, strict=False) if rate == held}
        for i in changed:
            if found[i] in kept and found[i] != self._scheduled[i]:
                # Copied from another group, as BackboneFinetuning aligns its own: the scale is in it already.
                self._scheduled[i] = found[i] / self._scales.product[i]
                continue
            if self._habits.get(i) is None:
                self._habits[i] = external_lr_changes.habit(found[i], self._scheduled[i], self._written[i])
            self._scheduled[i] = external_lr_changes.rescheduled(
                found[i], self._scheduled[i], self._written[i], self._habits[i]
            )
        if changed:
            self._restored = None
        if not self._reported.issuperset(changed):  # a writer of each step is reported once
            self._reported.update(changed)
            i = changed[0]
            self._notes.append(
                external_lr_changes.changed_outside(changed, self._written[i], found[i], self._scheduled[i])
            )

    def _add_groups(self, groups: Sequence[Group], found: Sequence[float]) -> None:
        """Take in groups that were added.

        They start from their own rate: what was decided before concerned other layers. (A rate in the very tensor that
        a known group holds has its scale.)
        """
        known = len(self._written)
        new = range(known, len(found))
        twin = twins(groups, known)
        if new:
            self._scales.grow([twin.get(i) for i in new])
            self._scheduled += [self._scheduled[twin[i]] if i in twin else found[i] for i in new]
            self._written += found[known:]
            groups_joined, scale = external_lr_changes.listed(new), self._scales.product[known]
            self._notes.append(f"New {groups_joined} joined at {found[known]:.4g}, with a scale of {scale:.4g}.")

    def _groups(self) -> list[Group]:
        return rated_groups(self._optimizer())

    def _fill(self, rates: Sequence[float]) -> list[float]:
        """Write into those groups that are known and still there."""
        groups = self._groups()[: len(rates)]
        held = self._written[: len(groups)] if self._unchanged() else read(groups)
        written = write(groups, rates[: len(groups)], held)
        self._remember()
        return written

    # What a checkpoint holds.

    def state(self, owner: str) -> dict[str, Any]:
        """What an owner saves in its checkpoint: plain numbers."""
        self.sync()  # else an outside write of a moment ago would look like a change between the two runs
        scheduled, written = list(self._scheduled), list(self._written)
        state = {"version": 1, "scale": self.scale(owner), "scheduled": scheduled, "written": written}
        habits = [self._habits.get(group) for group in range(len(scheduled))]
        return state if habits.count(None) == len(habits) else {**state, "habits": habits}

    def load(self, owner: str, state: Mapping[str, Any]) -> list[str]:
        """Continue an owner's scale from its state, and say what differs.

        To call when the optimizer's own state is back, before any step. It never scales twice, see
        ``external_lr_changes.resumed``.
        """
        self._scheduled, scales, notes = external_lr_changes.resumed(self._as_restored(), state)
        self._scales.set(owner, scales)
        self._habits = dict(enumerate(state.get("habits", ())))
        self.apply()
        return notes

    def _as_restored(self) -> list[float]:
        """The rates as they were before the owners, who load one after the other, began to put their scales on."""
        groups = self._groups()
        found = read(groups)
        if self._restored is None or found != self._written or len(found) != len(self._restored):
            self._drop_groups(len(found))
            self._add_groups(groups, found)
            self._restored = found
        return self._restored
