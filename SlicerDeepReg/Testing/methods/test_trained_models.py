"""Networks that come with weights: their cards and menus, what runs by default, what is compared, what is warned of."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
from helpers.cases import Case
from helpers.geometry import make_grid
from helpers.networks import RECIPE, model
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.checks import PairFacts, check, facts_of_image
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import load, write_image
from SlicerDeepRegLib.methods import method, methods, network_solver, settings_of
from SlicerDeepRegLib.methods.menu import ANY_PAIR, NOT_INSTALLED, TO_FIT, WITH_WEIGHTS, line_of, menu
from SlicerDeepRegLib.models.weights import built, install
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.preparation.regime import outside
from SlicerDeepRegLib.types import Finding, Grid, Image, InputError, PairDescription, Request

#: What the card of a model that comes with the product says beside what every model's says.
WORDS = {
    "title": "Small brain",
    "good_for": "brain, any contrast, 3 mm",
    "limits": "lesions that push the brain aside",
    "regime": "brain",
    "credits": ["Label maps of nobody (CC0)"],
    "license": "Apache-2.0",
    "summary": "Made by the tests.",
    "parameters": 1000,
    "recipe": {**RECIPE, "voxel_mm": 3.0, "orientation": "RAS", "match": False},
}
pytestmark = pytest.mark.usefixtures("own_models")


@pytest.fixture
def brain_model(tmp_path, monkeypatch, own_models):
    """A model that comes with the product, as far as the product can tell."""
    folder = model(tmp_path / "shipped" / "small-brain", "small-brain", **WORDS)
    monkeypatch.setattr(catalog, "MODEL_FOLDERS", (*catalog.MODEL_FOLDERS, tmp_path / "shipped"))
    catalog.refresh()
    yield folder
    monkeypatch.undo()
    catalog.refresh()


def asked(case, name="small-brain", **options):
    options = {"linear": "center", "device": "cpu", "measure": False, **options}
    return Request(case.fixed, case.moving, method=name, **options)


def names(result):
    return [stage.name for stage in result.stages]


# ------------------------------------------------------------------ cards and menus


def test_a_shipped_model_is_a_card_of_its_network(brain_model):
    card, base = catalog.card("small-brain"), catalog.card("msrd-net")
    assert catalog.is_shipped("small-brain") and card.weights_path.is_file()
    assert card.references == base.references and card.bytes_per_voxel == base.bytes_per_voxel
    assert card.operations is None  # those of the base are of another configuration
    assert card.settings == {"instance_steps": 0, "refine": 30} and not card.variants
    assert list(catalog.cards()) == sorted(catalog.cards())
    assert base.weights is None and not base.settings


def test_every_model_that_comes_with_weights_says_what_people_need(brain_model):
    """That of the tests, and those of the product."""
    trained = [card for card in catalog.cards().values() if card.weights and catalog.is_shipped(card.name)]
    assert trained
    for card in trained:
        said = json.loads((card.folder / "card.json").read_text(encoding="utf-8"))
        assert {*WORDS, "trained_on"} - {"regime"} <= set(said), card.name  # one that is for anything names none
        assert 0 < len(card.good_for) <= 40 and "\n" not in card.good_for  # a line of a menu
        assert "unknown" not in card.license


def test_menus_begin_with_what_can_be_used_at_once(brain_model, monkeypatch):
    svf, ants = method("svf"), type(method("ants"))
    monkeypatch.setattr(ants, "missing", lambda self: Finding("error", "not there"))
    parts = menu()
    assert list(parts) == [WITH_WEIGHTS, ANY_PAIR, TO_FIT, NOT_INSTALLED]
    shipped = [name for name, card in catalog.cards().items() if card.weights is not None]
    assert len(shipped) > 2 and {m.name for m in parts[WITH_WEIGHTS]} == {*shipped, "small-brain"}
    assert parts[WITH_WEIGHTS][0].name == "msrd-net-brain"  # the best one alone
    assert parts[WITH_WEIGHTS][-1].name == "small-brain"  # one that was added says nothing of its place
    assert parts[ANY_PAIR][0].name == svf.name and "recommended" in line_of(svf)
    assert {m.name for m in parts[TO_FIT]} == {n for n in methods() if method(n).card.network == n}
    assert "ants" in [m.name for m in parts[NOT_INSTALLED]] and line_of(method("ants")) == "not installed"
    assert line_of(method("small-brain")) == WORDS["good_for"] and line_of(method("demons")) == "one modality"
    assert sorted(m.name for part in parts.values() for m in part) == sorted(methods())


def test_commands_list_models_in_that_order(brain_model, capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    heading, rest = text.split("\n", 1)
    assert WITH_WEIGHTS in heading and rest.startswith("msrd-net-brain   MSRD-Net (brains) - brains of two")
    assert "\nsmall-brain      Small brain - brain, any contrast, 3 mm" in rest
    assert rest.index("\nsvf ") < rest.index("\ncaml ")
    assert main(["models", "show", "small-brain"]) == 0
    text = capsys.readouterr().out
    assert "Not good for: lesions" in text and "Data: Label maps of nobody (CC0)" in text
    with pytest.raises(SystemExit):
        main(["register", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "with trained weights: msrd-net-brain (brains of two people, T1, 3 mm), unfolding-brain" in text
    assert "fmirnet-brain (brains of two people, T1, 3 mm, refined), small-brain (brain, any contrast, 3 mm)" in text
    assert "(brain, any contrast, 3 mm); for any pair, without training: svf," in text


def test_weights_that_are_missing_are_said_before_any_work(brain_model):
    (brain_model / "weights.safetensors").unlink()
    assert line_of(method("small-brain")) == "not installed"
    with pytest.raises(InputError, match=r"weights of Small brain are missing.*weights\.safetensors"):
        register(asked(Case("LPS-RAS")))


# ------------------------------------------------------------------ the network, refined, and alone


def test_a_network_with_weights_is_refined_unless_it_is_not_wanted(brain_model):
    case = Case("LPS-RAS")
    result = register(asked(case, measure=True))
    assert names(result)[-3:] == ["network alone", "refine, scale 1/2", "network refined"]
    alone, refined = result.stages[-3], result.stages[-1]
    assert refined.metrics["ncc"] == result.metrics["after"]["ncc"] > alone.metrics["ncc"] + 0.01
    assert "folds_percent" in alone.metrics and "smoothing_rounds" in refined.metrics
    single = register(asked(case, measure=True, settings={"refine": 0}))
    assert names(single)[-1] == "network alone"
    assert single.metrics["after"]["ncc"] == pytest.approx(alone.metrics["ncc"], abs=2e-3)
    unmeasured = register(asked(case, settings={"refine": 0}))
    assert "sdlogj" not in unmeasured.stages[-1].metrics


def test_the_refinement_is_on_the_grid_of_svf(brain_model):
    """The detail that the large voxels of the network have lost can come back."""
    case = Case("oblique-LPS")
    refined = register(asked(case, settings={"refine": 4}))
    field, svf = refined.stages[-1].field, register(asked(case, "svf")).stages[-1].field
    network = next(stage for stage in refined.stages if stage.name == "network alone").field
    assert field.grid.same_as(svf.grid)
    assert network.grid.spacing_mm.min() > 1.5 * field.grid.spacing_mm.min()
    iterations = [len(stage.curve) for stage in refined.stages[-2:]]
    assert iterations == [4, 1]  # as svf's own 60 and 18


def test_what_svf_finds_alone_is_a_stage_on_request(brain_model):
    case = Case("LPS-RAS")
    result = register(asked(case, preset="fast", measure=True, settings={"compare_svf": 1}))
    assert names(result)[1] == "svf alone" and names(result)[-1] == "network refined"
    svf = register(asked(case, "svf", preset="fast", measure=True))
    assert np.array_equal(result.stages[1].field.displacement_lps_mm, svf.stages[-1].field.displacement_lps_mm)
    assert result.stages[1].metrics["ncc"] == pytest.approx(svf.metrics["after"]["ncc"], abs=1e-6)
    without = register(asked(case, preset="fast"))
    assert np.array_equal(result.warped.values, without.warped.values)  # the result does not depend on it
    with pytest.raises(InputError, match="no setting 'compare_svf'"):
        register(asked(case, "svf", settings={"compare_svf": 1}))
    with pytest.raises(InputError, match="compare_svf must be a whole number from 0 to 1"):
        register(asked(case, settings={"compare_svf": "0.5"}))


def test_the_command_has_both_as_options(brain_model, tmp_path, capsys):
    case = Case("LPS-RAS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, tmp_path / f"{name}.nii.gz")
    arguments = ["register", "--method", "small-brain", "--device", "cpu", "--preset", "fast", "--linear", "center"]
    for name in ("fixed", "moving"):
        arguments += [f"--{name}", str(tmp_path / f"{name}.nii.gz")]
    assert main([*arguments, "--refine", "0", "--compare-svf", "--json", "--output", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in told["stages"]][1] == "svf alone"
    assert told["stages"][-1]["name"] == "network alone" and told["stages"][-1]["metrics"]["ncc"] > 0


def test_memory_is_that_of_both(brain_model):
    pair = PairDescription(Grid((160, 192, 224), np.eye(4)), Grid((160, 192, 224), np.eye(4)), "standard", "mind")
    chosen, svf = method("small-brain"), method("svf")
    alone = chosen.memory(pair, settings_of(chosen, "standard", {"refine": 0}))
    refined = chosen.memory(pair, settings_of(chosen, "standard"))
    assert alone.host < svf.memory(pair, None).host < refined.host
    on_gpu = dataclasses.replace(pair, on_gpu=True)
    assert chosen.memory(on_gpu, settings_of(chosen, "standard")).device >= svf.memory(on_gpu, None).device
    compared = chosen.memory(pair, settings_of(chosen, "standard", {"refine": 0, "compare_svf": 1}))
    assert compared.host >= svf.memory(pair, None).host


# ------------------------------------------------------------------ any contrast


@pytest.mark.parametrize("matched", [True, False])
def test_a_recipe_says_whether_intensities_are_matched(tmp_path, monkeypatch, matched):
    install(model(tmp_path / "given", recipe={**RECIPE, "match": matched}))
    given = []

    def watched(*arguments, **more):
        network = built(*arguments, **more)
        network.register_forward_pre_hook(lambda _, images: given.extend(image[0, 0].numpy() for image in images))
        return network

    monkeypatch.setattr(network_solver, "built", watched)
    case = Case("LPS-RAS")
    other = dataclasses.replace(case.moving, values=110 - case.moving.values)
    request = Request(case.fixed, other, "mine", "none", "fast", device="cpu", pair="people", settings={"refine": 2})
    result = register(request)
    moving, fixed = given
    inside = (moving > 0) & (fixed > 0)
    medians = np.median(moving[inside]), np.median(fixed[inside])
    assert (abs(medians[0] - medians[1]) < 0.05) == matched
    assert any("look like different modalities" in note for note in result.notes) == matched
    assert result.provenance["similarity"] == "ngf-mind"  # the refinement chose as svf does
    assert any("Refined" in note and "Gradients and MIND" in note for note in result.notes)
    assert method("mine").modalities == (("same",) if matched else ("same", "different"))
    by_mind = dataclasses.replace(request, similarity="mind", measure=False)
    if matched:
        with pytest.raises(InputError, match="images of one modality"):
            register(by_mind)
    else:
        assert names(register(by_mind))[-1] == "network refined"


# ------------------------------------------------------------------ other images than it was trained for


def warnings(facts):
    chosen = method("small-brain")
    found = check(facts, chosen, chosen.presets["standard"])
    return [(f.control, f.text) for f in found if f.severity == "warning" and "trained for" in f.text]


def head(size_mm, spacing_mm=4.0, inside=100.0, outside=0.0):
    """An ellipsoid of those sides in a volume that is a little larger."""
    size = tuple(int(side / spacing_mm) + 10 for side in size_mm)
    grid = make_grid(size, (spacing_mm,) * 3, np.eye(3))
    k, j, i = np.indices(grid.shape_kji, np.float32)
    offsets = [(index - (n - 1) / 2) * spacing_mm / (side / 2) for index, n, side in zip((i, j, k), size, size_mm)]
    return Image(np.where(sum(o**2 for o in offsets) <= 1, inside, outside).astype(np.float32), grid, "image")


def test_images_that_cannot_be_a_brain_are_said_before_any_work(brain_model):
    brain = head((140, 175, 130))

    def said(moving):
        return warnings(PairFacts(facts_of_image(brain, "fixed"), facts_of_image(moving, "moving")))

    assert said(brain) == [] and said(head((150, 200, 260))) == [] and said(head((95, 115, 85))) == []
    ((control, text),) = said(head((20, 25, 15), 0.5))
    assert control == "moving" and "Small brain was trained for the brain only" in text and "less than a whole" in text
    assert "more than a head" in said(head((330, 240, 320)))[0][1]
    skull = head((150, 190, 220), inside=40.0, outside=-1000.0)
    assert said(skull) == []
    skull.values[skull.values > 0] = np.random.default_rng(0).choice([40, -800], (skull.values > 0).sum(), p=[0.6, 0.4])
    assert "lung" in said(skull)[0][1]
    skull.values[0] = np.nan  # as a node in the scene may have them
    assert "lung" in outside("brain", skull.values, skull.grid)
    assert outside("brain", skull.values[1:], skull.grid) == ""  # a volume that a transform bends has another grid


def test_real_images_that_are_a_head_and_that_are_not(shared_data):
    """The measurements that the limits rest on."""
    heads = ("brain_oasis/*t1*", "brain_patients/*t1*", "brain_multicontrast/*", "ct_mr_head/*.gz", "templates/*t1*")
    others = ("ct_lung/*_ct*", "hippocampus/images/hippocampus_00*")
    for patterns, is_head in ((heads, True), (others, False)):
        for path in [path for pattern in patterns for path in sorted(shared_data.glob(pattern))]:
            image = load(str(path), "image")
            assert (outside("brain", image.values, image.grid) == "") == is_head, path.name
    heart = nibabel.load(shared_data / "cardiac_4d" / "img4d.nii.gz")
    frame = np.asarray(heart.dataobj)[..., 0].T
    assert "less than a whole brain" in outside("brain", frame, Grid(frame.shape[::-1], heart.affine))


def test_the_result_repeats_the_warning(brain_model):
    notes = register(asked(Case("LPS-RAS"), settings={"refine": 0}, preset="fast")).notes
    assert sum("was trained for the brain only" in note for note in notes) == 2


def test_a_model_for_anything_warns_of_nothing(tmp_path):
    install(model(tmp_path / "given"))
    assert not any("trained for" in n for n in register(asked(Case("LPS-RAS"), "mine", settings={"refine": 0})).notes)
