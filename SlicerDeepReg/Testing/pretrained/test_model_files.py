"""Files of weights that are damaged, larger than they look, or something else: each is called what it is."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.files.weights import read_weights, write_weights
from SlicerDeepRegLib.models import torch_files
from SlicerDeepRegLib.models.torch_files import read_tensors, read_torch_file
from SlicerDeepRegLib.training.checkpoints import CHECKPOINT_FILE, read_checkpoint
from SlicerDeepRegLib.types import InputError

VALUES = {"a": torch.arange(24.0).reshape(2, 3, 4), "b": torch.ones(1000)}


def saved(values=VALUES, **options):
    stream = io.BytesIO()
    torch.save(values, stream, **options)
    return stream.getvalue()


def tar(data):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("weights.pth")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


OTHERS = {
    "empty": (b"", "is empty.*again"),
    "page": (
        b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
        "is a web page.*Download the file itself",
    ),
    "page in capitals": (b"\xef\xbb\xbf<HTML><BODY>404</BODY></HTML>", "is a web page"),
    "error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "message": (json.dumps({"error": "not found"}).encode(), "is JSON.*Download the file itself"),
    "text": (b"404: Not Found", "is text.*Download the file itself"),
    "gzip": (gzip.compress(b"x" * 50), "compressed with gzip.*Unpack it"),
    "bzip2": (bz2.compress(b"x" * 50), "compressed with bzip2.*Unpack it"),
    "xz": (lzma.compress(b"x" * 50), "compressed with xz.*Unpack it"),
    "tar": (tar(b"\x80" * 50), "tar archive.*Unpack it"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5.*Only weights of PyTorch"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("read", [read_weights, pytest.param(read_tensors, marks=torch_files_are_read)])
def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path, name, read):
    data, message = OTHERS[name]
    path = tmp_path / "given"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"given .*{message}"):
        read(path)


def zipped(entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed_inside(data, old, new):
    assert data.count(old) == 1
    return data.replace(old, new)


def overlapping(data):
    """The directory of an archive names its largest entry a thousand times."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.filelist += [max(archive.infolist(), key=lambda entry: entry.file_size)] * 1000
        archive.comment = b"changed"  # so that the directory is written again
    return stream.getvalue()


@torch_files_are_read
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: zipped({"weights.pth": saved()}), "zip archive without tensors of PyTorch"),
        (lambda: zipped({"x/data.pkl": b"", "x/constants.pkl": b""}), "TorchScript"),
        (lambda: saved()[:3000], "cannot be read .*damaged or cut short"),
        (
            lambda: changed_inside(saved(), np.float32(17).tobytes(), np.float32(np.e).tobytes()),
            "checksum of .*/data/0",
        ),
        (lambda: zipped(entries_of(saved({"a": torch.zeros(10**6)})), zipfile.ZIP_DEFLATED), "larger than the file"),
        (lambda: overlapping(saved()), "larger than the file"),
        (lambda: saved({"a": torch.zeros(1).half().expand(10**12)}), "larger than the file"),
        (lambda: saved({"a": torch.zeros(10**12, device="meta")}), "larger than the file|not plain arrays"),
        (lambda: saved({"a": torch.zeros(3, device="meta")}), "not plain arrays"),
        (lambda: saved({"a": torch.eye(3).to_sparse()}), "not plain arrays"),
        (lambda: saved(_use_new_zipfile_serialization=False)[:3000], "cannot be read .*damaged or cut short"),
        (lambda: saved(_use_new_zipfile_serialization=False)[:60], "cannot be read .*damaged or cut short"),
        (lambda: pickle.dumps({"a": 1}), "cannot be read .*no torch file"),
        (lambda: bytes(100), "cannot be read .*no torch file"),
        (lambda: saved(torch.nn.Linear(1, 1)), "would run code"),
        (lambda: saved([1, 2]), "does not hold tensors by name"),
    ],
)
def test_damaged_torch_files_are_refused(tmp_path, make, message):
    path = tmp_path / "given.pth"
    path.write_bytes(make())
    with pytest.raises(InputError, match=f"given.pth.*{message}") as refused:
        read_tensors(path)
    assert "\n" not in str(refused.value) and "weights_only" not in str(refused.value)


@torch_files_are_read
@pytest.mark.parametrize("new_layout", [True, False])
def test_torch_files_of_both_layouts_are_read(tmp_path, new_layout):
    shared = {**VALUES, "c": VALUES["b"], "half": torch.ones(3).half()}
    (tmp_path / "a.pth").write_bytes(
        saved({"state_dict": shared, "config": {"steps": 3}}, _use_new_zipfile_serialization=new_layout)
    )
    arrays, settings = read_tensors(tmp_path / "a.pth")
    assert settings == {"steps": 3} and list(arrays) == list(shared) and arrays["half"].dtype == np.float32
    assert all(np.array_equal(arrays[name], shared[name].numpy()) for name in shared)


@torch_files_are_read
def test_the_memory_that_is_free_is_asked_first(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(saved())
    monkeypatch.setattr(torch_files, "free_memory_bytes", lambda: 1000)
    with pytest.raises(InputError, match="a.pth needs .* GB of memory, more than is free"):
        read_torch_file(tmp_path / "a.pth")


@torch_files_are_read
def test_the_other_format_of_weights_is_named(tmp_path):
    write_weights(tmp_path / "a.pth", {"a": np.ones(3, np.float32)})
    with pytest.raises(InputError, match="safetensors file. Give it a name that ends in .safetensors"):
        read_tensors(tmp_path / "a.pth")
    for new_layout in (True, False):
        (tmp_path / "b.safetensors").write_bytes(saved(_use_new_zipfile_serialization=new_layout))
        with pytest.raises(InputError, match="file of PyTorch or a zip archive, not safetensors"):
            read_weights(tmp_path / "b.safetensors")


def test_sizes_that_a_safetensors_file_claims_are_compared_with_it(tmp_path):
    path = tmp_path / "a.safetensors"
    write_weights(path, {"a": np.ones(1000, np.float32)})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for claimed in (len(data), 99_000_000, 2**40, 2**64 - 1):
        path.write_bytes(claimed.to_bytes(8, "little") + data[8:])
        with pytest.raises(InputError, match=f"header would have {claimed} bytes, and the file has {len(data)}"):
            read_weights(path)
    for shape, end in (([10**12], 4 * 10**12), ([10**12], 4000), ([2**62, 4], 4000), ([999], 4000), ([1000], 3996)):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
        with pytest.raises(InputError, match="cannot be read"):
            read_weights(path)


def test_an_older_pytorch_reads_no_checkpoint_of_a_training_either(tmp_path, monkeypatch):
    (tmp_path / CHECKPOINT_FILE).write_bytes(saved({"step": 3}))
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match="2.5.1.* cannot read such files safely. Upgrade to PyTorch 2.6"):
        read_checkpoint(tmp_path)
