"""uniGradICON's package: its transform in our convention, its files of weights, and what is said where one is missing.

Most tests put a package in its place whose network is known; the slow ones compare with the package's own command.
"""

import dataclasses
import importlib.util
import json
import socket
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from helpers.cases import Case
from helpers.geometry import GEOMETRIES, OBLIQUE, make_grid
from helpers.images import texture
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.comparison.request import read_methods
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.transforms import to_sitk_transform
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.methods import engine_process, engine_worker, method, settings_of
from SlicerDeepRegLib.methods.base import Context
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, InputError, Request

pytestmark = torch_files_are_read
#: Voxels of the network's grid along each axis, where the package is ours; its own network takes no fewer than 66.
SIZE = 20
SMALLEST = 72
NAMES = ("unigradicon", "multigradicon")


def displacement(size):
    """What the network in the package's place finds: (K, J, I, 3) voxels of its grid, order i, j, k."""
    k, j, i = np.indices((size,) * 3) / (size - 1)
    parts = [np.sin(3 * j) + 0.2 * k, 0.8 * np.cos(2 * i), 0.6 * np.sin(4 * k + i)]
    return np.stack(parts, -1) * size / 40


class Network:
    """Stands in for the package's network: its displacement is known, times the one number of its weights."""

    def __init__(self, shape):
        self.size, self.calls, self.scale = shape[-1], [], None
        axes = torch.linspace(0, 1, self.size)
        self.identity_map = torch.stack(torch.meshgrid(axes, axes, axes, indexing="ij"))[None]
        self.regis_net = self  # its network inside

    def load_state_dict(self, weights):
        if set(weights) != {"scale"}:
            raise RuntimeError("Unexpected keys")
        self.scale = float(weights["scale"])

    def to(self, device):
        return self

    def eval(self):
        return self

    def __call__(self, moving, fixed):
        self.calls.append((moving, fixed))
        return self.phi_AB

    def phi_AB(self, places):
        moved = torch.from_numpy(displacement(self.size)[..., ::-1].transpose(3, 0, 1, 2).copy()) / (self.size - 1)
        return places + self.scale * moved[None].float()


@pytest.fixture
def package(monkeypatch, tmp_path, own_models):
    """The package and its weights, small and known; what the engine was asked for."""
    asked = SimpleNamespace(values={}, networks=[], steps=[])
    library = ModuleType("unigradicon")
    library.__spec__ = ModuleSpec("unigradicon", None)
    library.config = SimpleNamespace(device=None)
    library.make_sim = lambda name: name
    library.preprocess = lambda image, modality: image

    def make_network(shape, include_last_step, loss_fn):
        asked.networks.append(Network(shape))
        return asked.networks[-1]

    library.make_network = make_network
    wrapper = SimpleNamespace(finetune_execute=lambda network, *images: asked.steps.append(images[2:]))
    library.icon_registration = SimpleNamespace(itk_wrapper=wrapper)
    itk = ModuleType("itk")
    itk.__spec__ = ModuleSpec("itk", None)  # the menu asks whether it is there
    itk.image_from_array = lambda array: array
    monkeypatch.setitem(sys.modules, "unigradicon", library)
    monkeypatch.setitem(sys.modules, "itk", itk)

    def here(arrays, function, title, values, context):
        asked.values = values
        return engine_worker.FUNCTIONS[function](arrays, values)

    monkeypatch.setattr(engine_process, "call_on", here)
    for name in NAMES:
        of_size(monkeypatch, name, SIZE)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    asked.weights = tmp_path / "weights.trch"
    torch.save({"scale": torch.tensor(1.0)}, asked.weights)
    return asked


def of_size(monkeypatch, name, size):
    card = dataclasses.replace(method(name).card, configuration={"size": size})
    monkeypatch.setattr(method(name), "card", card)


def request_of(case, package, name="unigradicon", linear="none", **settings):
    settings = {"weights": str(package.weights), **settings}
    return Request(case.fixed, case.moving, method=name, linear=linear, device="cpu", settings=settings, measure=False)


def network_space(grid):
    """The network's voxels to LPS mm, as the package's resampling_transform says: the centers of the boxes agree."""
    matrix = grid.direction @ np.diag(grid.spacing_mm * np.array(grid.size_ijk) / SIZE)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation((grid.center_lps_mm - matrix @ np.full(3, (SIZE - 1) / 2)).tolist())
    return affine


def expected(fixed, moving):
    """The transform that the package makes of the field: into the network's voxels, along it, and out again."""
    field = sitk.GetImageFromArray(displacement(SIZE), isVector=True)
    return sitk.CompositeTransform(
        [network_space(moving), sitk.DisplacementFieldTransform(field), network_space(fixed).GetInverse()]
    )


