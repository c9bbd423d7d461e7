"""How the site is built: `make docs`, without the network, every warning an error.

The pages are plain Markdown that reads as well on a code host. What only the site needs (the menu, one page for each
module) is made here; tables from docstrings and the executed tutorial are made in `extensions`.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import lightning_lr
from lightning_lr import __version__
from lightning_lr.engine.detectors import default_detectors

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "lightning_lr"

project = "lightning_lr"
author = "The lightning_lr maintainers"
copyright = f"{author}. Apache-2.0"
version = release = __version__

sys.path.insert(0, str(DOCS / "extensions"))
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "tables", "executed"]
root_doc = "index"
exclude_patterns = ["_build", "extensions"]
templates_path: list[str] = []

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_inherit_docstrings = False  # Lightning's hooks are explained in Lightning's documentation
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"lightning_lr {__version__}"
html_show_sphinx = False
html_copy_source = False

# The menu: caption → pages and patterns. A page belongs to the caption that names it, otherwise to the first whose
# pattern fits, so that a page that is added to a folder is picked up by itself. Pages of LISTS list their folder.
MENU = {
    "Getting started": ["getting-started.md", "tutorial/*.py", "faq.md"],
    "How-to guides": ["how-to/index.md"],
    "Reference": [
        *("reference/index.md", "reference/controller.md", "reference/options.md", "reference/policies.md"),
        *("reference/layerwise.md", "reference/metrics.md", "reference/records.md", "reference/plot.md"),
        *("reference/errors.md", "reference/tensorboard-tags.md", "reference/journal.md", "command-line.md"),
        *("reference/*.md", "loggers.md", "tensorboard-tab.md", "glossary.md"),
    ],
    "Explanation": ["architecture.md", "detectors/index.md", "metrics/index.md", "*.md", "decisions/index.md"],
    "For people who change the package": ["api/index.rst"],
}
LISTS = {"how-to/index": ["how-to/*.md", "cluster.md", "replay.md"]}
LISTS |= {f"{folder}/index": [f"{folder}/*.md"] for folder in ("detectors", "metrics", "decisions")}

# In the order in which the data flows; what is not named follows by name.
FIRST = ["engine.vocabulary", "engine.records", "engine.history", "engine.detectors", "engine.diagnosis"]
FIRST += ["engine.gates", "engine.lr_search", "engine.policies", "engine.engine", "engine", "errors"]
FIRST += ["callbacks", "run", "optim", "snapshot", "loggers", "layerwise", "metrics", "offline", "tensorboard_plugin"]


INTERNAL = """Internal modules
================

For people who change the package: every module, the engine first. These names may change in any release; what users
import is in the :doc:`reference <../reference/index>`.
"""


def module_names() -> list[str]:
    """Every module with something to document, the engine first, without the package's own name."""
    names = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and not parts[-1].startswith("__about") and path.read_text(encoding="utf-8").strip():
            names.append(name)

    def place(name: str) -> tuple[int, str]:
        at = [i for i, first in enumerate(FIRST) if name == first or name.startswith(first + ".")]
        return (at[0] if at else len(FIRST), name)

    return sorted(names, key=place)


def write_reference(app: Sphinx) -> None:
    """One page for each module, under docs/api (not kept in git)."""
    folder = DOCS / "api"
    folder.mkdir(exist_ok=True)
    names = module_names()
    pages = {f"{name}.rst": page(f"lightning_lr.{name}") for name in names}
    pages["index.rst"] = INTERNAL + "\n.. toctree::\n   :maxdepth: 1\n\n"
    pages["index.rst"] += "".join(f"   {name}\n" for name in names)
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def page(module: str) -> str:
    """The page of one module. What is public is documented once, in the reference, so that a search finds that."""
    public = [name for name in lightning_lr.__all__ if hasattr(import_module(module), name)]
    if module == "lightning_lr.errors":
        return f"{module}\n{'=' * len(module)}\n\nSee :doc:`../reference/errors`.\n"
    directive = f".. automodule:: {module}\n" + (f"   :exclude-members: {', '.join(public)}\n" if public else "")
    return f"{module}\n{'=' * len(module)}\n\n{directive}"


def append_menu(app: Sphinx, docname: str, source: list[str]) -> None:
    """The menu of the site, at the end of the start page, where a code host need not show it; likewise the lists."""
    listed = {page for name, patterns in LISTS.items() for page in pages_of(patterns)} - set(LISTS)
    if docname in LISTS:
        source[0] += toctree("", [page for page in pages_of(LISTS[docname]) if page != docname])
    if docname == root_doc:
        named = {page for patterns in MENU.values() for page in patterns if "*" not in page}
        placed = {root_doc, *listed, *(Path(page).with_suffix("").as_posix() for page in named)}
        for caption, patterns in MENU.items():
            pages = [
                page for pattern in patterns for page in pages_of([pattern]) if pattern in named or page not in placed
            ]
            placed.update(pages)
            source[0] += toctree(caption, pages)


def pages_of(patterns: list[str]) -> list[str]:
    """The pages that fit, without their suffix; each once."""
    paths = [path for pattern in patterns for path in sorted(DOCS.glob(pattern))]
    return list(dict.fromkeys(path.relative_to(DOCS).with_suffix("").as_posix() for path in paths))


def toctree(caption: str, pages: list[str]) -> str:
    """Markdown of one part of the menu."""
    named = [f":caption: {caption}"] if caption else []
    lines = ["", "```{toctree}", ":hidden:", *named, "", *(f"/{page}" for page in pages), "```", ""]
    return "\n".join(lines) if pages else ""


def append_cards(app: Sphinx, docname: str, source: list[str]) -> None:
    """The table of the detectors: heading and first sentence of each card, precedence from the class."""
    if docname == "detectors/index":
        ranks = {type(d).__module__.rpartition(".")[2]: d.precedence for d in default_detectors()}
        rows = ["", "| card | precedence | what it sees |", "| --- | --- | --- |"]
        for card in sorted(DOCS.glob("detectors/*.md")):
            text = card.read_text(encoding="utf-8")
            seen = re.search(r"\*\*What it sees\.\*\*\s+(.+?\.)(?:\s|$)", text, re.DOTALL)
            if seen:
                title = text.splitlines()[0].lstrip("# ")
                rows.append(f"| [{title}]({card.name}) | {ranks[card.stem]} | {' '.join(seen[1].split())} |")
        source[0] += "\n".join([*rows, ""])


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """|x| is an absolute value in our docstrings, never a reStructuredText substitution."""
    for i, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"(?<!\\)\|(?=\S)", r"\|", part) for part in parts[::2]]
        lines[i] = line if line.lstrip().startswith((">>>", "...")) else "".join(parts)


def skip_hooks(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """In the reference the callbacks are shown without the hooks that Lightning calls."""
    hooks = {"setup", "teardown", "state_dict", "load_state_dict", "state_key"}
    in_reference = app.env.docname.startswith("reference/")
    return True if in_reference and (name.startswith("on_") or name in hooks) else None


def setup(app: Sphinx) -> None:
    app.add_lexer("mermaid", TextLexer)  # shown as its source; rendering it would need the network
    app.connect("builder-inited", write_reference)
    app.connect("source-read", append_menu)
    app.connect("source-read", append_cards)
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("autodoc-skip-member", skip_hooks)
