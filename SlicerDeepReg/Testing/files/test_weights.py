"""Weights that are stored small come back as float32, near what they were; what is damaged is said."""

import numpy as np
import pytest
from SlicerDeepRegLib.files.weights import read_weights, smaller, write_weights
from SlicerDeepRegLib.types import InputError

random = np.random.default_rng(0)
#: Output channels of very different sizes, one of them nothing but zeros.
SIZES = np.array([1e-3, 1.0, 30.0, 0.0], np.float32).reshape(4, 1, 1, 1, 1)
ARRAYS = {
    "a.weight": (SIZES * random.normal(size=(4, 256, 3, 3, 3))).astype(np.float32),
    "a.bias": random.normal(size=5000).astype(np.float32),
    "b.weight": (SIZES.transpose(1, 0, 2, 3, 4) * random.normal(size=(256, 4, 3, 3, 3))).astype(np.float32),
    "small.weight": random.normal(size=(32, 33, 1, 1, 1)).astype(np.float32),
    "batches": np.array(7),
}


def stored(folder, storage, arrays=ARRAYS):
    path = folder / "weights.safetensors"
    write_weights(path, smaller(arrays, storage, transposed=["b.weight"]))
    return path


@pytest.mark.parametrize("storage, share", [("float16", 0.51), ("int8", 0.4)])
def test_what_is_stored_small_comes_back_near_to_what_it_was(tmp_path, storage, share):
    path = stored(tmp_path, storage)
    found = read_weights(path)
    assert set(found) == set(ARRAYS)
    assert path.stat().st_size < share * sum(array.nbytes for array in ARRAYS.values()) + 1000
    assert all(found[name].dtype == np.float32 for name in ARRAYS if name != "batches") and found["batches"] == 7
    for name, axes in (("a.weight", (1, 2, 3, 4)), ("b.weight", (0, 2, 3, 4))):  # by its own channel's largest value
        largest = np.abs(ARRAYS[name]).max(axes, keepdims=True)
        allowed = largest * (1 / 1024 if storage == "float16" else 0.51 / 127)
        assert (np.abs(found[name] - ARRAYS[name]) <= allowed + 1e-7).all()
    for name in ("a.bias", "small.weight"):
        np.testing.assert_allclose(found[name], ARRAYS[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.pop("a.weight:scale"), "the integers of a.weight have no scale"),
        (lambda a: a.pop("a.weight"), "a.weight:scale belongs to no integers"),
        (lambda a: a.update({"a.bias:scale": a["a.weight:scale"]}), "a.bias:scale belongs to no integers"),
        (lambda a: a["a.weight:scale"].__setitem__(1, np.nan), "not one number above 0"),
        (lambda a: a["a.weight:scale"].__setitem__(1, np.inf), "not one number above 0"),
        (lambda a: a["a.weight:scale"].__setitem__(1, 0), "not one number above 0"),
        (lambda a: a["a.weight:scale"].__setitem__(1, -1), "not one number above 0"),
        (lambda a: a.update({"a.weight:scale": a["a.weight:scale"][:3]}), "not one number above 0"),
        (lambda a: a.update({"a.weight:scale": a["a.weight:scale"].ravel()}), "not one number above 0"),
        (lambda a: a.update({"a.weight:scale": a["a.weight:scale"].astype(np.float64)}), "not one number above 0"),
    ],
)
def test_a_damaged_scale_is_one_sentence(tmp_path, change, message):
    arrays = smaller(ARRAYS, "int8")
    change(arrays)
    write_weights(tmp_path / "a.safetensors", arrays)
    with pytest.raises(InputError, match=f"a.safetensors are damaged: .*{message}.* Copy the file again") as refused:
        read_weights(tmp_path / "a.safetensors")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_values_that_float16_cannot_hold_are_refused(value):
    with pytest.raises(InputError, match="a has values that float16 cannot hold"):
        smaller({"a": np.array([1, value], np.float32)}, "float16")
