"""A host copy of what training changes on this rank: to go back is exact, to the last bit.

Copied are the parameters, the buffers (also those that checkpoints leave out), the optimizers' ``state`` and the
gradient scaler's. Not copied: ``param_groups`` (learning rates belong to lr_control), gradients, the random state,
metrics, and whatever a module holds outside of parameters and buffers. Going back writes into the very tensors
that training uses, so tied weights stay tied and captured graphs stay valid.

Each rank keeps its own shards (``to_local()`` of a DTensor) in host memory, pinned where they come from a GPU.
There is no collective. Memory is one copy, also while the next snapshot is taken, if that may reuse the former's.

How it is laid out: all tensors stand in one list, each once; everything else is plain and names them by number.
A *node* is such a plain description: ``("tensor", number)``, ``("value", 3)``, ``("dict", [(key, node), …])``,
``("list", [node, …])`` or ``("tuple", [node, …])``. So nested state (LBFGS) needs no case of its own, aliases stay
aliases, and the whole loads with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError

VERSION = 1
PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)
Node = tuple[str, Any]
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

    @classmethod
    @_outside_autograd
    def take(
        cls, module: nn.Module, optimizers: Sequence[Optimizer], scaler: Any = None, reuse: Snapshot | None = None
    ) -> Snapshot:
        """Copy the present state to the host; waits once for the device, at the end.

        Args:
            module: the LightningModule, or whatever holds the weights.
            optimizers: ``trainer.optimizers``, always in the same order.
            scaler: the gradient scaler of the precision plugin, if there is one.
            reuse: a former snapshot whose memory is taken over. It is empty afterwards.

        Raises:
            UnsupportedError: something cannot be copied; ``reuse`` is then still whole.
        """
        sources = _Sources()
        names = {name: sources.number(name, tensor) for name, tensor in _named(module)}
        states = [_describe_optimizer(index, optimizer, sources) for index, optimizer in enumerate(optimizers)]
        scaler_state = dict(scaler.state_dict()) if scaler is not None else {}
        on_host = [tensor.device.type == "cpu" for tensor in sources.local]
        return cls(_to_host(sources.local, reuse), on_host, names, states, scaler_state)

    @_outside_autograd
    def restore(self, module: nn.Module, optimizers: Sequence[Optimizer], scaler: Any = None) -> tuple[str, ...]:
        """Put everything back in place. All is checked, and all memory allocated, before anything is written.

        State entries born since are removed, those that vanished are made anew. Parameters that joined an optimizer
        since keep their state there, because nothing is known about it.

        Returns:
            What was left alone, in words; normally nothing.

        Raises:
            UnsupportedError: names, shapes or types differ from those of the snapshot. Nothing has been changed.
        """
        plan = _Plan(self.tensors, self.on_host)
        self._plan_module(module, plan)
        states = self._plan_optimizers(optimizers, plan)
        notes = [*_joined_since(self.optimizers, optimizers), *self._scaler_notes(scaler)]
        plan.write()
        for optimizer, described, rebuilt in zip(optimizers, self.optimizers, states, strict=True):
            _put_state(optimizer, len(described["shapes"]), rebuilt)
        if self.scaler and scaler is not None:
            scaler.load_state_dict(self.scaler)
        return tuple(notes)

    def payload(self) -> dict[str, Any]:
        """The snapshot as plain dicts, lists and CPU tensors, for a checkpoint.

        The tensors are not copied: write the payload before the memory of this snapshot is reused.
        """
        return {"version": VERSION, **{name: getattr(self, name) for name in _FIELDS}}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Snapshot:
        """The snapshot that a checkpoint carried."""
        if payload.get("version") != VERSION:
            raise UnsupportedError(
                f"Expected a snapshot of version {VERSION} but got {payload.get('version')!r}. Resume with the release "
                "of lightning_lr that wrote the checkpoint, or without the snapshot."
            )
        return cls(**{name: payload[name] for name in _FIELDS})

    @property
    def nbytes(self) -> int:
        """Host memory that the tensors take, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def _plan_module(self, module: nn.Module, plan: _Plan) -> None:
        current = dict(_named(module))
        _expect("parameters and buffers", sorted(self.module), sorted(current))
        for name, number in self.module.items():
            _expect(f"`{name}` to be", _kind(self.tensors[number]), _kind(_local(current[name])))
            plan.into(current[name], number)

    def _plan_optimizers(self, optimizers: Sequence[Optimizer], plan: _Plan) -> list[dict[Any, Any]]:
        _expect("the number of optimizers", len(self.optimizers), len(optimizers))
        states = []
        for index, (described, optimizer) in enumerate(zip(self.optimizers, optimizers, strict=True)):
            params, shapes = _params(optimizer), described["shapes"]
            found = [list(_local(param).shape) for param in params[: len(shapes)]]
            _expect(f"the parameters of optimizer {index}", shapes, found)
            states.append(_planned_state(described["state"], optimizer, plan))
        return states

    def _scaler_notes(self, scaler: Any) -> Iterator[str]:
        if bool(self.scaler) != bool(scaler is not None and scaler.state_dict()):
            yield "the gradient scaler was left alone: there was none, then or now"


