"""Pages of the documentation: links lead somewhere, code blocks run or at least parse, tables are complete."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import lightning_lr
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.gates import GATES
from lightning_lr.engine.records import Adjustment, JournalEntry
from lightning_lr.engine.settings import Settings
from lightning_lr.loggers.decision_logger import entry_numbers
from tests.helpers.readings import PROBED, Run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MADE = re.compile(r"docs/(api|tutorial)/")
FOLDERS = ("*.md", ".github/**/*.md", "docs/**/*.md", "benchmarks/**/*.md")
PAGES = [page for pattern in FOLDERS for page in sorted(ROOT.glob(pattern)) if not MADE.search(page.as_posix())]
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
PYTHON = re.compile(r"^(?:<!-- run: (\S+) -->\n)?```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
OWN_TESTS = {"add-a-detector.md", "two-optimizers.md"}
"""Pages whose blocks a test of their own runs, in an order that means something."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors that headings get on a code host and on the site."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / path).resolve() if path else page
        lost = anchor and target.suffix == ".md" and target.exists() and anchor[1:] not in anchors(target)
        if not MADE.search(target.as_posix()) and (not target.exists() or lost):
            broken.append(path + anchor)
    assert broken == []


PYTHON_BLOCKS = [
    pytest.param(page, run, block, id=f"{name(page)}:{text.count(chr(10), 0, found.start()) + 1}")
    for page in PAGES
    for text in [page.read_text(encoding="utf-8")]
    for found in PYTHON.finditer(text)
    for run, block in [found.groups()]
]


@pytest.mark.parametrize(("page", "run", "block"), PYTHON_BLOCKS)
def test_each_python_block_parses_and_names_what_there_is(
    page: Path, run: str | None, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is marked with `run:` is run; of any other the imports from this package are."""
    tree = ast.parse(block)
    if page.name in OWN_TESTS:
        return
    monkeypatch.chdir(tmp_path)
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("lightning_lr")]
    code = block if run else "\n".join(ast.unparse(node) for node in imports)
    exec(compile(code, name(page), "exec"), {"__name__": "page"})


def test_each_gate_is_explained() -> None:
    page = (DOCS / "how-to" / "why-did-it-not-reduce.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \| (?!meaning)", page, re.MULTILINE) == [gate.__name__ for gate in GATES]


def test_each_tag_is_explained() -> None:
    """Every scalar of a run with two monitors and probes; what stands for a name in the page fits any name."""
    page = (DOCS / "reference" / "tensorboard-tags.md").read_text(encoding="utf-8")
    named = re.findall(r"`([^`\s]+)`", page)
    patterns = [re.sub(r"<\w+>", "[^/]+", re.escape(tag).replace(r"\<", "<").replace(r"\>", ">")) for tag in named]
    lost = {tag for tag in logged_tags() if not any(re.fullmatch(pattern, tag) for pattern in patterns)}
    assert lost == set()


def logged_tags() -> set[str]:
    engine = DecisionEngine(Settings(monitors=("val_loss", "val_other")))
    run = Run(engine)
    tags: set[str] = set()
    for loss in (1.0, 0.9, 0.8, 0.85):
        decision = run.check({"val_loss": loss, "val_other": 2 * loss}, loss)
        reading = replace(run.readings[-1], probes=dict.fromkeys(PROBED, 0.5))
        entry = JournalEntry(reading, engine.views, engine.diagnosis, decision, Adjustment(reading.rates))
        tags.update(entry_numbers(entry))
    return tags


def test_each_public_name_is_in_the_reference() -> None:
    overview = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    names = set(lightning_lr.__all__) - {"__version__"}
    # `plot` stands in the table as the link to its page; the callbacks do as well.
    assert {name for name in names if f"`{name}`" not in overview and f"[{name}]" not in overview} == set()
    assert {name for name in names if not re.search(rf"lightning_lr\.{name}\b", pages)} == set()
