"""The optimiser of alignment and refinement."""

from __future__ import annotations

import torch


class Adam:
    """Adam (Kingma and Ba, 2015) for one tensor; torch's own imports torch's compiler (``benchmarks/kernels.py``)."""

    def __init__(
        self,
        parameter: torch.Tensor,
        learning_rate: float,
        decay: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ):
        """parameter: changed in place by `step`. decay: of the means of the gradient and of its square. epsilon: added
        to the root of the mean square.
        """
        self.parameter, self.learning_rate, self.decay, self.epsilon = parameter, learning_rate, decay, epsilon
        self.mean, self.square, self.steps = torch.zeros_like(parameter), torch.zeros_like(parameter), 0

    @torch.no_grad()
    def step(self) -> None:
        """Take one step along ``parameter.grad``, and clear that."""
        gradient, (first, second) = self.parameter.grad, self.decay
        assert gradient is not None, "the parameter has no gradient"
        self.steps += 1
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = (self.square / (1 - second**self.steps)).sqrt_().add_(self.epsilon)
        self.parameter.addcdiv_(self.mean, scale, value=-self.learning_rate / (1 - first**self.steps))
        self.parameter.grad = None
