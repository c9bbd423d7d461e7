"""Tables that are made from the source when the site is built, so that they cannot become stale.

A page names one with a comment: ``<!-- table: options lightning_lr.LearningRateController -->`` for the arguments of a
class, ``<!-- table: record lightning_lr.engine.records.Reading -->`` for the fields of a record.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx

MARK = re.compile(r"<!-- table: (options|record) (\S+) -->")
ENTRY = re.compile(r"^    (\w+): (.+(?:\n {8,}.+)*)", re.MULTILINE)
ADVICE = re.compile(r"(?<=[.:;] )((?:Raise|Lower|Set|Pass|Needed only|needed only|Change) .*)$", re.DOTALL)


def section(cls: type, name: str) -> dict[str, str]:
    """Argument or attribute → its text, from one section of a Google docstring."""
    found = re.search(rf"^{name}:\n(.*?)(?=\n\S|\Z)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE)
    entries = ENTRY.findall(found[1]) if found else []
    return {name: markdown(" ".join(text.split())) for name, text in entries}


def markdown(text: str) -> str:
    """A docstring's markup as Markdown, on one line of a table."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([\w]+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


def options(cls: type) -> list[str]:
    """Each argument: default, meaning with its unit, and when to change it."""
    rows = ["| option | default | meaning | when to change it |", "| --- | --- | --- | --- |"]
    texts = section(cls, "Args")
    for name, parameter in inspect.signature(cls).parameters.items():
        text = texts.get(name, "")
        advice = ADVICE.search(text)
        meaning = text[: advice.start()] if advice else text
        default = "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        meaning = re.sub(r"\s?Default `?[^`\s]+`?\.(?=\s|$)", "", meaning).strip()
        rows.append(f"| `{name}` | {default} | {meaning} | {advice[1] if advice else ''} |")
    return rows


def record(cls: type) -> list[str]:
    """Each field of a record and its meaning."""
    return [
        "| field | meaning |",
        "| --- | --- |",
        *(f"| `{k}` | {v} |" for k, v in section(cls, "Attributes").items()),
    ]


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the tables in the place of their comments."""

    def made(found: re.Match[str]) -> str:
        module, _, name = found[2].rpartition(".")
        cls: Any = getattr(import_module(module), name)
        rows = options(cls) if found[1] == "options" else record(cls)
        if len(rows) < 3:
            raise ValueError(f"Expected {found[2]} to have a docstring with a section to list but found none.")
        return "\n".join(rows)

    source[0] = MARK.sub(made, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
