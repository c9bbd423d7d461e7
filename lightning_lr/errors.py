"""Every error that this package raises on purpose.

::

    LightningLRError
    ├── ArgumentError          (also ValueError)   a setting that cannot work, found at construction
    ├── MissingMetricError     (also KeyError)     a monitor that was never logged
    ├── UnsupportedError       (also RuntimeError) a Trainer that the asked-for feature cannot work with
    ├── StateError             (also ValueError)   a checkpoint of a version that this one cannot continue
    ├── JournalError           (also ValueError)   a journal line that cannot be read
    └── LogError               (also ValueError)   a run, of whatever logger, with nothing in it that can be read

Each message says what was expected, what was found, and what to do.
"""


class LightningLRError(Exception):
    """The root: ``except LightningLRError`` catches whatever this package raises on purpose."""


class ArgumentError(LightningLRError, ValueError):
    """A setting that cannot work, found before training starts."""


class MissingMetricError(LightningLRError, KeyError):
    """A monitor that was never logged."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message, with quotes and escaped line ends.
        return str(self.args[0]) if self.args else ""


class UnsupportedError(LightningLRError, RuntimeError):
    """A Trainer, strategy or optimizer that the asked-for feature cannot work with."""


class StateError(LightningLRError, ValueError):
    """A state in a checkpoint that this version cannot continue."""


class JournalError(LightningLRError, ValueError):
    """A journal line that cannot be read."""


class LogError(LightningLRError, ValueError):
    """A run, of whatever logger, that cannot be read, or that holds nothing to read."""
