"""Every network of the registry by the same tests, so that the next one is tested by existing; then each one's own."""

import numpy as np
import pytest
import torch
from conftest import Case
from SlicerDeepRegLib.catalogue import card
from SlicerDeepRegLib.contracts import InputError, Request
from SlicerDeepRegLib.losses.papers import MultiResolution
from SlicerDeepRegLib.losses.regularity import diffusion
from SlicerDeepRegLib.networks import NETWORKS, build
from SlicerDeepRegLib.networks.msrd_net import Dilformer, window_attention
from SlicerDeepRegLib.networks.size import operations, parameters
from SlicerDeepRegLib.pipeline import register

#: Published (parameters, operations at 160 x 192 x 224), where the paper gives them.
PUBLISHED = {"msrd-net": (13.958e6, 63.17e9)}


@pytest.fixture(params=sorted(NETWORKS))
def name(request):
    return request.param


@pytest.fixture
def network(name):
    torch.manual_seed(0)
    return build(name)


def pair(shape, seed=0):
    """Two smooth images, the second a voxel and a half along i from the first: moving(x + 1.5) = fixed(x)."""
    random = np.random.default_rng(seed)
    k, j, i = np.indices(shape).astype(np.float32)
    blobs = [(*(random.uniform(0.1, 0.9, 3) * shape), random.uniform(1.5, 4)) for _ in range(60)]

    def seen(shift):
        total = np.zeros(shape, np.float32)
        for z, y, x, width in blobs:
            total += np.exp(-((k - z) ** 2 + (j - y) ** 2 + (i + shift - x) ** 2) / (2 * width**2))
        return total / 2.5

    return (torch.from_numpy(seen(s).astype(np.float32))[None, None] for s in (0.0, 1.5))


def stirred(network):
    """The network with heads that are not zero, so that its fields say something."""
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.Conv2d)) and module.out_channels in (2, 3):
            torch.nn.init.normal_(module.weight, std=0.01)
    return network


def test_size_is_the_cards_and_the_papers(name):
    with torch.device("meta"):
        network = build(name)
    counted, done = parameters(network), operations(network, (160, 192, 224))
    assert counted == card(name).parameters
    assert done == pytest.approx(card(name).operations, rel=1e-3)
    if name in PUBLISHED:
        assert counted == pytest.approx(PUBLISHED[name][0], rel=0.01)
        assert done == pytest.approx(PUBLISHED[name][1], rel=0.01)


def test_it_begins_as_the_identity_and_names_its_scales(network):
    moving, fixed = pair((32, 32, 32))
    with torch.no_grad():
        output = network(moving, fixed)
    assert output.displacement.shape == (1, 3, 32, 32, 32)
    assert float(output.displacement.abs().max()) < 0.01
    assert output.fields and all(field.shape[1] == 3 for field in output.fields.values())


def test_gradient_reaches_every_parameter(network):
    moving, fixed = pair((40, 36, 44))
    output = stirred(network)(moving, fixed)
    MultiResolution(moving, fixed)(output).backward()
    # A bias before an instance norm is taken away by it: its gradient is there, and nothing.
    without = [n for n, p in network.named_parameters() if p.grad is None]
    flat = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.abs().any() and p.ndim > 1]
    assert not without and not flat


