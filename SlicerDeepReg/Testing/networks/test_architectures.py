"""What each network's paper says of its pieces, and its pieces against slow ones."""

import numpy as np
import pytest
import torch
from helpers.networks import error_of, images, network_of, stirred
from SlicerDeepRegLib.networks import blocks, build
from SlicerDeepRegLib.networks.attention import neighbor_attention, window_attention
from SlicerDeepRegLib.networks.blocks import Conv3d, ConvTranspose3d, InstanceNorm, normalization
from SlicerDeepRegLib.networks.msrd_net import Dilformer
from SlicerDeepRegLib.networks.size import parameters
from SlicerDeepRegLib.networks.unfolding import DnCNN
from SlicerDeepRegLib.networks.wavemorph import DySample, GlobalResponse, SummedDepthwise, haar
from SlicerDeepRegLib.warping.sample import compose, resize
from torch import nn


def size_of(name, **configuration):
    with torch.device("meta"):
        return parameters(build(name, **configuration))


# ------------------------------------------------------------------ shared pieces


def slow_attention(query, key, value, heads, sees):
    """Voxel by voxel: softmax over the voxels that ``sees`` (this voxel's place, all locations) says."""
    _, c, *shape = query.shape
    width = c // heads
    found = torch.zeros_like(query)
    locations = np.indices(shape)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for index in np.ndindex(*shape):
            there = sees(np.array(index)[:, None, None, None], locations)
            weights = torch.softmax(query[0, part][(slice(None), *index)] @ key[0, part][:, there] / width**0.5, 0)
            found[0, part][(slice(None), *index)] = value[0, part][:, there] @ weights
    return found


