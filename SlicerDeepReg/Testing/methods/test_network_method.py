"""A network as a method of register(): fitted, refined, with a user's weights, and how those can be wrong."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers.cases import Case
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.networks import RECIPE, SMALL, model
from helpers.requests import request
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.catalog import card, cards
from SlicerDeepRegLib.checks import PairFacts, check, facts_of_image, raise_error
from SlicerDeepRegLib.files.weights import file_sha256, read_weights, write_weights
from SlicerDeepRegLib.geometry.grids import orientation_of, oriented, with_axes_of
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_transform
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.methods import Context, declared_names, method, methods, network_solver, settings_of
from SlicerDeepRegLib.methods.network import NetworkMethod
from SlicerDeepRegLib.models.torch_files import can_read
from SlicerDeepRegLib.models.weights import built, install, remove
from SlicerDeepRegLib.networks import NETWORKS, network_class
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import (
    DeviceMemoryError,
    Field,
    Grid,
    Image,
    ImagePair,
    InputError,
    Memory,
    PairDescription,
    Request,
    Transform,
)

pytestmark = pytest.mark.usefixtures("own_models")


class Slices:
    """Two single slices, one deformed."""

    def __init__(self):
        grid = make_grid((44, 40, 1), (1.5, 1.5, 4.0), np.eye(3))
        points = voxel_centers_lps(grid)
        moved = points + 2.5 * np.stack(
            [np.sin(points[..., 1] / 9), np.cos(points[..., 0] / 8), points[..., 2] * 0], -1
        )
        self.fixed = Image(texture(moved).astype(np.float32), grid, "fixed")
        self.moving = Image(texture(points).astype(np.float32), grid, "moving")


def network_request(case, method, **settings):
    """A request for the network alone, unless the settings say otherwise."""
    return request(case.fixed, case.moving, method=method, linear="center", settings={"refine": 0, **settings})


# ------------------------------------------------------------------ fitted


#: Networks that are fitted in every run of the tests; the others with ``-m slow``.
EVERY_TIME = ("caml", "fmirnet", "msrd-net", "unfolding", "wavemorph", "voxelmorph")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in EVERY_TIME else pytest.mark.slow) for n in sorted(NETWORKS)]
)
def test_instance_optimization_of_a_pair(name, monkeypatch):
    monkeypatch.setattr(
        network_solver, "built", lambda card, *axes, **more: built(card, *axes, **network_class(name).small, **more)
    )
    steps = 40 if name == "xmorpher" else 15  # half as many blocks here as it has, and slow to begin
    result = register(network_request(Case("LPS-RAS"), name, instance_steps=steps))
    assert result.metrics["after"]["ncc"] > result.metrics["linear"]["ncc"] + 0.001
    fit = result.stages[-1]
    assert fit.name == "instance optimization" and len(fit.curve) <= steps and min(fit.curve) < fit.curve[0]
    assert any("does not show" in note for note in result.notes)
    with torch.device("meta"):
        image = torch.empty(1, 1, 64, 64, 64)
        fields = list(built(card(name), **network_class(name).small)(image, image).fields)
    assert [stage.name for stage in result.stages[1:-1]] == fields
    for stage in result.stages[1:]:  # each field lies over the same box
        corner = stage.field.grid.ijk_to_lps @ np.array([-0.5, -0.5, -0.5, 1])
        assert np.allclose(corner, fit.field.grid.ijk_to_lps @ np.array([-0.5, -0.5, -0.5, 1]), atol=1e-3)


def test_instance_optimization_in_two_dimensions():
    case = Slices()
    result = register(network_request(case, "fmirnet", instance_steps=40))
    assert result.metrics["after"]["ncc"] > result.metrics["linear"]["ncc"]
    assert np.abs(result.transform.field.displacement_lps_mm[..., 2]).max() < 1e-6


def test_instance_optimization_of_a_variant_is_named():
    result = register(network_request(Case("LPS-RAS"), "msrd-net:no-dilformer", instance_steps=3))
    assert result.request.method == "msrd-net:no-dilformer" and len(result.stages[-1].curve) == 3


def test_what_a_network_cannot_do_is_said():
    case = Case("LPS-RAS")
    for name, settings, text in (
        ("msrd-net", {"instance_steps": 0}, r"comes without trained weights.*steps\) to 200"),
        ("msrd-net", {"step": 0.2}, "no setting"),
        ("msrd-net:nothing", {}, "no variant 'nothing'.*msrd-net:no-msr"),
        ("svf:fast", {}, "Its variants are: none"),
        ("resnet", {}, "no method 'resnet'"),
    ):
        with pytest.raises(InputError, match=text):
            register(network_request(case, name, **settings))
    with pytest.raises(InputError, match="registers only 3D images, and these are 2D"):
        register(network_request(Slices(), "msrd-net"))
    with pytest.raises(InputError, match="images of one modality"):
        register(Request(case.fixed, case.moving, method="caml", device="cpu", similarity="mind"))


def test_blocks_are_recomputed_before_memory_is_refused():
    caml = method("caml")
    grid = Grid((160, 192, 224), np.eye(4))
    fitted, inferred = settings_of(caml, "standard"), settings_of(caml, "standard", {"instance_steps": 0})
    for on_gpu in (False, True):
        pair = PairDescription(grid, grid, "standard", on_gpu=on_gpu)
        least = caml.memory(pair, fitted)
        assert caml.memory(pair, inferred).host <= least.host and caml.memory(pair, inferred).device <= least.device
        assert caml.recomputes(pair, fitted, least) and not caml.recomputes(pair, inferred, least)
        plenty = Memory(2 * least.host + 10**12, 2 * least.device + 10**12)
        assert not caml.recomputes(pair, fitted, plenty)
    image = Image(np.zeros(grid.shape_kji, np.int8), grid)
    image.values[0, 0, 0] = 1
    facts = PairFacts(
        facts_of_image(image, "fixed"), facts_of_image(image, "moving"), device_free_bytes=least.device - 1
    )
    with pytest.raises(DeviceMemoryError, match=r"needs about .* GB .*the GPU has .* Use the preset fast"):
        raise_error(check(facts, caml, fitted))
    assert check(dataclasses.replace(facts, device_free_bytes=least.device), caml, fitted) == []


def test_less_memory_gives_the_same_field():
    case, fields = Case("LPS-RAS"), []
    small = method("fmirnet:1")
    for free in (Memory(1 << 62, 1 << 62), Memory(0, 0)):
        outcome = small.run(
            ImagePair(case.fixed, case.moving),
            np.eye(4),
            settings_of(small, "fast", {"instance_steps": 4}),
            Context(preset="fast", free=free),
        )
        fields.append(outcome.displacement.displacement_lps_mm)
        assert any("twice" in note for note in outcome.notes) == (free.host == 0)
    assert np.abs(fields[0] - fields[1]).max() < 0.05 * np.abs(fields[0]).max()


# ------------------------------------------------------------------ refined


def test_refined_by_velocity_fields():
    case = Case("LPS-RAS")
    fitted = register(network_request(case, "msrd-net", instance_steps=10))
    refined = register(network_request(case, "msrd-net", instance_steps=10, refine=20))
    assert 1 - refined.metrics["after"]["ncc"] < 0.5 * (1 - fitted.metrics["after"]["ncc"])
    names = [stage.name for stage in refined.stages]
    assert names[names.index("instance optimization") + 1 :] == ["refine, scale 1/2", "network refined"]
    assert any("Refined" in note for note in refined.notes)
    assert jacobian_of_transform(refined.transform).min() > 0


# ------------------------------------------------------------------ a user's weights


@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pt", marks=torch_files_are_read)])
def test_added_models_register_and_can_be_removed(tmp_path, own_models, suffix):
    folder = model(tmp_path / "given", suffix=suffix)
    added = install(folder)
    assert added.name == "mine" and added.folder == own_models / "mine"
    assert sorted(p.name for p in own_models.iterdir()) == ["mine"]
    assert added.sha256 == file_sha256(added.folder / "weights.safetensors")
    assert list(cards())[-1] == "mine" and cards()["mine"].weights
    result = register(network_request(Case("LPS-RAS"), "mine"))
    assert [stage.name for stage in result.stages][1:] == ["scale 1/8", "scale 1/4", "scale 1/2", "network alone"]
    assert np.abs(result.transform.field.displacement_lps_mm).max() > 0.01
    assert any("trained on: nothing" in note for note in result.notes)
    again = register(network_request(Case("LPS-RAS"), "mine"))
    assert np.array_equal(again.warped.values, result.warped.values)
    fitted = register(network_request(Case("LPS-RAS"), "mine", instance_steps=5))
    assert fitted.stages[-1].name == "instance optimization" and any("fitted" in note for note in fitted.notes)
    with pytest.raises(InputError, match="--replace"):
        install(folder)
    install(folder, replace=True)
    remove("mine")
    assert "mine" not in cards() and not list(own_models.iterdir())
    with pytest.raises(InputError, match="No model 'msrd-net' was added"):
        remove("msrd-net")


def test_a_recipe_sets_the_voxels(tmp_path):
    install(model(tmp_path / "given", recipe={"intensity": "unit", "voxel_mm": 3}))
    result = register(network_request(Case("LPS-RAS"), "mine"))
    assert np.allclose(result.stages[-1].field.grid.spacing_mm, 3, rtol=0.1)


def test_a_recipe_turns_images_to_its_orientation(tmp_path):
    """However the fixed image is stored, the network sees the same, and the transform is the same map of points."""
    install(model(tmp_path / "given", recipe={**RECIPE, "orientation": "SRA"}))
    case = Case("oblique-LPS")
    other = with_axes_of_image(case.fixed, "PIR")
    assert other.grid.size_ijk != case.fixed.grid.size_ijk
    results = [
        register(Request(f, case.moving, "mine", "center", device="cpu", settings={"refine": 0}))
        for f in (case.fixed, other)
    ]
    assert orientation_of(results[0].stages[-1].field.grid) == "SRA"
    points = voxel_centers_lps(case.fixed.grid).reshape(-1, 3)[::53]
    found = [fixed_to_moving(result.transform, points) for result in results]
    assert np.abs(found[0] - found[1]).max() < 1e-2
    assert np.linalg.norm(found[0] - fixed_to_moving(Transform(results[0].transform.linear_lps), points)).max() > 0.1
    refined = register(network_request(case, "mine", refine=20))
    assert refined.metrics["after"]["ncc"] > 0.98 and jacobian_of_transform(refined.transform).min() > 0
    with pytest.raises(InputError, match="this version knows"):
        install(model(tmp_path / "wrong", "other", recipe={**RECIPE, "orientation": "XYZ"}))


def test_a_recipe_divides_the_values(tmp_path, monkeypatch):
    """The network gets the voxels divided by the number, and nothing else is done to them."""
    install(model(tmp_path / "given", recipe={"intensity": "divide:255", "voxel_mm": None}))
    given = []

    def watched(*arguments, **more):
        network = built(*arguments, **more)
        network.register_forward_pre_hook(lambda _, images: given.extend(image[0, 0].numpy() for image in images))
        return network

    monkeypatch.setattr(network_solver, "built", watched)
    case = Case("LPS-RAS")
    result = register(network_request(case, "mine"))
    moving, fixed = given
    assert fixed.max() == pytest.approx(case.fixed.values.max() / 255, abs=1e-6)
    assert 0.2 < moving.max() <= case.moving.values.max() / 255
    assert not any("robust limits" in note for note in result.notes)


def test_values_that_do_not_fit_the_recipe_are_said(tmp_path):
    install(model(tmp_path / "given", recipe={"intensity": "divide:255", "voxel_mm": None}))
    case = Case("LPS-RAS")
    case.moving = dataclasses.replace(case.moving, values=case.moving.values * 30)
    facts = PairFacts(fixed=facts_of_image(case.fixed, "fixed"), moving=facts_of_image(case.moving, "moving"))
    chosen = method("mine")
    findings = [f for f in check(facts, chosen, chosen.presets["standard"]) if "learned from" in f.text]
    assert [(finding.severity, finding.control) for finding in findings] == [("warning", "moving")]
    notes = [note for note in register(network_request(case, "mine")).notes if "learned from" in note]
    assert len(notes) == 1 and "values of 0 to 255, and those of the moving image" in notes[0]
    install(model(tmp_path / "unit", "unit"))
    assert not any("learned from" in note for note in register(network_request(case, "unit")).notes)


def with_axes_of_image(image, orientation):
    """The same image, stored with its axes in another order."""
    grid = oriented(image.grid, orientation)
    values = Field(np.repeat(image.values[..., None], 3, -1).astype(np.float32), image.grid)
    return Image(with_axes_of(values, grid).displacement_lps_mm[..., 0], grid, image.name)


def test_weights_of_both_kinds_of_images_say_which(tmp_path):
    small = {"channels": [4, 8], "scales": 1}
    with pytest.raises(InputError, match="which images"):
        install(model(tmp_path / "given", network="fmirnet", configuration=small))
    assert install(model(tmp_path / "solid", network="fmirnet", configuration=small, dimensions=[3])).dimensions == (3,)
    with pytest.raises(InputError, match="registers only 3D images, and these are 2D"):
        register(network_request(Slices(), "mine"))


def test_settings_and_words_of_a_model_are_its_own(tmp_path):
    added = install(model(tmp_path / "given", settings={"regularity": 0.5}))
    assert added.settings == {"regularity": 0.5, "instance_steps": 0, "refine": 30}
    assert "No weights" not in added.summary and added.license.startswith("unknown")


def test_batch_normalization_is_stored_and_read(tmp_path):
    small = {"channels": [4, 8], "scales": 1, "norm": "batch"}
    install(model(tmp_path / "given", network="fmirnet", configuration=small, dimensions=[3]))
    assert [stage.name for stage in register(network_request(Case("LPS-RAS"), "mine")).stages][-1] == "network alone"


def test_a_network_with_weights_works_at_the_voxels_of_its_recipe(tmp_path):
    install(model(tmp_path / "given", recipe={"intensity": "unit", "voxel_mm": 2}))
    case = Case("LPS-RAS")
    for preset in ("standard", "fast"):  # the preset makes the voxels of a network with weights no larger
        asked = dataclasses.replace(network_request(case, "mine"), preset=preset)
        assert not any("trained at voxels of 2 mm" in note for note in register(asked).notes)


def test_voxels_of_thick_slices_are_kept(tmp_path, monkeypatch):
    """Whatever the preset: a network that learned from thick slices sees them."""
    install(model(tmp_path / "given", recipe={"intensity": "unit", "voxel_mm": [2.0, 2.0, 5.0], "orientation": "LPS"}))
    seen = []
    forward = NetworkMethod._prepared

    def watched(self, *arguments):
        seen.append(forward(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(NetworkMethod, "_prepared", watched)
    case = Case("LPS-RAS")
    for preset in ("standard", "fast"):
        result = register(dataclasses.replace(network_request(case, "mine"), preset=preset))
        assert not any("trained at voxels" in note for note in result.notes)
    for work in seen:
        np.testing.assert_allclose(work.grid.spacing_mm, [2.0, 2.0, 5.0], rtol=0.1)


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"recipe": None}, "has no recipe"),
        ({"recipe": {"intensity": "zscore", "voxel_mm": None}}, "this version knows"),
        ({"recipe": {"intensity": "divide:-255", "voxel_mm": None}}, "this version knows"),
        ({"recipe": {"intensity": "divide:many", "voxel_mm": None}}, "this version knows"),
        ({"recipe": {"intensity": 255, "voxel_mm": None}}, "this version knows"),
        ({"recipe": {"intensity": "unit", "voxel_mm": -1}}, "this version knows"),
        ({"network": "nothing"}, '"network" must be one of'),
        ({"configuration": {**SMALL, "channels": [4, 8, 8]}}, r"has the shape|parameters are missing"),
        ({"configuration": {**SMALL, "attention_levels": 0}}, "are unknown"),
        ({"configuration": {"chanels": [4]}}, "cannot be built"),
        ({"name": "msrd-net"}, "already"),
        ({"name": "../outside"}, "letters, digits"),
        ({"license_of": "us"}, "unknown entries: license_of"),
        ({"module": "linear"}, "unknown entries: module"),
        ({"title": 5}, "wrong kind"),
        ({"dimensions": [2]}, "may be of"),
        ({"regime": "heart"}, '"regime" may be "brain"'),
        ({"credits": "ours"}, "wrong kind"),
        ({"recipe": {"intensity": "unit", "voxel_mm": None, "match": "no"}}, "this version knows"),
        ({"settings": {"instance_steps": "many"}}, "must be numbers"),
        ({"settings": {"instance_steps": -3}}, "whole number from 0"),
        ({"configuration": {**SMALL, "integration": "velocity", "squarings": "x"}}, "does not run"),
        ({"sha256": "0" * 64}, "checksum"),
        ({"weights": "../weights.safetensors"}, "beside card.json"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, own_models, changes, text):
    network = changes.pop("network", "msrd-net") if "network" in changes else "msrd-net"
    folder = model(tmp_path / "given")
    values = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    values.update({"network": network, **changes})
    (folder / "card.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    with pytest.raises(InputError, match=text):
        install(folder)
    assert not own_models.exists() or not list(own_models.iterdir())


class Evil:
    def __reduce__(self):
        return (print, ("this ran",))


def test_wrong_weights_are_refused(tmp_path, own_models, capsys):
    folder = model(tmp_path / "given")
    file = folder / "weights.safetensors"
    whole = file.read_bytes()
    arrays = read_weights(file)

    def refused(text):
        with pytest.raises(InputError, match=text):
            install(folder)
        assert not own_models.exists() or not list(own_models.iterdir())

    file.write_bytes(whole[: len(whole) // 2])
    refused("cut short")
    write_weights(file, {**arrays, "more": np.zeros(3, np.float32)})
    refused("1 are unknown.*more")
    first = next(iter(arrays))
    write_weights(file, {**arrays, first: np.full_like(arrays[first], np.nan)})
    refused("not numbers")
    file.unlink()
    refused("has no weights.safetensors")
    too_old = "cannot read such files safely"  # said of every torch file by PyTorch before 2.6
    (folder / "weights.pt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    refused("refused: it holds more than tensors|cannot be read" if can_read() else too_old)
    torch.save({"state_dict": Evil()}, folder / "weights.pt")
    refused("refused: it holds more than tensors" if can_read() else too_old)
    torch.save([1, 2], folder / "weights.pt")
    refused("does not hold tensors by name" if can_read() else too_old)
    (folder / "card.json").write_text("{")
    refused("cannot be read")
    (folder / "card.json").unlink()
    refused("has no card.json")
    shutil.rmtree(folder)
    refused("There is no file or folder")
    assert "this ran" not in capsys.readouterr().out


def test_weights_that_were_changed_later_are_not_used(tmp_path):
    added = install(model(tmp_path / "given"))
    file = added.folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(InputError, match="another checksum"):
        register(network_request(Case("LPS-RAS"), "mine"))


def test_a_broken_model_does_not_take_the_others_away(tmp_path, own_models, capsys):
    install(model(tmp_path / "given"))
    (own_models / "other").mkdir()
    (own_models / "other" / "card.json").write_text("no JSON")
    shutil.copytree(own_models / "mine", own_models / "caml")  # by hand, under a name of ours
    shutil.copytree(own_models / "mine", own_models / ".unfinished-1")
    shutil.copytree(own_models / "mine", own_models / "wrong")  # by hand, with a setting that no network has
    values = json.loads((own_models / "wrong" / "card.json").read_text())
    (own_models / "wrong" / "card.json").write_text(json.dumps({**values, "name": "wrong", "settings": {"foo": 1}}))
    catalog.refresh()
    assert cards()["caml"].network == "caml" and "mine" in cards() and "mine" in methods()
    assert not {"other", ".unfinished-1"} & set(cards())
    said = capsys.readouterr().err
    assert "cannot be read" in said and "named mine" in said and "'foo'" in said
    assert "wrong" not in methods()
    remove("other")
    assert not (own_models / "other").exists()


@pytest.mark.parametrize("name", ["svf", "ants"])
def test_a_model_must_not_have_the_name_of_a_method(tmp_path, name):
    with pytest.raises(InputError, match=f"There is a method {name} already"):
        install(model(tmp_path / "given", name=name), taken=declared_names())
