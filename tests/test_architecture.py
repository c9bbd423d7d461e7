"""The walls of the house as tests: who may import whom, what a name may be, where a learning rate is written.

The rules read source text, not the running program, so that they see an import inside a function and one for type
checkers, and need no torch. Each rule yields one sentence for each break. The last tests feed every rule a source that
breaks it. docs/architecture.md shows the same table in words.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lightning_lr"

LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
HEAVY = ("torch", "torchmetrics", *LIGHTNING)

MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    # room → what of ours it may import beside itself, `errors` and `__about__`; type-checking imports count
    "engine": (),
    "optim": ("engine.records", "engine.bounds"),
    "snapshot": ("engine.records",),
    "loggers": ("engine", "tensorboard_plugin.pages"),
    "metrics": (),
    "run": ("engine", "optim", "snapshot", "loggers", "metrics"),
    "layerwise": ("optim", "loggers", "snapshot.shards"),
    "callbacks": ("engine", "optim", "snapshot", "loggers", "metrics", "run", "layerwise", "offline.plot"),
    "offline": ("engine",),
    "tensorboard_plugin": ("engine",),
}
OUTSIDE: Mapping[str, tuple[str, ...]] = {
    # room → which packages that are not in the standard library it may import; None of these names: all but Lightning
    "engine": ("numpy",),
    "offline": ("numpy", "rich", "jsonargparse", "shtab", "matplotlib", "plotly", "tensorboard", "fsspec"),
    "tensorboard_plugin": ("werkzeug", "tensorboard", "plotly"),
}
AT_ONCE = ("numpy", "rich", "jsonargparse")
"""What the command line may import when it is loaded; anything else inside the function that uses it."""

MOST_FILES = 14
LR_WRITERS = ("optim.lr_scale", "optim.param_group_lrs")
"""The one place, in two files: which rate a group shall hold, and putting it there."""
ADAPTER = "run.trainer.trainer_adapter"
"""The one file that touches a private attribute of Lightning."""

BANNED = frozenset(
    {"course", "opening", "moment", "pace", "facts", "observer", "cadence", "suspension", "uninterrupted", "averages"}
    | {"untouched", "mute", "moves", "audit", "hypothesis", "probation", "restraint", "yields", "ripe", "story"}
    | {"told", "somebody", "nobody", "whoever"}
)
"""Words that say nothing to a newcomer: no module, class, function, argument or attribute bears one (docs/glossary.md
has the words in use). A name is split at underscores and capitals."""
BANNED_NAMES = frozenset(
    {"found_rates", "write_back", "group_rates", "replayed_batches", "host_copy", "local_tensors", "ends_at_best"}
    | {"ends_at_plateau", "in_vain", "rate_band", "begin_session", "facts_of", "signals", "Signals", "SignalTracker"}
)


@dataclass(frozen=True)
class Module:
    """The source of one module, parsed; its name without the package."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def parse(cls, name: str, source: str, is_package: bool = False) -> Module:
        return cls(name, ast.parse(source), is_package)

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Import:
    """One imported name, in full: `from a import b` is a.b."""

    target: str
    line: int
    when_loaded: bool  # neither inside a function nor for type checkers only

    def is_in(self, places: Iterable[str]) -> bool:
        return any(self.target == place or self.target.startswith(place + ".") for place in places)

    @property
    def is_standard(self) -> bool:
        return self.target.split(".")[0] in sys.stdlib_module_names

    @property
    def ours(self) -> str | None:
        """What of this package it names; None for anything else."""
        return self.target.removeprefix(f"{PACKAGE}.") if self.is_in([PACKAGE]) else None


def imports(module: Module) -> list[Import]:
    """Every import of a module, `importlib.import_module("x")` included."""
    found: list[Import] = []

    def visit(node: ast.AST, when_loaded: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, when_loaded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            found.extend(Import(f"{base}.{alias.name}", node.lineno, when_loaded) for alias in node.names)
        elif isinstance(node, ast.Call) and _called_name(node) in {"import_module", "__import__"}:
            if node.args and isinstance(node.args[0], ast.Constant):
                found.append(Import(str(node.args[0].value), node.lineno, when_loaded))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            when_loaded = False
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, False)
            for child in node.orelse:
                visit(child, when_loaded)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, when_loaded)

    visit(module.tree, True)
    return found


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = f"{PACKAGE}.{module.name}".split(".")
    parts = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*parts, node.module] if node.module else parts)


