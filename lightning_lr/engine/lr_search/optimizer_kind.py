"""What must be known of an optimizer to tell a good rate from its first update."""

from __future__ import annotations

from dataclasses import dataclass

FADING = 2.0
"""RMSprop's and Adagrad's first update is several times larger than those after ten steps at the same rate."""


@dataclass(frozen=True)
class OptimizerKind:
    """How the updates of an optimizer go on from the first one.

    Attributes:
        response: a steady update over the first one, at the same rate and gradient: 1 / (1 − momentum) for SGD, 1 for
            Adam.
        proportional: whether its update is proportional to the gradient, and so has no bound.
        fading: whether its updates shrink by themselves (RMSprop within the first hundred steps, Adagrad always).
        endless: whether they never stop shrinking (Adagrad): then the length of the run is built in.
        usual: the rate that is usual for it, if the size of its updates does not depend on that of the loss: the
            default of torch, or of Keras where that is lower (Adamax, NAdam, RMSprop); ``None`` for SGD.
    """

    response: float = 1.0
    proportional: bool = False
    fading: bool = False
    endless: bool = False
    usual: float | None = None


ADAM = OptimizerKind(usual=1e-3)
ADAGRAD = OptimizerKind(fading=True, endless=True, usual=1e-2)


def sgd(momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> OptimizerKind:
    """Heavy ball: a constant gradient gives updates that grow to (1 − dampening) / (1 − momentum) of it.

    >>> [round(sgd(*given).response, 3) for given in ((), (0.9,), (0.9, 0.9), (0.9, 0.0, True))]
    [1.0, 10.0, 1.0, 5.263]
    """
    if not 0 <= momentum < 1:
        return OptimizerKind(proportional=True)
    steady = (1 - dampening) / (1 - momentum)
    steady, first = (1 + momentum * steady, 1 + momentum) if nesterov else (steady, 1.0)
    return OptimizerKind(response=max(1.0, steady / first), proportional=True)


def rmsprop(momentum: float = 0.0) -> OptimizerKind:
    """Its momentum adds up updates that are bounded already."""
    return OptimizerKind(response=1 / (1 - momentum) if 0 <= momentum < 1 else 1.0, fading=True, usual=1e-3)
