"""Pieces that two networks or more are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Run = Callable[..., Tensor]

#: torch gives a single volume on a CPU to its fast convolution only when batch x channels x K x J is larger.
FAST_FROM = 20480
#: From how many voxels on a GPU the statistics of a channel are a reduction of their own.
REDUCED_FROM = 2**15
#: From how many voxels on JoinedConv3d saves the copy: below, it costs nothing, and a sum rounds more than one product.
JOINED_FROM = 2**20


def plain_run(block: nn.Module, *inputs: Tensor) -> Tensor:
    """Call a block as it is; networks put ``kept_small`` in its place."""
    return block(*inputs)


def padding_to(shape: Sequence[int], padded: Sequence[int]) -> list[int]:
    """Return the padding at the far ends from a shape to another, as ``torch.nn.functional.pad`` takes it."""
    return [amount for size, wide in zip(shape[::-1], padded[::-1]) for amount in (0, wide - size)]


def cropped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the part of (B, C, ...) of that shape at the near ends."""
    for axis, size in enumerate(shape, start=2):
        x = x.narrow(axis, 0, size)
    return x


def _with_company(x: Tensor, groups: int) -> bool:
    """Whether torch would take its slow path for x."""
    small = x.shape[0] == 1 and x.shape[1] * x.shape[2] * x.shape[3] <= FAST_FROM
    return small and groups == 1 and x.device.type == "cpu" and x.dtype == torch.float32


class Conv3d(nn.Conv3d):
    """The convolution, with small volumes given to torch as the first of a batch of two."""

    def forward(self, x: Tensor) -> Tensor:
        if _with_company(x, self.groups):
            return super().forward(torch.cat([x, torch.zeros_like(x)]))[:1]
        return super().forward(x)


class CountsProducts(nn.Module):
    """A block that counts its products itself, because it does not call its convolutions one by one."""

    @property
    def products(self) -> int:
        """Multiply-accumulates of one value of its output."""
        raise NotImplementedError


class JoinedConv3d(Conv3d):
    """The convolution of several tensors side by side in the channels, without putting them there.

    At full resolution the copy is the largest tensor of a U-Net: as a sum of convolutions there is none.
    """

    def forward(self, *parts: Tensor) -> Tensor:
        small = parts[0][0, 0].numel() < JOINED_FROM or any(_with_company(part, self.groups) for part in parts)
        if small or len(parts) == 1:
            return super().forward(torch.cat(parts, 1))
        total, begin = None, 0
        for part in parts:
            weight = self.weight[:, begin : begin + part.shape[1]]
            begin += part.shape[1]
            bias = self.bias if total is None else None
            product = F.conv3d(part, weight, bias, self.stride, self.padding, self.dilation)
            total = product if total is None else total.add_(product)
        return total