def _called_name(call: ast.Call) -> str:
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


# The rules: one module at a time ------------------------------------------------------------------


def a_room_imports_what_it_may(module: Module) -> Iterator[str]:
    allowed = [module.room, "errors", "__about__", *MAY_IMPORT.get(module.room, ())]
    if module.room in MAY_IMPORT:
        for found in imports(module):
            if found.ours is not None and not any(found.ours == a or found.ours.startswith(f"{a}.") for a in allowed):
                yield _broken(
                    module, found.line, f"imports {found.target}", f"{module.room} may import {', '.join(allowed)}."
                )


def detectors_import_neither_each_other_nor_the_policies(module: Module) -> Iterator[str]:
    if module.name.startswith("engine.detectors.") and not module.name.endswith(".base"):
        for found in imports(module):
            name = found.ours or ""
            other = name.startswith("engine.detectors") and not name.startswith(("engine.detectors.base", module.name))
            if other or name.startswith(("engine.policies", "engine.engine")):
                yield _broken(
                    module,
                    found.line,
                    f"a detector imports {found.target}",
                    "A detector sees the metrics and returns a finding. What several need belongs in base.py or in "
                    "history; what follows from a finding is up to the diagnosis and the policy.",
                )


def a_room_imports_only_its_libraries(module: Module) -> Iterator[str]:
    allowed = OUTSIDE.get(module.room)
    for found in imports(module):
        if found.is_standard or found.ours is not None:
            continue
        if allowed is not None and not found.is_in(allowed):
            yield _broken(module, found.line, f"imports {found.target}", f"{module.room} may use {', '.join(allowed)}.")
        elif allowed is None and module.room != "callbacks" and found.is_in(LIGHTNING):
            yield _broken(
                module,
                found.line,
                f"imports {found.target}",
                "Only `callbacks` may. Elsewhere Trainer, strategy and loggers arrive as arguments.",
            )


def the_door_to_fabric_is_thin(module: Module) -> Iterator[str]:
    """It reuses the callback: neither Lightning, nor any part of the engine but the records that it returns."""
    if module.name != "callbacks.fabric":
        return
    for found in imports(module):
        ours = found.ours or ""
        inner = ours.startswith("engine") and not ours.startswith("engine.records")
        if inner or ours.startswith(("optim", "snapshot", "loggers", "metrics")) or found.is_in(LIGHTNING):
            yield _broken(module, found.line, f"imports {found.target}", "What it needs, the callback does for it.")


def offline_starts_quickly(module: Module) -> Iterator[str]:
    if module.room == "offline":
        for found in imports(module):
            if found.when_loaded and not found.is_standard and found.ours is None and not found.is_in(AT_ONCE):
                yield _broken(
                    module,
                    found.line,
                    f"imports {found.target} when it is loaded",
                    "Import it inside the function that uses it: the command line starts at once, without the extras.",
                )


def the_learning_rate_is_written_in_one_place(module: Module) -> Iterator[str]:
    """`x["lr"] = …` in any form: also augmented, in a tuple, deleted, by update(), or in place on a tensor."""
    if module.name in LR_WRITERS:
        return
    for node in ast.walk(module.tree):
        subscript_written = _is_lr(node) and isinstance(node.ctx, (ast.Store, ast.Del))
        if subscript_written or (isinstance(node, ast.Call) and _call_writes_lr(node)):
            yield _broken(
                module,
                node.lineno,
                'writes the key "lr"',
                f"Only {' and '.join(LR_WRITERS)} write a learning rate; call them. "
                "(If this is no parameter group, use another key.)",
            )


