"""Deep unfolding registration: a fidelity step and a learned denoising of the field, unrolled for K stages.

Paper: Sun J, Yang S, Ying S. Research on deep unfolding network for brain image registration. Journal of Image and
Graphics 2025, doi:10.11834/jig.250283. It states: minimize Lsim(Im o u, If) + lambda R(v) + rho ||u - v||^2 by turns;
K = 3 stages of a fidelity module (TransUNet: 4 heads, 8 layers, MLP 96) that gives u, and a denoising module (DnCNN
with a global residual) that gives the next v from it; the original moving image is warped with that v for the next
stage. 3^3 convolutions, batch normalization, rectifiers. Sizes are not published; on a V100 a pair of
160 x 192 x 224 took 0.37 s.

Left open by the paper, and chosen here:

* the fidelity module sees the warped image, so what it gives is an increment d, and the stage's field is the
  composition u(x) = d(x) + v(x + d(x)); a module that saw a warped image could not know the whole field;
* the paper ends the fidelity module with a convolution and a rectifier, which taken literally forbids negative
  displacements: here a convolution without one follows;
* channels 16, 32, 64, 96, 96 from full resolution to 1/16, stride-2 convolutions on the way down, linear
  interpolation and joining on the way up; the transformer (width 96) at 1/16 has sines for positions, so that any
  size will do. With K = 3 this is about 1.5 T multiply-accumulates for that pair;
* the denoiser has 5 convolutions of 16 channels: the 17 of 64 of DnCNN would be 50 times as many operations
  for each field in 3D. ``denoise_factor`` runs it on a coarser field;
* every stage has weights of its own; ``shared`` gives one set to all;
* the denoiser sees the field over its root mean square, and its correction is multiplied by that: normalization inside
  it is blind to lengths, and without this a field of a thousandth of a voxel was corrected by a tenth;
* instance normalization, which is what batch normalization does in training at the paper's batch of one; with the
  running statistics of a trained network it is not the same (see ``blocks.normalization``, "batch" is the letter);
* the modules' last convolutions begin near zero, so that the first field is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import Decoupled
from ..warping.sample import compose, resize, warp
from .attention import whole_attention
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, head, normalized, perceptron

DENOISERS = ("dncnn", "unet", "convolutions")


class Unfolding(RegistrationNetwork):
    """Stages of a data-fidelity network (TransUNet) and a denoising network (DnCNN), unfolded from an optimization.

    Args:
        stages: K, 1 to 8.
        channels: of the fidelity module from full resolution down.
        layers, heads, mlp: of its transformer; 0 layers for none (ablation "CNN").
        skips: join encoder and decoder (ablation).
        denoiser: "dncnn"; "unet" or "convolutions" (without the global residual) for the paper's ablations.
        denoise_width, denoise_depth: channels and number of the denoiser's convolutions.
        denoise_factor: run the denoiser on a field this many times coarser.
        shared: one fidelity and one denoising module for all stages.
        norm: "instance" or "batch".
        common: head_scale, integration (of each increment), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = Decoupled
    small = {"channels": (4, 8, 8), "layers": 2, "mlp": 32, "denoise_width": 4, "denoise_depth": 3}
    dimensions = (3,)

    def __init__(
        self,
        stages: int = 3,
        channels: Sequence[int] = (16, 32, 64, 96, 96),
        layers: int = 8,
        heads: int = 4,
        mlp: int = 96,
        skips: bool = True,
        denoiser: str = "dncnn",
        denoise_width: int = 16,
        denoise_depth: int = 5,
        denoise_factor: int = 1,
        shared: bool = False,
        norm: str = "instance",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        if not 1 <= stages <= 8:
            raise ValueError(f"stages must be 1 to 8; it was {stages}")
        self.stages, self.denoise_factor = stages, denoise_factor
        self.divisor = 2 ** (len(channels) - 1)
        sets = 1 if shared else stages
        self.fidelity = nn.ModuleList(TransUNet(channels, layers, heads, mlp, skips, norm) for _ in range(sets))
        self.denoising = nn.ModuleList(_denoiser(denoiser, denoise_width, denoise_depth, norm) for _ in range(sets))

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; ``fields`` holds u and v of every stage."""
        fields = {}
        seen, v = moving, None
        for number in range(self.stages):
            module = min(number, len(self.fidelity) - 1)
            values = self.kept_small(self.fidelity[module], torch.cat([seen, fixed], 1))
            increment = self.displacement_of(values)
            u = increment if v is None else compose(v, increment)
            v = self._denoised(self.denoising[module], u)
            fields[f"stage {number + 1} u"], fields[f"stage {number + 1} v"] = u, v
            if number + 1 < self.stages:
                seen = warp(moving.float(), v).to(moving.dtype)
        return NetworkOutput(v, fields)

    def _denoised(self, denoiser: nn.Module, u: torch.Tensor) -> torch.Tensor:
        if self.denoise_factor == 1:
            return self.kept_small(denoiser, u).float()
        small = resize(u, [max(1, size // self.denoise_factor) for size in u.shape[2:]])
        change = self.kept_small(denoiser, small).float() - small
        return u + resize(change, u.shape[2:])


class TransUNet(nn.Module):
    """The fidelity module: a U-Net with a transformer at its coarsest level; (B, 2, ...) to (B, 3, ...)."""

    def __init__(self, channels: Sequence[int], layers: int, heads: int, mlp: int, skips: bool, norm: str) -> None:
        super().__init__()
        self.skips = skips
        self.down = nn.ModuleList(
            normalized(before, after, norm, stride=1 if number == 0 else 2)
            for number, (before, after) in enumerate(zip([2, *channels[:-1]], channels))
        )
        self.transformer = nn.Sequential(*(TransformerLayer(channels[-1], heads, mlp) for _ in range(layers)))
        self.up = nn.ModuleList(
            normalized(below + (here if skips else 0), here, norm)
            for below, here in zip(channels[:0:-1], channels[-2::-1])
        )
        self.last = nn.Sequential(Conv3d(channels[0], channels[0], 3, padding=1), nn.ReLU(inplace=True))
        self.head = head(channels[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        levels: list[torch.Tensor] = []
        for layer in self.down:
            images = layer(images)
            levels.append(images)
        x = levels.pop()
        if len(self.transformer):
            shape = x.shape[2:]
            tokens = x.flatten(2).transpose(1, 2)
            tokens = self.transformer(tokens + _positions(shape, x.shape[1], x))
            x = tokens.transpose(1, 2).reshape(x.shape)
        for layer in self.up:
            skip = levels.pop()
            x = F.interpolate(x, size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = layer(torch.cat([x, skip], 1) if self.skips else x)
        return self.head(self.last(x))


class TransformerLayer(nn.Module):
    """Self-attention of every token to every other and an MLP, each normalized before and added."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = perceptron(width, mlp)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project_in(self.norm1(tokens)).chunk(3, -1)
        tokens = tokens + self.project_out(whole_attention(query, key, value, self.heads))
        return tokens + self.mlp(self.norm2(tokens))


def _positions(shape: Sequence[int], width: int, like: torch.Tensor) -> torch.Tensor:
    """(1, tokens, width): sines and cosines of each coordinate in voxels, a third of the channels for each axis."""
    pairs = width // (2 * len(shape))
    rates = torch.exp(torch.arange(pairs, device=like.device) * (-math.log(100.0) / max(1, pairs - 1)))
    parts = []
    for axis, size in enumerate(shape):
        angle = torch.arange(size, device=like.device)[:, None] * rates
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        view = [size if a == axis else 1 for a in range(len(shape))]
        parts.append(waves.view(*view, -1).expand(*shape, -1))
    positions = torch.cat(parts, -1).flatten(0, -2)
    return F.pad(positions, (0, width - positions.shape[-1]))[None].to(like.dtype)


def _denoiser(kind: str, width: int, depth: int, norm: str) -> nn.Module:
    if kind not in DENOISERS:
        raise ValueError(f"denoiser must be one of {', '.join(DENOISERS)}; it was {kind!r}")
    if kind == "unet":
        return DenoisingUNet(width, norm)
    return DnCNN(width, depth, norm, residual=kind == "dncnn")


class DnCNN(nn.Module):
    """Convolutions that find what does not belong to a field, taken off it by a global residual; (B, 3, ...)."""

    def __init__(self, width: int, depth: int, norm: str, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            normalized(3, width, norm), *(normalized(width, width, norm) for _ in range(depth - 2))
        )
        self.last = head(width)

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        length = _length(field)
        change = length * self.last(self.layers(field / length))
        return field + change if self.residual else change


class DenoisingUNet(nn.Module):
    """The same by a U-Net of three levels (ablation)."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.enter = normalized(3, width, norm)
        self.down = nn.ModuleList([normalized(width, 2 * width, norm, 2), normalized(2 * width, 4 * width, norm, 2)])
        self.up = nn.ModuleList([normalized(6 * width, 2 * width, norm), normalized(3 * width, width, norm)])
        self.last = head(width)

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        length = _length(field)
        levels = [self.enter(field / length)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        x = levels.pop()
        for layer in self.up:
            skip = levels.pop()
            x = F.interpolate(x, size=skip.shape[2:], mode="trilinear", align_corners=False)
            x = layer(torch.cat([x, skip], 1))
        return field + length * self.last(x)


def _length(field: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of each field, (B, 1, ...), at least a thousandth of a voxel."""
    return field.square().mean(tuple(range(1, field.ndim)), keepdim=True).clamp(min=1e-6).sqrt()


NETWORK = Unfolding
