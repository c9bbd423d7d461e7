"""A host copy of what training changes on this rank: to go back is exact, to the last bit.

Copied are the parameters, the buffers (also those that checkpoints leave out), the optimizers' ``state``, the gradient
scaler's, and the averages of the weights that other callbacks keep. Not copied: ``param_groups`` (learning rates belong
to ``optim``), gradients, the random state, metrics, and whatever a module holds outside of parameters and buffers.
Going back writes into the very tensors that training uses, so tied weights stay tied and captured graphs stay valid.

Each rank keeps its own shards (``to_local()`` of a DTensor) in host memory, pinned where they come from a GPU.
There is no collective. Memory is one copy, also while the next snapshot is taken, if that may reuse the former's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError
from lightning_lr.snapshot.capture import Sources, describe_optimizer, to_host
from lightning_lr.snapshot.restore import Plan, joined_since, put_state
from lightning_lr.snapshot.shards import named

VERSION = 1
AveragedModels = Mapping[str, nn.Module]
NONE: AveragedModels = {}
P = ParamSpec("P")
R = TypeVar("R")


def _outside_autograd(function: Callable[P, R]) -> Callable[P, R]:
    """Also outside inference mode, in which validation hooks run: its tensors could never be trained again."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped


@dataclass
class Snapshot:
    """Weights, buffers, optimizer state and scaler state at one moment; made by :meth:`take`.

    Attributes:
        tensors: the host copies, each distinct tensor once.
        on_host: for each, whether the original lay in host memory too (step counters often do).
        module: parameter or buffer name → number in ``tensors``.
        optimizers: for each optimizer its parameters' local ``"shapes"`` over all groups, and its ``"state"``:
            pairs of (position of the parameter, or a string key of the optimizer's own) and node.
        scaler: the gradient scaler's ``state_dict``; empty where there is none.
        averaged_models: for each average, by its name, the same as ``module``.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> snapshot, before = Snapshot.take(model, [optimizer]), model.weight.clone()
        >>> model(torch.ones(1, 2)).sum().backward(); optimizer.step()
        >>> snapshot.restore(model, [optimizer])
        ()
        >>> torch.equal(model.weight, before), len(optimizer.state)
        (True, 0)
    """

    tensors: list[Tensor] = field(default_factory=list)
    on_host: list[bool] = field(default_factory=list)
    module: dict[str, int] = field(default_factory=dict)
    optimizers: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    averaged_models: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    @_outside_autograd
    def take(
        cls,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        reuse: Snapshot | None = None,
        averaged_models: AveragedModels = NONE,
    ) -> Snapshot:
        """Copy the present state to the host; waits once for the device, at the end.

        Args:
            module: the LightningModule, or whatever holds the weights.
            optimizers: ``trainer.optimizers``, always in the same order.
            scaler: the gradient scaler of the precision plugin, if there is one.
            reuse: a former snapshot whose memory is taken over. It is empty afterwards.
            averaged_models: further copies of the weights that training changes, by name.

        Raises:
            UnsupportedError: something cannot be copied; ``reuse`` is then still whole.
        """
        now = cls.now(module, optimizers, scaler, averaged_models)
        former = reuse.tensors if reuse is not None else []
        if reuse is not None:
            reuse.tensors = []
        return now.copied(former)

    @classmethod
    @_outside_autograd
    def now(
        cls,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        averaged_models: AveragedModels = NONE,
    ) -> Snapshot:
        """The present state itself, not a copy: to write it somewhere before the next step changes it.

        Raises:
            UnsupportedError: something could not be copied.
        """
        sources = Sources()
        names = _numbered(module, sources)
        averaged = {name: _numbered(average, sources) for name, average in averaged_models.items()}
        states = [describe_optimizer(index, optimizer, sources) for index, optimizer in enumerate(optimizers)]
        scaler_state = dict(scaler.state_dict()) if scaler is not None else {}
        on_host = [tensor.device.type == "cpu" for tensor in sources.local]
        return cls(sources.local, on_host, names, states, scaler_state, averaged)

    @_outside_autograd
    def copied(self, former: Sequence[Tensor] = ()) -> Snapshot:
        """The same in host memory; into those of ``former`` that have the same form."""
        return replace(self, tensors=to_host(self.tensors, former))

    @_outside_autograd
    def restore(
        self,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        averaged_models: AveragedModels = NONE,
    ) -> tuple[str, ...]:
        """Put everything back in place. All is checked, and all memory allocated, before anything is written.

        State entries born since are removed, those that vanished are made anew. Parameters that joined an optimizer
        since keep their state there, because nothing is known about it.

        Returns:
            What was left alone, in words; normally nothing.

        Raises:
            UnsupportedError: names, shapes or types differ from those of the snapshot. Nothing has been changed.
        """
        plan = Plan(self.tensors, self.on_host)
        plan.module(module, self.module)
        for name in self.averaged_models.keys() & averaged_models.keys():
            plan.module(averaged_models[name], self.averaged_models[name])
        states = plan.optimizers(optimizers, self.optimizers)
        notes = [
            *joined_since(self.optimizers, optimizers),
            *self._scaler_notes(scaler),
            *self._average_notes(averaged_models),
        ]
        plan.write()
        for optimizer, described, rebuilt in zip(optimizers, self.optimizers, states, strict=True):
            put_state(optimizer, len(described["shapes"]), rebuilt)
        if self.scaler and scaler is not None:
            scaler.load_state_dict(self.scaler)
        return tuple(notes)

    def payload(self) -> dict[str, Any]:
        """The snapshot as plain dicts, lists and CPU tensors, for a checkpoint.

        The tensors are not copied: write the payload before the memory of this snapshot is reused.
        """
        return {"version": VERSION, **vars(self)}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Snapshot:
        """The snapshot that a checkpoint carried."""
        if payload.get("version") != VERSION:
            raise UnsupportedError(
                f"Expected a snapshot of version {VERSION} but got {payload.get('version')!r}. Resume with the release "
                "of lightning_lr that wrote the checkpoint, or without the snapshot."
            )
        return cls(**{name: value for name, value in payload.items() if name != "version"})

    def _scaler_notes(self, scaler: Any) -> Iterator[str]:
        if bool(self.scaler) != bool(scaler is not None and scaler.state_dict()):
            yield "the gradient scaler was left alone: there was none, then or now"

    def _average_notes(self, averaged_models: AveragedModels) -> Iterator[str]:
        for name in sorted(self.averaged_models.keys() ^ averaged_models.keys()):
            yield f"the averaged weights of {name} were left alone: there were none, then or now"


def _numbered(module: nn.Module, sources: Sources) -> dict[str, int]:
    return {name: sources.number(name, tensor) for name, tensor in named(module)}
