"""Pages of the documentation: links lead somewhere, code blocks run or at least parse, tables are complete."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lightning_lr.engine.gates import GATES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MADE = re.compile(r"docs/(api|tutorial)/")
PAGES = [
    page
    for page in [
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    ]
    if not MADE.search(page.as_posix())
]
LINK = re.compile(r"(?<!`)\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
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
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        made = MADE.search(target.as_posix())
        if not made and (
            not target.exists() or (anchor and target.suffix == ".md" and anchor[1:] not in anchors(target))
        ):
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
def test_each_python_block_parses_and_names_what_there_is(page: Path, run: str | None, block: str) -> None:
    """A block that is marked with `run:` is run; of any other the imports from this package are."""
    tree = ast.parse(block)
    if page.name in OWN_TESTS:
        return
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("lightning_lr")]
    code = block if run and run != "print" else "\n".join(ast.unparse(node) for node in imports)
    exec(compile(code, name(page), "exec"), {"__name__": "page"})


def test_each_gate_is_explained() -> None:
    page = (DOCS / "how-to" / "why-did-it-not-reduce.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [gate.__name__ for gate in GATES]