@torch.no_grad()
def test_any_size_gives_what_its_padding_gives(network):
    moving, fixed = pair((33, 40, 37))
    stirred(network)
    output = network(moving, fixed)
    assert output.displacement.shape[2:] == (33, 40, 37)
    padded = [torch.nn.functional.pad(image, (0, 27, 0, 24, 0, 31)) for image in (moving, fixed)]
    whole = network(*padded).displacement[:, :, :33, :40, :37]
    assert torch.allclose(output.displacement, whole, atol=1e-4)
    for scale, field in output.fields.items():
        factor = int(scale.split("/")[1])
        assert tuple(field.shape[2:]) == tuple(-(-n // factor) for n in (33, 40, 37))


def test_saved_and_loaded_it_gives_the_same(name, network, tmp_path):
    moving, fixed = pair((32, 32, 32))
    stirred(network).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = build(name)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(network(moving, fixed).displacement, again.eval()(moving, fixed).displacement)


@torch.no_grad()
def test_half_precision_is_close_to_single(network):
    moving, fixed = pair((64, 64, 64))
    single = stirred(network)(moving, fixed).displacement
    with torch.autocast("cpu", torch.bfloat16):
        half = network(moving, fixed).displacement
    assert half.dtype == torch.float32  # fields stay in single precision
    assert float(single.abs().mean()) > 1e-3
    assert float((half - single).abs().mean()) < 0.1 * float(single.abs().mean())


def test_a_translation_is_learnt_in_few_steps(network):
    moving, fixed = pair((32, 32, 32))
    loss = MultiResolution(moving, fixed, regularity=0.1)
    optimiser = torch.optim.Adam(network.parameters(), 5e-4)
    for _ in range(30):
        output = network(moving, fixed)
        value = loss(output)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    inner = output.displacement[0, :, 8:-8, 8:-8, 8:-8].detach()
    assert float(inner[0].mean()) == pytest.approx(1.5, abs=0.5)
    assert float(inner[1:].abs().mean()) < 0.5


def test_wrong_images_are_refused(network):
    with pytest.raises(ValueError, match="two images of one shape"):
        network(torch.zeros(1, 1, 32, 32, 32), torch.zeros(1, 1, 32, 32, 31))
    with pytest.raises(ValueError, match="two images of one shape"):
        network(torch.zeros(1, 2, 32, 32, 32), torch.zeros(1, 2, 32, 32, 32))


# ------------------------------------------------------------------ losses


def test_multi_resolution_of_equal_images_is_the_sum_of_its_weights():
    moving, fixed = pair((32, 32, 32))
    output = build("msrd-net")(fixed, fixed)
    assert float(MultiResolution(fixed, fixed)(output)) == pytest.approx(-(1 + 0.5 + 0.25 + 0.125), abs=0.02)
    assert float(MultiResolution(moving, fixed)(output)) > -1.8


def test_diffusion_equals_its_definition():
    field = np.random.default_rng(0).random((1, 3, 5, 6, 7))
    expected = np.mean([np.mean(np.diff(field, axis=axis) ** 2) for axis in (2, 3, 4)])
    assert float(diffusion(torch.from_numpy(field))) == pytest.approx(expected)
    assert float(diffusion(torch.full((1, 2, 4, 5), 3.0))) == 0


# ------------------------------------------------------------------ MSRD-Net


def slow_attention(query, key, value, heads, window):
    """Voxel by voxel: softmax over the voxels of the same window."""
    _, c, *shape = query.shape
    width = c // heads
    found = torch.zeros_like(query)
    cells = np.stack([np.indices(shape)[a] // window for a in range(3)])
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for index in np.ndindex(*shape):
            same = (cells == cells[(slice(None), *index)][:, None, None, None]).all(0)
            keys, values = key[0, part][:, same], value[0, part][:, same]
            weights = torch.softmax(query[0, part][(slice(None), *index)] @ keys / width**0.5, 0)
            found[0, part][(slice(None), *index)] = values @ weights
    return found


@pytest.mark.parametrize("shape, window", [((4, 4, 4), 2), ((5, 4, 3), 3), ((3, 3, 3), 6)])
def test_window_attention_equals_the_slow_one(shape, window):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 8, *shape) for _ in range(3))
    ours = window_attention(query, key, value, 2, window)
    assert torch.allclose(ours, slow_attention(query, key, value, 2, window), atol=1e-5)
    everywhere = window_attention(query, key, value, 2, None)
    assert torch.allclose(everywhere, slow_attention(query, key, value, 2, 100), atol=1e-5)


def test_ablations_change_what_they_claim():
    with torch.device("meta"):
        whole = parameters(build("msrd-net"))
        same = [parameters(build("msrd-net", dilations=rates)) for rates in ((1, 1, 1), (2, 2, 2))]
        plain = parameters(build("msrd-net", dilations=None))
        without = {
            switch: parameters(build("msrd-net", **{switch: off}))
            for switch, off in (("attention_levels", 0), ("multi_scale", False), ("separable", False))
        }
    assert same == [whole, whole]  # the rates change no size
    assert whole - plain == 3 * 26 * (64**2 + 128**2 + 256**2)
    assert all(size < whole for size in without.values()) and len(set(without.values())) == 3
    rates = [project.dilation for project in Dilformer(64, (1, 2, 3), 4, 6).project_in]
    assert rates == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


# ------------------------------------------------------------------ as a method


def test_fitted_to_a_pair_through_register(name):
    case = Case("LPS-RAS")
    result = register(
        Request(case.fixed, case.moving, method=name, linear="centre", device="cpu", settings={"fit": 40})
    )
    assert result.figures["after"]["ncc"] > result.figures["linear"]["ncc"] + 0.01
    assert result.stages[-1].name == "fit" and len(result.stages[-1].curve) <= 40
    assert any("does not show" in note for note in result.notes)
    assert [stage.name for stage in result.stages if stage.name.startswith("scale 1/2")]
    assert result.stages[-1].curve[-1] < result.stages[-1].curve[0] - 0.03


def test_what_a_network_cannot_do_is_said(name):
    case = Case("LPS-RAS")
    with pytest.raises(InputError, match="no weights"):
        register(Request(case.fixed, case.moving, method=name, device="cpu", settings={"fit": 0}))
    with pytest.raises(InputError, match="no setting"):
        register(Request(case.fixed, case.moving, method=name, device="cpu", settings={"step": 0.2}))
