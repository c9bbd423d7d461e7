"""The words of the package: every other module speaks in these, and in no synonyms.

They are strings, so that they compare with plain text, go through JSON and load under ``weights_only=True`` (as
``.value``).
"""

from __future__ import annotations

from enum import Enum


class Word(str, Enum):
    """A string with a closed list of values; formats as the bare word on every Python version."""

    # Equal to plain text, so it is found as plain text is; an enumeration's own hash is also slow.
    __hash__ = str.__hash__

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        # Readers of configuration files know a word by its name in Python: PLATEAU.
        return cls.__members__.get(value) if isinstance(value, str) else None


class Mode(Word):
    """Which direction of a metric is better; always said, never guessed from a name."""

    MIN = "min"
    MAX = "max"


class Verdict(Word):
    """The three answers of a detector. ``UNDECIDED`` means that the data cannot tell yet: nothing is done."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


class Vote(Word):
    """How many monitors must agree before a condition holds."""

    ANY = "any"
    MAJORITY = "majority"
    ALL = "all"


class Condition(Word):
    """What is the matter with a run, as one check sees it."""

    HEALTHY = "healthy"
    PLATEAU = "plateau"
    OVERFITTING = "overfitting"
    DIVERGENCE = "divergence"
    LOSS_SPIKE = "loss_spike"
    NON_FINITE = "non_finite"
    OSCILLATION = "oscillation"
    SLOW_PROGRESS = "slow_progress"
    INCOHERENCE = "incoherence"
    IMPROVING = "improving"
    CONVERGED = "converged"


class Action(Word):
    """What is done about it."""

    HOLD = "hold"
    REDUCE = "reduce"
    RAISE = "raise"
    RESTORE = "restore"
    ANNEAL = "anneal"
    EXPLORE = "explore"
    STOP = "stop"
