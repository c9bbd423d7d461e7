"""Averages of the weights that a callback, an optimizer or an object on the module keeps: restored with the weights.

Else one NaN loss would stay in the average for good. Known are torch's ``AveragedModel`` (``WeightAveraging`` holds
one), and by their form: a copy of the module or of a part of it, a dict of tensors with the names of its parameters
(``shadow``), a list of tensors with their shapes. The average of ``StochasticWeightAveraging`` counts outside of it,
and is left alone. An average that is a part of the LightningModule is copied with that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_lr.run.trainer.callback_kinds import is_a
from lightning_lr.snapshot.shards import named

OF_TORCH = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
FOREIGN = ("torch", "lightning", "pytorch_lightning", "torchmetrics", "lightning_lr", "builtins", "collections")


def averaged_models_of(
    callbacks: Iterable[Any], module: nn.Module, optimizers: Iterable[Any] = ()
) -> dict[str, dict[str, Tensor]]:
    """Each average by its holder and attribute: name → tensor.

    Args:
        callbacks: ``trainer.callbacks``.
        module: the LightningModule.
        optimizers: ``trainer.optimizers``.
    """
    shapes, found = _Shapes(module), {}
    for holder, name, held in _held(callbacks, module, optimizers):
        tensors = shapes.average(held)
        if tensors:
            found[f"{holder}.{name}"] = tensors
    return found


def _held(callbacks: Iterable[Any], module: nn.Module, optimizers: Iterable[Any]) -> Iterator[tuple[str, str, Any]]:
    holders = {
        **{callback.state_key: callback for callback in callbacks if not is_a(callback, "StochasticWeightAveraging")},
        **{f"optimizer {index}": optimizer for index, optimizer in enumerate(optimizers)},  # Lookahead's slow weights
        "module": module,
    }
    for holder, one in holders.items():
        for name, held in list(vars(one).items()):
            if name in OF_TORCH:
                continue
            yield holder, name, held
            # In a list, so that it is no part of the module.
            pairs = held.items() if type(held) is dict else enumerate(held) if type(held) in (list, tuple) else ()
            yield from ((holder, f"{name}[{key}]", one) for key, one in pairs if isinstance(one, nn.Module))
            # A helper with the average inside, such as an `ExponentialMovingAverage` of the user's.
            if type(held).__module__.split(".")[0] not in FOREIGN and not isinstance(held, nn.Module):
                inside: dict[str, Any] = getattr(held, "__dict__", {})
                yield from ((holder, f"{name}.{inner}", value) for inner, value in list(inside.items()))


class _Shapes:
    """What the parameters of the module and its parts look like."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = set(module.modules())
        self._lists: set[tuple[Any, ...]] | None = None

    def average(self, held: Any) -> dict[str, Tensor]:
        """The tensors of what is held if it is an average, else none."""
        if isinstance(held, nn.Module):
            if held in self._parts:
                return {}
            return dict(named(held)) if is_a(held, "AveragedModel") or self._fits(list(held.parameters())) else {}
        if isinstance(held, Mapping):
            tensors = {str(name): one for name, one in held.items() if isinstance(one, Tensor)}
            return tensors if tensors and self._named(tensors) else {}
        if isinstance(held, (list, tuple)) and held and all(isinstance(one, Tensor) for one in held):
            return {str(at): one for at, one in enumerate(held)} if self._fits(list(held)) else {}
        return {}

    def _fits(self, tensors: list[Tensor]) -> bool:
        if self._lists is None:
            lists = [list(part.parameters()) for part in self._parts]
            lists += [[param for param in part if param.requires_grad] for part in lists]
            self._lists = {tuple(param.shape for param in part) for part in lists if part}
        return tuple(one.shape for one in tensors) in self._lists

    def _named(self, tensors: Mapping[str, Tensor]) -> bool:
        for part in self._parts:
            own: dict[str, Tensor] = {**dict(part.named_parameters()), **dict(part.named_buffers())}
            trained = {name for name, one in part.named_parameters() if one.requires_grad}
            same = trained and trained <= tensors.keys() <= own.keys()
            if same and all(one.shape == own[name].shape for name, one in tensors.items()):
                return True
        return False
