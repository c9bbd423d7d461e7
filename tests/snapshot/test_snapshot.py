"""Snapshots: back to the last bit, with every optimizer of torch, also in a new process and on shards."""

from __future__ import annotations

import copy
import inspect
import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError
from lightning_lr.snapshot.shards import named
from lightning_lr.snapshot.snapshot import Snapshot
from tests.helpers.ranks import run_on_ranks
from tests.helpers.versions import needs_fsdp2_on_cpu

ALL = [cls for cls in vars(torch.optim).values() if inspect.isclass(cls) and issubclass(cls, Optimizer)]
FLAGS = ("amsgrad", "centered", "decoupled_weight_decay", "differentiable", "foreach", "fused", "maximize")
NUMBERS = {"momentum": 0.9, "momentum_decay": 0.01, "weight_decay": 0.1, "initial_accumulator_value": 0.1}


class Net(nn.Module):
    """Batch norm, a tied weight, an embedding for sparse gradients, a buffer that checkpoints leave out."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(6, 4, sparse=sparse)
        self.norm = nn.BatchNorm1d(4)
        self.hidden = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.hidden.weight
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(3), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, batch: Tensor) -> Tensor:
        self.calls += 1
        rows: Tensor = self.embedding(batch)
        out: Tensor = self.tied(torch.tanh(self.hidden(self.norm(rows))))
        return out.square().mean()


def parameters(cls: type[Optimizer], net: Net) -> list[Tensor]:
    if cls is torch.optim.SparseAdam:
        return [net.embedding.weight]
    if cls.__name__ == "Muon":
        return [param for param in net.parameters() if param.dim() == 2]
    return list(net.parameters())


def variants() -> Iterator[Any]:
    """Every class of torch.optim with its defaults, and with each option that its signature has."""
    for cls in ALL:
        if cls is Optimizer:
            continue
        names = inspect.signature(cls).parameters
        options: list[dict[str, Any]] = [{}]
        options += [{flag: True} for flag in FLAGS if flag in names and flag != "differentiable"]
        options += [{name: value} for name, value in NUMBERS.items() if name in names]
        options += [{"line_search_fn": "strong_wolfe"}] if "line_search_fn" in names else []
        options += [{"momentum": 0.9, "nesterov": True}] if cls is torch.optim.SGD else []
        options += [{"lr": torch.tensor(0.01)}] if cls is torch.optim.Adam else []
        for chosen in options:
            yield pytest.param(cls, chosen, id=f"{cls.__name__}-{'-'.join(chosen) or 'defaults'}")


def made(cls: type[Optimizer], options: dict[str, Any]) -> tuple[Net, Optimizer]:
    net = Net(sparse=cls is torch.optim.SparseAdam)
    make: Any = cls
    try:
        return net, make(parameters(cls, net), **{"lr": 0.01, **options})
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"not available here: {error}")


def train(net: Net, optimizer: Optimizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(0, 6, (8,), generator=generator)

        def closure(batch: Tensor = batch) -> Any:
            optimizer.zero_grad()
            loss: Tensor = net(batch)
            torch.autograd.backward(loss)
            return loss.detach()

        optimizer.step(closure)


def fingerprint(value: Any) -> Any:
    """Equal exactly if every bit, type and device is."""
    if isinstance(value, Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8)
        return str(value.dtype), str(value.device), tuple(value.shape), bytes(raw.tolist())
    if isinstance(value, dict):
        return {key: fingerprint(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [fingerprint(item) for item in value]
    return type(value), struct.pack("<d", value) if isinstance(value, float) else value


def everything(net: nn.Module, *optimizers: Optimizer) -> Any:
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return fingerprint([tensors, *(dict(optimizer.state_dict()["state"]) for optimizer in optimizers)])


def reloaded(snapshot: Snapshot) -> Snapshot:
    file = io.BytesIO()
    torch.save(snapshot.payload(), file)
    file.seek(0)
    return Snapshot.from_payload(torch.load(file, weights_only=True))


# Every optimizer


@pytest.mark.parametrize(("cls", "options"), [*variants()])
@pytest.mark.parametrize("before", [0, 3], ids=["first step", "mid run"])
def test_back_and_again_is_the_same_run(cls: type[Optimizer], options: dict[str, Any], before: int) -> None:
    net, optimizer = made(cls, options)
    train(net, optimizer, before, seed=1)
    then, snapshot = everything(net, optimizer), Snapshot.now(net, [optimizer]).copied()
    train(net, optimizer, 3, seed=2)
    once = everything(net, optimizer)
    assert once != then
    assert snapshot.restore(net, [optimizer]) == ()
    assert everything(net, optimizer) == then
    train(net, optimizer, 3, seed=2)
    assert everything(net, optimizer) == once


@pytest.mark.parametrize(("cls", "options"), [*variants()])
def test_a_new_process_goes_on_from_the_payload(cls: type[Optimizer], options: dict[str, Any]) -> None:
    net, optimizer = made(cls, options)
    train(net, optimizer, 3, seed=1)
    then, snapshot = everything(net, optimizer), reloaded(Snapshot.now(net, [optimizer]).copied())
    train(net, optimizer, 2, seed=2)
    other, fresh = made(cls, copy.deepcopy(options))
    snapshot.restore(other, [fresh])
    assert everything(other, fresh) == then
    train(other, fresh, 2, seed=2)
    assert everything(other, fresh) == everything(net, optimizer)


def test_every_class_of_torch_is_in_the_table() -> None:
    muon = {"Muon"} if hasattr(torch.optim, "Muon") else set()  # since torch 2.9
    assert {"Adam", "LBFGS", *muon, "SparseAdam", "Adafactor", "SGD"} <= {cls.__name__ for cls in ALL}


# In place


def pointers(net: Net, optimizer: Optimizer) -> list[int]:
    state = [value for entry in optimizer.state.values() for value in entry.values() if isinstance(value, Tensor)]
    return [tensor.data_ptr() for tensor in (*net.parameters(), *net.buffers(), *state)]


@pytest.fixture
def pair() -> tuple[Net, Optimizer]:
    net, optimizer = made(torch.optim.Adam, {"amsgrad": True})
    train(net, optimizer, 2, seed=1)
    return net, optimizer


def test_the_very_same_tensors_are_written(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    before, snapshot = pointers(net, optimizer), Snapshot.now(net, [optimizer]).copied()
    train(net, optimizer, 1, seed=2)
    snapshot.restore(net, [optimizer])
    assert pointers(net, optimizer) == before
    assert net.tied.weight is net.hidden.weight


def test_a_tied_weight_is_held_once(pair: tuple[Net, Optimizer]) -> None:
    net, _ = pair
    distinct = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}.values()
    assert len(Snapshot.now(net, []).copied().tensors) == len(distinct)


def test_learning_rates_gradients_and_randomness_stay(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    snapshot = Snapshot.now(net, [optimizer]).copied()
    optimizer.param_groups[0]["lr"] = 0.123
    torch.rand(1)
    randomness, gradient = torch.get_rng_state(), net.hidden.weight.grad
    snapshot.restore(net, [optimizer])
    assert optimizer.param_groups[0]["lr"] == 0.123
    assert torch.equal(torch.get_rng_state(), randomness)
    assert net.hidden.weight.grad is gradient


def test_bits_of_nan_and_negative_zero_survive() -> None:
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.view(torch.int32).copy_(torch.tensor([[0x7FC0BEEF, -0x80000000]]))
    then, snapshot = everything(net), Snapshot.now(net, []).copied()
    nn.init.ones_(net.weight)
    snapshot.restore(net, [])
    assert everything(net) == then


def test_inside_inference_mode_as_validation_hooks_run(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    with torch.inference_mode():
        snapshot = Snapshot.now(net, [optimizer]).copied()
    then = everything(net, optimizer)
    train(net, optimizer, 1, seed=2)
    optimizer.state.clear()
    with torch.inference_mode():
        snapshot.restore(net, [optimizer])
    assert everything(net, optimizer) == then
    train(net, optimizer, 1, seed=2)
    Snapshot.now(net, [optimizer]).copied(snapshot)


def test_an_expanded_buffer() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("wide", torch.tensor([[1.0], [2.0]]).expand(2, 3))
    then, snapshot = everything(net), Snapshot.now(net, []).copied()
    dict(net.named_buffers())["wide"][:, :1].mul_(5)
    reloaded(snapshot).restore(net, [])
    assert everything(net) == then


def test_memory_formats_and_small_types() -> None:
    net = nn.Conv2d(3, 4, 3).bfloat16()
    net.weight.data = net.weight.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 3, 4, 4).bfloat16()).sum().backward()
    optimizer.step()
    then, snapshot = everything(net, optimizer), reloaded(Snapshot.now(net, [optimizer]).copied())
    optimizer.state.clear()
    snapshot.restore(net, [optimizer])
    assert everything(net, optimizer) == then
    trainer_state = optimizer.state[net.weight]["momentum_buffer"]
    assert trainer_state.stride() == net.weight.stride()


# The optimizer's state


def test_entries_born_later_go_and_lost_ones_return(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    weight, bias = net.hidden.weight, net.hidden.bias
    del optimizer.state[bias]
    snapshot = Snapshot.now(net, [optimizer]).copied()
    then = everything(net, optimizer)
    train(net, optimizer, 1, seed=2)
    optimizer.state[weight]["exp_avg"] = torch.zeros(1)
    del optimizer.state[weight]["exp_avg_sq"]
    optimizer.state[weight]["new"] = 1
    snapshot.restore(net, [optimizer])
    assert bias not in optimizer.state
    assert everything(net, optimizer) == then


class Odd(torch.optim.SGD):
    """State as third parties have it: nested, plain, aliased, under a key of the optimizer's own."""

    def fill(self, number: int) -> None:
        param = self.param_groups[0]["params"][0]
        shared = torch.full((2,), float(number))
        history = [torch.full((1,), float(at)) for at in range(number)]
        entry: dict[Any, Any] = {
            "count": number,
            "rate": 0.5 * number,
            "flag": number == 2,
            "none": None,
            "text": "x",
            3: (1, shared),
        }
        entry.update(history=history, shared=shared, deep={"list": [{"tensor": shared}, number]}, weight=param)
        self.state[param] = entry
        self.state["global"] = {"number": number}  # type: ignore[index]


