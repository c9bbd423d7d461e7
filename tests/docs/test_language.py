"""Words that plain technical English does without: none stands in text that a user reads.

User-facing text is: the README and the pages of the documentation; docstrings; messages, that is every other text in
the package with a space in it, the help of the command line included. Names, comments and tests are not.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["*.md", ".github/**/*.md", ".github/**/*.yml", "docs/*.md", "docs/how-to/*.md", "docs/reference/*.md"]
PAGES += ["docs/detectors/*.md", "docs/metrics/*.md", "docs/tutorial/*.py", "examples/**/*.py", "examples/**/*.sh"]
SOURCES = ["lightning_lr/**/*.py"]

BANNED = {
    # word or phrase, as a pattern → what to write
    r"nobody|no one|somebody|anybody|whoever|whomever": "name the person or use the passive",
    r"as people do": "leave it out",
    r"looks after itself": "is managed",
    r"(?:is|are|was|were) no numbers?|no number\b|lost weights": "NaN or infinite",
    r"comes? back|came back|(?:brings?|brought) back": "is restored, recovers",
    r"goes back to": "is restored",
    r"brought down|taken down": "reduced",
    r"sleeps?|wakes?|asleep": "is skipped, runs",
    r"on the move": "has changed",
    r"probation": "reviewed",
    r"audits?|audited": "review",
    r"tournament": "short trials",
    r"for ever": "until the end, always",
    r"all was won|is won|was won|what is gained": "the gain",
    r"is said|are said|was said|it says so|that is said|is told|are told": "is logged, is reported",
    r"survives? a kill|a run that nothing befell": "exact resume",
    r"leaves? no trace": "is bit-identical",
    r"at hand": "available",
    r"in vain": "without effect",
    r"good to know": "note",
    r"neighbours": "compatibility, next ones",
    r"second house": "the layout",
    r"octaves?": "factor of two",
    r"asks|tells|wakes|wants": "the code does nothing of the kind: reads, reports, requires",
    r"as ever": "as usual",
    r"makes? good|made good": "recovers",
}
PATTERN = re.compile("|".join(rf"(?P<g{i}>\b(?:{words})\b)" for i, words in enumerate(BANNED)), re.IGNORECASE)
ADVICE = list(BANNED.values())


def found_in(text: str) -> Iterator[str]:
    """One sentence for each banned word, with its place."""
    flat = re.sub(r"`[^`\n]+`|\]\([^)]*\)", lambda code: " " * len(code[0]), text)  # names and links are not words
    flat = re.sub(r"\s", " ", flat)
    for hit in PATTERN.finditer(flat):
        number = text.count("\n", 0, hit.start()) + 1
        advice = ADVICE[int(str(hit.lastgroup)[1:])]
        yield f"line {number}: {hit[0]!r}: {advice}"


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each docstring and message of a module: every string with a space in it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
        if token.type in kinds and " " in token.string.strip():
            yield token.start[0], token.string


def problems(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(found_in(text))
    lines = []
    for line, string in texts_of(text):
        for hit in found_in(string):
            place, _, rest = hit.removeprefix("line ").partition(":")
            lines.append(f"line {line + int(place) - 1}:{rest}")
    return lines


def files() -> list[Path]:
    return sorted({path for pattern in [*PAGES, *SOURCES] for path in ROOT.glob(pattern)})


def test_there_are_files() -> None:
    assert len(files()) > 50


@pytest.mark.parametrize("folder", sorted({path.parent.relative_to(ROOT).as_posix() for path in files()}))
def test_no_banned_word(folder: str) -> None:
    bad = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.parent.relative_to(ROOT).as_posix() == folder:
            bad += [f"{name}, {problem}" for problem in problems(path)]
    assert bad == [], "\n".join(bad)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("fine\nand nobody\nelse", 2),
        ("The weights come\nback at once", 1),  # a phrase over the end of a line
        ("a run that survives a kill", 1),
    ],
)
def test_the_rule_finds_what_it_should(text: str, line: int) -> None:
    (problem,) = found_in(text)
    assert problem.startswith(f"line {line}:")


def test_code_and_names_are_not_words() -> None:
    assert list(found_in("`come_back`, [x](docs/nobody.md), roommate")) == []
    assert [text for _, text in texts_of('x = "one two"  # nobody here\nnobody = 1\n')] == ['"one two"']


def test_each_pattern_compiles_alone() -> None:
    for words in BANNED:
        ast.literal_eval(repr(words))
        re.compile(words)
