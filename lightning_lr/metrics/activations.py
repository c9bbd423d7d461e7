"""Which layers of a network have activations worth watching, and how their outputs are laid out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

BOUNDED: dict[type[nn.Module], float] = {
    nn.Tanh: 1.832,
    nn.Sigmoid: 2.944,
    nn.Softsign: 9.0,
    nn.Hardtanh: 1.0,
    nn.Hardsigmoid: 3.0,
}
"""Activation → input beyond which its output is within a twentieth of its range of one of its bounds."""

LEAKY = (nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.Softplus, nn.Identity)
"""Activations that still pass a gradient below zero: their units do not die."""

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Threshold)

PRODUCERS = (nn.Linear, nn.Bilinear, _ConvNd)

FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
"""torch takes another path through these, with other rounding, as soon as a hook is attached inside."""


@dataclass(frozen=True)
class Watched:
    """One layer to watch.

    Attributes:
        name: of the module.
        module: whose input (an activation) or output (any other) is the pre-activation.
        is_activation: which of the two.
        channels_first: whether dimension 1 counts the units, as after a convolution; else the last one does.
        bound: input from which on a unit is saturated; ``None`` where it never is.
        dies: whether a unit that is never positive is dead.
    """

    name: str
    module: nn.Module
    is_activation: bool
    channels_first: bool
    bound: float | None
    dies: bool


def watched_layers(network: nn.Module, wanted: Sequence[str | type[nn.Module]] | None) -> list[Watched]:
    """The layers to watch, in the order in which the network names them.

    By itself it takes every activation module. Where there is none, the activations are functions, and what goes into
    them is taken where it comes from: the outputs of linear and convolutional layers, or of the batch norm behind
    them, but for the last, which is the output of the network.

    Args:
        network: any module.
        wanted: names (``*`` matches anything) or types, in place of that rule.

    >>> plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> [(layer.name, layer.dies) for layer in watched_layers(plain, None)]
    [('1', True)]
    >>> [layer.name for layer in watched_layers(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), None)]
    ['0']
    """
    found: list[tuple[str, nn.Module, bool]] = []
    behind_convolution = False
    for name, module in network.named_modules() if wanted is not None else outside_fused(network):
        if isinstance(module, PRODUCERS):
            behind_convolution = isinstance(module, _ConvNd)
        found.append((name, module, behind_convolution))
    if wanted is not None:
        return [_watched(*each) for each in found if _is_wanted(each[0], each[1], wanted)]
    activations = [each for each in found if is_activation(each[1])]
    return [_watched(*each) for each in activations or _pre_activations(found)]


def outside_fused(network: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module, with its name, but those into which no hook may be put: see :data:`FUSED`.

    >>> layer = nn.TransformerEncoderLayer(4, 1, batch_first=True)
    >>> [name for name, _ in outside_fused(nn.Sequential(layer, nn.Linear(4, 2)))]
    ['', '1']
    """
    if isinstance(network, FUSED):
        return
    yield name, network
    for part, module in network.named_children():
        yield from outside_fused(module, f"{name}.{part}" if name else part)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is one of torch's activation functions.

    >>> is_activation(nn.Tanh()), is_activation(nn.Dropout())
    (True, False)
    """
    return isinstance(module, (*RECTIFIERS, *BOUNDED, *LEAKY)) and not isinstance(module, nn.Identity)


def rows_of(tensor: Tensor, channels_first: bool, most: int) -> Tensor:
    """Activations as a table, one row a sample (and position), one column a unit; shape ``[rows, units]``.

    Args:
        tensor: ``[samples, …]``.
        channels_first: whether dimension 1 counts the units.
        most: rows at most; where there are more, every k-th sample or position is taken, always the same.

    >>> import torch
    >>> rows_of(torch.zeros(8, 3, 4, 4), channels_first=True, most=64).shape
    torch.Size([64, 3])
    >>> rows_of(torch.zeros(8, 5), channels_first=False, most=100).shape
    torch.Size([8, 5])
    """
    if tensor.dim() < 2:
        return tensor.reshape(1, -1)
    if channels_first and tensor.dim() > 2:
        tensor = tensor.movedim(1, -1)
    tensor = tensor.flatten(1, -2) if tensor.dim() > 2 else tensor[:, None]
    samples, positions = tensor.shape[:2]
    # Positions are thinned first: neighbouring ones say nearly the same, samples do not.
    tensor = tensor[:, :: -(-samples * positions // max(most, samples))]
    tensor = tensor[:: -(-samples // most)]
    return tensor.flatten(0, 1)[:most]


def _pre_activations(found: Sequence[tuple[str, nn.Module, bool]]) -> list[tuple[str, nn.Module, bool]]:
    kept: list[tuple[str, nn.Module, bool]] = []
    producers = [each for each in found if isinstance(each[1], (*PRODUCERS, _BatchNorm))]
    for each in producers[: -1 if producers else None]:
        if isinstance(each[1], _BatchNorm) and kept:
            kept.pop()  # what the function sees is the norm's output
        kept.append(each)
    return kept


def _is_wanted(name: str, module: nn.Module, wanted: Iterable[str | type[nn.Module]]) -> bool:
    return any(fnmatchcase(name, one) if isinstance(one, str) else isinstance(module, one) for one in wanted)


def _watched(name: str, module: nn.Module, behind_convolution: bool) -> Watched:
    bound = next((limit for kind, limit in BOUNDED.items() if isinstance(module, kind) and type(module) is kind), None)
    return Watched(
        name=name or "network",
        module=module,
        is_activation=is_activation(module),
        channels_first=isinstance(module, (_ConvNd, _BatchNorm)) or (is_activation(module) and behind_convolution),
        bound=bound,
        dies=bound is None and not isinstance(module, LEAKY),
    )
