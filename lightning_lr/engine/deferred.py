"""Records of which the costly part is worked out when somebody asks for it, and not before.

Most checks hold, and nobody reads the sentence and the evidence of a check that holds; few ask for a trend. Made at
each check all the same, they would cost several times what the decision costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

Record = TypeVar("Record", bound="Deferred")


class Deferred:
    """Base of a frozen dataclass whose missing fields are worked out on the first look at one of them.

    It may be made in the ordinary way too, with all fields at once; nobody can tell the two apart.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Sum(Deferred):
    ...     name: str
    ...     total: int
    >>> late = Sum.deferred(lambda: {"total": print("adding up") or 5}, name="a")
    >>> late.total, late.total, late == Sum("a", 5)
    adding up
    (5, 5, True)
    """

    @classmethod
    def deferred(cls: type[Record], rest: Callable[..., Any], **known: Any) -> Record:
        """A record that has only the fields that are known.

        Args:
            rest: gives the other fields, all at once; a ``partial`` of a method rather than a lambda, so that the
                record can be pickled.
            known: the fields that are at hand.
        """
        record = object.__new__(cls)
        known["_rest"] = rest
        object.__setattr__(record, "__dict__", known)  # it is ours alone: no need to copy it
        return record

    if not TYPE_CHECKING:  # a type checker would conclude that there is every attribute

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is not there: one that was put off, or a mistake."""
            if name not in self.__dataclass_fields__ or "_rest" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            self.__dict__.update(self._worked_out(name))
            return self.__dict__[name]

    def _worked_out(self, name: str) -> Mapping[str, Any]:
        """The field of that name, and those that come with it."""
        rest: Callable[[], Mapping[str, Any]] = self.__dict__.pop("_rest")
        return rest()
