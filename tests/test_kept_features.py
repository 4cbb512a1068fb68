"""A probe's features that are kept for the next: made of an earlier point's, within a budget, laid as wanted."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from bench import feature_store, frozen, together, train
from bench.build import build_backbone
from bench.features import CachedFeatures
from bench.launch.trainer import TorchTrainer
from bench.probe_speed import choose_probe
from tests.learning import MemoryAttempt, noise_data
from tests.test_probe import probe_config, run, save_weights

pytestmark = pytest.mark.usefixtures("empty_shelf")

FAST = choose_probe("cpu", "auto", "fp32")


@pytest.mark.parametrize("flip", [False, True])
def test_features_of_a_later_point_are_made_of_an_earlier_ones_bit_for_bit(
    flip, weights, tmp_path, monkeypatch
):
    data = noise_data(train=150)
    config = probe_config("conv1-5", epochs=1, batch_size=128, flip=flip)
    alone = run(config, weights, MemoryAttempt(tmp_path), data, probing=FAST)
    from_images = [kept.features for kept in feature_store.SHELF.items.values()]
    feature_store.SHELF.items.clear()
    earlier = probe_config("conv1", epochs=1, batch_size=128, flip=flip)
    run(earlier, weights, MemoryAttempt(tmp_path), data, probing=FAST)
    monkeypatch.setattr(feature_store, "compute", None)
    made = run(config, weights, MemoryAttempt(tmp_path), data, probing=FAST)
    kept = [k.features for key, k in feature_store.SHELF.items.items() if key[1] == "conv1-5"]
    for ours, theirs in zip(kept, from_images, strict=True):
        assert torch.equal(ours, theirs)
    assert made["epochs"] == alone["epochs"]


def test_ways_on_from_earlier_points_are_built_only_where_their_features_are(weights, tmp_path, monkeypatch):
    built = []
    real = frozen.FrozenPrefix.__init__

    def counted(self, backbone, stages, speed, done=0):
        built.append((done, stages))
        real(self, backbone, stages, speed, done)

    monkeypatch.setattr(frozen.FrozenPrefix, "__init__", counted)
    for freeze in ("conv1", "conv1-5"):
        run(probe_config(freeze, epochs=1), weights, MemoryAttempt(tmp_path), noise_data(), probing=FAST)
    feature_store.SHELF.items.clear()
    ours = [(done, stages) for done, stages in built if done]
    data = noise_data()
    built.clear()
    for freeze in ("conv1", "conv1-5"):
        run(probe_config(freeze, epochs=1), weights, MemoryAttempt(tmp_path), data, probing=FAST)
    # For the images that are trained on and those that are tested on: one.
    assert (ours, [pair for pair in built if pair[0]]) == ([], [(1, 3)])


def test_where_both_points_do_not_fit_the_budget_features_are_computed_of_images(
    weights, tmp_path, monkeypatch
):
    data, budget, held = noise_data(), 60 * 4096 * 4, []
    put = feature_store.SHELF.put

    def watched(key, kept):
        put(key, kept)
        held.append(sum(one.bytes for one in feature_store.SHELF.items.values()))

    monkeypatch.setattr(feature_store.SHELF, "put", watched)
    for freeze in ("conv1", "conv1-3"):
        attempt = MemoryAttempt(tmp_path)
        run(probe_config(freeze, epochs=1), weights, attempt, data, probing=FAST, cache_bytes=budget)
        assert attempt.notes == []
    assert max(held) <= budget
    assert {key[1] for key in feature_store.SHELF.items} == {"conv1-3"}


@pytest.mark.parametrize("way", ["pretrain", "pretrain_together"])
def test_a_pretraining_begins_without_the_features_of_earlier_probes(way, weights, tmp_path, monkeypatch):
    """Those of several pretrainings stay as long as only probes come, whose order is anyone's."""
    data = noise_data()
    for path in (weights, save_weights(tmp_path / "other.safetensors", seed=1)):
        run(probe_config("conv1-5", epochs=1), path, MemoryAttempt(tmp_path), data, probing=FAST)
    shelf = feature_store.SHELF.items
    assert len({key[0] for key in shelf}) == 2
    features = [weakref.ref(kept.features) for kept in shelf.values()]

    def begun():
        gc.collect()
        return [ref() for ref in features]

    module = {"pretrain": train, "pretrain_together": together}[way]
    monkeypatch.setattr(module, way, begun)
    assert getattr(TorchTrainer(), way)() == [None] * len(features)


