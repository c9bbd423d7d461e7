"""Who may import whom, and where the learning rate is written: the table of the house as tests.

The rules read source text, not the running program, so that they see an import inside a function too, and need no
torch. Each yields one sentence for each break. The last tests feed every rule a source that breaks it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lightning_lr"

LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
HEAVY = ("torch", "torchmetrics", *LIGHTNING)
NEUTRAL = (f"{PACKAGE}.core", f"{PACKAGE}.errors", f"{PACKAGE}.__about__")
"""What every part of the package may import."""
CALLBACK_FILES = tuple(f"{PACKAGE}.live.{name}" for name in ("callback_base", "controller", "layerwise"))
LR_WRITERS = (f"{PACKAGE}.live.lr_control", f"{PACKAGE}.live.group_rates")
"""The one place, in two files: which rate a group shall hold, and putting it there."""
COMMAND_LINE = (f"{PACKAGE}.offline.cli", f"{PACKAGE}.offline.report")


@dataclass(frozen=True)
class Module:
    """The source of one module, parsed."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def parse(cls, name: str, source: str, is_package: bool = False) -> Module:
        return cls(name, ast.parse(source), is_package)


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
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*parts, node.module] if node.module else parts)


def _called_name(call: ast.Call) -> str:
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


# The rules ----------------------------------------------------------------------------------------


def core_imports_only_the_standard_library_and_itself(module: Module) -> Iterator[str]:
    if _in(module, "core"):
        for found in imports(module):
            if not found.is_standard and not found.is_in(NEUTRAL):
                yield _broken(
                    module,
                    found.line,
                    f"core imports {found.target}",
                    "Core is numbers in, decisions out: ask for it in a decision and take it from the next reading.",
                )


def detectors_import_neither_each_other_nor_the_policy(module: Module) -> Iterator[str]:
    place = f"{PACKAGE}.core.detectors"
    if module.name.startswith(place + ".") and not module.name.endswith(".base"):
        for found in imports(module):
            other = found.is_in([place]) and not found.is_in([f"{place}.base", module.name])
            if other or found.is_in([f"{PACKAGE}.core.policy", f"{PACKAGE}.core.controller"]):
                yield _broken(
                    module,
                    found.line,
                    f"a detector imports {found.target}",
                    "A detector sees signals and returns a finding. What several need belongs in base.py or "
                    "statistics.py; what follows from a finding is up to the diagnosis and the policy.",
                )


def offline_never_imports_torch_lightning_or_live(module: Module) -> Iterator[str]:
    if _in(module, "offline"):
        for found in imports(module):
            if found.is_in([*HEAVY, f"{PACKAGE}.live"]):
                yield _broken(
                    module,
                    found.line,
                    f"offline imports {found.target}",
                    "Replays and reports work in an environment without torch; what both sides need belongs in core.",
                )


def offline_loads_only_core_and_the_standard_library(module: Module) -> Iterator[str]:
    if _in(module, "offline"):
        allowed = [*NEUTRAL, f"{PACKAGE}.offline", *(["rich", "jsonargparse"] if module.name in COMMAND_LINE else [])]
        for found in imports(module):
            if found.when_loaded and not found.is_standard and not found.is_in(allowed):
                yield _broken(
                    module,
                    found.line,
                    f"offline imports {found.target} when it is loaded",
                    "Import it inside the function that uses it (rich and jsonargparse may stand at the top of cli.py "
                    "and report.py), so that the command line starts at once and works without the extras.",
                )


def only_the_callback_files_import_lightning(module: Module) -> Iterator[str]:
    if module.name not in CALLBACK_FILES and not _in(module, "core"):
        for found in imports(module):
            if found.is_in(LIGHTNING):
                yield _broken(
                    module,
                    found.line,
                    f"{module.name} imports {found.target}",
                    f"Only {', '.join(CALLBACK_FILES)} may. Elsewhere the strategy and the logger arrive as arguments; "
                    "a typing.Protocol says what is needed of them.",
                )


