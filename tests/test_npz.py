"""The quick reader of .npz files gives what NumPy gives, and what is broken is never taken for whole."""

import io

import numpy as np
import pytest

from bench.npz import read_npz

ARRAYS = {
    "labels": np.arange(700, dtype=np.int16) % 100,
    "top5": np.arange(3500, dtype=np.int16).reshape(700, 5),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "single": np.array(3.5, np.float32),
    "empty": np.zeros((0, 4)),
    "bool": np.array([True, False]),
    "big": np.arange(5, dtype=">i4"),
    "näme": np.arange(3),
    "text": np.array(["a", "bc"]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [*([name] for name in ARRAYS), list(ARRAYS)], ids="-".join)
def test_it_reads_what_numpy_reads(tmp_path, save, names):
    path = tmp_path / "x.npz"
    save(path, **{name: ARRAYS[name] for name in names})
    found = read_npz(path)
    assert list(found) == names
    for name in names:
        assert found[name].dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(found[name], ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_usual_arrays_never_needs_numpys_reader(tmp_path, monkeypatch, save):
    save(tmp_path / "x.npz", **{name: ARRAYS[name] for name in ("labels", "top5", "fortran")})
    monkeypatch.setattr("bench.npz._by_numpy", None)
    assert set(read_npz(tmp_path / "x.npz")) == {"labels", "top5", "fortran"}


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        read_npz(tmp_path / "x.npz")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damage_changes_what_is_read(tmp_path, save):
    arrays = {name: ARRAYS[name] for name in ("labels", "single")}
    out = io.BytesIO()
    save(out, **arrays)
    whole, path = out.getvalue(), tmp_path / "x.npz"
    draw = np.random.default_rng(0)
    places = draw.choice(len(whole), min(200, len(whole)), replace=False)
    refused = 0
    for place in [*map(int, places), -1]:
        data = bytearray(whole)
        if place < 0:
            data = data[: len(data) // 2]
        else:
            data[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(data)
        try:
            found = read_npz(path)
        except (ValueError, OSError):
            refused += 1
            continue
        for name, array in found.items():
            # A name in the directory has no checksum: an array may be lost, and never be another one.
            if name in arrays:
                np.testing.assert_array_equal(array, arrays[name])
    assert refused > len(places) / 3
