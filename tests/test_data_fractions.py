"""A fraction of a data set: the same images every time, every class as before, the test split whole."""

import dataclasses

import numpy as np
import pytest

from bench.config import config_id, pretrain_config
from bench.data import registry
from bench.data.arrays import Dataset, Split
from bench.data.fractions import evenly, split_fraction, take, typed_name
from bench.errors import UsageError
from bench.plan import Selection, make_plan
from bench.selection import select


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return registry.load("digits", None)


def test_a_fraction_keeps_that_share_of_every_class_and_the_whole_test_split(digits):
    part = registry.load("digits@25%", None)
    before, after = np.bincount(digits.train.labels), np.bincount(part.train.labels)
    assert (after == np.round(before * 0.25)).all()
    assert (part.test.images == digits.test.images).all()
    assert part.pool is part.train
    assert part.fingerprint not in ("", digits.fingerprint)
    assert not part.train.images.flags.writeable


def test_the_images_are_some_of_the_published_ones_with_their_labels_in_their_order(digits):
    part = registry.load("digits@10%", None)
    where = [np.flatnonzero((digits.train.images == image).all((1, 2, 3)))[0] for image in part.train.images]
    assert where == sorted(where)
    assert (digits.train.labels[where] == part.train.labels).all()


def test_unlabelled_images_of_a_pool_are_cut_too_and_the_labelled_ones_are_those_of_training():
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(3, 1)
    labels = np.array([0, 1] * 10 + [-1] * 20)
    whole = Dataset(
        "x",
        Split(images[:20], labels[:20]),
        Split(images, labels),
        Split(images, labels),
        ("a", "b"),
        "f",
        True,
    )
    part = take(whole, "x@50%", 0.5)
    assert len(part.train) == 10
    assert len(part.pool) == 20
    labelled = part.pool.images[part.pool.labels >= 0]
    assert (labelled == part.train.images).all()


def test_places_are_even_and_never_none():
    assert evenly(10, 0.5) == [1, 3, 5, 7, 9]
    assert evenly(7, 0.01) == [3]
    assert evenly(0, 0.5) == []
    assert evenly(3, 0.99) == [0, 1, 2]


def test_it_is_another_data_set_to_a_run_and_known_by_the_name_of_the_whole():
    whole, part = registry.identity("digits", None), registry.identity("digits@10%", None)
    assert part == {**whole, "fraction": 0.1}
    assert typed_name(part) == "digits@10%"
    assert typed_name(whole) == "digits"
    configs = [pretrain_config("random", about, image_size=32, flip=False, seed=0) for about in (whole, part)]
    assert config_id(configs[0]) != config_id(configs[1])
    assert registry.spec("digits@10%") == dataclasses.replace(registry.spec("digits"), num_train=144)


def test_a_plan_takes_it_as_a_data_set():
    plan = make_plan(
        Selection(("random",), tuple(select("data set", ["digits@10%"], registry.DATASETS, "folder:")))
    )
    assert {cell.source for cell in plan.cells} == {"digits@10%"}
    assert next(plan.cells).label == "random digits@10% seed 0 pretrain"


def test_a_folder_has_a_size_and_a_fraction():
    assert split_fraction("folder:/a@b/c@32@12.5%") == ("folder:/a@b/c@32", 0.125)
    assert split_fraction("folder:/a@b%/c") == ("folder:/a@b%/c", None)


@pytest.mark.parametrize(
    "name", ["digits@0%", "digits@100%", "digits@-3%", "digits@x%", "digits@%", "digits@nan%"]
)
def test_what_is_no_fraction_is_refused_in_one_line(name):
    with pytest.raises(UsageError, match="no percentage of the training images"):
        registry.spec(name)


def test_a_fraction_of_a_wrong_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match="digits"):
        registry.spec("digit@10%")