def _is_lr(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "lr"


def _call_writes_lr(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    method, first = call.func.attr, call.args[0] if call.args else None
    if method == "update":
        keys = [key.value for key in getattr(first, "keys", None) or [] if isinstance(key, ast.Constant)]
        return "lr" in keys or any(keyword.arg == "lr" for keyword in call.keywords)
    if method in {"__setitem__", "setdefault", "pop"}:
        return isinstance(first, ast.Constant) and first.value == "lr"
    return method.endswith("_") and not method.startswith("_") and _is_lr(call.func.value)


def private_attributes_of_lightning_are_touched_in_one_file(module: Module) -> Iterator[str]:
    """`trainer.….​_x`, `loop._x`, `strategy._x`, `logger._x`: every one breaks with some release of Lightning."""
    if module.name == ADAPTER:
        return
    for node in ast.walk(module.tree):
        private = isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)
        if private and _root(node) in {"trainer", "loop", "strategy", "logger", "experiment", "pl_module"}:
            yield _broken(
                module, node.lineno, f"touches {ast.unparse(node)}", f"Ask for it in {ADAPTER}, with its version."
            )


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")


def no_name_is_a_private_word(module: Module) -> Iterator[str]:
    for name, line in names(module):
        parts = {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+", name)}
        parts |= {part.lower() for part in re.split(r"_+", name)}
        word = next(iter(sorted(parts & BANNED)), name.strip("_") if name.strip("_") in BANNED_NAMES else None)
        if word:
            yield _broken(module, line, f"the name {name!r} holds {word!r}", "docs/glossary.md has the word for it.")


def names(module: Module) -> Iterator[tuple[str, int]]:
    """Every name that a module gives: its own, of classes, functions, arguments, attributes and variables."""
    yield module.name.rpartition(".")[2], 1
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def every_public_name_of_the_engine_has_a_docstring(module: Module) -> Iterator[str]:
    if module.room != "engine":
        return
    if not ast.get_docstring(module.tree):
        yield _broken(module, 1, "the module has no docstring", "Say in one line what the file is about.")
    for node in module.tree.body:
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if named and not node.name.startswith("_") and not ast.get_docstring(node):
            yield _broken(
                module, node.lineno, f"{node.name} has no docstring", "Half of a file here is docstring: say why."
            )


def a_folder_says_what_lives_there(module: Module) -> Iterator[str]:
    """And who may import it: three lines or more, in its `__init__`."""
    if module.is_package and len((ast.get_docstring(module.tree) or "").splitlines()) < 3:
        yield _broken(module, 1, "the folder's docstring is too short", "What lives here, a line, who may import it.")


def _broken(module: Module, line: int, what: str, instead: str) -> str:
    return f"{module.name}, line {line}: {what}. {instead}"


RULES: Sequence[Callable[[Module], Iterator[str]]] = (
    a_room_imports_what_it_may,
    a_room_imports_only_its_libraries,
    detectors_import_neither_each_other_nor_the_policies,
    the_door_to_fabric_is_thin,
    offline_starts_quickly,
    the_learning_rate_is_written_in_one_place,
    private_attributes_of_lightning_are_touched_in_one_file,
    no_name_is_a_private_word,
    every_public_name_of_the_engine_has_a_docstring,
    a_folder_says_what_lives_there,
)

# The rules: all modules together ------------------------------------------------------------------


def cycles(modules: Sequence[Module]) -> list[list[str]]:
    """Modules that import each other, type-checking imports counted; the strongly connected parts (Tarjan 1972)."""
    known = {module.name for module in modules}
    edges = {module.name: sorted({t for i in imports(module) if (t := _module_of(i, known))}) for module in modules}
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in edges[name]:
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                found.append(sorted(part))

    for name in edges:
        if name not in order:
            visit(name)
    return found


def _module_of(found: Import, known: set[str]) -> str | None:
    name = found.ours or ""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def crowded(paths: Iterable[Path]) -> dict[str, int]:
    """Folders with more source files than a reader can keep in mind, `__init__` not counted."""
    counts: dict[str, int] = {}
    for path in paths:
        if path.name != "__init__.py":
            counts[path.parent.as_posix()] = counts.get(path.parent.as_posix(), 0) + 1
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


# The package keeps them ---------------------------------------------------------------------------


@functools.cache
def package_modules() -> list[Module]:
    found = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module.parse(name, path.read_text(encoding="utf-8"), is_package))
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule):
    broken = [sentence for module in package_modules() for sentence in rule(module)]
    assert not broken, "\n" + "\n".join(broken)


def test_no_modules_import_each_other():
    assert cycles(package_modules()) == []


