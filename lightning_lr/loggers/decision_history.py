"""The decisions of a run that changed something, and what each brought; the newest of them kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lightning_lr.engine.journal import decision_from, plain
from lightning_lr.engine.records import Decision, Review
from lightning_lr.engine.vocabulary import Action

LONGEST = 1000
"""Decisions kept in memory; the journal has all."""

SAVED_BYTES = 20_000
"""Room for decisions in a checkpoint, as JSON: some thirty to sixty. With the windows of the series, 40 KB for fifty
monitors, the callback's own state stays under 64 KB."""


class DecisionHistory:
    """A list of decisions that forgets its oldest, and knows how many there were.

    Attributes:
        kept: the newest decisions.
        forgotten: how many came before them.
        brought: check of a decision → what it brought, of those that are kept and have been reviewed.
        helped: the checks of those that helped.

    >>> history = DecisionHistory()
    >>> len(history), history.kept
    (0, [])
    """

    def __init__(
        self,
        kept: Iterable[Decision] = (),
        forgotten: int = 0,
        brought: Mapping[int, str] | None = None,
        helped: Iterable[int] = (),
    ) -> None:
        self.kept = list(kept)
        self.forgotten = forgotten
        self.brought = dict(brought or {})
        self.helped = set(helped)

    def add(self, decision: Decision) -> None:
        """Append one."""
        self.kept.append(decision)
        if len(self.kept) > LONGEST:
            oldest = self.kept.pop(0).check
            self.brought.pop(oldest, None)
            self.helped.discard(oldest)
            self.forgotten += 1

    def add_review(self, review: Review) -> None:
        """Note what one of the decisions brought."""
        if any(decision.check == review.check for decision in self.kept):
            self.brought[review.check] = review.brought
            if review.helped:
                self.helped.add(review.check)

    @property
    def ends_with_stop(self) -> bool:
        """Whether the newest decision ended the run."""
        return bool(self.kept) and self.kept[-1].action is Action.STOP

    def __len__(self) -> int:
        """How many there were, the forgotten ones included."""
        return len(self.kept) + self.forgotten

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.kept)

    def state_dict(self) -> dict[str, Any]:
        """The newest decisions as plain values, as many as there is room for."""
        saved: list[dict[str, Any]] = []
        room = SAVED_BYTES
        for decision in reversed(self.kept):
            check = decision.check
            record = {**plain(decision), "brought": self.brought.get(check), "helped": check in self.helped}
            room -= len(json.dumps(record))
            if room < 0:
                break
            saved.insert(0, record)
        return {"kept": saved, "forgotten": len(self) - len(saved)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DecisionHistory:
        """Continue from :meth:`state_dict`."""
        kept = state["kept"]
        brought = {record["check"]: record["brought"] for record in kept if record["brought"] is not None}
        helped = [record["check"] for record in kept if record["helped"]]
        return cls([decision_from(record) for record in kept], state["forgotten"], brought, helped)
