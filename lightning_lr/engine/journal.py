"""Journal entry ↔ line of text: one JSON object a line, with a schema version.

A journal begins with a header line, which names what a replay must be configured with; each check adds one line. A run
that is resumed with other settings adds a header of its own, which holds from there on.
Numbers that are not finite are written as ``"nan"``, ``"inf"`` and ``"-inf"``, since JSON has no words for them.
Files are opened elsewhere: :mod:`lightning_lr.loggers.journal_file` writes, :mod:`lightning_lr.offline` reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from lightning_lr.engine.detectors.base import RecordedDetector
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.engine.records import (
    Adjustment,
    Decision,
    JournalEntry,
    MetricViews,
    Reading,
    Review,
    SearchResult,
)
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Condition, Event, Mode, Vote
from lightning_lr.errors import JournalError

SCHEMA = 1
"""Raised whenever a line could no longer be read as before."""


@dataclass(frozen=True)
class JournalLine:
    """What a check line holds: the reading, from which all else follows, and what was decided and done.

    Attributes:
        reading: what was known; enough to decide anew.
        decision: what was decided.
        adjustment: what the optimizers held afterwards.
        suspected: conditions that were not ruled out.
        settings: the settings from this check on, where the run was resumed with other ones; else ``None``.
        event: what happened.
        search: what was read, at the end of a search.
        review: what an earlier change has brought, at the check at which that is known.
    """

    reading: Reading
    decision: Decision
    adjustment: Adjustment
    suspected: tuple[str, ...] = ()
    settings: Settings | None = None
    event: Event = Event.CHECK
    search: SearchResult | None = None
    review: Review | None = None


def header_line(settings: Settings, run: Mapping[str, Any]) -> str:
    """The first line: the settings of the engine, and whatever else describes the run (versions, schedulers, names).

    >>> read_header(header_line(Settings(monitors=("val/loss",)), {"world_size": 2}))[0].monitors
    ('val/loss',)
    """
    detectors = [RecordedDetector.of(detector) for detector in settings.detectors]
    record = {**_opened(settings), "policy": _policy_record(settings.policy), "detectors": detectors}
    return _dump({"kind": "header", "settings": record, "run": dict(run)})


def entry_line(entry: JournalEntry) -> str:
    """The line of one check."""
    return _dump(
        {
            "kind": "check",
            "event": entry.event,
            "reading": _reading_record(entry.reading),
            **({"search": plain(entry.search)} if entry.search else {}),
            **({"review": plain(entry.review)} if entry.review else {}),
            "decision": {**_opened(entry.decision), "evidence": _worded(entry.decision.evidence)},
            "adjustment": entry.adjustment,
            "views": _view_numbers(entry.views),
            "suspected": sorted(entry.diagnosis.suspected),
        }
    )


def read_header(line: str) -> tuple[Settings, dict[str, Any]]:
    """Settings and description of the run, from the first line.

    Raises:
        JournalError: where the line is no header that this version can read.
    """
    record = parse(line)
    if record.get("kind") != "header":
        raise JournalError(f"Expected a journal's header line but got a line of kind {record.get('kind')!r}.")
    try:
        return _settings(record["settings"]), dict(record["run"])
    except _MALFORMED as error:
        raise JournalError(f"Expected a complete header line but {_wrong(error)}.") from error


def is_header(line: str) -> bool:
    """Whether a line says that it is a header, without reading the rest of it.

    >>> is_header(header_line(Settings(), {}))
    True
    """
    return line.startswith(f'{{"schema": {SCHEMA}, "kind": "header"')


def read_line(line: str) -> JournalLine:
    """The reading, decision and adjustment of one check line.

    Raises:
        JournalError: where the line is no check that this version can read.

    >>> read_line('{"schema": 99, "kind": "check"}')
    Traceback (most recent call last):
    lightning_lr.errors.JournalError: Expected a journal of schema 1 or earlier but got schema 99. Update lightning-lr.
    """
    record = parse(line)
    if record.get("kind") != "check":
        raise JournalError(f"Expected a journal's check line but got a line of kind {record.get('kind')!r}.")
    try:
        return JournalLine(
            reading=_read(Reading, {"reset": "", **record["reading"]}),
            decision=decision_from(record["decision"]),
            adjustment=_read(Adjustment, record["adjustment"]),
            suspected=tuple(record["suspected"]),
            event=Event(record["event"]),
            search=_read(SearchResult, record["search"]) if record.get("search") else None,
            review=_read(Review, record["review"]) if record.get("review") else None,
        )
    except _MALFORMED as error:
        raise JournalError(f"Expected a complete check line but {_wrong(error)}.") from error


def parse(line: str) -> dict[str, Any]:
    """One line as a plain dictionary, with its schema checked.

    Raises:
        JournalError: where it is no JSON object, or of a later schema.

    >>> parse('{"sch')
    Traceback (most recent call last):
    lightning_lr.errors.JournalError: Expected one JSON object a line but got '{"sch'. The line may have been cut off.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # cut off, no JSON, or nested without end
        record = None
    if not isinstance(record, dict):
        raise JournalError(f"Expected one JSON object a line but got {line[:40]!r}. The line may have been cut off.")
    if not isinstance(record.get("schema"), int):
        raise JournalError(f"Expected a journal line with a schema number but got {line[:40]!r}.")
    if record["schema"] > SCHEMA:
        raise JournalError(
            f"Expected a journal of schema {SCHEMA} or earlier but got schema {record['schema']}. Update lightning-lr."
        )
    return record


