"""What is known of each place of the frame: symmetric, where the structures are, and laid over any image of the box."""

import pytest
import torch
from SlicerDeepRegLib.networks.structures import StructureNetwork
from SlicerDeepRegLib.preparation.structures import CODE_PAIRS
from SlicerDeepRegLib.training.label_maps.prior import BOX_MM, PRIOR_MM, UNIT_MM, frame_shape, mean_prior


def test_the_mean_codes_are_alike_left_and_right_and_coordinates_are_not(heads):
    prior = mean_prior(heads.maps)
    assert tuple(prior.shape) == (len(CODE_PAIRS) + 3, *frame_shape(PRIOR_MM))
    codes, coordinates = prior[: len(CODE_PAIRS)], prior[len(CODE_PAIRS) :]
    assert torch.allclose(codes, codes.flip(-1), atol=1e-5) and float(codes.abs().max()) > 0.5
    assert torch.allclose(coordinates[0], -coordinates[0].flip(-1))
    ends = [(length - PRIOR_MM) / 2 / UNIT_MM for length in BOX_MM[::-1]]
    assert coordinates.flatten(1).amax(1).tolist() == pytest.approx(ends)
    assert coordinates[0, 0, 0, 0] > 0 > coordinates[0, 0, 0, -1]  # i grows to the right, x to the left


def test_a_network_with_a_prior_answers_by_the_place(heads):
    prior = mean_prior(heads.maps)
    torch.manual_seed(0)
    network = StructureNetwork(prior=tuple(prior.shape)).eval()
    network.prior = prior
    image = torch.zeros(1, 1, 32, 48, 32)
    with torch.no_grad():
        known = network(image).logits
        network.prior = torch.zeros_like(prior)
        unknown = network(image).logits
    assert known.shape == (1, 33, 32, 48, 32)
    assert float((known - unknown).abs().max()) > 0.1
    assert "prior" in network.state_dict() and "prior" not in StructureNetwork().state_dict()
