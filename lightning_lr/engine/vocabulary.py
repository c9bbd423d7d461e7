"""The words of the package: every other module speaks in these, and in no synonyms.

They are strings, so that they compare with plain text, go through JSON and load under ``weights_only=True`` (as
``.value``).
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


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


class Event(Word):
    """What happens in a run that the engine decides at; each is a method of it, and a kind of line in the journal."""

    CHECK = "check"
    """A validation, or the end of an epoch without one."""
    TRAIN_CHECK = "train_check"
    """A look at the training loss alone, between two validations."""
    SEARCH = "search"
    """The end of the search for the first learning rate."""
    WRECKED = "wrecked"
    """The losses of the steps lie far above that before training."""
    ANNEAL = "anneal"
    """From here on the learning rate falls to zero."""
    EARLY_ANNEAL = "early_anneal"
    """Likewise, because EarlyStopping has run out of patience."""


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


class Condition(str):
    """What is wrong with a run, as one check sees it. An open word: a detector may bring its own.

    There is one object for each word, so that two of them may be compared with ``is``.

    >>> Condition("plateau") is Condition.PLATEAU, Condition("late_start")
    (True, 'late_start')
    """

    __slots__ = ()

    HEALTHY: ClassVar[Condition]
    PLATEAU: ClassVar[Condition]
    OVERFITTING: ClassVar[Condition]
    DIVERGENCE: ClassVar[Condition]
    LOSS_SPIKE: ClassVar[Condition]
    NON_FINITE: ClassVar[Condition]
    OSCILLATION: ClassVar[Condition]
    SLOW_PROGRESS: ClassVar[Condition]
    INCOHERENCE: ClassVar[Condition]
    IMPROVING: ClassVar[Condition]

    _words: ClassVar[dict[str, Condition]] = {}

    def __new__(cls, word: str) -> Condition:
        """The one condition of that word."""
        if word not in cls._words:
            cls._words[str(word)] = super().__new__(cls, word)
        return cls._words[word]


for _name in Condition.__annotations__:
    if _name.isupper():
        setattr(Condition, _name, Condition(_name.lower()))


class Action(Word):
    """What is done about it."""

    HOLD = "hold"
    REDUCE = "reduce"
    RAISE = "raise"
    RESTORE = "restore"
    ANNEAL = "anneal"
    EXPLORE = "explore"
    STOP = "stop"
