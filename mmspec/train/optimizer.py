"""AdamW over bf16 parameters with fp32 master copies, so that small steps are not rounded away."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MasterAdamW:
    """AdamW (Loshchilov and Hutter 2019) whose masters and moments are fp32 whatever the model is.

    `parameters` maps names to the trained parameters; the names key the state, so that a model
    that has grown or lost parts can take over the moments of what it kept.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.98),
        decay: float = 0.0,
        clip: float = 1.0,
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters = dict(parameters)
        self.betas, self.decay, self.clip, self.epsilon = betas, decay, clip, epsilon
        self.steps = 0
        values = self.parameters.values()
        self.masters = [p.detach().float().clone() for p in values]
        self.means = [torch.zeros_like(m) for m in self.masters]
        self.squares = [torch.zeros_like(m) for m in self.masters]

    @torch.no_grad()
    def step(self, rate: float) -> float:
        """Apply the gradients at learning rate `rate`, clear them, return their fp32 norm.

        Raises FloatingPointError when the norm is not finite: a run must not go on from there.
        """
        grads = [self._gradient(p) for p in self.parameters.values()]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradient norm {norm} at optimizer step {self.steps}")
        torch._foreach_mul_(grads, min(1.0, self.clip / (norm + 1e-6)))
        self.steps += 1
        first, second = self.betas
        torch._foreach_lerp_(self.means, grads, 1 - first)
        torch._foreach_mul_(self.squares, second)
        torch._foreach_addcmul_(self.squares, grads, grads, 1 - second)
        scale = torch._foreach_div(self.squares, 1 - second**self.steps)
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, self.epsilon)
        if self.decay:
            torch._foreach_mul_(self.masters, 1 - rate * self.decay)
        size = -rate / (1 - first**self.steps)
        torch._foreach_addcdiv_(self.masters, self.means, scale, size)
        torch._foreach_copy_(list(self.parameters.values()), self.masters)
        return norm

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, keyed by parameter name."""
        rows = zip(self.masters, self.means, self.squares, strict=True)
        return {"steps": self.steps, "rows": dict(zip(self.parameters, rows, strict=True))}

    @torch.no_grad()
    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises KeyError unless it names exactly the same parameters."""
        if set(state["rows"]) != set(self.parameters):
            raise KeyError("optimizer state and model name different parameters")
        self.steps = state["steps"]
        for place, (name, parameter) in enumerate(self.parameters.items()):
            master, mean, square = state["rows"][name]
            self.masters[place].copy_(master)
            self.means[place].copy_(mean)
            self.squares[place].copy_(square)
            parameter.copy_(master)

    @staticmethod
    def _gradient(parameter: nn.Parameter) -> Tensor:
        if parameter.grad is None:
            return torch.zeros_like(parameter, dtype=torch.float32)
        grad = parameter.grad.float()
        parameter.grad = None
        return grad
