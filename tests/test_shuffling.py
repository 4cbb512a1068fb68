"""Shuffling by blocks: every image once, mixed nearly as well as by a full permutation, the same anywhere."""

import numpy as np
import pytest
import torch

from bench import config as cfg
from bench.data import readahead, shuffling
from bench.data.readahead import ReadAhead
from bench.data.shuffling import BLOCK, WINDOW, Reach, block_order, epoch_order, reach
from bench.streams import stream
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_config import pretrain, probe
from tests.test_probe import probe_config, save_weights
from tests.test_probe import run as run_probe
from tests.test_train import run

# Places205's classes, a tenth of its images, sorted by class as its list is: 8 windows.
IMAGES, CLASSES, BATCH = 244_850, 205, 128
LABELS = torch.arange(IMAGES) * CLASSES // IMAGES


@pytest.fixture(scope="module")
def orders():
    return [epoch_order(IMAGES, 0, "order", epoch, shuffle="blocks") for epoch in range(3)]


def class_counts(order):
    """Of each batch: [batches, classes]."""
    labels = LABELS[order][: IMAGES // BATCH * BATCH]
    batch = torch.arange(len(labels)) // BATCH
    return torch.bincount(batch * CLASSES + labels, minlength=IMAGES // BATCH * CLASSES).view(-1, CLASSES)


def same_class(order) -> float:
    """Share of the pairs of a batch that have one class."""
    counts = class_counts(order).double()
    return float((counts * (counts - 1)).sum() / (len(counts) * BATCH * (BATCH - 1)))


def chi_square(order) -> float:
    """Mean over batches of chi-square of the class counts by its degrees of freedom: 1 of a full permutation."""
    expected = BATCH * torch.bincount(LABELS).double() / IMAGES
    return float(((class_counts(order) - expected) ** 2 / expected).sum(1).mean() / (CLASSES - 1))


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own(orders):
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(IMAGES))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[1], epoch_order(IMAGES, 0, "order", 1, shuffle="blocks"))
    assert not torch.equal(orders[0], epoch_order(IMAGES, 1, "order", 0, shuffle="blocks"))


