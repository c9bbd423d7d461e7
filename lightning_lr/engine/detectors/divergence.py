"""Divergence: the training loss has lost ground for good, and validation does not contradict it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_lr.engine import text
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.history.stall import FEWEST, logistic
from lightning_lr.engine.history.statistics import NOISE_WINDOW, middle, robust_noise
from lightning_lr.engine.records import Finding, MetricView, MetricViews, TrainWindow
from lightning_lr.engine.vocabulary import Condition


@dataclass(frozen=True)
class DivergenceDetector(Detector):
    """States the probability that training has lost ground for good, by either of two comparisons.

    * **With the levels before.** A level is the mean training loss of a check. The lower of the newest two, so that one
      spike is not two checks, is compared with the median of those before the newest three, over the last 32: noise
      cannot lower a median, and in a descent it lies above the level. The rise must be several times its standard
      error, and a good part of all that was gained since the loss before training.
    * **With the loss before training**, if it was measured: from the first checks on, a level above it that does not
      fall, by several times the noise and all that was gained meanwhile.

    Validation must be worse too, by the same comparison; if it is not, the answer is no. If there is none, or none
    since (between two validations), training must be clearer. After an adjustment the loss must have risen anew: what
    falls back, or stays where it was, is answered already.

    Args:
        clear: standard errors of the rise at which the probability is one half; 0.95 three above. 5: noise of a third
            of the total fall gave not one alarm in 500 descents.
        part: share of the gain that must be lost for one half. 0.2; the probability is 0.8 at 0.37.
        alone: by how many standard errors the rise must be clearer without validation. 3.
        worse: standard errors by which validation must be worse for one half. 2.
        above: by how many times all that was gained the loss must lie above that before training for one half. 1.
        memory: levels that the median is taken of, the newest included. 32.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> levels, detector = MetricHistory("train_loss"), DivergenceDetector()
    >>> for check, loss in enumerate([2.3, 2.0, 1.6, 1.4, 1.3, 1.27, 1.25, 1.3, 2.9, 5.6, 8.8]):
    ...     view = levels.update(loss, check)
    >>> for finding in detector.examine(MetricViews(10, (), levels=view)):
    ...     print(finding)
    divergence: yes (the training loss rose from 1.35 to 5.6 (56 deviations): ...; diverging (99 % likely))
    """

    condition = Condition.DIVERGENCE
    precedence = 20  # with lost ground every statement about generalization is void
    urgent = True
    color, mark = "#d55e00", "triangle-up"

    clear: float = 5.0
    part: float = 0.2
    alone: float = 3.0
    worse: float = 2.0
    above: float = 1.0
    memory: int = 32

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding on the training loss, if it shows a level at this check; else none."""
        levels = views.levels or views.train
        if levels is None or not levels.fresh or not math.isfinite(levels.value):
            return ()
        witness = self._witness(views, levels.name)
        ways = (self._above_start(levels, witness, views.window), self._above_before(levels, witness, views.validated))
        said = [way for way in ways if way is not None]
        if not said:
            return (self.stated(math.nan, views, levels, known_checks=float(levels.count), fewest=float(FEWEST)),)
        odds, evidence = max(said, key=lambda way: way[0])
        return (self.stated(logistic(odds), views, levels, **evidence),)

    def rules_out(self, views: MetricViews) -> bool:
        """Whether the lower of the newest two levels is above neither those before nor the loss before training."""
        levels = views.levels or views.train
        if levels is None or not levels.fresh or len(levels.recent) < FEWEST or levels.since_change < 2:
            return False
        witness = self._witness(views, levels.name)
        if witness is not None and (len(witness.recent) < FEWEST or witness.since_change < 2):
            return False
        level = min(levels.recent[-2:])
        return not level > levels.start and level <= middle(self._earlier(levels)) and math.isfinite(levels.value)

    def describe(self, finding: Finding) -> str:
        """From where to where it rose, in deviations and of what was gained; or how it compares with the start."""
        known, subject = finding.evidence, _in_words(finding.monitor)
        if "fewest" in known:
            return text.cannot_tell_yet(known["known_checks"], known["fewest"])
        if "height" not in known:
            why = text.above_start(subject, known["level"], known["start"], "witness_level" in known)
        else:
            lost = known["lost"] if known["gained"] else math.inf
            agrees = "witness_height" in known
            why = text.diverged(subject, known["before"], known["level"], known["height"], lost, agrees)
        return text.probably("diverging", finding.score, why)

    def _witness(self, views: MetricViews, name: str) -> MetricView | None:
        """The held-out loss of this check, else the first monitor."""
        first = views.fresh[0] if views.fresh else None
        if first is None or first.name == name:
            return None
        return views.beside.get(first.name, first)

    def _above_before(self, levels: MetricView, witness: MetricView | None, validated: int) -> Stated | None:
        """By the levels before."""
        rise = self._rise(levels, 2)
        if rise is None:
            return None
        odds = rise["height"] - self.clear
        if witness is not None:
            # Between the last two checks there may have been one validation alone, or none.
            seen = self._rise(witness, min(2, validated))
            if seen is None:
                return None
            odds = min(odds, 2 * (seen["height"] - self.worse))
            rise["witness_height"] = seen["height"]
        else:
            odds -= self.alone
        return min(odds, 8 * (rise["lost"] - self.part)), rise

    def _rise(self, view: MetricView, newest: int) -> dict[str, float] | None:
        """The lower of the newest levels against those before; ``None`` if there are too few of either."""
        values = view.recent[-self.memory :]
        since = view.values
        if len(values) < FEWEST or len(since) < newest:
            return None
        earlier = self._earlier(view)
        before, level = middle(earlier), min(values[-newest:])
        if level <= before:
            return {"before": before, "level": level, "height": 0.0, "lost": 0.0, "gained": 1.0, "above_start": 0.0}
        tiny = max(1e-12 * abs(view.first), 1e-300)
        calm = view.recent[-NOISE_WINDOW - 2 : -2]
        # Read from few values, a noise may by luck be a fraction of what it is.
        noise = max(robust_noise(calm) * (1 + 1 / (len(calm) - 2)), tiny)
        if len(since) < view.count and level - min(since) < 2 * noise:
            level = before  # not above what it was since the adjustment, which has answered the rise
        gain = (view.first if math.isnan(view.start) else view.start) - before
        return {
            "before": view.shown(before),
            "level": view.shown(level),
            "height": (level - before) / (noise * math.sqrt(1 + 1.6 / len(earlier))),
            "lost": (level - before) / max(gain, 3 * noise),
            "gained": float(gain > 3 * noise),
            "above_start": float(level > view.start),
        }

    def _earlier(self, view: MetricView) -> tuple[float, ...]:
        """The levels that the newest are compared with."""
        values = view.recent[-self.memory :]
        return values[:-3] if len(values) > 6 else values[:-2]

    def _above_start(self, levels: MetricView, witness: MetricView | None, window: TrainWindow | None) -> Stated | None:
        """By the loss before training.

        How far above counts in noise, and in what was gained meanwhile: a loss has no zero to measure it by.
        """
        if math.isnan(levels.start):
            return None
        late, noise = self._late(levels, window)
        if not late or math.isnan(noise):
            return None
        level = min(late)
        rise, gain = level - levels.start, levels.start - levels.best
        # What falls had too large first steps, or a warm-up.
        odds = -math.inf if late[-1] < late[0] - 2 * noise else rise / noise - self.clear
        if gain > 3 * noise:
            odds = min(odds, 4 * (rise / gain - self.above))
        known = {"level": levels.shown(level), "start": levels.shown(levels.start), "above_start": 1.0}
        if witness is None or math.isnan(witness.start) or math.isnan(witness.value):
            odds -= self.alone
        elif witness.value > witness.start:
            known |= {"witness_level": witness.shown(witness.value), "witness_start": witness.shown(witness.start)}
        else:
            odds = -math.inf
        return odds, known

    def _late(self, levels: MetricView, window: TrainWindow | None) -> tuple[Sequence[float], float]:
        """The newest two levels, or the last blocks of a single one, and their noise; none if they fall back."""
        since, blocks = levels.values, window.blocks if window is not None else ()
        noise = max(robust_noise(blocks), 1e-300) if len(blocks) >= FEWEST else levels.noise
        if len(since) > 1:
            falls_back = len(since) < levels.count and since[-1] < since[-2]
            return (() if falls_back else since[-2:]), noise + 1e-300
        return (blocks[len(blocks) // 2 :] if len(blocks) >= FEWEST and since else ()), noise


Stated = tuple[float, dict[str, float]]
"""The odds as a logarithm, and the evidence."""


def _in_words(name: str) -> str:
    return "the training loss" if name == TRAIN_LOSS else name