def live_never_imports_offline(module: Module) -> Iterator[str]:
    if _in(module, "live"):
        for found in imports(module):
            if found.is_in([f"{PACKAGE}.offline"]):
                yield _broken(
                    module, found.line, f"live imports {found.target}", "What both sides need belongs in core."
                )


def metrics_import_torch_and_nothing_of_ours(module: Module) -> Iterator[str]:
    if _in(module, "metrics"):
        for found in imports(module):
            if found.is_in([f"{PACKAGE}.core", f"{PACKAGE}.live", f"{PACKAGE}.offline"]):
                yield _broken(
                    module,
                    found.line,
                    f"a metric imports {found.target}",
                    "A metric measures and works alone: detectors say what it means, run/readings/probes.py drives it.",
                )


def the_tab_imports_neither_torch_nor_lightning_nor_live(module: Module) -> Iterator[str]:
    if _in(module, "tensorboard_plugin"):
        for found in imports(module):
            if found.is_in([*HEAVY, f"{PACKAGE}.live"]):
                yield _broken(
                    module,
                    found.line,
                    f"the TensorBoard tab imports {found.target}",
                    "It runs in the TensorBoard server, and reads our summaries through its own data provider.",
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
                "(Where this is no parameter group, use another key.)",
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


def every_public_name_of_core_has_a_docstring(module: Module) -> Iterator[str]:
    if not _in(module, "core") or not module.tree.body:  # an empty __init__.py has nothing to say
        return
    if not ast.get_docstring(module.tree):
        yield _broken(module, 1, "the module has no docstring", "Say in one line what the file is about.")
    for node in module.tree.body:
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if named and not node.name.startswith("_") and not ast.get_docstring(node):
            yield _broken(
                module, node.lineno, f"{node.name} has no docstring", "Half of a file here is docstring: say why."
            )


def _in(module: Module, part: str) -> bool:
    place = f"{PACKAGE}.{part}"
    return module.name == place or module.name.startswith(place + ".")


def _broken(module: Module, line: int, what: str, instead: str) -> str:
    return f"{module.name}, line {line}: {what}. {instead}"


# The package keeps them ---------------------------------------------------------------------------


def package_modules() -> list[Module]:
    found = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module.parse(name, path.read_text(encoding="utf-8"), is_package))
    return found


def check(rule: Callable[[Module], Iterator[str]]) -> None:
    broken = [sentence for module in package_modules() for sentence in rule(module)]
    assert not broken, "\n" + "\n".join(broken)


def test_core_imports_only_the_standard_library_and_itself():
    check(core_imports_only_the_standard_library_and_itself)


def test_detectors_import_neither_each_other_nor_the_policy():
    check(detectors_import_neither_each_other_nor_the_policy)


def test_offline_never_imports_torch_lightning_or_live():
    check(offline_never_imports_torch_lightning_or_live)


def test_offline_loads_only_core_and_the_standard_library():
    check(offline_loads_only_core_and_the_standard_library)


def test_only_the_callback_files_import_lightning():
    check(only_the_callback_files_import_lightning)


def test_live_never_imports_offline():
    check(live_never_imports_offline)


def test_metrics_import_torch_and_nothing_of_ours():
    check(metrics_import_torch_and_nothing_of_ours)


def test_the_tab_imports_neither_torch_nor_lightning_nor_live():
    check(the_tab_imports_neither_torch_nor_lightning_nor_live)


def test_the_learning_rate_is_written_in_one_place():
    check(the_learning_rate_is_written_in_one_place)


def test_every_public_name_of_core_has_a_docstring():
    check(every_public_name_of_core_has_a_docstring)


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
    home = getattr(importlib.import_module(PACKAGE), "_HOME", {}).get(name) if module_name == PACKAGE else module_name
    if home and home.startswith(f"{PACKAGE}.live"):
        pytest.importorskip("torch", reason="the live side needs torch", exc_type=ImportError)
    assert hasattr(importlib.import_module(module_name), name), (
        f"{module_name}.__all__ names {name}, which is not there"
    )


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        importlib.import_module(PACKAGE).nonsense  # noqa: B018


