"""Every network of the registry by the same tests, so that the next one is tested by existing."""

import inspect
import json
import re
import sys

import numpy as np
import pytest
import torch
from helpers.networks import IDS, INPUTS, error_of, images, network_of, stirred
from SlicerDeepRegLib import networks
from SlicerDeepRegLib.catalog import card, cards
from SlicerDeepRegLib.methods.svf.folds import min_jacobian
from SlicerDeepRegLib.models.weights import built
from SlicerDeepRegLib.networks import NETWORKS, RegistrationNetwork, build, network_class, takes_dimensions
from SlicerDeepRegLib.networks.size import multiply_accumulates, operations, parameters
from SlicerDeepRegLib.warping.velocity import integrate

#: Published (parameters, operations at 160 x 192 x 224), where the paper gives them.
PUBLISHED = {"msrd-net": (13.958e6, 63.17e9)}


@pytest.fixture(params=INPUTS, ids=IDS)
def case(request):
    """(name of the network, number of axes of its images)."""
    return request.param


@pytest.fixture
def network(case):
    return network_of(*case)


def every_time(*quick):
    """Run a test for these cases each time, and for the others in ``make test-all``."""
    assert set(quick) <= set(IDS)
    marked = [pytest.param(pair, marks=[] if name in quick else [pytest.mark.slow]) for pair, name in zip(INPUTS, IDS)]
    return pytest.mark.parametrize("case", marked, ids=IDS, indirect=True)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_size_is_the_cards_and_the_papers(name):
    with torch.device("meta"):
        network = built(card(name))
    counted, done = parameters(network), operations(network, (160, 192, 224))
    assert counted == card(name).parameters
    assert done == card(name).operations
    assert multiply_accumulates(network, (160, 192, 224)) == card(name).multiply_accumulates
    if name in PUBLISHED:
        assert counted == pytest.approx(PUBLISHED[name][0], rel=0.01)
        assert done == pytest.approx(PUBLISHED[name][1], rel=0.01)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_its_card_says_what_a_reader_needs(name):
    its_card = card(name)
    assert its_card.network == name
    assert any("doi:10." in reference for reference in its_card.references)
    assert its_card.left_open
    if its_card.verified is None:  # one of the five; the others say how they were compared with their public code
        assert its_card.published and its_card.year >= 2024
    assert {"fit", "checkpointed", "infer"} == set(its_card.bytes_per_voxel)
    assert its_card.recipe == {"intensity": "unit", "voxel_mm": None}
    assert its_card.weights is None and its_card.trained_on is None


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_its_class_and_card_declare_what_others_need(name):
    network = network_class(name)
    assert issubclass(network, RegistrationNetwork)
    assert network.dimensions == card(name).dimensions
    assert takes_dimensions(name) == ("dimensions" in inspect.signature(network).parameters)
    diagram = card(name).diagram
    modules = [module for module, _ in build(name, **diagram.get("configuration", {})).named_modules()]
    assert diagram["note"] and diagram["blocks"]
    for pattern in diagram["blocks"]:
        assert any(re.fullmatch(pattern, module) for module in modules), pattern


def test_a_file_that_names_its_class_is_a_network(tmp_path, monkeypatch):
    """Nothing else has to be changed for it."""
    (tmp_path / "new_net.py").write_text(
        "from SlicerDeepRegLib.networks.voxelmorph import VoxelMorph\n\n\nclass NewNet(VoxelMorph):\n    pass\n\n\n"
        "NETWORK = NewNet\n",
        encoding="utf-8",
    )
    (tmp_path / "new_blocks.py").write_text("WIDTH = 8\n", encoding="utf-8")
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])
    try:
        discovered = networks.discover()
    finally:
        for name in ("new_net", "new_blocks"):
            sys.modules.pop(f"SlicerDeepRegLib.networks.{name}", None)
    assert set(discovered) == {*NETWORKS, "new-net"}
    assert discovered["new-net"].__name__ == "NewNet"


def test_an_unknown_network_is_named_with_those_that_there_are():
    with pytest.raises(KeyError, match="no network 'unknown'; the networks are caml"):
        build("unknown")


