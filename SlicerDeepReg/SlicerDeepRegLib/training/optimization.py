"""How the weights of a network are improved: optimizer, learning rate, scaling of the loss, and their running mean."""

from __future__ import annotations

import torch
from torch import nn

from .plan import Plan


def optimizer_of(plan: Plan, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a plan for the parameters of a network."""
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), plan.learning_rate)
    return torch.optim.Adam(network.parameters(), plan.learning_rate, amsgrad=plan.optimizer == "amsgrad")


def learning_rate_at(plan: Plan, step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    if plan.decay == "constant":
        return plan.learning_rate
    return plan.learning_rate * (1 - step / plan.steps) ** 0.9


def loss_scaler(device: torch.device, enabled: bool) -> torch.cuda.amp.GradScaler:
    """Return what scales the loss of half precision, so that small gradients are kept."""
    if torch.__version__ >= "2.3":  # from then on for any device
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled and device.type == "cuda")


def autocast_dtype(precision: str) -> torch.dtype:
    """Return the type of a precision that is not "fp32"."""
    return torch.float16 if precision == "fp16" else torch.bfloat16


class RunningMean:
    """The exponential moving average of a network's weights.

    Args:
        network: whose weights; those that it has now are the start.
        decay: share of the old in each new mean.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow the weights after a step, counted from 0; in the first steps the mean forgets faster."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - keep)
            else:
                self.weights[name].copy_(value)

    def restore(self, weights: dict[str, torch.Tensor], device: torch.device) -> None:
        """Take the mean of a checkpoint."""
        self.weights = {name: tensor.to(device) for name, tensor in weights.items()}