@pytest.mark.parametrize("through", [lambda snapshot: snapshot, reloaded], ids=["memory", "payload"])
@pytest.mark.parametrize("later", [1, 5])
def test_nested_and_aliased_state(through: Callable[[Snapshot], Snapshot], later: int) -> None:
    net = nn.Linear(2, 1)
    optimizer = Odd(net.parameters(), lr=0.1)
    optimizer.fill(2)
    then = everything(net, optimizer)
    snapshot = through(Snapshot.now(net, [optimizer]).copied())
    optimizer.fill(later)
    snapshot.restore(net, [optimizer])
    assert everything(net, optimizer) == then
    entry = optimizer.state[net.weight]
    assert entry["shared"] is entry[3][1] is entry["deep"]["list"][0]["tensor"]
    assert entry["weight"] is net.weight


class TwoModes(torch.optim.SGD):
    """Has other weights in evaluation than in training, and knows in which mode it is, as ScheduleFree does."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["train_mode"] = False

    def train(self) -> None:
        self._to(True)

    def eval(self) -> None:
        self._to(False)

    @torch.no_grad()
    def _to(self, trains: bool) -> None:
        (group,) = self.param_groups
        if group["train_mode"] != trains:
            group["train_mode"] = trains
            for param in group["params"]:
                param.mul_(2.0 if trains else 0.5)


@pytest.mark.parametrize("taken", ["train", "eval"])
@pytest.mark.parametrize("restored", ["train", "eval"])
def test_an_optimizer_with_two_modes_stays_in_its_own(taken: str, restored: str) -> None:
    """The user switches it at a time of their own, and not because of a restore."""
    net = nn.Linear(2, 2)
    optimizer = TwoModes(net.parameters(), lr=0.1)
    getattr(optimizer, taken)()
    snapshot, then = Snapshot.now(net, [optimizer]).copied(), everything(net)
    optimizer.train()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    getattr(optimizer, restored)()
    snapshot.restore(net, [optimizer])
    assert optimizer.param_groups[0]["train_mode"] is (restored == "train")
    getattr(optimizer, taken)()
    assert everything(net) == then


def test_tensors_that_became_one_are_parted_again() -> None:
    net = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.state[net.weight] = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    snapshot = Snapshot.now(net, [optimizer]).copied()
    optimizer.state[net.weight]["b"] = optimizer.state[net.weight]["a"]
    snapshot.restore(net, [optimizer])
    assert [float(value) for value in optimizer.state[net.weight].values()] == [1.0, 2.0]


def test_a_group_that_joined_later_is_left_alone_and_said() -> None:
    net = Net()
    optimizer = torch.optim.Adam(net.hidden.parameters(), lr=0.01)
    train(net, optimizer, 1, seed=1)
    snapshot, weight = Snapshot.now(net, [optimizer]).copied(), fingerprint(net.norm.weight)
    optimizer.add_param_group({"params": list(net.norm.parameters())})
    train(net, optimizer, 2, seed=2)
    state = fingerprint(optimizer.state[net.norm.weight])
    assert snapshot.restore(net, [optimizer]) == (
        "optimizer 0: the state of 2 parameters that joined after the snapshot was left alone",
    )
    assert fingerprint(optimizer.state[net.norm.weight]) == state
    assert fingerprint(net.norm.weight) == weight


def test_several_optimizers() -> None:
    net = Net()
    optimizers: list[Optimizer] = [
        torch.optim.SGD(net.hidden.parameters(), lr=0.1, momentum=0.9),
        torch.optim.Adam(net.norm.parameters()),
    ]
    for optimizer in optimizers:
        train(net, optimizer, 2, seed=1)
    then, snapshot = everything(net, *optimizers), Snapshot.now(net, optimizers).copied()
    for optimizer in optimizers:
        train(net, optimizer, 2, seed=2)
    snapshot.restore(net, optimizers)
    assert everything(net, *optimizers) == then


# The gradient scaler


def test_scaler() -> None:
    net, scaler = nn.Linear(1, 1), torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(1))
    snapshot = reloaded(Snapshot.now(net, [], scaler).copied())
    scaler.update(2.0)
    assert snapshot.restore(net, [], scaler) == ()
    assert scaler.get_scale() == 8.0


@pytest.mark.parametrize(
    ("then", "now"),
    [(None, torch.amp.GradScaler("cpu")), (torch.amp.GradScaler("cpu"), None)],
    ids=["none then", "none now"],
)
def test_a_scaler_on_one_side_only_is_said(then: Any, now: Any) -> None:
    net = nn.Linear(1, 1)
    (note,) = Snapshot.now(net, [], then).copied().restore(net, [], now)
    assert note.startswith("the gradient scaler was left alone")


# Averages of the weights


@pytest.mark.parametrize("through", [lambda snapshot: snapshot, reloaded], ids=["memory", "payload"])
def test_averages_go_back_too(through: Callable[[Snapshot], Snapshot]) -> None:
    net = nn.Linear(2, 1)
    average = torch.optim.swa_utils.AveragedModel(net)
    then, snapshot = (
        everything(average),
        through(Snapshot.now(net, [], averaged_models={"ema": dict(named(average))}).copied()),
    )
    nn.init.ones_(net.weight)
    average.update_parameters(net)
    assert everything(average) != then
    assert snapshot.restore(net, [], averaged_models={"ema": dict(named(average))}) == ()
    assert everything(average) == then


@pytest.mark.parametrize(("then", "now"), [((), ("ema",)), (("ema",), ())], ids=["none then", "none now"])
def test_an_average_on_one_side_only_is_said(then: Any, now: Any) -> None:
    net = nn.Linear(1, 1)
    snapshot = Snapshot.now(net, [], averaged_models={name: dict(named(nn.Linear(1, 1))) for name in then}).copied()
    (note,) = snapshot.restore(net, [], averaged_models={name: dict(named(nn.Linear(1, 1))) for name in now})
    assert note.startswith("the averaged weights of ema were left alone")


# Memory


def test_reuse_takes_over_the_former_memory(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    first = Snapshot.now(net, [optimizer]).copied()
    held = {tensor.data_ptr() for tensor in first.tensors}
    train(net, optimizer, 1, seed=2)
    then, second = everything(net, optimizer), Snapshot.now(net, [optimizer]).copied(first)
    assert {tensor.data_ptr() for tensor in second.tensors} == held
    assert first.tensors == []
    train(net, optimizer, 1, seed=3)
    second.restore(net, [optimizer])
    assert everything(net, optimizer) == then


def test_reuse_of_another_form_takes_what_fits(pair: tuple[Net, Optimizer]) -> None:
    net, optimizer = pair
    then, former = everything(net, optimizer), Snapshot.now(nn.Linear(4, 4), []).copied()
    snapshot = Snapshot.now(net, [optimizer]).copied(former)
    train(net, optimizer, 1, seed=2)
    snapshot.restore(net, [optimizer])
    assert everything(net, optimizer) == then


# What cannot be done changes nothing


def adam(*modules: nn.Module) -> Optimizer:
    return torch.optim.Adam([param for module in modules for param in module.parameters()])


class Strange(Odd):
    def fill(self, number: int) -> None:
        self.state[self.param_groups[0]["params"][0]]["strange"] = {1, 2}


@pytest.mark.parametrize(
    ("other", "optimizers", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2)), 1, "parameters and buffers .*bias.*weight.* but got"),
        (lambda: nn.Linear(2, 2, bias=False), 1, r"\['bias'\] among them"),
        (lambda: nn.Linear(2, 3), 1, r"`weight` to be .*\[2, 2\].* but got .*\[3, 2\]"),
        (lambda: nn.Linear(2, 2).double(), 1, "float32.* but got .*float64"),
        (lambda: nn.Linear(2, 2), 2, "number of optimizers 1 but got 2"),
        (lambda: nn.Linear(2, 2), 0, "number of optimizers 1 but got 0"),
    ],
)
def test_another_model(other: Callable[[], nn.Module], optimizers: int, message: str) -> None:
    net, module = nn.Linear(2, 2), other()
    snapshot = Snapshot.now(net, [adam(net)]).copied()
    others = [adam(module) for _ in range(optimizers)]
    then = everything(module, *others)
    with pytest.raises(UnsupportedError, match=f"(?s){message}.*Nothing was restored"):
        snapshot.restore(module, others)
    assert everything(module, *others) == then


def test_other_parameters_in_the_optimizer_leave_the_weights_alone() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 3)
    both = nn.ModuleList([first, second])
    snapshot = Snapshot.now(both, [adam(first, second)]).copied()
    nn.init.ones_(first.weight)
    then = everything(both)
    for optimizer in (adam(second, first), adam(first)):
        with pytest.raises(UnsupportedError, match="parameters of optimizer 0"):
            snapshot.restore(both, [optimizer])
    assert everything(both) == then


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (nn.LazyLinear(2), []), "uninitialized one"),
        (lambda: (nn.Linear(2, 2, device="meta"), []), "on meta"),
        (lambda: (nn.Linear(1, 1), [object()]), "optimizer 0 to be a torch.optim.Optimizer but got object"),
    ],
)
def test_what_cannot_be_taken(make: Callable[[], Any], message: str) -> None:
    module, optimizers = make()
    with pytest.raises(UnsupportedError, match=message):
        Snapshot.now(module, optimizers).copied()


def test_strange_state_is_named_and_the_former_snapshot_stays_whole() -> None:
    net = nn.Linear(1, 1)
    optimizer = Strange(net.parameters(), lr=0.1)
    former = Snapshot.now(net, [optimizer]).copied()
    optimizer.fill(1)
    with pytest.raises(UnsupportedError, match=r"got set at optimizer 0, state 0\.strange"):
        Snapshot.now(net, [optimizer]).copied(former)
    assert former.tensors


def test_a_payload_of_another_version() -> None:
    with pytest.raises(UnsupportedError, match="version 2 but got 99"):
        Snapshot.from_payload({"version": 99})


# Shards


@pytest.mark.ranks
@needs_fsdp2_on_cpu
def test_each_rank_goes_back_with_its_own_shards() -> None:
    def sharded(rank: int) -> list[Any]:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)

        def step(seed: int) -> None:
            generator = torch.Generator().manual_seed(seed + rank)
            net(torch.randn(5, 4, generator=generator)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        def local() -> Any:
            state = [value for entry in optimizer.state.values() for value in entry.values()]
            tensors: list[Any] = [*net.parameters(), *state]
            return fingerprint([t.to_local() if hasattr(t, "to_local") else t for t in tensors])

        def validate() -> None:
            with torch.inference_mode():
                net(torch.ones(5, 4))  # leaves the outermost parameters whole, as if they were no shards

        step(0)
        then = local()
        validate()
        snapshot = reloaded(Snapshot.now(net, [optimizer]).copied())
        step(1)
        after = local()
        validate()
        snapshot.restore(net, [optimizer])
        back = local()
        optimizer.state.clear()  # as in a new process
        snapshot.restore(net, [optimizer])
        anew = local()
        step(1)
        return [back == then, anew == then, local() == after, after != then, sum(t.nbytes for t in snapshot.tensors)]

    answers = run_on_ranks(sharded, 2)
    assert [answer[:4] for answer in answers] == [[True] * 4] * 2
    whole = 3 * 4 * (4 * 6 + 6 + 6 * 3 + 3) + 4 * 4  # weights and two moments, four step counters
    assert sum(answer[4] for answer in answers) == whole + 4 * 4
