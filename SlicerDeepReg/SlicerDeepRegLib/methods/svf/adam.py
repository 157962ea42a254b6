"""The optimizer of a velocity field."""

from __future__ import annotations

import torch

from .settings import SVFSettings


class Adam:
    """Adam (Kingma and Ba 2015) with a step that falls linearly; amounts are in finest voxels."""

    def __init__(self, like: torch.Tensor, settings: SVFSettings, iterations: int) -> None:
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.settings, self.iterations = settings, iterations

    def update(self, gradient: torch.Tensor, iteration: int) -> torch.Tensor:
        """Return the step for a gradient, of its shape."""
        self.first.mul_(0.9).add_(gradient, alpha=0.1)
        self.second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        done = iteration / max(1, self.iterations - 1)
        length = self.settings.step * (1 - (1 - self.settings.final_step) * done) / (1 - 0.9 ** (iteration + 1))
        scale = (self.second / (1 - 0.99 ** (iteration + 1))).sqrt_().add_(self.settings.damping)
        return (self.first / scale).mul_(length)
