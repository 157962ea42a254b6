"""How much memory is free: of the machine, of the control groups around the process, of its addresses."""

import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from helpers.dicom import write_series
from helpers.geometry import make_grid
from helpers.images import noise_image
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.processes import memory
from SlicerDeepRegLib.types import InputError

IMAGE = noise_image(make_grid((40, 40, 40), (1, 1, 1), np.eye(3)), dtype=np.int16, scale=1000)


@pytest.fixture
def machine(monkeypatch):
    """A machine with 1000 free bytes, and no limit on addresses."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "address_space_left", lambda: None)


def files(root, contents):
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def group(folder, most, used, version=2):
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    return {f"{folder}/{name}": f"{value}\n" for name, value in zip(names, (most, used))}


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    "told, groups, free",
    [
        ("", {}, 1000),
        ("0::/a/b\n", group(f"{V2}/a/b", 500, 100), 400),
        ("0::/a/b\n", {**group(f"{V2}/a/b", "max", 100), **group(f"{V2}/a", 700, 100)}, 600),
        ("0::/a/b\n", {**group(f"{V2}/a/b", 900, 100), **group(f"{V2}/a", 400, 300)}, 100),
        ("0::/../of/the/host\n", group(V2, 300, 100), 200),
        ("0::/a\n", {**group(f"{V2}/a", 500, 400), f"{V2}/a/memory.stat": "anon 9\ninactive_file 150\n"}, 250),
        ("0::/a\n", group(f"{V2}/a", 500, 600), 0),
        ("3:cpu:/x\n5:cpuset,memory:/a\n", group(f"{V1}/a", 500, 200, version=1), 300),
        ("5:memory:/a\n", group(f"{V1}/a", 0x7FFFFFFFFFFFF000, 200, version=1), 1000),
        ("3:cpu:/a\n", group(f"{V1}/a", 500, 200, version=1), 1000),
    ],
)
def test_the_least_of_the_machine_and_of_the_groups_around_the_process_is_free(machine, tmp_path, told, groups, free):
    assert memory.free_memory_bytes(files(tmp_path, {"proc/self/cgroup": told, **groups})) == free


def test_without_psutil_and_limits_nothing_is_known(machine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.free_memory_bytes(tmp_path) == memory.UNKNOWN


def test_this_computer_has_memory():
    assert 100_000_000 < memory.free_memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz", ".png", ".tif", ""])
def test_an_image_that_does_not_fit_is_refused_before_its_voxels_are_read(tmp_path, monkeypatch, ending):
    path = tmp_path / f"scan{ending}"
    if ending in (".png", ".tif"):
        sitk.WriteImage(sitk.GetImageFromArray(IMAGE.values[0].astype(np.uint16)), str(path))
    elif not ending:
        write_series(path, IMAGE)
    else:
        write_image(IMAGE, path)
    assert read_image(path).values.any()
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 3_000)
    for module, name in ((sitk.ImageFileReader, "Execute"), (sitk, "ReadImage")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("voxels were read"))
    with pytest.raises(InputError, match="fixed image .*scan.* announces .* 3e-06 GB of memory are free"):
        read_image(path, "fixed image")


def test_a_segmentation_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    path = write_segmentation(tmp_path / "a.seg.nrrd", IMAGE.grid, [IMAGE.values], [("core", 1, 0)])
    assert read_segmentation(path, "fixed labels") is not None
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 1_000)
    with pytest.raises(InputError, match="fixed labels .* announces"):
        read_segmentation(path, "fixed labels")


def test_a_header_says_how_much_before_the_memory_is_taken(tmp_path, monkeypatch):
    """A small packed file may announce much: 8 x 10^6 bytes from a few thousand."""
    sitk.WriteImage(sitk.Image([100, 100, 100], sitk.sitkFloat64), str(tmp_path / "zeros.nrrd"), useCompression=True)
    assert (tmp_path / "zeros.nrrd").stat().st_size < 20_000
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 10_000_000)
    with pytest.raises(InputError, match="announces 0.008 GB of voxels, and 0.01 GB"):
        read_image(tmp_path / "zeros.nrrd")