def test_features_in_a_file_are_gone_on_from_although_others_come_first(weights, tmp_path, monkeypatch):
    data = noise_data()
    monkeypatch.setattr(feature_store, "DISK_SHARE", 1e9)
    sizes = {"cache_bytes": len(data.train.labels) * 4096 * 4, "cache_disk_bytes": 1 << 30}
    run(probe_config("conv1", epochs=1), weights, MemoryAttempt(tmp_path), data, probing=FAST, **sizes)
    assert [kept.bytes > 0 for kept in feature_store.SHELF.items.values()] == [True, False]
    monkeypatch.setattr(feature_store, "compute", None)
    sizes["cache_bytes"] *= 3
    run(probe_config("conv1-5", epochs=1), weights, MemoryAttempt(tmp_path), data, probing=FAST, **sizes)


def test_bf16_features_are_computed_of_images_whichever_probe_came_before():
    backbone = build_backbone("resnet9", 0)
    assert len(frozen.earlier_points(backbone, 3, FAST)) == 2
    assert frozen.earlier_points(backbone, 3, replace(FAST, precision="bf16")) == []


def test_other_weights_are_no_beginning(tmp_path):
    data = noise_data()
    for seed, name in ((0, "a"), (1, "b")):
        path = save_weights(tmp_path / f"{name}.safetensors", seed=seed)
        freeze = ("conv1", "conv1-3")[seed]
        both = run(probe_config(freeze, epochs=1), path, MemoryAttempt(tmp_path), data, probing=FAST)
    feature_store.SHELF.items.clear()
    alone = run(probe_config("conv1-3", epochs=1), path, MemoryAttempt(tmp_path), data, probing=FAST)
    assert both["epochs"] == alone["epochs"]


def test_what_is_looked_at_is_the_memory_itself_and_what_is_trained_on_a_copy():
    features = torch.randn(6, 4, 2, 2).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(6)
    whole, some = (
        CachedFeatures(labels, features),
        CachedFeatures(labels, features, rows=torch.tensor([5, 0, 3])),
    )
    index = torch.arange(2, 5)
    seen, named = whole.look(index)
    assert seen.data_ptr() == features[2].data_ptr()
    assert torch.equal(seen, features[2:5])
    assert torch.equal(named, labels[2:5])
    own, _ = whole.batch(index)
    assert torch.equal(own, seen)
    own.zero_()
    assert features.abs().min() > 0
    for other in (torch.tensor([1, 0]), torch.tensor([4, 2, 3]), torch.tensor([0, 1, 1, 3])):
        assert torch.equal(whole.look(other)[0], features[other])
    assert torch.equal(some.look(torch.arange(1, 3))[0], features[[0, 3]])


def test_features_lie_as_the_trained_part_wants_them(weights, tmp_path):
    for freeze, by_pixel in (("conv1", True), ("conv1-5", False)):
        run(probe_config(freeze, epochs=1), weights, MemoryAttempt(tmp_path), noise_data(), probing=FAST)
        kept = [k.features for key, k in feature_store.SHELF.items.items() if key[1] == freeze]
        assert len(kept) == 2
        for features in kept:
            assert features.is_contiguous() is not by_pixel
            assert features.is_contiguous(memory_format=torch.channels_last) is by_pixel


def test_a_file_holds_them_pixel_by_pixel_too(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "DISK_SHARE", 1e9)
    config, data = probe_config("conv1-3", epochs=1), noise_data()
    kept = run(config, weights, MemoryAttempt(tmp_path), data, probing=FAST, cache_bytes=0)
    for one in feature_store.SHELF.items.values():
        assert one.bytes == 0
        assert one.features.is_contiguous(memory_format=torch.channels_last)
    feature_store.SHELF.items.clear()
    assert run(config, weights, MemoryAttempt(tmp_path), data, probing=FAST)["epochs"] == kept["epochs"]
