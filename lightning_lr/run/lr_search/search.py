"""The search for the first learning rate, step by step: the first update is made, the loss is read along it.

Between the first step of the optimizer and the second one nothing is trained: the loss of four fixed batches (that of
the step, that of the next one, two of validation) is read at multiples of the update, and the update is rescaled. On
several ranks each reads its own batches in the same order, and one number for each batch is averaged; what fails on one
rank fails on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_lr.engine.history.metric_names import is_loss
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.lr_search.finder import Finder
from lightning_lr.engine.lr_search.guard import UNCONFIRMED, was_moved
from lightning_lr.engine.lr_search.plan import examples
from lightning_lr.engine.records import SearchResult
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.lr_search.before_training import known, mean_over_ranks
from lightning_lr.run.lr_search.first_update import FirstUpdate
from lightning_lr.run.lr_search.fixed_batches import HELD_OUT, Unit, joined
from lightning_lr.run.lr_search.free_memory import free_bytes
from lightning_lr.run.lr_search.kept_state import CannotKeepError
from lightning_lr.run.lr_search.loss_reader import LossReader, NotReadableError

MOST_SKIPPED = 50
"""Steps that may change no weight before the search gives up: a gradient scaler skips some twenty at the most."""

ROOM = 0.5
"""Share of the free memory that the two copies of the weights may take: in the first step the optimizer's own state,
twice as large as the weights for Adam, comes on top of them."""

WANDERS = 0.1
"""How far a rate may wander in the first step: a schedule that begins at its top does, a warm-up moves it further."""

ELSEWHERE = "it could not be read on another rank"


class LRSearch:
    """A search that is under way: it waits for the first step, then for the batch of the second, then it reads.

    Args:
        finder: which multiples are read.
        groups: the learning rates.
        ranks: the other processes.
        monitors: names and patterns.
        untrained: metric → value before training, as far as it was measured; the search adds the training loss, and
            the monitor if it can.
        make_reader: makes what reads the loss; called with the weights that are moved.
        held_out: batches of validation.
        cuts: whether a few examples of a batch may stand for it.
        insists: whether the loss alone decides, whatever the monitor says.
        sign: −1 if a higher monitor is better, else 1.

    Attributes:
        update: the first update.
        stepped: whether the first step has been made.
    """

    def __init__(
        self,
        finder: Finder,
        groups: ControlledGroups,
        ranks: Ranks,
        monitors: Sequence[str],
        untrained: dict[str, float],
        make_reader: Callable[[Sequence[Tensor]], LossReader],
        held_out: Callable[[], Sequence[Unit]],
        cuts: bool = True,
        insists: bool = False,
        sign: int = 1,
    ) -> None:
        self.finder, self.groups, self.ranks = finder, groups, ranks
        self.monitors, self.untrained = monitors, untrained
        self.make_reader, self.held_out, self.cuts = make_reader, held_out, cuts
        self.insists, self.sign = insists, sign
        self.update = FirstUpdate(groups.parameters())
        self.stepped = False
        self._own, self._next = Unit(), Unit()
        self._held_out: Sequence[Unit] = []
        self._of_training = 1
        self._share, self._cost = 1.0, 0.0
        self._against = ""
        self._skipped = 0
        self._reader: LossReader | None = None
        self._rates = groups.held()

    # --- the first step -----------------------------------------------------------------------------------------------

    def before_batch(self, batch: Any, index: int) -> None:
        """Copy a batch of the first step, or the first one of the second."""
        if not self._against:
            try:
                (self._next if self.stepped else self._own).add(batch, index)
            except Exception as error:
                self._against = f"the batch cannot be copied: {said(error)}"

    def before_step(self) -> None:
        """Keep the weights, right before the optimizer changes them."""
        if not self.stepped and not self._against:
            changed = "it is changed before the first step"
            self._against = self._without_room() or (changed if self._changed() else "")
        if not self.stepped and not self._against:
            self.update.before_step()

    def after_step(self) -> None:
        """Keep the weights that the step has led to; one that was skipped does not count."""
        if not self._against:
            self.stepped = self.update.after_step()
            if not self.stepped:
                self._own, self._skipped = Unit(), self._skipped + 1
            elif self._changed():
                self._against = "" if self.groups.follow_writer() else "its schedule moves it at the start"
            if self._skipped > MOST_SKIPPED:
                self._against = f"the first {MOST_SKIPPED} steps have changed no weight"
        self.stepped = self.stepped or bool(self._against)

    def _changed(self) -> bool:
        """Whether the rates are no longer those that the run has begun with, nor near them."""
        pairs = zip(self.groups.held(), self._rates, strict=False)
        return any(abs(held - begun) > WANDERS * abs(begun) for held, begun in pairs)

    def _without_room(self) -> str:
        tensors = self.update.all
        free = min((free_bytes(device) for device in {tensor.device for tensor in tensors}), default=math.inf)
        needed = 2 * self.update.bytes
        if needed <= ROOM * free:
            return ""
        return (
            f"two more copies of the weights, {needed / 2**30:.2g} GiB, would take more than half of the memory that "
            f"is free ({free / 2**30:.2g} GiB)"
        )

    # --- the readings -------------------------------------------------------------------------------------------------

    def read(self) -> SearchResult:
        """Read the loss along the first update; the weights are afterwards those after the step."""
        try:
            self._read()
            result = self.finder.result()
            against = "" if self.insists else self._said_otherwise(result.factor)
            cost = round(self._cost, 2)
            if against:
                return SearchResult(horizon=self.finder.horizon, cost=cost, against=against)
            return replace(result, cost=cost)
        except NotReadableError as error:
            return SearchResult(horizon=self.finder.horizon, against=str(error))
        finally:
            self.update.put_back()

    def rescale(self, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        """Put the weights, and whatever follows them, where the first step would have led at the rates of now.

        Args:
            before: name of a group's rate → the rate of the first step.
            after: the same now.
        """
        ratios = {name: after[name] / rate for name, rate in before.items() if rate > 0}
        self.update.rescale(ratios, self._reader.kept.tensors if self._reader is not None else ())

    def _read(self) -> None:
        units = self._prepared()
        while (multiple := self.finder.ask()) is not None:
            losses = self._losses_at(multiple, units)
            if multiple == 0.0:
                if losses[0] is None:
                    raise NotReadableError(self._against or ELSEWHERE)
                units = [unit for unit, loss in zip(units, losses, strict=True) if loss is not None]
                training = [loss for loss in losses[: self._of_training] if loss is not None]
                self.untrained[TRAIN_LOSS] = sum(training) / len(training)
                self._measure_monitor()
                losses = [loss for loss in losses if loss is not None]
            self.finder.tell([math.inf if loss is None else loss for loss in losses])

    def _measure_monitor(self) -> None:
        """By the steps of validation, if no sanity check has done so: with it a rate that is moved far is confirmed."""
        if not known(self.monitors[:1], self.untrained):
            measured: dict[str, float] = {}
            try:
                measured = self._reader.logged(self._held_out) if self._reader is not None else {}
            except CannotKeepError as error:
                self._against = said(error)  # the next message between the ranks says so
            except Exception:  # a step that cannot be called by itself measures nothing
                measured = {}
            self.untrained.update(mean_over_ranks(measured, self.monitors, self.ranks))
        self.finder.most = math.inf if known(self.monitors[:1], self.untrained) else UNCONFIRMED

    def _said_otherwise(self, factor: float) -> str:
        """What speaks against a rate that is to be moved: the loss may be no measure of what the monitor measures.

        A monitor that is no loss is read where the loss is lowest, and before training. A move is refused if it is
        worse on each batch of validation, by more than these differ, and one far upward if it is not better. (It is not
        compared with the step at the user's own rate: an accuracy does not see that weights have grown a thousandfold.)
        """
        names, best = known(self.monitors[:1], self.untrained), self.finder.best
        if not (names and best and was_moved(factor)) or is_loss(names[0]):
            return ""
        try:
            there, here = ([found.get(names[0]) for found in self._logged_at(at)] for at in (best, 0.0))
        except CannotKeepError as error:
            self._against, there, here = said(error), [], []
        except Exception:  # a step that cannot be called by itself measures nothing
            there, here = [], []
        pairs = zip(there, here, strict=False)
        both = [(one, other) for one, other in pairs if one is not None and other is not None]
        rises, before = [self.sign * (one - other) for one, other in both], [other for _, other in both]
        worse = bool(both) and min(rises) > max(before) - min(before)
        says = [bool(self._against), bool(both), worse, sum(rises) < 0]
        failed, measured, worse_on, better_on = self.ranks.sum([float(each) for each in says])
        if failed:
            raise NotReadableError(self._against or ELSEWHERE)
        unlike = worse_on == self._world or (factor > UNCONFIRMED and better_on < self._world / 2)
        if measured < self._world or not unlike:
            return ""
        return f"`{names[0]}` does not get better where the loss is lowest; find_lr=True goes by the loss alone"

    def _logged_at(self, multiple: float) -> list[dict[str, float]]:
        """What ``validation_step`` logs of each batch of validation at a multiple of the update."""
        self.update.move_to(multiple)
        self._cost += len(self._held_out) / 3
        return [self._reader.logged([unit]) for unit in self._held_out] if self._reader is not None else []

    def _prepared(self) -> list[Unit]:
        """The batches that every rank has, in one order."""
        if not self._against:
            try:
                self._reader = self.make_reader(self.update.all)
                self._held_out = self.held_out()
                self._reader.kept.put_back()
            except Exception as error:
                self._against = said(error)
        here = [bool(self._next.batches), *(len(self._held_out) > place for place in range(HELD_OUT))]
        whole = self._own.examples if self.cuts else 0
        count = examples(self.finder.horizon, whole) if whole else 0
        share = count / whole if whole else 1.0
        cut = [unit.cut(count) if whole else unit for unit in (self._own, self._next, *self._held_out) if unit.batches]
        pairs = [joined(cut[:2]), joined(cut[2:])] if whole >= 2 * count and all(here) else []
        failed, shares, joins, *everywhere = self.ranks.sum(
            [float(bool(self._against)), share, float(bool(pairs) and None not in pairs), *map(float, here)]
        )
        self._share = shares / self._world  # of a batch that is read: every rank says the same
        if failed:
            raise NotReadableError(self._against or ELSEWHERE)
        if joins == self._world:
            self._of_training, self._share = 1, 2 * self._share
            return [pair for pair in pairs if pair is not None]
        present = [True, *(ranks == self._world for ranks in everywhere)]
        self._of_training = 1 + present[1]
        have = iter(cut)
        found = [next(have, None) if here_too else None for here_too in (True, *here)]
        return [unit for unit, ranks in zip(found, present, strict=True) if ranks and unit is not None]

    def _losses_at(self, multiple: float, units: list[Unit]) -> list[float | None]:
        """The loss of each batch, mean over the ranks; ``None`` if it is not finite on one of them."""
        own: Sequence[float | Exception] = []
        self._cost += self._share * len(units) / 3
        try:
            self.update.move_to(multiple)
            own = self._reader.losses(units) if self._reader is not None else []
            if multiple == 0.0:
                self._against = _unreadable(own[0])
        except Exception as error:
            self._against = said(error)
        finite = [isinstance(loss, float) and math.isfinite(loss) for loss in own] or [False] * len(units)
        values = [loss if isinstance(loss, float) and math.isfinite(loss) else 0.0 for loss in own] or [0.0] * len(
            units
        )
        failed, *summed = self.ranks.sum([float(bool(self._against)), *map(float, finite), *values])
        if failed:
            raise NotReadableError(self._against or ELSEWHERE)
        counts, sums = summed[: len(units)], summed[len(units) :]
        return [
            total / self._world if count == self._world else None for count, total in zip(counts, sums, strict=True)
        ]

    @property
    def _world(self) -> int:
        return 1 if self.ranks.alone else self.ranks.world_size


def _unreadable(loss: float | Exception) -> str:
    """Why the batch of the first step cannot be read; empty if it can."""
    if isinstance(loss, Exception):
        return said(loss)
    return "" if math.isfinite(loss) else "its loss is not finite before training"


def said(error: Exception) -> str:
    """What an error says, in one line."""
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, (NotReadableError, CannotKeepError)) else f"{type(error).__name__}: {first}"