_FIELDS = ("tensors", "on_host", "module", "optimizers", "scaler")


class _Sources:
    """The distinct tensors met on the way through module and optimizers, numbered, and nodes that name them."""

    def __init__(self) -> None:
        self.local: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []  # a DTensor makes a new local tensor at each call: remember the original's id

    def number(self, where: str, tensor: Tensor) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.local)
            self._alive.append(tensor)
            self.local.append(_checked(where, tensor))
        return self._numbers[id(tensor)]

    def node(self, where: str, value: Any) -> Node:
        if isinstance(value, Tensor):
            return "tensor", self.number(where, value)
        if isinstance(value, dict):
            return "dict", [(key, self.node(f"{where}.{key}", item)) for key, item in value.items()]
        if type(value) in (list, tuple):
            return type(value).__name__, [self.node(f"{where}[{i}]", item) for i, item in enumerate(value)]
        if type(value) in PLAIN:
            return "value", value
        raise UnsupportedError(
            f"Expected tensors, numbers, strings, lists or dicts in the optimizer state but got "
            f"{type(value).__name__} at {where}. Use an optimizer with plain state, or switch restoring off."
        )


class _Plan:
    """What will be written where. It holds new tensors already, so that running out of memory happens before."""

    def __init__(self, tensors: list[Tensor], on_host: list[bool]) -> None:
        self._tensors, self._on_host = tensors, on_host
        self._copies: list[tuple[Tensor, int]] = []
        self._made: dict[int, Tensor] = {}
        self._claimed: set[int] = set()

    def into(self, target: Tensor, number: int) -> None:
        self._made[number] = target
        self._claimed.add(id(target))
        self._copies.append((_local(target), number))

    def value(self, node: Node, current: Any, param: Tensor) -> Any:
        """The value that ``node`` describes, in the tensors of ``current`` as far as they fit."""
        kind, content = node
        if kind == "tensor":
            return self._tensor(content, current, param)
        if kind == "dict":
            held = current if isinstance(current, dict) else {}
            return {key: self.value(item, held.get(key), param) for key, item in content}
        if kind in ("list", "tuple"):
            former = [*current] if isinstance(current, (list, tuple)) else []
            former += [None] * (len(content) - len(former))
            items = [self.value(item, old, param) for item, old in zip(content, former, strict=False)]
            return items if kind == "list" else tuple(items)
        return content

    def _tensor(self, number: int, current: Any, param: Tensor) -> Tensor:
        if number not in self._made:
            fits = isinstance(current, Tensor) and id(current) not in self._claimed and self._fits(number, current)
            self.into(current if fits else self._new(number, param), number)
        return self._made[number]

    def _fits(self, number: int, current: Tensor) -> bool:
        local = _local(current)
        return _kind(local) == _kind(self._tensors[number]) and (local.device.type == "cpu") == self._on_host[number]

    def _new(self, number: int, param: Tensor) -> Tensor:
        """A tensor like the one that vanished: on the host, or beside the parameter and sharded as that is."""
        saved, local = self._tensors[number], _local(param)
        made = torch.empty_like(saved, device="cpu" if self._on_host[number] else local.device)
        if local is param or saved.dim() == 0:
            return made
        _expect("state of a sharded parameter to have the shape", list(local.shape), list(saved.shape))
        from torch.distributed.tensor import DTensor

        sharded: Any = param
        mesh, placements = sharded.device_mesh, sharded.placements
        return DTensor.from_local(made, mesh, placements, run_check=False, shape=param.shape, stride=param.stride())

    def write(self) -> None:
        for target, number in self._copies:
            _unexpanded(target).copy_(_unexpanded(self._tensors[number], target), non_blocking=True)
        _wait([target for target, _ in self._copies])


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; a tied one once, under its first name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _params(optimizer: Optimizer) -> list[Tensor]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def _describe_optimizer(index: int, optimizer: Optimizer, sources: _Sources) -> dict[str, Any]:
    if not isinstance(optimizer, Optimizer):
        raise UnsupportedError(
            f"Expected optimizer {index} to be a torch.optim.Optimizer but got {type(optimizer).__name__}, which may "
            "hold weights of its own. Switch restoring off with this strategy."
        )
    params = _params(optimizer)
    state = cast("dict[Any, Any]", optimizer.state)  # typed as if no key were a string
    entries: list[tuple[int | str, Any]] = [(at, param) for at, param in enumerate(params) if param in state]
    entries += [(key, key) for key in state if isinstance(key, str)]
    return {
        "shapes": [list(_local(param).shape) for param in params],
        "state": [(at, sources.node(f"optimizer {index}, state {at}", state[key])) for at, key in entries],
    }


