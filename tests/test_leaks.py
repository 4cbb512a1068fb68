"""Images on both sides of a split are found: those of equal bytes exactly, near-equal ones apart from them."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.data import leak_records, leaks, perceptual, registry, signatures
from tests.photographs import photographs, recompressed, save_tree

IMAGES = photographs(300)


@pytest.fixture(scope="module")
def planted():
    """200 training and 100 test images; three test images are copies, four nearly so."""
    train, test = IMAGES[:200].copy(), IMAGES[200:].copy()
    test[[5, 6, 50]] = train[[150, 150, 3]]
    test[[7, 8]] = recompressed(train[[40, 41]])
    test[9] = (train[42] * 0.8 + 20).astype(np.uint8)
    test[10] = np.rint(np.tensordot([0.299, 0.587, 0.114], train[43], (0, 0)))  # without its colours
    return train, test


def by_bytes(train, test):
    """The same by another way: a dictionary of bytes."""
    where = {}
    for i, image in enumerate(train):
        where.setdefault(image.tobytes(), []).append(i)
    return [(i, j) for j, image in enumerate(test) for i in where.get(image.tobytes(), [])]


def test_images_of_equal_bytes_are_found_exactly(planted):
    train, test = planted
    train = np.concatenate([train, train[3:4]])
    found = leaks.find(train, test)
    assert list(map(tuple, found.equal.tolist())) == by_bytes(train, test)
    assert len(found.equal) == 4
    assert found.counts()["equal"] == 3


def test_recompressed_darker_and_grey_copies_are_near_equal_and_nothing_else_is(planted):
    found = leaks.find(*planted)
    assert found.near.tolist() == [[40, 7], [41, 8], [42, 9], [43, 10]]
    assert found.counts() == {"test": 100, "equal": 3, "near": 4}
    assert found.images().tolist() == [3, 40, 41, 42, 43, 150]


def test_a_part_of_the_training_images_has_its_own_leaks(planted):
    found = leaks.find(*planted).among(np.array([3, 41, 60, 150]))
    assert found.equal.tolist() == [[3, 5], [3, 6], [0, 50]]
    assert found.near.tolist() == [[1, 8]]
    assert found.num_images == 4


def test_images_on_which_nothing_is_to_be_seen_are_not_near_equal():
    black, white = np.zeros((2, 3, 32, 32), np.uint8), np.full((2, 3, 32, 32), 255, np.uint8)
    # The same faint speck on two grounds: a hash, and gradients, of next to nothing.
    black[1, :, 3:5, 3], white[1, :, 3:5, 3] = 1, 256 - 1
    white[1] -= 1
    white[1, :, 3:5, 3] = 255
    assert leaks.find(black, white).counts() == {"test": 2, "equal": 0, "near": 0}


def test_what_has_one_hash_and_other_details_is_not_near_equal():
    draw = np.random.default_rng(0)
    coarse = draw.integers(60, 196, (1, 1, 8, 8)).repeat(4, 2).repeat(4, 3)
    # Signs that alternate are high frequencies, of which the hash knows nothing.
    signs = np.where(np.indices((32, 32)).sum(0) % 2, 1, -1)
    one, other = (coarse + 50 * signs * which for which in (1, -1))
    one, other = (image.repeat(3, 1).astype(np.uint8) for image in (one, other))
    hashes = [perceptual.hashes(perceptual.luminance(image))[0] for image in (one, other)]
    assert np.bitwise_count(hashes[0] ^ hashes[1]) <= perceptual.DISTANCE
    assert leaks.find(one, other).counts() == {"test": 1, "equal": 0, "near": 0}


def test_digests_that_agree_in_half_of_their_bits_are_not_equal():
    digests = np.array([[1, 2], [1, 3], [4, 2]], np.uint64)
    assert leaks.equal_pairs(digests, np.array([[1, 3], [4, 3]], np.uint64)).tolist() == [[1, 0]]


def test_images_that_are_all_alike_are_not_called_copies(planted, monkeypatch):
    train, test = planted
    monkeypatch.setattr(leaks, "MOST_PAIRS", 6)
    found = leaks.find(train, test)
    assert found.counts() == {"test": 100, "equal": 3, "near": None}
    assert leaks.Leaks.of_json(found.as_json()).counts()["near"] is None
    monkeypatch.setattr(leaks, "MOST_PAIRS", 7)  # three of equal bytes, and the four
    assert leaks.find(train, test).counts()["near"] == 4


def test_every_pair_of_hashes_within_the_distance_is_found_whatever_the_blocks(monkeypatch):
    draw = np.random.default_rng(0)
    hashed, queries = (
        draw.integers(0, 1 << 63, 103, dtype=np.uint64),
        draw.integers(0, 1 << 63, 61, dtype=np.uint64),
    )
    hashed[[0, 50, 102]] = queries[[60, 0, 31]] ^ np.uint64(0b10110111)
    expected = [
        (i, j) for j in range(61) for i in range(103) if (int(hashed[i]) ^ int(queries[j])).bit_count() <= 20
    ]
    assert {(0, 60), (50, 0), (102, 31)} < set(expected)
    for block in ((16, 8192), (7, 10), (1, 1)):
        monkeypatch.setattr(perceptual, "BLOCK", block)
        found = [
            pair
            for i, j in perceptual.within(hashed, queries, 20)
            for pair in zip(i.tolist(), j.tolist(), strict=True)
        ]
        assert found == expected


def test_luminance_of_larger_images_is_the_mean_of_what_a_pixel_covers():
    images = photographs(3, size=64)
    grey = np.tensordot([0.299, 0.587, 0.114], images.astype(float), (0, 1))
    assert np.allclose(perceptual.luminance(images), grey.reshape(3, 32, 2, 32, 2).mean((2, 4)), atol=1e-3)
    # 48 to 32: every pixel covers one and a half.
    small = perceptual.luminance(photographs(3, size=48))
    whole = np.tensordot([0.299, 0.587, 0.114], photographs(3, size=48).astype(float), (0, 1))
    assert np.allclose(small.mean((1, 2)), whole.mean((1, 2)), atol=1e-3)
    assert np.allclose(small[:, 0, 0], (whole[:, :2, :2] * [[4, 2], [2, 1]]).sum((1, 2)) / 9, atol=1e-3)


def test_rows_that_are_decoded_as_they_are_asked_for_are_read_a_chunk_at_a_time(planted, monkeypatch):
    class Decoded:
        def __init__(self, array):
            self.array, self.shape, self.most = array, array.shape, 0

        def __len__(self):
            return len(self.array)

        def __getitem__(self, rows):
            self.most = max(self.most, len(rows))
            return self.array[rows]

    monkeypatch.setattr(signatures, "CHUNK_BYTES", 10 * 3 * 32 * 32)
    train, test = map(Decoded, planted)
    found, expected = leaks.find(train, test), leaks.find(*planted)
    assert found.as_json() == expected.as_json()
    assert train.most == 10


def test_what_was_found_is_kept_beside_the_arrays_and_made_again_where_it_is_broken(tmp_path, monkeypatch):
    splits = {
        "train": {"cat": IMAGES[:9], "dog": IMAGES[9:20]},
        "test": {"cat": IMAGES[8:12], "dog": IMAGES[30:33]},
    }
    save_tree(tmp_path / "own", splits)
    data = registry.load("folder:own@32", tmp_path)
    (entry,) = tmp_path.glob(".bench/folder-own-*")
    first = leak_records.look(data, entry)
    assert first.counts()["equal"] == 4
    with monkeypatch.context() as patch:
        patch.setattr(leak_records, "signatures", None)
        again = leak_records.look(data, entry)
    assert again.counts() == first.counts()
    assert (again.signed["test"].digests == first.signed["test"].digests).all()
    (entry / leak_records.LEAKS).write_text('{"how": 1')
    assert leak_records.known(entry) is None
    assert leak_records.look(data, entry).counts() == first.counts()
    assert leak_records.known(entry) is not None
    # Nor is it an answer to another question.
    assert leak_records.known(entry, near=False) is None
    assert registry.load("folder:own@32", tmp_path).fingerprint == data.fingerprint


@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="needs BENCH_DATA")
def test_the_count_of_cifar100_is_that_of_its_bytes():
    root = Path(os.environ["BENCH_DATA"])
    if not registry.describe("cifar100", root)["found"]:
        pytest.skip("CIFAR-100 is not there")
    data = registry.load("cifar100", root)
    found = leaks.find(data.train.images, data.test.images)
    assert list(map(tuple, found.equal.tolist())) == by_bytes(data.train.images, data.test.images)
    assert found.counts() == {"test": 10_000, "equal": 10, "near": 200}