def test_a_window_is_of_so_many_blocks_and_has_all_of_their_rows(orders):
    order = epoch_order(4 * BLOCK * WINDOW, 0, "order", 0, shuffle="blocks")
    for window in order.split(BLOCK * WINDOW):
        blocks, counts = (window // BLOCK).unique(return_counts=True)
        assert len(blocks) == WINDOW
        assert (counts == BLOCK).all()
    # And within it rows are in any order: a batch has rows of as many blocks as chance has it.
    found = [len((batch // BLOCK).unique()) for batch in orders[0].split(BATCH)]
    assert np.mean(found) > 0.93 * BATCH


def test_two_of_a_batch_have_one_class_at_most_a_window_s_inverse_more_often_than_by_chance(orders):
    full = same_class(epoch_order(IMAGES, 0, "order", 0))
    for order in orders:
        # And half a thousandth for the draw.
        assert same_class(order) <= full + 2 / WINDOW + 5e-4
    # A window of 32 blocks would not do.
    little = block_order(IMAGES, generator=stream(0, "x"), window=32)
    assert same_class(little) > full + 1 / WINDOW + 5e-3


@pytest.mark.parametrize("more", [1, BLOCK, 40 * BLOCK + 5])
def test_the_last_batch_is_of_as_many_places_as_any_other(more):
    order = epoch_order(8 * BLOCK * WINDOW + more, 0, "order", 0, shuffle="blocks")
    assert torch.equal(order.sort().values, torch.arange(len(order)))
    assert min(len((batch // BLOCK).unique()) for batch in order.split(BATCH)[-9:-1]) > 0.8 * BATCH
    last = order[-BATCH:]
    assert len((last // BLOCK).unique()) > 0.8 * BATCH


def test_classes_of_a_batch_are_counted_nearly_as_in_a_full_permutation(orders):
    assert chi_square(epoch_order(IMAGES, 0, "order", 0)) == pytest.approx(1, abs=0.02)
    for order in orders:
        assert 1 <= chi_square(order) < 1.2


def test_where_an_image_comes_says_nothing_of_where_it_comes_next(orders):
    places = torch.stack([order.argsort().double() for order in [torch.arange(IMAGES), *orders]])
    # Blocks move as one: there are as many places as blocks.
    bound = 4 / (IMAGES / BLOCK) ** 0.5
    rank = torch.corrcoef(places)
    assert (rank - torch.eye(4)).abs().max() < bound


def test_what_one_window_holds_is_shuffled_as_ever():
    size = BLOCK * WINDOW
    assert torch.equal(epoch_order(size, 3, "order", 0, shuffle="blocks"), epoch_order(size, 3, "order", 0))
    assert not torch.equal(
        epoch_order(size + 1, 3, "order", 0, shuffle="blocks"), epoch_order(size + 1, 3, "order", 0)
    )


def test_the_setting_is_part_of_a_cell_and_left_out_where_it_is_the_full_permutation():
    plain, other = pretrain(), pretrain(settings={"pretrain.shuffle": "blocks"})
    assert "shuffle" not in plain["train"]
    assert other["train"]["shuffle"] == "blocks"
    assert cfg.config_id(plain) != cfg.config_id(other)
    assert cfg.config_id(plain) == cfg.config_id(pretrain(settings={"pretrain.shuffle": "full"}))
    assert cfg.variant(other) == "pretrain.shuffle=blocks"
    probed = probe(plain, settings={"probe.shuffle": "blocks"})
    assert cfg.config_id(probed) != cfg.config_id(probe(plain))
    assert "shuffle" not in probe(plain)["probe"]
    assert cfg.variant(probed) == "probe.shuffle=blocks"


@pytest.mark.parametrize("data_bytes", [0, None])
def test_the_setting_is_in_force_in_pretraining_and_probing(data_bytes, tmp_path, monkeypatch):
    used = []

    def watched(*args, **options):
        used.append(options)
        return block_order(*args, block=2, window=4, **options)

    monkeypatch.setattr(shuffling, "block_order", watched)
    data = noise_data(size=16)
    run(
        pretrain_config("beta-vae", size=16, epochs=1, shuffle="blocks"),
        MemoryAttempt(tmp_path),
        data=data,
        data_bytes=data_bytes,
    )
    assert used
    used.clear()
    weights = save_weights(tmp_path / "pretrained.safetensors", size=16)
    for shuffle in ("full", "blocks"):
        probing = probe_config("conv1-5", size=16, epochs=1, shuffle=shuffle)
        run_probe(probing, weights, MemoryAttempt(tmp_path), data, data_bytes=data_bytes)
        assert bool(used) == (shuffle == "blocks")


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4096, 3, 4, 4), np.uint8))
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr(
        readahead.os, "posix_fadvise", lambda _f, begin, size, _a: found.append((begin, size)), raising=False
    )
    return found


def test_rows_are_advised_on_at_their_place_before_they_are_read(mapped, asked):
    header, row = mapped.offset, 48
    ahead = ReadAhead(mapped[5:], Reach(1, 8), always=True)
    assert ahead.active
    parts = ahead.over(torch.tensor([[9, 0, 4], [3, 2, 8], [5, 6, 7]]))
    assert next(parts).tolist() == [9, 0, 4]
    assert sorted(asked) == [(header + (5 + i) * row, row) for i in (0, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert [part.tolist() for part in parts] == [[3, 2, 8], [5, 6, 7]]


def test_whole_blocks_are_advised_on_once_and_not_all_of_a_window_at_once(mapped, asked):
    order = block_order(4096, generator=stream(0, "x"), block=8, window=64)
    parts = list(order.split(16))
    before = []
    for number, part in enumerate(ReadAhead(mapped, Reach(8, 512), always=True).over(iter(parts))):
        assert torch.equal(part, parts[number])
        advised = {(begin - mapped.offset) // (8 * 48) for begin, _ in asked}
        assert set((part // 8).tolist()) <= advised
        before.append(len(asked))
    assert len(asked) == 512
    assert {size for _, size in asked} == {8 * 48}
    # 2 blocks a batch on average.
    assert max(np.diff(before)) <= 8


def test_what_is_no_file_or_fits_in_the_cache_is_not_advised_on(mapped, asked):
    for images in (np.array(mapped), mapped[[1, 2]]):
        assert not ReadAhead(images, always=True).active
    ahead = ReadAhead(mapped)
    assert not ahead.active
    assert [part.tolist() for part in ahead.over(torch.tensor([[1], [2]]))] == [[1], [2]]
    assert asked == []
    assert reach("blocks") == (32, 32 * 1024)