def _planned_state(described: list[tuple[Any, Node]], optimizer: Optimizer, plan: _Plan) -> dict[Any, Any]:
    """Key of ``optimizer.state`` (parameter, or a string) → the value that it will have."""
    params, rebuilt = _params(optimizer), {}
    state: dict[Any, Any] = optimizer.state
    for at, node in described:
        key = at if isinstance(at, str) else params[at]
        beside = params[0] if isinstance(at, str) else params[at]
        rebuilt[key] = plan.value(node, state.get(key), beside)
    return rebuilt


def _put_state(optimizer: Optimizer, known: int, rebuilt: dict[Any, Any]) -> None:
    state = cast("dict[Any, Any]", optimizer.state)
    strings = [key for key in state if isinstance(key, str)]
    for key in (*_params(optimizer)[:known], *strings):
        state.pop(key, None)
    state.update(rebuilt)


def _joined_since(described: list[dict[str, Any]], optimizers: Sequence[Optimizer]) -> Iterator[str]:
    for index, (state, optimizer) in enumerate(zip(described, optimizers, strict=True)):
        extra = len(_params(optimizer)) - len(state["shapes"])
        if extra > 0:
            yield f"optimizer {index}: the state of {extra} parameters that joined after the snapshot was left alone"


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard of a DTensor; any other tensor itself."""
    shard: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard


def _kind(tensor: Tensor) -> tuple[list[int], torch.dtype]:
    return list(tensor.shape), tensor.dtype


def _checked(where: str, tensor: Tensor) -> Tensor:
    local = None if is_lazy(tensor) else _local(tensor).detach()
    if local is None or local.layout != torch.strided or local.is_meta:
        found = "an uninitialized one" if local is None else f"{local.layout} on {local.device}"
        raise UnsupportedError(
            f"Expected {where} to be a dense tensor with data but got {found}. Run one batch through lazy modules "
            "before training, or switch restoring off."
        )
    return local


def _to_host(sources: list[Tensor], reuse: Snapshot | None) -> list[Tensor]:
    """Copy, into the former snapshot's tensors where there are some of the same form."""
    pool: dict[Any, list[Tensor]] = {}
    if reuse is not None:
        for tensor in reuse.tensors:
            pool.setdefault(_form(tensor), []).append(tensor)
        reuse.tensors = []
    copies = []
    for source in sources:
        free = pool.get(_form(source))
        copy = free.pop() if free else torch.empty_like(source, device="cpu", pin_memory=source.is_cuda)
        copies.append(copy.copy_(source, non_blocking=source.is_cuda))
    _wait(sources)
    return copies


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _wait(tensors: Sequence[Tensor]) -> None:
    """Until the copies to or from the GPU are done: once a device."""
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()


def _unexpanded(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """One element where an expanded dimension repeats it: torch refuses to write into all of them at once."""
    for dim, (stride, size) in enumerate(zip((tensor if like is None else like).stride(), tensor.shape, strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _expect(what: str, expected: Any, got: Any) -> None:
    if expected == got:
        return
    if isinstance(expected, list) and expected and isinstance(expected[0], str):
        missing, extra = sorted({*expected} - {*got})[:5], sorted({*got} - {*expected})[:5]
        expected, got = f"those of the snapshot, {missing} among them", f"a module that has {extra} instead"
    raise UnsupportedError(
        f"Expected {what} {expected} but got {got}. Nothing was restored. Restore into the model and the optimizers "
        "that the snapshot was taken of, or switch restoring off."
    )
