"""What reads bytes that a stranger may have made: each with valid examples to begin from, and the reader itself.

A reader may refuse (InputError), and nothing else: no other error, no crash, no hang, no other file.
"""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from helpers.geometry import make_grid
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.catalog import read_user_card
from SlicerDeepRegLib.checks import check_image
from SlicerDeepRegLib.commands.repeat import read_description, request_of
from SlicerDeepRegLib.comparison.request import read_pairs
from SlicerDeepRegLib.files.images import approximate_voxels, from_sitk, read_image
from SlicerDeepRegLib.files.points import load_points
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.files.weights import read_weights, smaller, write_weights
from SlicerDeepRegLib.models.torch_files import read_tensors
from SlicerDeepRegLib.training.checkpoints import CHECKPOINT_FILE, read_checkpoint
from SlicerDeepRegLib.types import Image
from SlicerDeepRegLib.worker import protocol


def _pictures(folder):
    values = (np.arange(8 * 9 * 10) % 97).reshape(8, 9, 10)
    for suffix, kind in ((".nii", np.int16), (".nii.gz", np.float32), (".nrrd", np.uint8), (".mha", np.float32)):
        picture = sitk.GetImageFromArray(values.astype(kind))
        picture.SetSpacing((1.5, 2.0, 3.0))
        path = folder / f"image{suffix}"
        for compressed in (False, True):
            sitk.WriteImage(picture, str(path), compressed)
            yield suffix, path.read_bytes()


def _segmentations(folder):
    grid = make_grid((6, 5, 4), (1.0, 2.0, 3.0), np.eye(3))
    first, second = np.zeros((2, 4, 5, 6), np.uint8)
    first[:2], second[2:] = 1, 1
    for layers, segments in (
        ((first, second), (("core", 1, 0), ("rim", 1, 1))),
        ((first + 2 * second,), (("core", 1, 0), ("rim", 2, 0))),
    ):
        yield ".seg.nrrd", Path(write_segmentation(folder / "a.seg.nrrd", grid, layers, segments)).read_bytes()


def _read_segmentation(path):
    found = read_segmentation(path, "fixed labels")
    if found is not None:
        found.union()
        found.labels({name: n for n, name in enumerate(found.names, start=1)})


def _read_picture(path):
    approximate_voxels(path)
    check_image(read_image(path, "fixed image"), "fixed image")


def _points(folder):
    yield ".csv", b"x,y,z\n1.0,2.0,3.0\n-4,5e1,6\n"
    yield ".fcsv", b"# CoordinateSystem = RAS\nid,1,2,3,0,0\nid,4,5,6,0,0\n"
    yield ".txt", b"point\n2\n1 2 3\n4 5 6\n"
    yield ".txt", b"Point 0 ; InputPoint = [ 1.0 2.0 3.0 ] ; OutputPoint = [ 4.0 5.0 6.0 ]\n"
    markup = {"coordinateSystem": "LPS", "controlPoints": [{"position": [1, 2, 3]}, {"position": [4, 5, 6]}]}
    yield ".mrk.json", json.dumps({"markups": [markup]}).encode()


def _read_points(path):
    load_points(str(path), "fixed points")


def _weights(folder):
    path = folder / "weights.safetensors"
    arrays = {"a.weight": np.ones((3, 6000), np.float32), "b": np.zeros(5, np.float32)}
    for stored in (arrays, smaller(arrays, "int8")):
        write_weights(path, stored)
        yield ".safetensors", path.read_bytes()


def _torch_files(folder):
    import torch

    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 1, 4, 4, 4)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    nested = {"state_dict": halves, "config": {"int_steps": 7, "widths": [8, 16]}, "epoch": 3, "loss": 0.5}
    training = {
        "network": state,
        "optimizer": optimizer.state_dict(),
        "step": 4,
        "best": None,
        "metrics": {"dice": 0.5},
    }
    for suffix, values in ((".pth", state), (".pth", nested), (CHECKPOINT_FILE, training)):
        for zipped in (True, False):  # the layout since PyTorch 1.6, and the one before
            torch.save(values, folder / "a", _use_new_zipfile_serialization=zipped)
            yield suffix, (folder / "a").read_bytes()


def _read_torch_file(path):
    if not path.name.endswith(CHECKPOINT_FILE):
        read_tensors(path)
        return
    path.rename(path.parent / CHECKPOINT_FILE)
    try:
        read_checkpoint(path.parent)
    finally:
        (path.parent / CHECKPOINT_FILE).unlink()


def _cards(folder):
    mine = {"name": "mine", "network": "voxelmorph", "recipe": {"intensity": "unit", "voxel_mm": 2.0}, "title": "Mine"}
    yield ".json", json.dumps({**mine, "trained_on": "some"}).encode()
    more = {
        "configuration": {"decoder": [8, 8]},
        "settings": {"instance_steps": 3},
        "dimensions": [3],
        "references": ["A. 2020"],
    }
    yield ".json", json.dumps({**mine, **more, "year": 2020, "shown": None, "parameters": 7}).encode()