def largest_difference(ours, theirs, grid, step=7):
    points = voxel_centers_lps(grid).reshape(-1, 3)[::step].tolist()
    return max(np.abs(np.subtract(ours.TransformPoint(p), theirs.TransformPoint(p))).max() for p in points)


@pytest.mark.parametrize("geometry", sorted(GEOMETRIES))
def test_without_linear_alignment_it_is_the_transform_of_the_package(package, geometry):
    case = Case(geometry)
    result = register(request_of(case, package))
    theirs = expected(case.fixed.grid, case.moving.grid)
    assert largest_difference(to_sitk_transform(result.transform), theirs, case.fixed.grid) < 0.01
    assert result.stages[-1].name == "unigradicon" and len(result.stages[-1].metrics["weights_sha256"]) == 64
    turned = [note for note in result.notes if "turned against each other" in note]
    assert bool(turned) == (geometry not in ("oblique-LPS",))


def test_after_a_linear_alignment_the_network_sees_the_moving_image_on_the_fixed_grid(package):
    case = Case("oblique-LPS")
    result = register(request_of(case, package, linear="center"))
    linear = result.transform.linear_lps
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(linear[:3, :3].ravel().tolist())
    affine.SetTranslation(linear[:3, 3].tolist())
    theirs = sitk.CompositeTransform([affine, expected(case.fixed.grid, case.fixed.grid)])
    assert largest_difference(to_sitk_transform(result.transform), theirs, case.fixed.grid) < 0.01
    moving, fixed = (image[0, 0].numpy() for image in package.networks[-1].calls[-1])
    assert fixed.shape == (SIZE,) * 3 and np.corrcoef(moving.ravel(), fixed.ravel())[0, 1] > 0.5


def with_values(image, low, high):
    values = image.values.astype(np.float32)
    scaled = (values - values.min()) / (values.max() - values.min()) * (high - low) + low
    return dataclasses.replace(image, values=scaled.astype(np.float32))


@pytest.mark.parametrize(
    "low, settings, modality",
    [
        (-1000, {}, "ct"),
        (-300, {}, "mri"),
        (0, {}, "mri"),
        (-300, {"fixed_ct": 1}, "ct"),
        (-1000, {"fixed_ct": 0}, "mri"),
    ],
)
def test_ct_is_told_by_its_values_or_by_the_user(package, low, settings, modality):
    case = Case("oblique-LPS")
    case.fixed = with_values(case.fixed, low, 1200)
    result = register(request_of(case, package, **settings))
    assert package.values["fixed"] == modality and package.values["moving"] == "mri"
    assert any("the fixed image as " + {"ct": "CT", "mri": "MR"}[modality] in note for note in result.notes)


@pytest.mark.parametrize(
    "make, settings, text",
    [
        (lambda image: with_values(image, 1500, 3000), {"moving_ct": 1}, "moving has no values between -1000 and 1000"),
        (
            lambda image: dataclasses.replace(image, values=(image.values > np.quantile(image.values, 0.995)) * 1.0),
            {},
            "moving has its lowest value in 99% of its voxels",
        ),
    ],
)
def test_an_image_that_its_scaling_leaves_one_value_is_refused(package, make, settings, text):
    case = Case("oblique-LPS")
    case.moving = make(case.moving)
    with pytest.raises(InputError, match=text):
        register(request_of(case, package, **settings))
    assert not package.networks


def test_its_instance_optimization_and_our_refinement_are_settings(package):
    case = Case("oblique-LPS")
    request = request_of(case, package, "multigradicon", "center", instance_steps=3, instance_similarity=2, refine=2)
    result = register(dataclasses.replace(request, preset="fast"))
    assert package.steps == [(3, 2e-5)] and package.values["similarity"] == "mind"
    names = [stage.name for stage in result.stages]
    assert names[1] == "multigradicon" and names[-1] == "network refined" and len(names) > 2
    assert all(name.startswith("refine, ") for name in names[2:-1])
    assert any(note.startswith("Refined:") for note in result.notes)
    assert any("fitted to this pair" in note for note in result.notes)
    moved = [np.abs(stage.field.displacement_lps_mm).mean() for stage in result.stages[1:]]
    assert moved[1] == pytest.approx(moved[0], rel=0.3)  # it goes on from there


def test_masks_that_it_does_not_use_are_said(package):
    case = Case("oblique-LPS")
    mask = Image(np.ones(case.fixed.grid.shape_kji, np.uint8), case.fixed.grid)
    notes = register(dataclasses.replace(request_of(case, package), fixed_mask=mask)).notes
    assert "uniGradICON looks at whole images; the masks were not used by it." in notes