_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What comes up where a line is JSON, but not the record that it should be."""


def _wrong(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else f"a value in it is wrong: {error}"


def _dump(record: Mapping[str, Any]) -> str:
    whole = {"schema": SCHEMA, **record}
    try:
        line = json.dumps(whole, ensure_ascii=False, allow_nan=False, default=_opened)
    except ValueError:  # a metric or a rate that is not finite, which few lines have: to look for one costs tenfold
        line = json.dumps(plain(whole), ensure_ascii=False, allow_nan=False)
    # JSON leaves these three as they are, and `str.splitlines` takes them for line ends.
    return line.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


_RECORDED = {"sentence": "reason"}
"""Field of a record that may still be unwritten → the attribute that writes it."""


def _opened(value: Any) -> Any:
    """What JSON has no form for, one level deep."""
    if is_dataclass(value):
        names = (_RECORDED.get(field.name, field.name) for field in fields(value))
        return {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"Expected a record of plain values but got a {type(value).__name__}.")


def plain(value: Any) -> Any:
    """A record as JSON has it: enumerations and numbers that are not finite as words, mappings, lists."""
    if is_dataclass(value) and not isinstance(value, type):
        value = _opened(value)
    if isinstance(value, str):
        return str(value)  # a word of ours: a plain string loads under `weights_only=True`
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def _worded(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Those that are not finite as words: at a new best no slope is known yet, and nearly every line says so."""
    return {name: number if math.isfinite(number) else str(number) for name, number in numbers.items()}


def _view_numbers(views: MetricViews) -> dict[str, dict[str, float | str]]:
    """The numbers of each series that a reader needs; the values themselves stand in the readings already."""
    series = [*views.monitors, *views.gaps.values(), *([views.train] if views.train else [])]
    return {
        s.name: _worded(
            {
                "best": s.shown(s.best),
                "since_best": s.since_best,
                "noise": s.noise,
                "slope": s.shown(s.trend.slope),
                "slope_error": s.trend.error,
            }
        )
        for s in series
    }


def _policy_record(policy: Policy) -> dict[str, Any]:
    """Every number of a policy, and which class reads them; a table of the user's own is read as a plain one."""
    kinds = {name: type(preset) for name, preset in PRESETS.items() if isinstance(policy, type(preset))}
    kind, read_by = next(iter(kinds.items()), ("table", Policy))
    return {"kind": kind, **{field.name: getattr(policy, field.name) for field in fields(read_by)}}


def _policy(record: Mapping[str, Any]) -> Policy:
    numbers = {name: value for name, value in record.items() if name != "kind"}
    kind = Policy if record["kind"] == "table" else type(PRESETS[record["kind"]])
    return kind(**{**numbers, "responses": {name: Response(**r) for name, r in record["responses"].items()}})


def _settings(record: Mapping[str, Any]) -> Settings:
    return Settings(
        **{
            **record,
            "policy": _policy(record["policy"]),
            "monitors": tuple(record["monitors"]),
            "mode": Mode(record["mode"]),
            "vote": Vote(record["vote"]),
            "min_lr": _tupled(record["min_lr"]),
            "max_lr": _tupled(record["max_lr"]),
            "detectors": tuple(_detector(detector) for detector in record["detectors"]),
        }
    )


def _detector(record: Mapping[str, Any]) -> RecordedDetector:
    return RecordedDetector(**{**record, "condition": Condition(record["condition"])})


def _reading_record(reading: Reading) -> Mapping[str, Any]:
    record: dict[str, Any] = _opened(reading)
    return record if reading.reset else {name: value for name, value in record.items() if name != "reset"}


def decision_from(record: Mapping[str, Any]) -> Decision:
    """The decision that :func:`plain` made a record of."""
    return _read(Decision, {**record, "sentence": record["reason"]})


R = TypeVar("R")
Reader = Callable[[Any], Any]


def _read(kind: type[R], record: Mapping[str, Any]) -> R:
    """A record from what JSON has of its fields; fields that it does not know are left out.

    >>> from lightning_lr.engine.records import Rate
    >>> _read(Rate, {"scheduled": 0.1, "scale": "nan", "applied": 1, "weather": "fine"})
    Rate(scheduled=0.1, scale=nan, applied=1.0)
    """
    made = object.__new__(kind)  # the constructor of a frozen record takes four times as long
    made.__dict__.update({name: read(record[name]) for name, read in _readers(kind)})  # type: ignore[arg-type]
    return made


@cache
def _readers(kind: Any) -> Sequence[tuple[str, Reader]]:
    return [(name, _reader(hint)) for name, hint in get_type_hints(kind).items()]


def _reader(hint: Any) -> Reader:
    """What makes a value of this type of what JSON has of it: NaN and infinity are words there, tuples lists."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return partial(_read, hint) if is_dataclass(hint) else hint
    first = _reader(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return lambda value: tuple(map(first, value))
    if get_origin(hint) is Mapping:
        other = _reader(get_args(hint)[1])
        if first is str:  # as JSON's keys are
            return lambda value: {key: other(item) for key, item in value.items()}
        return lambda value: {first(key): other(item) for key, item in value.items()}
    return lambda value: None if value is None else first(value)  # of a union the first type


def _tupled(bound: Any) -> Any:
    return tuple(bound) if isinstance(bound, list) else bound