VARIANTS = [f"{name}:{variant}" for name in sorted(NETWORKS) for variant in cards()[name].variants]
#: Those with one head, which estimates the velocity of the whole displacement.
ONE_HEAD = {"fmirnet", "wavemorph", "cyclemorph", "lku-net", "vit-v-net", "transmorph", "transmatch", "utsrmorph"}
ONE_HEAD |= {"h-sganet"}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_another_network(name):
    with torch.device("meta"):
        network, whole = built(card(name)), built(card(name.split(":")[0]))
    assert card(name).parameters == parameters(network) and card(name).operations is None
    if parameters(network) == parameters(whole):  # then it computes something else from the same weights
        base = name.split(":")[0]
        variant, usual = network_of(name, 3, **network_class(base).small), network_of(base, 3)
        variant.load_state_dict(stirred(usual).state_dict(), strict=False)
        moving, fixed = images(3)
        with torch.no_grad():
            difference = error_of(variant.eval()(moving, fixed).displacement, usual.eval()(moving, fixed).displacement)
        assert difference > 1e-3
    moving = torch.empty(1, 1, 64, 64, 64, device="meta")
    assert network(moving, moving).displacement.shape == (1, 3, 64, 64, 64)


@torch.no_grad()
def test_it_begins_as_the_identity_and_names_its_fields(case, network):
    moving, fixed = images(case[1])
    output = network(moving, fixed)
    assert output.displacement.shape == (1, case[1], *fixed.shape[2:])
    assert float(output.displacement.abs().max()) < 0.01
    assert set(output.factors) == set(output.fields)
    for name, field in output.fields.items():
        assert field.shape[1] == case[1]
        assert [size * output.factors[name] for size in field.shape[2:]] == list(fixed.shape[2:])


def test_gradient_reaches_every_parameter(case, network):
    moving, fixed = images(case[1])
    output = stirred(network)(moving, fixed)
    network.loss(moving, fixed)(output).backward()
    # A bias before a normalization is taken away by it: its gradient is there, and nothing.
    without = [n for n, p in network.named_parameters() if p.grad is None]
    flat = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.abs().any()]
    assert not without and all(n.endswith("bias") for n in flat)


