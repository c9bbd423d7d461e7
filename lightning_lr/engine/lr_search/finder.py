"""The learning rate is found along the very first update: which multiple of it to read, and what the readings come to.

The run makes its first optimizer step at the user's rate, from θ₀ to θ₁. Then the loss of a few fixed batches is read
at θ₀ + a·(θ₁ − θ₀) for some multiples *a*, by forward passes alone. Where it is lowest gives the best rate, and hardly
depends on the rate that was given: starts 10,000 times apart lead to the same one. The update is then rescaled, not
repeated, so no step is lost.

Only differences of losses of the same batches are compared: a constant added to the loss, or a factor, changes nothing.
The figures are in docs/decisions/0014-first-update.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from lightning_lr.engine.lr_search.optimizer_kind import FADING, OptimizerKind
from lightning_lr.engine.records import SearchResult, low_enough

KEEP, KEEP_SGD = 2.5, 4.0
"""A rate is lowered if it lies above the estimate by this factor; the second one is for updates that are proportional
to the gradient, whose estimate scatters more. With a correction for the far side (``edge``) it lies around the
geometric mean of the estimates with and without it: a right rate shall not be cut by three on the word of the
correction alone."""

OUTSIDE, CAP = 5.0, 10.0
"""The size of an adaptive update does not depend on that of the loss, so the rate that is usual for its optimizer says
something of any task. A rate is raised only from below a fifth of it, if the estimate is ten times as high, and any
rate that is moved goes to ten times the usual one at the most (for 100 steps; for more, less: ``HORIZON``). At and
above the usual rate the estimate is true of the training loss alone: small sets that were learned by heart ended up to
twice worse."""

RAISE = 10.0
"""A rate is raised only if the estimate is this many times as high. A look-up over 33 tasks, where five would do no
better if the usual rate is known: docs/decisions/0014-first-update.md."""

SHORT_RUN = 300
"""Steps of a run below which the rate that is usual for an optimizer is not annealed: there is nothing to gain."""

GRID = 4.0
"""Factor between two readings; a parabola through three of them gives the minimum to 0.08 decades."""

STRIDE = 16.0
"""Factor while the loss hardly moves: from a start 100 times too low 7 readings instead of 9."""

STILL = 1e-2
"""A reading has hardly moved if its difference to the start is below this share of the spread between batches (or, with
one batch, of the largest difference seen)."""

DISTANT = 100.0
"""Spreads above the start at which a reading lies so far uphill that the stride is long too."""

MOST = 11
"""Readings at the most."""

DECADES = 1e3
"""The search reads from a thousandth to a thousand times the user's rate, unless bounds say otherwise: far beyond what
a user is wrong by, and short of what makes a sound loss raise an error."""

HORIZON, HORIZON_POWER = 100, 1 / 3
"""The best rate falls with the length of the run, as (100 / steps) ** (1/3): two fits over 80 to 1,000 steps."""

SOFT, HARD = 2.5, 0.5
SOFT_BELOW, HARD_ABOVE = 1.2, 2.0
FAR = 16.0
"""An update that is proportional to the gradient (SGD) has no bound. How the loss rises far beyond its minimum, at 16
times its place, shows what an overshoot does: p = log(rise / gain) / log(15) is 2 for a parabola. At 2 and above (plain
deep networks) it grows and kills: half the estimate. At 1.2 and below (batch norm, a fresh head on trained features) it
heals itself: 2.5 times the estimate. Between them on a logarithmic scale. Adaptive optimizers need no such factor:
their steps are bounded."""

NEAR = 4.0
"""A far reading within this factor of the minimum, cut off by the bounds, says nothing about the far side."""


@dataclass
class Finder:
    """Reads the loss along the first update.

    :meth:`ask` names the multiple to read next (0 is the start) until it returns ``None``; :meth:`tell` takes the
    losses there, one for each fixed batch; :meth:`result` then says what to do.

    >>> finder = Finder(OptimizerKind(), horizon=100)
    >>> while (a := finder.ask()) is not None:
    ...     finder.tell([2.0 - 0.2 * a + 0.005 * a * a, 2.1 - 0.2 * a + 0.005 * a * a])  # lowest at 20
    >>> result = finder.result()
    >>> round(result.factor, 1), result.checked, len(result.readings)
    (20.0, True, 5)

    Attributes:
        kind: how the optimizer goes on from its first update.
        horizon: optimizer steps that the rate is for.
        lowest: least factor of the user's rate that may be chosen, ≤ 1.
        highest: greatest one, ≥ 1.
        usual: the rate that is usual for the optimizer, in units of the user's; ``None`` if there is none.
        most: by which factor the rate may be moved at the most, in either direction.
        readings: multiple of the first update → loss of each fixed batch there.
    """

    kind: OptimizerKind
    horizon: int
    lowest: float = 1 / DECADES
    highest: float = DECADES
    usual: float | None = None
    most: float = math.inf
    readings: dict[float, tuple[float, ...]] = field(default_factory=dict)

    _pending: float | None = None
    _far: float | None = None

    # --- questions ----------------------------------------------------------------------------------------------------

    def ask(self) -> float | None:
        """The next multiple; ``None`` where enough is known."""
        self._pending = self._next()
        return self._pending

    def tell(self, losses: Sequence[float]) -> None:
        """The losses at the multiple that was asked for last; one that is not finite counts as infinite."""
        assert self._pending is not None
        self.readings[self._pending] = tuple(loss if math.isfinite(loss) else math.inf for loss in losses)
        self._pending = None

    def _next(self) -> float | None:
        if 0.0 not in self.readings:
            return 0.0
        if not math.isfinite(self._at(0.0)) or len(self.readings) >= MOST:
            return None
        if self._unit not in self.readings:
            return self._unit
        walk = self._walk()
        if walk is not None:
            return self._unread(walk)
        lowest = self._lowest()
        if lowest is None:  # a long stride may have passed over the minimum
            best = min(self._path(), key=self._at)
            return None if self._bracketed(best, best * GRID) else self._unread(best * GRID)
        for beside in (lowest * GRID, lowest / GRID):
            if beside < lowest and self._is_enough(lowest):
                continue
            if not self._bracketed(lowest, beside) and (unread := self._unread(beside)) is not None:
                return unread
        if self.kind.proportional and self._far is None:
            self._far = self._unread(FAR * self._minimum())
            return self._far
        return None

    def _unread(self, multiple: float) -> float | None:
        """That multiple, or the end of the range before it; ``None`` if it was read already."""
        within = min(max(multiple, self._nearest), self._farthest)
        return None if within in self.readings else within

    @property
    def best(self) -> float | None:
        """The multiple at which the loss was read lowest; ``None`` if that is the start."""
        return self._lowest() if len(self.readings) > 1 else None

    # --- the answer ---------------------------------------------------------------------------------------------------

    def result(self) -> SearchResult:
        """What the readings come to."""
        result = SearchResult(dict(self.readings), horizon=self.horizon, spread=self._spread())
        if not math.isfinite(self._at(0.0)):
            return result
        lowest, nearest = self._lowest(), self._path()[0]
        if lowest is None:
            # Clearly uphill to the very end of the range: too high by more than that.
            uphill = nearest <= self._nearest and math.inf > self._moved(nearest) > self._spread() > 0
            end = max(self.lowest, 1 / self.most)
            return replace(result, factor=end, estimate=self.lowest) if uphill else result
        edge = self._edge()
        estimate = self._constant * self._minimum() * edge
        too_high = estimate / math.sqrt(edge) < 1 / self._keep
        target = max(min(estimate, self._cap), self.lowest, 1 / self.most)
        return replace(
            result,
            factor=min(target, self.highest, self.most) if too_high or self._raises(estimate) else 1.0,
            estimate=estimate,
            checked=(nearest < lowest or self._is_enough(lowest)) and lowest < self._path()[-1],
            gain=self._at(0.0) - self._at(lowest),
        )

    # --- details ------------------------------------------------------------------------------------------------------

    def _at(self, multiple: float) -> float:
        return fmean(self.readings[multiple])

    def _path(self) -> list[float]:
        return sorted(multiple for multiple in self.readings if multiple > 0 and multiple != self._far)

    @property
    def _unit(self) -> float:
        """The first reading: the multiple at which the user's rate, or one that is nearer the usual, would be right."""
        far = self._beyond or (self.usual is not None and self.usual > OUTSIDE)
        rate = self._cap / math.sqrt(CAP) if far else 1.0
        return min(max(rate, self.lowest), self.highest) / self._constant

    @property
    def _shorter(self) -> float:
        """By how much the best rate falls with the length of the run."""
        return 1.0 if self.kind.endless else min(1.0, (HORIZON / self.horizon) ** HORIZON_POWER)

    @property
    def _constant(self) -> float:
        """The rate, in units of the user's, that a minimum at 1 stands for."""
        return (FADING if self.kind.fading else 1.0) / self.kind.response * self._shorter

    @property
    def _cap(self) -> float:
        return math.inf if self.usual is None else CAP * self.usual * self._shorter

    @property
    def _beyond(self) -> bool:
        """Whether the rate is far above any that is usual."""
        return self.usual is not None and self.usual < 1 / (2 * CAP)

    @property
    def _keep(self) -> float:
        """How far above the estimate a rate is kept; beyond what is usual it is enough that it lies above."""
        return KEEP_SGD if self.kind.proportional else 1.0 if self._beyond else KEEP

    @property
    def _stays(self) -> bool:
        """Whether the rate is near the usual one or above it: it is not raised, whatever the readings are."""
        return self.usual is not None and self.usual <= OUTSIDE

    def _is_enough(self, lowest: float) -> bool:
        """Whether a rate that is not raised is not too high either, as the start and the reading beyond show."""
        if not self._stays or lowest * self._constant < 1 / KEEP:
            return False
        beyond = min((a for a in self._path() if a > lowest), default=None)
        if beyond is None:
            return lowest >= self._farthest
        vertex = self._vertex(lowest, beyond)
        return vertex is not None and vertex > lowest / 2

    def _raises(self, estimate: float) -> bool:
        return estimate >= RAISE and not self._stays and self._cap > OUTSIDE

    @property
    def _nearest(self) -> float:
        """The least multiple that is read: a little below the range, so that a minimum at its end is seen."""
        return self.lowest / GRID / self._constant

    @property
    def _farthest(self) -> float:
        """The greatest one; for a rate that is not raised, what decides on its annealing; of a short run, none."""
        enough = math.inf
        if self._stays:
            enough = 1 / GRID if self.horizon < SHORT_RUN else max(1.0, low_enough(self.horizon) / GRID)
        return min(self.highest, enough) * GRID / self._constant

    def _edge(self) -> float:
        """How soft or hard the far side is: from ``SOFT`` to ``HARD``; 1 where it was not read."""
        lowest = self._lowest()
        if self._far not in self.readings or lowest is None or self._far < NEAR * self._minimum():
            return 1.0
        rise, gain = self._at(self._far) - self._at(lowest), self._at(0.0) - self._at(lowest)
        power = math.inf
        if math.isfinite(rise):
            power = math.log(max(rise / gain, 1e-9)) / math.log(self._far / self._minimum() - 1)
        share = min(1.0, max(0.0, (power - SOFT_BELOW) / (HARD_ABOVE - SOFT_BELOW)))
        return float(SOFT * (HARD / SOFT) ** share)

    def _spread(self) -> float:
        losses = self.readings[0.0]
        return stdev(losses) if len(losses) > 1 and all(map(math.isfinite, losses)) else 0.0

    def _moved(self, multiple: float) -> float:
        return self._at(multiple) - self._at(0.0)

    def _still(self, multiple: float) -> bool:
        """Whether the loss has hardly moved there."""
        scale = self._spread() or max(abs(self._moved(a)) for a in self.readings if math.isfinite(self._moved(a)))
        return abs(self._moved(multiple)) <= STILL * scale

    def _walk(self) -> float | None:
        """On from the first reading, upward while the loss falls or lies still, else downward; ``None`` at its end."""
        path = self._path()
        lowest = min(path, key=self._at)
        if self._moved(self._unit) < 0 or self._still(self._unit):
            last = path[-1]
            if self._at(last) > self._at(lowest) and not self._still(last):
                return None
            return None if last >= self._farthest else last * (STRIDE if self._still(last) else GRID)
        last = path[0]
        if self._moved(last) < 0 or self._still(last) or lowest != last or last <= self._nearest:
            return None
        return last / (STRIDE if self._moved(last) > DISTANT * self._spread() > 0 else GRID)

    def _lowest(self) -> float | None:
        """The reading at which the loss is lowest; ``None`` if that is the start."""
        lowest = min(self._path(), key=self._at)
        return lowest if self._moved(lowest) < 0 else None

    def _bracketed(self, lowest: float, multiple: float) -> bool:
        low, high = sorted((lowest, multiple))
        return any(low * 0.99 <= a <= high * 1.01 and a != lowest for a in self.readings)

    def _minimum(self) -> float:
        """Lowest point of the parabolas through the start, the lowest reading, and a neighbour: the mean of both."""
        lowest = self._lowest()
        assert lowest is not None
        path = self._path()
        place, found = path.index(lowest), []
        for neighbour in path[max(0, place - 1) : place] + path[place + 1 : place + 2]:
            vertex = self._vertex(lowest, neighbour)
            if vertex is not None:
                found.append(math.log(min(max(vertex, lowest / 2), lowest * 2)))
        return math.exp(fmean(found)) if found else lowest

    def _vertex(self, one: float, other: float) -> float | None:
        """Where the parabola through the start and two readings is lowest; ``None`` if it has no lowest point."""
        near, far = sorted((one, other))
        slope_near, slope_far = self._moved(near) / near, self._moved(far) / far
        bend = (slope_far - slope_near) / (far - near)
        return (bend * near - slope_near) / (2 * bend) if bend > 0 and math.isfinite(bend) else None