def test_core_and_the_command_line_load_no_torch():
    light = [
        module.name
        for module in package_modules()
        if module.name == PACKAGE or _in(module, "core") or module.name == f"{PACKAGE}.offline.cli"
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'importing {name} loads {heavy}: import it where it is used'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# The rules notice ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (core_imports_only_the_standard_library_and_itself, "core.signals", "import numpy"),
        (core_imports_only_the_standard_library_and_itself, "core.signals", "def f():\n    from torch import nn"),
        (core_imports_only_the_standard_library_and_itself, "core.signals", "from lightning_lr import live"),
        (core_imports_only_the_standard_library_and_itself, "core.signals", "from ..offline import curves"),
        (core_imports_only_the_standard_library_and_itself, "core.signals", "importlib.import_module('torch')"),
        (detectors_import_neither_each_other_nor_the_policy, "core.detectors.plateau", "from . import divergence"),
        (
            detectors_import_neither_each_other_nor_the_policy,
            "core.detectors.plateau",
            "from lightning_lr.engine.policies.policy import Policy",
        ),
        (offline_never_imports_torch_lightning_or_live, "offline.replay", "def f():\n    import torch"),
        (offline_never_imports_torch_lightning_or_live, "offline.replay", "from lightning_lr.optim import lr_scale"),
        (offline_loads_only_core_and_the_standard_library, "offline.sources", "import rich"),
        (offline_loads_only_core_and_the_standard_library, "offline.cli", "import matplotlib.pyplot as plt"),
        (only_the_callback_files_import_lightning, "live.ranks", "from lightning.pytorch import Trainer"),
        (only_the_callback_files_import_lightning, "live.ranks", "import pytorch_lightning"),
        (live_never_imports_offline, "live.ranks", "from lightning_lr.offline.curves import plateau"),
        (metrics_import_torch_and_nothing_of_ours, "metrics.probe", "from lightning_lr.engine.records import Reading"),
        (the_tab_imports_neither_torch_nor_lightning_nor_live, "tensorboard_plugin.plugin", "import torch"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "group['lr'] = 0.1"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "o.param_groups[0]['lr'] *= 0.5"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "group['lr'], other = 0.1, 2"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "group.update({'lr': 0.1})"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "group.update(lr=0.1)"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "group['lr'].fill_(0.1)"),
        (every_public_name_of_core_has_a_docstring, "core.signals", "'''Module.'''\ndef f(): ..."),
        (every_public_name_of_core_has_a_docstring, "core.signals", "x = 1"),
    ],
)
def test_a_violation_is_noticed(rule, name, source):
    broken = list(rule(Module.parse(f"{PACKAGE}.{name}", source)))
    assert len(broken) == 1, broken
    assert broken[0].startswith(f"{PACKAGE}.{name}, line ")


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (core_imports_only_the_standard_library_and_itself, "core.signals", "from .records import Signal\nimport math"),
        (core_imports_only_the_standard_library_and_itself, "live.ranks", "import torch"),
        (detectors_import_neither_each_other_nor_the_policy, "core.detectors.plateau", "from .base import Detector"),
        (offline_loads_only_core_and_the_standard_library, "offline.cli", "import rich.table"),
        (offline_loads_only_core_and_the_standard_library, "offline.report", "def f():\n    import matplotlib"),
        (
            offline_loads_only_core_and_the_standard_library,
            "offline.sources",
            "if TYPE_CHECKING:\n    from matplotlib.figure import Figure",
        ),
        (only_the_callback_files_import_lightning, "live.controller", "from lightning.pytorch import Callback"),
        (only_the_callback_files_import_lightning, "live.controller", "import lightning_lr.engine.records"),
        (the_learning_rate_is_written_in_one_place, "live.lr_control", "group['lr'] = 0.1"),
        (the_learning_rate_is_written_in_one_place, "live.snapshot", "rate = group['lr']\nrecord = {'lr': rate}"),
        (every_public_name_of_core_has_a_docstring, "core.signals", "'''Module.'''\ndef _f(): ..."),
    ],
)
def test_what_is_allowed_is_left_alone(rule, name, source):
    assert list(rule(Module.parse(f"{PACKAGE}.{name}", source))) == []