@torch.no_grad()
def test_any_size_gives_what_its_padding_gives(case, network):
    shape = (33, 40, 37)[: case[1]]
    moving, fixed = images(case[1], shape)
    stirred(network)
    output = network(moving, fixed)
    assert output.displacement.shape[2:] == shape
    wide = network.padded_shape(shape)
    padding = [amount for size, to in zip(shape[::-1], wide[::-1]) for amount in (0, to - size)]
    padded = [torch.nn.functional.pad(image, padding) for image in (moving, fixed)]
    whole = network(*padded).displacement[(slice(None), slice(None), *(slice(0, n) for n in shape))]
    assert torch.equal(output.displacement, whole)
    for name, field in output.fields.items():
        assert tuple(field.shape[2:]) == tuple(-(-n // output.factors[name]) for n in shape)


@torch.no_grad()
def test_each_pair_of_a_batch_is_on_its_own(case, network):
    pairs = [images(case[1], seed=seed) for seed in (0, 1)]
    stirred(network)
    together = network(torch.cat([moving for moving, _ in pairs]), torch.cat([fixed for _, fixed in pairs]))
    for number, pair in enumerate(pairs):
        alone = network(*pair).displacement
        assert error_of(together.displacement[number : number + 1], alone) < 1e-3


def test_saved_and_loaded_it_gives_the_same(case, network, tmp_path):
    moving, fixed = images(case[1])
    stirred(network).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = network_of(*case, seed=1)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(network(moving, fixed).displacement, again.eval()(moving, fixed).displacement)


@torch.no_grad()
def test_half_precision_is_close_to_single(case, network):
    # Small, as bfloat16 is slow on a CPU; but MSRD-Net's coarsest normalization needs voxels to be even about.
    size = (48, 64, 64) if case[0] == "msrd-net" else (24, 32, 32)
    moving, fixed = images(case[1], size[: case[1]])
    single = stirred(network)(moving, fixed).displacement
    with torch.autocast("cpu", torch.bfloat16):
        output = network(moving, fixed)
    half = output.displacement
    for field in (half, *output.fields.values()):  # heads and fields are in single precision: no steps of bfloat16
        assert field.dtype == torch.float32 and float((field.bfloat16().float() == field).float().mean()) < 0.5
    assert float(single.abs().mean()) > 1e-3
    assert float((half - single).abs().mean()) < 0.1 * float(single.abs().mean())


def test_checkpointing_gives_the_same_gradient(case):
    moving, fixed = images(case[1])
    gradients = []
    for checkpointing in (False, True):
        network = stirred(network_of(*case, checkpointing=checkpointing))
        output = network(moving, fixed)
        network.loss(moving, fixed)(output).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert float(gradients[0].abs().max()) > 0
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-4 * float(gradients[0].abs().max())


@torch.no_grad()
def test_velocity_is_integrated(case):
    """The head's field as a velocity: the same at first order; where it is strong, the flow folds less."""
    moving, fixed = images(case[1])
    whole = {"reduced": 1} if case[0] == "voxelmorph" else {}  # a velocity of half resolution is another field
    still, moved = (stirred(network_of(*case, integration=kind, **whole)) for kind in ("displacement", "velocity"))
    for network in (moved, still):
        network.head_scale /= float(still(moving, fixed).displacement.abs().max()) / 0.25  # a quarter of a voxel
    gentle = [network(moving, fixed).displacement for network in (still, moved)]
    assert 0 < error_of(gentle[1], gentle[0]) < 0.2
    output = moved(moving, fixed)
    assert output.velocity is not None or case[0] not in ONE_HEAD | {"voxelmorph"}
    if output.velocity is not None:
        outside = "zeros" if case[0] == "voxelmorph" else "border"
        integrated = integrate(output.velocity, squarings=7, outside=outside)
        assert error_of(integrated, output.displacement) < 0.01  # at a border, the network sees its padding
    if case[0] in ONE_HEAD:
        for network in (still, moved):
            network.head_scale *= 60
        folds = [(min_jacobian(network(moving, fixed).displacement) <= 0).float().mean() for network in (still, moved)]
        assert folds[0] > 0.02 and folds[1] < 0.5 * folds[0]
    with pytest.raises(ValueError, match="integration must be one of"):
        network_of(*case, integration="euler")


@every_time("fmirnet-2d")
def test_a_translation_is_learned_in_few_steps(case, network):
    """moving(x + 1.5 along i) = fixed(x), by the loss of its paper."""
    moving, fixed = images(case[1], shift=1.5)
    loss = network.loss(moving, fixed, regularity=0.02 if case[0] in ("unfolding", "fmirnet") else 0.1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3 if case[0] != "msrd-net" else 5e-4)
    for _ in range(30):
        output = network(moving, fixed)
        value = loss(output)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    inner = (slice(None), *[slice(8, -8)] * case[1])
    displacement = output.displacement[0][inner].detach()
    assert float(displacement[0].mean()) == pytest.approx(1.5, abs=0.6)
    assert float(displacement[1:].abs().mean()) < 0.6


@pytest.mark.skipif(torch.__version__ < "2.5", reason="PyTorch 2.2's compiler does not follow caches of functions")
@every_time("fmirnet-2d", "wavemorph-3d", "voxelmorph-3d")
@torch.no_grad()
def test_it_compiles(case):
    """The graph is taken whole by torch.compile, without breaks; code is not generated here."""
    moving, fixed = images(case[1])
    network = stirred(network_of(*case, **({"depths": (1, 1, 1, 1)} if case[0] == "caml" else {})))
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert error_of(compiled(moving, fixed).displacement, network(moving, fixed).displacement) < 1e-5


def test_wrong_images_are_refused(case, network):
    moving, fixed = images(case[1])
    with pytest.raises(ValueError, match="two images of one shape"):
        network(moving, fixed[..., :-1])
    with pytest.raises(ValueError, match="two images of one shape"):
        network(torch.cat([moving, moving], 1), torch.cat([fixed, fixed], 1))
    with pytest.raises(ValueError, match="two images of one shape"):
        other = torch.zeros(1, 1, 32, 32) if case[1] == 3 else torch.zeros(1, 1, 8, 8, 8)
        network(other, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_cuda_gives_what_the_cpu_gives(case, network):
    """In single precision, as near as rounding lets it: instance norms of a few voxels amplify that."""
    moving, fixed = images(case[1])
    here = stirred(network)(moving, fixed).displacement
    rounding = error_of(network(moving + 1e-6 * torch.rand_like(moving), fixed).displacement, here)
    with torch.backends.cudnn.flags(allow_tf32=False):
        there = network.cuda()(moving.cuda(), fixed.cuda()).displacement.cpu()
    assert rounding < 0.05  # else this says nothing
    assert error_of(there, here) < 1e-2 + 4 * rounding


def test_no_card_is_left_without_a_network():
    assert {card.name for card in cards().values() if card.network == card.name} == set(NETWORKS)
    assert json.dumps([card.describe() for card in cards().values()])


def test_padding_never_leaves_one_voxel(case, network):
    assert np.prod(network.padded_shape([8] * case[1])) > network.divisor ** case[1]