class ConvTranspose3d(nn.ConvTranspose3d):
    """The transposed convolution, with small volumes given to torch as the first of a batch of two."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _with_company(x, self.groups):
            return super().forward(torch.cat([x, torch.zeros_like(x)]), output_size)[:1]
        return super().forward(x, output_size)


class InstanceNorm(nn.GroupNorm):
    """Instance normalization, as groups of one channel: this keeps channels last, which instance_norm copies.

    On a GPU torch gives a group to one of its processors, and a group is a whole volume here: there the mean and the
    variance are found by a reduction, which all of them share.
    """

    def __init__(self, width: int, affine: bool = False) -> None:
        super().__init__(width, width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cuda" or x[0, 0].numel() < REDUCED_FROM:
            return super().forward(x)
        return self.reduced(x)

    def reduced(self, x: Tensor) -> Tensor:
        """Normalize likewise, by one reduction over each channel."""
        x = x.float()  # as autocast has it
        variance, mean = torch.var_mean(x, tuple(range(2, x.ndim)), correction=0, keepdim=True)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            like = (1, -1, *[1] * (x.ndim - 2))
            scale = scale * self.weight.view(like)
            return torch.addcmul(self.bias.view(like) - mean * scale, x, scale)
        return torch.addcmul(-mean * scale, x, scale)


CONVOLUTION = {2: nn.Conv2d, 3: Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: ConvTranspose3d}


def rectified(before: int, after: int, stride: int = 1, slope: float = 0.1, dimensions: int = 3) -> nn.Sequential:
    """Convolution of 3 voxels, leaky rectifier."""
    return nn.Sequential(
        CONVOLUTION[dimensions](before, after, 3, stride=stride, padding=1), nn.LeakyReLU(slope, inplace=True)
    )


def normalized(before: int, after: int, norm: str, stride: int = 1, bias: bool = True) -> nn.Sequential:
    """Convolution of 3 voxels, normalization of that kind, rectifier, in 3D."""
    return nn.Sequential(
        Conv3d(before, after, 3, stride=stride, padding=1, bias=bias), normalization(norm, after), nn.ReLU(inplace=True)
    )


def perceptron(width: int, inner: int) -> nn.Sequential:
    """Two linear layers with GELU between."""
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


def unit(
    before: int, after: int, kernel: int = 3, stride: int = 1, bias: bool = True, slope: float = 0.1
) -> nn.Sequential:
    """Convolution, instance normalization, leaky rectifier, in 3D."""
    return nn.Sequential(
        Conv3d(before, after, kernel, stride=stride, padding=kernel // 2, bias=bias),
        InstanceNorm(after),
        nn.LeakyReLU(slope, inplace=True),
    )


class UpAndJoin(nn.Module):
    """Twice the size by linear interpolation, what skips bring beside it, and two convolutions; in 3D.

    Args:
        before, skip, after: channels of what is enlarged, of the skips together (0 for none), and of the result.
        up: what enlarges, instead of the interpolation.
    """

    def __init__(self, before: int, skip: int, after: int, up: nn.Module | None = None) -> None:
        super().__init__()
        self.enlarge = up or nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.first = unit(before + skip, after, bias=False, slope=0.01)
        self.first[0] = JoinedConv3d(before + skip, after, 3, padding=1, bias=False)
        self.second = unit(after, after, bias=False, slope=0.01)

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        convolve, normalize, rectify = self.first
        return self.second(rectify(normalize(convolve(self.enlarge(x), *skips))))


class _SinglePrecision(nn.Module):
    """A layer that computes in single precision under autocast, too.

    In bfloat16 a displacement of 8 to 16 voxels would move in steps of 1/16 voxel, whatever comes after it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # only shapes are computed, and there is no autocast
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Head2d(_SinglePrecision, nn.Conv2d):
    """The convolution that gives a field of a slice."""


class Head3d(_SinglePrecision, Conv3d):
    """The convolution that gives a field of a volume."""


HEAD = {2: Head2d, 3: Head3d}


def head(before: int, dimensions: int = 3, bias: bool = True) -> nn.Module:
    """Build the convolution that gives a field: its weights begin so near zero that the field is none."""
    layer = HEAD[dimensions](before, dimensions, 3, padding=1, bias=bias)
    nn.init.normal_(layer.weight, std=1e-5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def normalization(kind: str, width: int, dimensions: int = 3) -> nn.Module:
    """Batch or instance normalization with a trained scale and shift.

    With a batch of one pair, as registration networks are often trained, batch normalization in training is instance
    normalization; in use, with running statistics, it is not. Only instance normalization gives the same field for a
    pair in training, alone, and in a batch: it is the default here, "batch" is there for the letter of a paper.
    """
    if kind not in ("instance", "batch"):
        raise ValueError(f"norm must be instance or batch; it was {kind!r}")
    if kind == "batch":
        return {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions](width)
    return InstanceNorm(width, affine=True)


class Pointwise(nn.Linear):
    """A convolution of one voxel, as the matrix product that it is; (B, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of (B, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
