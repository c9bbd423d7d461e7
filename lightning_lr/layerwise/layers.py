"""What a layer is: a module with a weight, together with the norms and loose biases that follow it.

A batch norm has a few numbers whose gradients tell little, and belongs to the convolution before it; one that stands
before the first weight belongs to that. A parameter that several modules share belongs to the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from lightning_lr.errors import ArgumentError
from lightning_lr.snapshot.shards import shard_again

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module", "parametrizations")
"""Parts of a name that torch puts in, and that no user knows."""


def layers_of(module: nn.Module, chosen: Sequence[str] | None = None) -> dict[str, list[nn.Parameter]]:
    """Layer → its trainable parameters, in the order of the module.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    >>> {name: len(parameters) for name, parameters in layers_of(net).items()}
    {'0': 4, '3': 2}
    >>> {name: len(parameters) for name, parameters in layers_of(net, ["0", "1"]).items()}
    {'0': 2, '1': 2, '3': 2}

    Args:
        module: the LightningModule.
        chosen: names of modules, each of which is one layer with all that is in it; what is in none of them is divided
            as usual. For a deep network a block is a better layer than each of its matrices.

    Raises:
        ArgumentError: where no module has such a name.
    """
    _check(module, chosen or ())
    shard_again(module)  # the optimizer holds the shards, and the module may show copies
    found: dict[str, list[nn.Parameter]] = {}
    seen: set[int] = set()
    leading: list[nn.Parameter] = []
    for path, own in _modules(module):
        parameters = [one for one in own if one.requires_grad and id(one) not in seen]
        seen.update(id(one) for one in parameters)
        block = next((name for name in chosen or () if path == name or path.startswith(f"{name}.")), None)
        if block is not None:
            found.setdefault(block, []).extend(parameters)
        elif any(one.dim() > 1 for one in parameters):
            found.setdefault(path, []).extend([*leading, *parameters])
            leading = []
        elif found and not (set(found) <= set(chosen or ())):
            found[next(name for name in reversed(found) if name not in (chosen or ()))].extend(parameters)
        else:
            leading += parameters
    if leading:  # nothing but vectors: all of them are one layer
        found.setdefault("all", []).extend(leading)
    return {name: parameters for name, parameters in found.items() if parameters}


def _modules(module: nn.Module) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """Name and own parameters of every module that has some; a parametrized weight belongs to its module."""
    for name, one in module.named_modules():
        own = list(one.parameters(recurse=False))
        if own:
            path = name.split(".parametrizations.")[0]
            # A weight at the top has no module to be named after.
            yield plain_name(path) or _first_name(one), own


def _first_name(module: nn.Module) -> str:
    return next(name for name, _ in module.named_parameters(recurse=False))


def plain_name(path: str) -> str:
    """A module's name without what torch's wrappers put in.

    >>> plain_name("model._orig_mod.body.0")
    'model.body.0'
    """
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def _check(module: nn.Module, chosen: Sequence[Any]) -> None:
    names = {plain_name(name) for name, _ in module.named_modules()} - {""}
    for one in chosen:
        if one not in names:
            near = ", ".join(sorted(names)[:8])
            raise ArgumentError(f"Expected `layers` to hold names of modules ({near}, …) but got {one!r}.")
