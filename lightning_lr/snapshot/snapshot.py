"""A host copy of what training changes on this rank: to go back is exact, to the last bit.

Copied are the parameters and the buffers (also those that checkpoints leave out) except what does not change
(``constant``), the optimizers' ``state`` and what they remember in their parameter groups, the gradient scaler's, plain
numbers of the module, and the averages of the weights that other callbacks keep. Not copied: learning rates (they
belong to ``optim``) and what else schedules write into the groups, gradients, the random state, metrics, and whatever
else a module holds outside of parameters and buffers. Going back writes into the very tensors that training uses, so
tied weights stay tied and captured graphs stay valid.

Each rank keeps its own shards (``to_local()`` of a DTensor) in host memory, pinned where they come from a GPU.
There is no collective. Memory is one copy, also while the next snapshot is taken, if that may reuse the former's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError
from lightning_lr.snapshot.capture import Sources, describe_optimizer, to_host
from lightning_lr.snapshot.constant import bytes_of, fingerprints
from lightning_lr.snapshot.numbers import Number, numbers_of, put_numbers
from lightning_lr.snapshot.restore import Plan, joined_since
from lightning_lr.snapshot.shards import local, named

VERSION = 2
AveragedModels = Mapping[str, Mapping[str, Tensor]]
NONE: Mapping[str, Any] = {}
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
    """Weights, buffers, optimizer state and scaler state at one moment; made by :meth:`now`.

    Attributes:
        tensors: the host copies, each distinct tensor once.
        on_host: for each, whether the original lay in host memory too (step counters often do).
        module: parameter or buffer name → number in ``tensors``.
        optimizers: for each optimizer its parameters' local ``"shapes"`` over all groups, and its ``"state"``:
            pairs of (position of the parameter, or a string key of the optimizer's own) and node.
        scaler: the gradient scaler's ``state_dict``; empty where there is none.
        averaged_models: for each average of the weights, by its name, the same as ``module``.
        left_out: name → fingerprint of parameters and buffers that have no copy, as training does not change them.
        plain: plain numbers of the module, by name.
        file: the file that its tensors are mapped from; not a part of the payload.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> snapshot, before = Snapshot.now(model, [optimizer]).copied(), model.weight.clone()
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
    left_out: dict[str, int] = field(default_factory=dict)
    plain: dict[str, Number] = field(default_factory=dict)
    file: Path | None = None

    @classmethod
    @_outside_autograd
    def now(
        cls,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        averaged_models: AveragedModels = NONE,
        left_out: Mapping[str, int] = NONE,
    ) -> Snapshot:
        """The present state itself, not a copy: to copy or to write it before the next step changes it.

        Args:
            module: the LightningModule, or whatever holds the weights.
            optimizers: ``trainer.optimizers``, always in the same order.
            scaler: the gradient scaler of the precision plugin, if there is one.
            averaged_models: further copies of the weights that training changes, by name.
            left_out: what training does not change, by name: not copied, but :meth:`restore` looks whether it is so.

        Raises:
            UnsupportedError: something cannot be copied.
        """
        sources = Sources()
        names = {name: sources.number(name, tensor) for name, tensor in named(module) if name not in left_out}
        averaged = {
            average: {name: sources.number(f"{average}.{name}", tensor) for name, tensor in held.items()}
            for average, held in averaged_models.items()
        }
        states = [describe_optimizer(index, optimizer, sources) for index, optimizer in enumerate(optimizers)]
        return cls(
            tensors=sources.local,
            on_host=[tensor.device.type == "cpu" for tensor in sources.local],
            module=names,
            optimizers=states,
            scaler=dict(scaler.state_dict()) if scaler is not None else {},
            averaged_models=averaged,
            left_out=dict(left_out),
            plain=numbers_of(module),
        )

    @_outside_autograd
    def copied(self, reuse: Snapshot | None = None) -> Snapshot:
        """The same in host memory; waits once for the device, at the end.

        Args:
            reuse: a former snapshot whose memory is taken over as far as it fits. It is empty afterwards.
        """
        former = reuse.tensors if reuse is not None else []
        if reuse is not None:
            reuse.tensors = []
        return replace(self, tensors=to_host(self.tensors, former))

    @property
    def nbytes(self) -> int:
        """How many bytes its tensors take."""
        return bytes_of(self.tensors)

    @_outside_autograd
    def add_unfrozen(self, module: nn.Module) -> None:
        """Copy what was left out as it was frozen, and is trained from now on; to call before its first step."""
        trained = {name: one for name, one in named(module) if name in self.left_out and one.requires_grad}
        for name, number in fingerprints(trained).items():
            if number == self.left_out[name]:
                del self.left_out[name]
                self.module[name] = len(self.tensors)
                self.on_host.append(trained[name].device.type == "cpu")
                self.tensors.extend(to_host([local(trained[name]).detach()]))
                self.file = None

    @_outside_autograd
    def restore(
        self,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        averaged_models: AveragedModels = NONE,
        without: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Put everything back in place. All is checked, and all memory allocated, before anything is written.

        State entries born since are removed, those that vanished are made anew. Parameters that joined an optimizer
        since keep their state there, because nothing is known about it.

        Args:
            module: as for :meth:`now`; the others as well.
            optimizers: likewise.
            scaler: likewise.
            averaged_models: likewise.
            without: plain numbers of the module that stay as they are.

        Returns:
            What was left alone, in words; normally nothing.

        Raises:
            UnsupportedError: names, shapes or types differ from those of the snapshot. Nothing has been changed.
        """
        plan, notes = self.plan(module, optimizers, scaler, averaged_models)
        plan.write()
        if self.scaler and scaler is not None:
            scaler.load_state_dict(self.scaler)
        put_numbers(module, {name: value for name, value in self.plain.items() if name not in without})
        return notes

    @_outside_autograd
    def plan(
        self,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        scaler: Any = None,
        averaged_models: AveragedModels = NONE,
    ) -> tuple[Plan, tuple[str, ...]]:
        """What :meth:`restore` will write, and what it will leave alone, in words."""
        plan = Plan(self.tensors, self.on_host)
        plan.module(module, self.module, self.left_out)
        plan.optimizers(optimizers, self.optimizers)
        notes = [*joined_since(self.optimizers, optimizers), *self._scaler_notes(scaler)]
        for average in sorted(self.averaged_models.keys() | averaged_models.keys()):
            known, current = self.averaged_models.get(average, {}), averaged_models.get(average, {})
            if known.keys() == current.keys() and not any(tensor.is_inference() for tensor in current.values()):
                plan.tensors(current, known)
            else:
                notes.append(f"the averaged weights of {average} were left alone: they are other ones, then or now")
        return plan, tuple(notes)

    def payload(self) -> dict[str, Any]:
        """The snapshot as plain dicts, lists and CPU tensors, for a checkpoint.

        The tensors are not copied: write the payload before the memory of this snapshot is reused.
        """
        return {"version": VERSION, **{name: value for name, value in vars(self).items() if name != "file"}}

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
