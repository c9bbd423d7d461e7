"""Many small models trained side by side: a step of two hundred costs little more than a step of five."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from benchmarks.any_start.data import Data
from benchmarks.any_start.tasks import Task

Parts = dict[str, Tensor]
MOMENTUM, BETAS, EPSILON = 0.9, (0.9, 0.999), 1e-8


class Crowd:
    """Models of one task, each with its own seed, batches and learning rate; the optimizers are those of torch.

    Args:
        task: the model, the optimizer (``"sgd"`` with momentum 0.9, or ``"adamw"``), the loss.
        data: its splits.
        seeds: of each model: its first weights, and the order of its batches.
        lrs: rate of each model.
    """

    def __init__(self, task: Task, data: Data, seeds: Sequence[int], lrs: Sequence[float]) -> None:
        self.task, self.data = task, data
        self.seeds, self.lrs = list(seeds), torch.tensor(lrs, dtype=torch.float64)
        made = {}
        for seed in sorted(set(seeds)):
            torch.manual_seed(seed)
            made[seed] = task.model(data)
        self.one = made[self.seeds[0]]
        self.parameters: Parts = stack_module_state([made[seed] for seed in self.seeds])[0]
        self.parameters = {name: value.detach() for name, value in self.parameters.items()}
        self.memory = [{name: torch.zeros_like(value) for name, value in self.parameters.items()} for _ in range(2)]
        self.steps = torch.zeros(len(self.seeds))

    def __len__(self) -> int:
        return len(self.seeds)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The batches of an epoch, one a row."""
        size, generator = len(self.data.train), torch.Generator().manual_seed(1000 * seed + epoch)  # type: ignore[arg-type]
        batches = size // self.task.batch
        return torch.randperm(size, generator=generator)[: batches * self.task.batch].reshape(batches, -1)

    def train(self, epoch: int) -> Tensor:
        """The losses of the steps of an epoch, one a row."""
        orders = {seed: self.order(seed, epoch) for seed in set(self.seeds)}
        places = torch.stack([orders[seed] for seed in self.seeds], 1)
        return torch.stack([self._step(*self.data.train[batch]) for batch in places])

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        gradients, losses = vmap(grad_and_value(self._loss))(self.parameters, inputs, targets)
        self.steps += 1
        for name, gradient in gradients.items():
            self._move(name, gradient)
        return losses

    def _move(self, name: str, gradient: Tensor) -> None:
        shape = (-1, *[1] * (gradient.dim() - 1))
        parameter, lr, decay = self.parameters[name], self.lrs.float().reshape(shape), self.task.weight_decay
        first, second = (memory[name] for memory in self.memory)
        if self.task.optimizer == "sgd":
            first.mul_(MOMENTUM).add_(gradient + decay * parameter if decay else gradient)
            parameter.sub_(lr * first)
            return
        steps = self.steps.reshape(shape)
        parameter.mul_(1 - lr * decay)
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        deviation = (second / (1 - BETAS[1] ** steps)).sqrt().add_(EPSILON)
        parameter.sub_(lr / (1 - BETAS[0] ** steps) * first / deviation)

    def _loss(self, parameters: Parts, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = functional_call(self.one, parameters, (inputs,))
        if self.task.regression:
            return F.mse_loss(outputs.squeeze(-1), targets)
        return F.cross_entropy(outputs, targets)

    @torch.no_grad()
    def evaluate(self, split: Any, of: Sequence[int] | None = None) -> list[float]:
        """The loss of each model, or of some, on a split."""
        chosen = self.parameters if of is None else {name: part[list(of)] for name, part in self.parameters.items()}
        return list(vmap(self._loss, in_dims=(0, None, None))(chosen, *split.columns).tolist())

    def state(self, index: int) -> list[Tensor]:
        """Weights and memory of one model, copied."""
        return [part[index].clone() for part in self._all()]

    def load(self, index: int, state: Sequence[Tensor]) -> None:
        """Put a state back; the rate stays."""
        for part, kept in zip(self._all(), state, strict=True):
            part[index] = kept

    def keep(self, indices: Sequence[int]) -> None:
        """Let all others go."""
        chosen = list(indices)
        self.seeds, self.lrs, self.steps = [self.seeds[i] for i in chosen], self.lrs[chosen], self.steps[chosen]
        for parts in (self.parameters, *self.memory):
            parts.update({name: part[chosen] for name, part in parts.items()})

    def _all(self) -> list[Tensor]:
        return [self.steps, *(part for parts in (self.parameters, *self.memory) for part in parts.values())]