# ------------------------------------------------------------------ what is missing is said before any work


def refusal(request):
    """The message of a registration that is refused before its linear stage, with no way to the network."""
    stages = []
    with pytest.raises(InputError) as caught:
        register(request, lambda progress: stages.append(progress.stage))
    assert set(stages) <= {"reading"}
    return str(caught.value), caught.value.control


@pytest.fixture
def offline(monkeypatch):
    def refuse(*given, **more):
        pytest.fail("it tried to reach the network")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_missing_package_is_said_with_the_command(package, offline, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said, control = refusal(request_of(Case("oblique-LPS"), package))
    assert said == (
        'The package unigradicon is not installed. Install it with: pip install "SlicerDeepReg[unigradicon]" (or '
        "unigradicon)."
    )
    assert control == "method"


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_said_with_the_command_and_not_downloaded(package, offline, own_models, name):
    said, control = refusal(request_of(Case("oblique-LPS"), package, name, weights=""))
    path = own_models / "network_weights" / f"{name}1.0" / "Step_2_final.trch"
    url = f"https://github.com/uncbiag/uniGradICON/releases/download/{name}_weights/Step_2_final.trch"
    assert said.endswith(f'get them by curl -L --create-dirs -o "{path}" {url}') and control == "weights"
    assert not own_models.exists() and not package.networks


@pytest.mark.parametrize("where", ["working folder", "models"])
def test_weights_are_found_where_the_package_puts_them_and_among_the_models(package, own_models, where, tmp_path):
    folder = own_models if where == "models" else tmp_path / "work"
    path = folder / "network_weights" / "unigradicon1.0" / "Step_2_final.trch"
    path.parent.mkdir(parents=True)
    torch.save({"scale": torch.tensor(0.0)}, path)
    register(request_of(Case("oblique-LPS"), package, weights=""))
    assert package.networks[-1].scale == 0.0 and package.values["weights"] == str(path)
    register(request_of(Case("oblique-LPS"), package))
    assert package.networks[-1].scale == 1.0  # a file that is named comes first


def test_a_file_that_cannot_be_weights_is_refused_before_any_work(package, tmp_path):
    case, odd = Case("oblique-LPS"), tmp_path / "odd"
    odd.write_bytes(b"<!doctype html>")
    (tmp_path / "other").write_bytes(b"\0\1\2\3" * 50)
    for path, text in (
        (tmp_path / "nothing", "nothing does not exist"),
        (odd, "is a web page"),
        (tmp_path / "work", "are a folder"),
        (tmp_path / "other", "are not a PyTorch file"),
    ):
        said, control = refusal(request_of(case, package, weights=str(path)))
        assert text in said and control == "weights"


def test_weights_of_another_network_are_refused(package):
    torch.save({"other": torch.zeros(1)}, package.weights)
    with pytest.raises(InputError, match="weights.trch does not hold the weights of uniGradICON"):
        register(request_of(Case("oblique-LPS"), package))


def test_what_the_engine_refuses_arrives_as_one_sentence(tmp_path):
    """From a real process: weights are read first, and by the gate that every file of torch passes."""
    path = tmp_path / "weights.trch"
    torch.save({"scale": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        engine_process.call_on({}, "gradicon", "The engine", {"weights": str(path), "size": 8}, Context())
    assert str(caught.value).startswith("weights.trch cannot be read (the checksum of ")


# ------------------------------------------------------------------ the setting that names a file


def test_a_file_among_the_settings_is_made_absolute_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = method("unigradicon")
    assert settings_of(chosen, "fast", {"weights": "a.trch"}).weights == str(tmp_path / "a.trch")
    assert settings_of(chosen, "fast", {}).weights == ""
    for value in (3, "a\0b"):
        with pytest.raises(InputError, match="weights must be the path of a file"):
            settings_of(chosen, "fast", {"weights": value})
    columns = read_methods(["unigradicon", "svf"], "fast", ["unigradicon.weights=a.trch", "unigradicon.refine=2"])
    assert [dict(column.settings) for column in columns] == [{"weights": str(tmp_path / "a.trch"), "refine": "2"}, {}]


def test_a_result_names_the_weights_without_their_folder(tmp_path):
    settings = {"weights": str(tmp_path / "a.trch"), "refine": "3", "instance_steps": 2}
    described = Request("f", "m", settings=settings).describe()["settings"]
    assert described == {"weights": "a.trch", "refine": "3", "instance_steps": 2}


def test_the_command_takes_the_weights_and_repeats_with_those_beside_the_result(package, tmp_path, capsys):
    case = Case("oblique-LPS")
    write_image(case.fixed, tmp_path / "fixed.nii.gz")
    write_image(case.moving, tmp_path / "moving.nii.gz")
    call = ["--fixed", tmp_path / "fixed.nii.gz", "--moving", tmp_path / "moving.nii.gz", "--device", "cpu", "--quiet"]
    call = [*call, "--output", tmp_path / "out", "--linear", "none"]
    assert main(["register", *map(str, call), "--method", "svf", "--weights", "x"]) == 2
    assert "There is no setting 'weights'" in capsys.readouterr().err
    weights = ["--method", "unigradicon", "--weights", str(package.weights)]
    assert main(["register", *map(str, call), *weights]) == 0
    assert str(tmp_path) not in (tmp_path / "out" / "result.json").read_text(encoding="utf-8")
    assert main(["repeat", str(tmp_path / "out" / "result.json"), "--quiet"]) == 0
    assert package.values["weights"] == str(tmp_path / "weights.trch")


# ------------------------------------------------------------------ the package itself

#: The package's own command, on a grid of another size; it gets weights that make a smooth field of a few voxels.
REFERENCE = """
import os, sys
import torch
import unigradicon
size, weights, *command = sys.argv[1:]
unigradicon.input_shape = [1, 1, int(size), int(size), int(size)]
if not os.path.exists(weights):
    torch.manual_seed(0)
    network = unigradicon.make_network(unigradicon.input_shape, include_last_step=True).regis_net
    with torch.no_grad():
        for name, values in network.named_parameters():
            if "lastConv.weight" in name:
                values.normal_(0, 2e-3)
    torch.save(network.state_dict(), weights)
sys.argv = ["unigradicon-register", *command]
torch.manual_seed(1)  # as ours, for the instance optimization
unigradicon.main()
"""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Where the weights are once the first test has made them."""
    return tmp_path_factory.mktemp("seeded") / "weights.trch"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("unigradicon") is None,
    reason='the package unigradicon is not installed: pip install "SlicerDeepReg[unigradicon]"',
)
@pytest.mark.parametrize("name, modality, steps", [("unigradicon", "ct", 0), ("multigradicon", "mri", 1)])
def test_it_is_the_transform_that_the_packages_command_writes(tmp_path, monkeypatch, seeded, name, modality, steps):
    low, high = {"ct": (-1100, 1500), "mri": (0, 900)}[modality]
    images = {}
    for role, grid in (
        ("fixed", make_grid((40, 36, 24), (1.2, 0.9, 2.5), OBLIQUE, (12.0, -20.0, 5.0))),
        ("moving", make_grid((36, 44, 26), (1.3, 1.0, 2.2), OBLIQUE @ np.diag([1.0, 1.0, -1.0]), (10.0, -18.0, 6.0))),
    ):
        straight = Grid(grid.size_ijk, np.diag([*grid.spacing_mm, 1.0]))  # texture varies most about the origin
        values = texture(voxel_centers_lps(straight) - 20 + (2 if role == "moving" else 0))
        images[role] = with_values(Image(values, grid, role), low, high)
        write_image(images[role], tmp_path / f"{role}.nii.gz")
    command = ["--transform_out", tmp_path / "theirs.h5", "--io_iterations", steps or "None", "--model", name]
    for role in ("fixed", "moving"):
        command += [f"--{role}", tmp_path / f"{role}.nii.gz", f"--{role}_modality", modality]
    command += ["--network_weights", seeded]
    call = [sys.executable, "-c", REFERENCE, SMALLEST, seeded, *command]
    call = [str(part) for part in call]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    of_size(monkeypatch, name, SMALLEST)
    fixed, moving = (str(tmp_path / f"{role}.nii.gz") for role in ("fixed", "moving"))
    settings = {"weights": str(seeded), "instance_steps": steps}
    result = register(Request(fixed, moving, method=name, linear="none", device="cpu", settings=settings))
    theirs = sitk.ReadTransform(str(tmp_path / "theirs.h5"))
    difference = largest_difference(to_sitk_transform(result.transform), theirs, images["fixed"].grid)
    vectors = result.stages[-1].field.displacement_lps_mm
    report = {"difference": difference, "largest mm": float(np.abs(vectors).max())}
    print(json.dumps(report))
    assert difference < 0.01 and report["largest mm"] > 0.1
    assert any(f"the fixed image as {'CT' if modality == 'ct' else 'MR'}" in note for note in result.notes)