def test_no_folder_is_crowded():
    assert crowded(path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*.py")) == {}


def missing_paths(text: str) -> list[str]:
    """Files and folders of the package that a text names in backticks, and that are not there."""
    named = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*(?:/|\.py))`", text)
    return [name for name in named if not (ROOT / PACKAGE / name).exists() and not (ROOT / name).exists()]


def test_the_architecture_page_names_files_that_exist():
    assert missing_paths("`engine/gates.py`, `engine/gate.py`, `run/lr_search/`, `run/search/`") == [
        "engine/gate.py",
        "run/search/",
    ]
    assert missing_paths((ROOT / "docs/architecture.md").read_text(encoding="utf-8")) == []


def test_all_is_sorted():
    """Sorted as ruff's RUF022 does not insist on: plainly, capitals first."""
    for module in package_modules():
        names = declared_all(module)
        assert names == sorted(names), f"{module.name}: sort __all__ like this: {sorted(names)}"


def declared_all(module: Module) -> list[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []


PUBLIC = [(module.name, name) for module in package_modules() for name in declared_all(module)]


@pytest.mark.parametrize(("module_name", "name"), PUBLIC, ids=[f"{m}.{n}" for m, n in PUBLIC])
def test_every_name_in_all_is_there(module_name, name):
    module = f"{PACKAGE}.{module_name}".rstrip(".")
    home = getattr(importlib.import_module(PACKAGE), "_HOME", {}).get(name) if not module_name else module
    if home and home.startswith(tuple(f"{PACKAGE}.{room}" for room in ("callbacks", "run", "optim", "snapshot"))):
        pytest.importorskip("torch", reason="these rooms need torch", exc_type=ImportError)
    assert hasattr(importlib.import_module(module), name), f"{module}.__all__ names {name}, which is not there"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        importlib.import_module(PACKAGE).nonsense  # noqa: B018


def test_the_engine_and_the_command_line_load_no_torch():
    light = [m.name for m in package_modules() if m.room in {"", "engine"} or m.name == "offline.cli"]
    names = [f"{PACKAGE}.{name}".rstrip(".") for name in light]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'importing {name} loads {heavy}: import it where it is used'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# The rules notice ---------------------------------------------------------------------------------

BREAKS = [
    (a_room_imports_what_it_may, "engine.engine", "from lightning_lr.run import plan"),
    (a_room_imports_what_it_may, "engine.engine", "from ..offline import curves"),
    (a_room_imports_what_it_may, "optim.scales", "from lightning_lr.engine.engine import DecisionEngine"),
    (a_room_imports_what_it_may, "snapshot.capture", "if TYPE_CHECKING:\n    from lightning_lr.run import plan"),
    (a_room_imports_what_it_may, "run.setup", "from lightning_lr.callbacks.controller import LearningRateController"),
    (a_room_imports_what_it_may, "run.setup", "def f():\n    from lightning_lr.offline.replay import replay"),
    (a_room_imports_what_it_may, "metrics.probe", "from lightning_lr.engine.records import Reading"),
    (a_room_imports_what_it_may, "offline.cli", "from lightning_lr.optim import scales"),
    (a_room_imports_what_it_may, "tensorboard_plugin.plugin", "from lightning_lr.offline import cli"),
    (a_room_imports_only_its_libraries, "engine.engine", "def f():\n    from torch import nn"),
    (a_room_imports_only_its_libraries, "engine.engine", "importlib.import_module('torch')"),
    (a_room_imports_only_its_libraries, "offline.cli", "def f():\n    import torch"),
    (a_room_imports_only_its_libraries, "tensorboard_plugin.plugin", "import torch"),
    (a_room_imports_only_its_libraries, "run.distributed", "from lightning.pytorch import Trainer"),
    (a_room_imports_only_its_libraries, "run.distributed", "import pytorch_lightning"),
    (detectors_import_neither_each_other_nor_the_policies, "engine.detectors.plateau", "from . import divergence"),
    (
        detectors_import_neither_each_other_nor_the_policies,
        "engine.detectors.plateau",
        "from lightning_lr.engine.policies.policy import Policy",
    ),
    (the_door_to_fabric_is_thin, "callbacks.fabric", "from lightning.fabric import Fabric"),
    (the_door_to_fabric_is_thin, "callbacks.fabric", "from lightning_lr.engine.engine import DecisionEngine"),
    (the_door_to_fabric_is_thin, "callbacks.fabric", "from lightning_lr.optim.lr_scale import LRScale"),
    (offline_starts_quickly, "offline.cli", "import matplotlib.pyplot as plt"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "group['lr'] = 0.1"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "o.param_groups[0]['lr'] *= 0.5"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "group['lr'], other = 0.1, 2"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "group.update({'lr': 0.1})"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "group.update(lr=0.1)"),
    (the_learning_rate_is_written_in_one_place, "snapshot.restore", "group['lr'].fill_(0.1)"),
    (private_attributes_of_lightning_are_touched_in_one_file, "run.setup", "trainer.fit_loop.epoch_loop._results"),
    (private_attributes_of_lightning_are_touched_in_one_file, "loggers.tensorboard", "experiment._get_file_writer()"),
    (no_name_is_a_private_word, "run.course", "x = 1"),
    (no_name_is_a_private_word, "run.setup", "class Probation: ..."),
    (no_name_is_a_private_word, "run.setup", "def f(moment): ..."),
    (no_name_is_a_private_word, "run.setup", "self.facts = 1"),
    (no_name_is_a_private_word, "run.setup", "def begin_session(): ..."),
    (every_public_name_of_the_engine_has_a_docstring, "engine.engine", "'''Module.'''\ndef f(): ..."),
    (every_public_name_of_the_engine_has_a_docstring, "engine.engine", "x = 1"),
]


@pytest.mark.parametrize(("rule", "name", "source"), BREAKS)
def test_a_break_is_noticed(rule, name, source):
    broken = list(rule(Module.parse(name, source)))
    assert len(broken) == 1, broken
    assert broken[0].startswith(f"{name}, line ")


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (a_room_imports_what_it_may, "engine.engine", "from .records import Reading\nimport lightning_lr.errors"),
        (a_room_imports_what_it_may, "optim.scales", "from lightning_lr.engine.bounds import bounded"),
        (a_room_imports_only_its_libraries, "engine.engine", "import numpy as np\nimport math"),
        (a_room_imports_only_its_libraries, "run.distributed", "import torch"),
        (a_room_imports_only_its_libraries, "callbacks.controller", "from lightning.pytorch import Callback"),
        (
            detectors_import_neither_each_other_nor_the_policies,
            "engine.detectors.plateau",
            "from .base import Detector",
        ),
        (offline_starts_quickly, "offline.cli", "import rich.table\ndef f():\n    import matplotlib"),
        (offline_starts_quickly, "offline.cli", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
        (the_learning_rate_is_written_in_one_place, "optim.lr_scale", "group['lr'] = 0.1"),
        (the_learning_rate_is_written_in_one_place, "snapshot.restore", "rate = group['lr']\nrecord = {'lr': rate}"),
        (private_attributes_of_lightning_are_touched_in_one_file, ADAPTER, "trainer.fit_loop.epoch_loop._results"),
        (private_attributes_of_lightning_are_touched_in_one_file, "run.setup", "self._trainer.x\ntrainer.__dict__"),
        (no_name_is_a_private_word, "run.setup", "messages_seen = momentum = factor = 1"),
        (every_public_name_of_the_engine_has_a_docstring, "engine.engine", "'''Module.'''\ndef _f(): ..."),
    ],
)
def test_what_is_allowed_is_left_alone(rule, name, source):
    assert list(rule(Module.parse(name, source))) == []


def test_a_short_docstring_of_a_folder_is_noticed():
    assert len(list(a_folder_says_what_lives_there(Module.parse("run", "'''One fit.'''", is_package=True)))) == 1


def test_a_cycle_is_noticed_though_it_is_for_type_checkers_only():
    first = Module.parse("a.x", "def f():\n    from lightning_lr.a.y import g")
    second = Module.parse("a.y", "if TYPE_CHECKING:\n    from lightning_lr.a.z import h")
    third = Module.parse("a.z", "from lightning_lr.a import x")
    assert cycles([first, second, third, Module.parse("a.w", "from lightning_lr.a import x")]) == [
        ["a.x", "a.y", "a.z"]
    ]


def test_a_crowded_folder_is_noticed():
    full = [Path("p", f"{i}.py") for i in range(MOST_FILES)]
    assert crowded([*full, Path("p", "__init__.py")]) == {}
    assert crowded([*full, Path("p", "one_more.py")]) == {"p": MOST_FILES + 1}