@pytest.mark.parametrize("shape, window", [((4, 4, 4), 2), ((5, 4, 3), 3), ((3, 3, 3), 6)])
def test_window_attention_equals_the_slow_one(shape, window):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 8, *shape) for _ in range(3))
    slow = slow_attention(query, key, value, 2, lambda here, all_: (here // window == all_ // window).all(0))
    assert torch.allclose(window_attention(query, key, value, 2, window), slow, atol=1e-5)
    slow = slow_attention(query, key, value, 2, lambda here, all_: (all_ >= 0).all(0))
    assert torch.allclose(window_attention(query, key, value, 2, None), slow, atol=1e-5)


@pytest.mark.parametrize("shape, window, reach", [((7, 6, 9), 2, 1), ((4, 2, 3), 2, 1), ((5, 5, 6), 1, 2)])
def test_neighbor_attention_equals_the_slow_one(shape, window, reach):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 8, *shape) for _ in range(3))
    near = lambda here, all_: (abs(here // window - all_ // window) <= reach).all(0)  # noqa: E731
    slow = slow_attention(query, key, value, 2, near)
    assert torch.allclose(neighbor_attention(query, key, value, 2, window, reach), slow, atol=1e-5)


@pytest.mark.parametrize("plain, ours", [(nn.Conv3d, Conv3d), (nn.ConvTranspose3d, ConvTranspose3d)])
@pytest.mark.parametrize("size", [6, 30])
def test_small_convolutions_give_the_same(plain, ours, size):
    torch.manual_seed(0)
    expected, found = plain(8, 4, 3), ours(8, 4, 3)
    found.load_state_dict(expected.state_dict())
    x = torch.randn(1, 8, size, size, 30)
    assert torch.allclose(found(x), expected(x), atol=1e-5)


def test_instance_normalization_is_torchs_and_batch_normalization_at_one():
    torch.manual_seed(0)
    x = torch.randn(1, 5, 6, 7, 8)
    assert torch.allclose(InstanceNorm(5)(x), nn.InstanceNorm3d(5)(x), atol=1e-5)
    for affine in (False, True):
        norm = InstanceNorm(5, affine)
        if affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        assert torch.allclose(norm.reduced(x), norm(x), atol=1e-5)
    assert torch.allclose(normalization("batch", 5).train()(x), normalization("instance", 5)(x), atol=1e-5)
    with pytest.raises(ValueError, match="instance or batch"):
        normalization("layer", 5)


# ------------------------------------------------------------------ MSRD-Net


def test_msrd_net_has_the_papers_pieces():
    whole, plain = size_of("msrd-net"), size_of("msrd-net", dilations=None)
    assert whole - plain == 3 * 26 * (64**2 + 128**2 + 256**2)  # 3^3 to 1^3, of query, key and value
    without = [size_of("msrd-net", **off) for off in ({"attention_levels": 0}, {"multi_scale": False})]
    assert all(size < whole for size in without)
    rates = [project.dilation for project in Dilformer(64, (1, 2, 3), 4, 6).project_in]
    assert rates == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


# ------------------------------------------------------------------ deep unfolding


@torch.no_grad()
@pytest.mark.parametrize("stages", [1, 3, 8])
def test_every_stage_gives_u_and_v(stages):
    network = stirred(build("unfolding", stages=stages, channels=(4, 4, 8), layers=1, shared=True))
    output = network(*images(3))
    names = [f"stage {k} {field}" for k in range(1, stages + 1) for field in "uv"]
    assert list(output.fields) == names and set(output.factors.values()) == {1}
    assert torch.equal(output.displacement, output.fields[names[-1]])
    assert len(network.fidelity) == 1


def test_the_stages_are_one_to_eight_and_have_weights_of_their_own():
    for stages in (0, 9):
        with pytest.raises(ValueError, match="1 to 8"):
            build("unfolding", stages=stages)
    assert size_of("unfolding", stages=5) == 5 * size_of("unfolding", shared=True)


def test_the_transformer_is_that_of_the_paper():
    with torch.device("meta"):
        module = build("unfolding").fidelity[0]
    assert len(module.transformer) == 8
    assert all(layer.heads == 4 and layer.mlp[0].out_features == 96 for layer in module.transformer)


@torch.no_grad()
@pytest.mark.parametrize("denoiser", ["dncnn", "unet", "convolutions"])
def test_what_the_denoiser_takes_off_grows_with_the_field(denoiser):
    """Ten times the field, ten times the correction: normalization inside must not make it blind to lengths."""
    torch.manual_seed(0)
    network = stirred(build("unfolding", stages=1, channels=(4, 4, 8), layers=1, denoiser=denoiser)).eval()
    module, field = network.denoising[0], torch.randn(1, 3, 16, 16, 16)
    change = {length: module(length * field) - length * field for length in (0.01, 0.1, 10.0)}
    for length, found in change.items():
        assert torch.allclose(found / length, change[10.0] / 10, rtol=1e-3, atol=1e-4)
    assert float(change[10.0].abs().mean()) > 1e-3
    assert torch.equal(module(torch.zeros(1, 3, 8, 8, 8)).isfinite(), torch.ones(1, 3, 8, 8, 8, dtype=torch.bool))
    still = torch.zeros(1, 3, 16, 16, 16, requires_grad=True)
    with torch.enable_grad():
        module(still).square().sum().backward()
    assert bool(still.grad.isfinite().all())


@torch.no_grad()
def test_a_stage_composes_its_increment_with_the_field_before():
    torch.manual_seed(0)
    network = stirred(build("unfolding", stages=2, channels=(4, 4, 8), layers=1))
    for module in network.denoising:  # the denoisers change nothing: v is u
        module.last.weight.zero_()
    seen = []
    network.fidelity[1].register_forward_hook(lambda module, given, found: seen.append((given[0], found)))
    moving, fixed = images(3)
    fields = network(moving, fixed).fields
    assert torch.equal(fields["stage 1 u"], fields["stage 1 v"])
    assert torch.allclose(fields["stage 2 u"], compose(fields["stage 1 v"], seen[0][1].clone()), atol=1e-6)
    assert torch.equal(seen[0][0][:, 1:], fixed) and not torch.equal(seen[0][0][:, :1], moving)


@torch.no_grad()
def test_the_denoiser_keeps_the_field_by_its_global_residual():
    field = torch.randn(1, 3, 8, 8, 8)
    for residual, expected in ((True, field), (False, field * 0)):
        denoiser = DnCNN(4, 3, "instance", residual)
        denoiser.last.weight.zero_()
        assert torch.equal(denoiser(field), expected)


# ------------------------------------------------------------------ CAML


def test_without_its_three_parts_it_is_its_base():
    """15 093 891 parameters of XMorpher as released, less a layer of 768 to 384 there that nothing uses."""
    base = size_of("caml", multi_layers=False, residual_skips=False, cascades=1)
    assert base == 15_093_891 - (768 * 384 + 384)
    residual = size_of("caml", residual_skips=True, multi_layers=False) - base
    assert residual == sum(2 * (27 * c * c + c) for c in (48, 96, 192))
    across = size_of("caml", residual_skips=False) - base  # only what brings the finer level to the width: CA is shared
    assert across == sum(c * 2 * c + 2 * c for c in (48, 96, 192))
    assert size_of("caml", cascades=5) == size_of("caml")
    assert size_of("caml", shared=False) == 2 * size_of("caml")


@torch.no_grad()
def test_swapped_images_swap_the_streams():
    network = network_of("caml", 3).passes[0]
    moving, fixed = images(3, (32, 32, 64))
    first, second = network.streams(moving, fixed).chunk(2)
    assert error_of(first, second) > 0.01
    swapped = network.streams(fixed, moving).chunk(2)
    assert error_of(swapped[0], second) < 1e-5 and error_of(swapped[1], first) < 1e-5


def test_search_windows_are_six_voxels_wide():
    query, key = torch.randn(1, 16, 12, 12, 12), torch.randn(1, 16, 12, 12, 12, requires_grad=True)
    neighbor_attention(query, key, key, 1)[0, :, 4, 5, 6].sum().backward()
    touched = key.grad.abs().sum((0, 1)).nonzero()
    assert touched.amin(0).tolist() == [2, 2, 4] and touched.amax(0).tolist() == [7, 7, 9]  # base 4-5, 4-5, 6-7
    assert len(touched) == 216


@torch.no_grad()
def test_the_cascade_runs_on_what_was_aligned():
    network = stirred(network_of("caml", 3))
    seen = []
    network.passes[0].register_forward_hook(lambda module, given, found: seen.append((given, found)))
    moving, fixed = images(3, (32, 32, 64))
    output = network(moving, fixed)
    assert list(output.fields) == ["pass 1", "pass 2"] and len(seen) == 2
    assert torch.equal(seen[0][0][0], moving) and not torch.equal(seen[1][0][0], moving)
    assert torch.allclose(output.displacement, compose(seen[0][1].clone(), seen[1][1]), atol=1e-5)


# ------------------------------------------------------------------ FMIRNet


@torch.no_grad()
@pytest.mark.parametrize("axes", [2, 3])
def test_three_fields_are_summed_and_weighed(axes):
    network = stirred(network_of("fmirnet", axes))
    network.weigh.weight.copy_(torch.randn_like(network.weigh.weight))
    moving, fixed = images(axes, (32, 32, 64)[-axes:])
    output = network(moving, fixed)
    assert {name: factor for name, factor in output.factors.items()} == {"phi3": 4, "phi2": 2, "phi1": 1}
    fused = sum(resize(field, fixed.shape[2:]) for field in output.fields.values())
    assert torch.allclose(output.displacement, torch.sigmoid(network.weigh(fused)) * fused, atol=1e-5)
    assert parameters(network.weigh) == {2: 38, 3: 246}[axes]


@torch.no_grad()
def test_fmirnet_1_and_2():
    moving, fixed = images(2)
    one = stirred(network_of("fmirnet:1", 2))
    output = one(moving, fixed)
    assert list(output.fields) == ["phi1"] and torch.equal(output.displacement, output.fields["phi1"])
    assert list(network_of("fmirnet:2", 2)(moving, fixed).fields) == ["phi2", "phi1"]
    with pytest.raises(ValueError, match="1, 2 or 3"):
        build("fmirnet", scales=4)


# ------------------------------------------------------------------ WaveMorph


def test_haar_is_orthonormal():
    """So that its transpose inverts it: nothing of the image is lost."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64)
    assert haar(x).shape == (2, 24, 2, 3, 4)
    basis = torch.eye(64, dtype=torch.float64).reshape(64, 1, 4, 4, 4)
    matrix = haar(basis).flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(64, dtype=torch.float64), atol=1e-14)
    low = haar(x)[:, 0::8]  # the low band is the sum of the block, over the root of 8
    assert torch.allclose(low, torch.nn.functional.avg_pool3d(x, 2) * 8**0.5)


@torch.no_grad()
def test_dysample_has_96_offsets_and_begins_as_interpolation():
    module = DySample(16)
    assert module.offset.out_channels == 96
    x = torch.randn(2, 16, 3, 4, 5)
    module.offset.weight.zero_()
    linear = torch.nn.functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
    assert torch.allclose(module(x), linear, atol=1e-5)
    # An offset of 1 along i for every group and place is a quarter of a voxel.
    module.offset.bias.view(4, 3, 8)[:, 0] = 1
    ramp = torch.arange(5.0).expand(1, 16, 3, 4, 5).contiguous()
    moved = module(ramp)[0, 0, 2, 3]
    plain = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="trilinear", align_corners=False)[0, 0, 2, 3]
    assert torch.allclose((moved - plain)[1:-2], torch.full((7,), 0.25), atol=1e-5)


@torch.no_grad()
def test_summed_kernels_are_the_sum_of_convolutions():
    module = SummedDepthwise(6, (3, 5, 7))
    x = torch.randn(2, 6, 8, 9, 7)
    expected = sum(nn.functional.conv3d(x, p.weight, p.bias, padding=p.padding, groups=6) for p in module.parts)
    assert torch.allclose(module(x), expected, atol=1e-5)
    assert module.products == 27 + 125 + 343


@torch.no_grad()
def test_global_response_normalization():
    module = GlobalResponse(4)
    x = torch.randn(2, 3, 4, 5, 4)
    assert torch.equal(module(x), x)  # as ConvNeXt V2 begins
    module.gamma.copy_(torch.rand(4)), module.beta.copy_(torch.rand(4))
    strength = np.linalg.norm(x.numpy().reshape(2, -1, 4), axis=1)
    relative = strength / strength.mean(1, keepdims=True)
    expected = module.gamma.numpy() * x.numpy() * relative[:, None, None, None] + module.beta.numpy() + x.numpy()
    assert np.allclose(module(x).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "widths, shape, calls",
    [((4, 4), (64, 96, 8), 2), ((2, 4), (64, 96, 8), 1), ((4, 4), (4, 5, 6), 1)],
    ids=["large", "one part thin", "small"],
)
def test_joined_convolution_is_that_of_the_copy(widths, shape, calls, monkeypatch):
    monkeypatch.setattr(blocks, "JOINED_FROM", 1000)
    layer = blocks.JoinedConv3d(sum(widths), 3, 3, padding=1)
    parts = [torch.randn(1, width, *shape) for width in widths]
    plain, seen = torch.nn.functional.conv3d, []
    monkeypatch.setattr(torch.nn.functional, "conv3d", lambda x, *rest: seen.append(x) or plain(x, *rest))
    found = layer(*parts)
    assert len(seen) == calls
    assert torch.allclose(found, plain(torch.cat(parts, 1), layer.weight, layer.bias, padding=1), atol=1e-5)


@pytest.mark.parametrize("dimensions, image_size", [(2, None), (3, None), (3, (48, 40, 32))])
def test_a_normalized_field_does_not_depend_on_the_size_of_the_image(dimensions, image_size):
    """LKU-Net's head gives parts of the images that it learned from; saturated, half of them, whatever it is shown."""
    network = build("lku-net", dimensions=dimensions, width=4, image_size=image_size).eval()
    torch.nn.init.constant_(network.head.weight, 1e9)
    wanted = [(size - 1) / 2 for size in (image_size or (160, 192, 224)[:dimensions])][::-1]
    for shape in ((32, 48, 16)[:dimensions], (40, 20, 24)[:dimensions]):
        moving, fixed = torch.rand(2, 1, 1, *shape).unbind()
        with torch.no_grad():
            found = network(moving, fixed).displacement.abs().amax(dim=[0, *range(2, dimensions + 2)])
        assert found.tolist() == pytest.approx(wanted, rel=1e-4)