def _read_card(path):
    path.rename(path.parent / "card.json")
    try:
        read_user_card(path.parent)
    finally:
        (path.parent / "card.json").unlink()


def _results(folder):
    request = {
        "fixed": "a.nii.gz",
        "moving": "b.nii.gz",
        "preset": "fast",
        "settings": {"step": 0.2},
        "uncertainty_runs": 0,
    }
    described = {
        "request": request,
        "provenance": {"sha256": {"fixed": "0" * 64, "moving": "1" * 64}, "device": "CPU", "threads": 2},
        "outputs_sha256": {"transform": "2" * 64},
    }
    yield ".json", json.dumps(described).encode()


def _read_result(path):
    request_of(read_description(path))


def _pairs(folder):
    yield ".csv", b"name,fixed,moving,fixed_labels\none,a.nii.gz,b.nii.gz,c.nii.gz\ntwo,d.nii.gz,e.nii.gz,\n"


def _lines(folder):
    image = Image(np.zeros((2, 3, 4), np.float32), from_sitk(sitk.Image(4, 3, 2, sitk.sitkFloat32), "x").grid)
    from SlicerDeepRegLib.types import Request

    values = protocol.write_request(Request(image, image), folder)
    yield ".line", protocol.line("register", job="job1", request=values)
    yield ".line", protocol.line("cancel", job="job1")
    yield ".line", protocol.line("quit")


def _read_line(path):
    for line in path.read_bytes().split(b"\n"):
        message = protocol.parse(line)
        if message is not None and message["kind"] == "register" and message.get("job"):
            try:
                protocol.read_request(message["request"], path.parent)
            except Exception:  # the worker answers any of them with "failed", and goes on
                continue


#: Name: (examples of a folder as (ending, bytes), reader of a path).
TARGETS = {
    "images": (_pictures, _read_picture),
    "segmentations": (_segmentations, _read_segmentation),
    "points": (_points, _read_points),
    "weights": (_weights, lambda path: read_weights(path)),
    "torch": (_torch_files, _read_torch_file),
    "cards": (_cards, _read_card),
    "results": (_results, _read_result),
    "pairs": (_pairs, lambda path: read_pairs(path)),
    "worker": (_lines, _read_line),
}


def examples(name, folder):
    """The examples of a target; their own files are removed again."""
    found = list(TARGETS[name][0](Path(folder)))
    for file in Path(folder).iterdir():
        file.unlink()
    return found


#: Numbers that headers trip over.
_NUMBERS = [struct.pack("<i", n) for n in (0, -1, 2**31 - 1, -(2**31), 65536)] + [
    struct.pack("<f", n) for n in (float("nan"), float("inf"), -1e30, 0.0)
]
_TEXTS = [b"0", b"-1", b"1e400", b"nan", b"999999999999", b"null", b"{}", b"[]", b'"']
_TEXTS += [b"\x00", b"\xff\xfe", b"../../x", b"[" * 3000]


def _repacked(data, random):
    """One entry of a zip archive changed, with its new checksum; mostly the one that names the tensors."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as other:
        names = archive.namelist()
        chosen = names[0] if random.random() < 0.7 else names[random.integers(len(names))]
        for name in names:
            held = archive.read(name)
            other.writestr(name, _changed(held, random) if name == chosen else held)
    return packed.getvalue()


def mutated(data, random):
    """Other bytes: a few changes of a few kinds; gzip and zip are changed inside, too."""
    if data[:2] == b"\x1f\x8b" and random.random() < 0.7:
        return gzip.compress(mutated(gzip.decompress(data), random), 1, mtime=0)
    if data[:4] == b"PK\x03\x04" and random.random() < 0.7:
        return _repacked(data, random)
    return _changed(data, random)


def _changed(data, random):
    data = bytearray(data)
    head = min(len(data), 400) if random.random() < 0.7 else len(data)
    for _ in range(random.integers(1, 6)):
        place, kind = int(random.integers(0, max(1, head))), random.integers(0, 8)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            del data[place : place + int(random.integers(1, 40))]
        elif kind == 2 and place < len(data):
            data[place] ^= 1 << int(random.integers(0, 8))
        elif kind == 3 and place < len(data):
            data[place] = int(random.integers(0, 256))
        elif kind == 4:
            data[place : place + 4] = _NUMBERS[random.integers(len(_NUMBERS))]
        elif kind == 5:
            text = _TEXTS[random.integers(len(_TEXTS))]
            data[place : place + (len(text) if random.random() < 0.5 else 0)] = text
        elif kind == 6:
            data[place:place] = data[: int(random.integers(1, 60))]
        else:
            data[place:place] = bytes(random.integers(0, 256, int(random.integers(1, 30)), dtype=np.uint8))
    return bytes(data)
