"""Presence, patches and purity by their definitions, on parts that are planted where they can be counted."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.build import module_state
from bench.checkpoint import write_tensors
from bench.data.arrays import Dataset, Split
from bench.data.batches import Pixels
from bench.evaluations import parts as module
from bench.evaluations.parts import centres, presence, top_patches
from bench.evaluations.purity import PixelClusters, chance, crops, purity
from bench.evaluations.swaps import likeliest
from bench.evaluations.task import Task
from models.method import Method, PartMaps
from models.patchvae import PatchVAE
from models.registry import METHODS
from tests.evaluating import judge, pretrained
from tests.learning import make_batch, make_method, noise_data


@pytest.fixture
def maps():
    g = torch.Generator().manual_seed(0)
    return torch.rand(11, 4, 3, 3, generator=g) ** 2


def chunks(maps, size=4):
    return list(maps.split(size))


def test_presence_is_what_counting_finds(maps):
    found = presence(chunks(maps), 0.5)
    there = maps.numpy() > 0.5
    assert found.images.tolist() == [there[:, k].any((1, 2)).mean() for k in range(4)]
    assert found.locations.tolist() == pytest.approx([there[:, k].mean() for k in range(4)])
    assert found.one == (there.sum(1) >= 1).mean()
    assert found.two == (there.sum(1) >= 2).mean()
    assert found.mean.tolist() == pytest.approx(maps.mean((0, 2, 3)).tolist())
    ious = [
        (there[:, a] & there[:, b]).sum() / (there[:, a] | there[:, b]).sum()
        for a in range(4)
        for b in range(a)
    ]
    assert found.iou(np.arange(4)) == pytest.approx(np.mean(ious))
    assert found.iou(np.array([2])) is None


@pytest.mark.parametrize("size", [1, 4, 11])
def test_the_best_patches_are_the_likeliest_one_of_each_image_however_images_are_cut(maps, size):
    best = top_patches(chunks(maps, size), 5)
    assert best.side == 3
    for part in range(4):
        highest = maps[:, part].flatten(1).max(1)
        order = np.argsort(-highest.values.numpy(), kind="stable")[:5]
        assert best.image[part].tolist() == order.tolist()
        assert best.location[part].tolist() == highest.indices[order].tolist()
        assert best.probability[part].tolist() == highest.values[order].tolist()


def test_of_equal_patches_those_of_earlier_images_come_first():
    best = top_patches(chunks(torch.ones(9, 2, 2, 2), 2), 4)
    assert best.image.tolist() == [[0, 1, 2, 3]] * 2
    assert best.location.tolist() == [[0] * 4] * 2


def test_purity_is_the_share_of_the_commonest():
    assert purity(np.array([3, 3, 3, 1])) == 0.75
    assert purity(np.array([3, 3, -1, 1])) == pytest.approx(2 / 3)
    assert np.isnan(purity(np.array([-1])))


def test_chance_is_the_mean_purity_of_as_many_drawn_at_random(monkeypatch):
    from bench.evaluations import purity as purities

    groups = np.repeat([0, 1], [6, 4])
    monkeypatch.setattr(purities, "DRAWS", 20_000)
    alike = (6 * 5 + 4 * 3) / (10 * 9)
    assert chance(groups, 2) == pytest.approx(alike + (1 - alike) / 2, abs=0.01)
    assert chance(groups, 1) == 1.0
    assert chance(groups, 50) == 0.6, "no more than there are"


def test_centres_of_locations_and_crops_around_them_stay_inside_the_image():
    where = centres(np.array([0, 5, 15]), 4, 32)
    assert where.tolist() == [[4, 4], [12, 12], [28, 28]]
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    found = crops(images, [0, 1, 1], where, 16)
    assert np.array_equal(found[0], images[0, :, :16, :16])
    assert np.array_equal(found[1], images[1, :, 4:20, 4:20])
    assert np.array_equal(found[2], images[1, :, 16:, 16:])
    assert np.array_equal(crops(images, [1], where[:1], 32)[0], images[1])


def test_clusters_of_pixels_tell_colours_apart_and_are_no_more_than_there_are_patches():
    base = np.zeros((30, 3, 4, 4), np.uint8)
    base[:15, 0], base[15:, 2] = 250, 240
    clusters = PixelClusters(base, 50)
    assert clusters.k == 2
    found = clusters.of(base)
    assert len(set(found[:15])) == len(set(found[15:])) == 1
    assert found[0] != found[15]


class Planted(nn.Module):
    """Three parts: one where the image is red, one nowhere, one everywhere."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stride = 8  # pyright: ignore[reportArgumentType]

    def parts(self, image):
        cells = nn.functional.avg_pool2d(image, 8)
        red = torch.sigmoid(20 * (cells[:, 0] - cells[:, 2]))
        maps = torch.stack([red, torch.full_like(red, 0.4), torch.full_like(red, 0.9)], 1)
        return PartMaps(maps, torch.zeros(len(image), 3, 2))

    def decode_parts(self, parts):
        return None


def squares(count, seed):
    """Grey noise; images of class 0 have a red square in one corner, those of class 1 have none."""
    g = np.random.default_rng(seed)
    images = g.integers(100, 110, (count, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[labels == 0, 0, :8, :8] = 250
    images[labels == 0, 2, :8, :8] = 0
    return Split(images, labels.astype(np.int64))


def test_planted_parts_are_found_counted_and_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(Task, "method", lambda self: Planted())
    pretrain, weights, _ = pretrained("patchvae", tmp_path)
    train = squares(40, 0)
    data = Dataset("noise", train, squares(20, 1), train, ("a", "b"), "0" * 64, False)
    result, attempt = judge("parts", pretrain, weights, tmp_path / "1", data, top=20, patch=8, clusters=2)
    numbers, metrics = attempt.arrays["part_numbers"], result["metrics"]
    assert numbers["alive"].tolist() == [True, False, True]
    assert metrics["parts_alive"] == 2
    assert numbers["images"].tolist() == [0.5, 0, 1]
    assert numbers["locations"].tolist() == pytest.approx([1 / 32, 0, 1])
    assert metrics["coverage"] == 1
    assert metrics["overlap"] == metrics["overlap_iou"] == pytest.approx(1 / 32)
    assert numbers["purity_labels"].tolist() == [1, 0.5, 0.5], "the red square is of one class"
    assert numbers["purity_pixels"][0] == 1
    assert metrics["purity_labels"] == pytest.approx(0.75)
    assert 0.5 < metrics["purity_labels_chance"] < 0.7
    assert set(numbers["top_label"][0]) == {0}
    assert set(numbers["top_location"][0]) == {0}
    pictures = attempt.arrays["parts"]
    red = list(pictures["shown"]).index(0)
    assert (pictures["patches"][red][:, 0] == 250).all()
    assert "swap_source" not in pictures


def test_without_a_live_part_there_is_no_purity_and_nothing_breaks(tmp_path):
    pretrain, weights, _ = pretrained("patchvae", tmp_path)
    result, attempt = judge("parts", pretrain, weights, tmp_path / "1", threshold=0.9999999)
    assert result["metrics"]["parts_alive"] == 0
    assert not {"purity_labels", "overlap_iou"} & set(result["metrics"])
    assert np.isfinite(attempt.arrays["part_numbers"]["purity_labels"]).all()


def test_a_swap_replaces_one_parts_appearance_in_the_target_and_nothing_else(tmp_path):
    pretrain, weights, method = pretrained("patchvae", tmp_path)
    assert isinstance(method, PatchVAE)
    # So young a method hardly looks at appearance: let it be felt.
    method.heads.get_submodule("mu").get_parameter("weight").data.mul_(300)
    write_tensors(weights, module_state(method))
    data = noise_data()
    _, attempt = judge("parts", pretrain, weights, tmp_path / "1")
    swaps = {name: values for name, values in attempt.arrays["parts"].items() if name.startswith("swap")}
    assert swaps["swap_target"].shape == (4, 3, 3, 32, 32)
    pixels = Pixels(data.test, "cpu", "imagenet")

    def encoded(image):
        (index,) = np.flatnonzero((data.test.images == image).all((1, 2, 3)))[:1]
        with torch.no_grad():
            return method.heads(method.backbone(pixels.batch(torch.tensor([index]))[0]))

    from models.patchvae import pool_appearance

    for row in range(4):
        source = encoded(swaps["swap_source"][row])
        k = swaps["swap_source_part"][row]
        assert k == torch.sigmoid(source.occurrence[0]).amax((1, 2)).argmax()
        for column in range(3):
            target = encoded(swaps["swap_target"][row, column])
            occurrence, mu = torch.sigmoid(target.occurrence), pool_appearance(target)[0]
            j = int(swaps["swap_target_part"][row, column])
            assert j != k
            assert np.allclose(swaps["swap_target_map"][row, column], occurrence[0, j], atol=1e-3)
            for name, appearance in (("before", mu), ("after", mu.clone())):
                if name == "after":
                    appearance[0, j] = pool_appearance(source)[0][0, k]
                with torch.no_grad():
                    made = pixels.to_bytes(method.decoder(method.assemble(appearance, occurrence)))[0].numpy()
                shown = swaps[f"swap_{name}"][row, column].astype(int)
                assert np.abs(shown - made.astype(int)).max() <= 1, name
    changed = np.abs(swaps["swap_after"].astype(int) - swaps["swap_before"].astype(int)).max((-3, -2, -1))
    assert (changed > 5).all()


def test_the_likeliest_part_may_be_asked_for_but_for_one():
    occurrence = torch.tensor([[[0.2, 0.9]], [[0.8, 0.1]], [[0.5, 0.5]]])
    assert likeliest(occurrence) == 0
    assert likeliest(occurrence, but=0) == 1
    assert likeliest(occurrence[:1], but=0) == 0, "where there is no other"


def test_images_and_patches_are_drawn_and_the_same_for_every_pretraining(tmp_path):
    pictures = []
    for seed in (0, 1):
        pretrain, weights, _ = pretrained("patchvae", tmp_path, seed=seed)
        result, attempt = judge("parts", pretrain, weights, tmp_path / str(seed))
        pictures.append((attempt.arrays["parts"], result["metrics"]))
    for name in ("images", "swap_source", "swap_target"):
        assert np.array_equal(pictures[0][0][name], pictures[1][0][name])
    for name in ("purity_labels_chance", "purity_pixels_chance"):
        assert pictures[0][1][name] == pictures[1][1][name]


def test_the_pool_of_random_patches_has_one_an_image():
    index, patches = module._pool(noise_data(train=60).train, 4, 16)
    assert len(set(index.tolist())) == len(index) == len(patches) == 60


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.parts])
def test_a_method_with_parts_says_where_they_are_and_makes_its_image_of_them(name):
    method: Method = make_method(name).eval()
    image = make_batch(method, 0, 0)[0].image
    with torch.no_grad():
        found = method.parts(image)
        assert found is not None
        made, expected = method.decode_parts(found), method.reconstruct(image)
    assert ((found.occurrence >= 0) & (found.occurrence <= 1)).all()
    assert found.occurrence.shape[:2] == found.appearance.shape[:2]
    if made is not None:
        assert expected is not None
        torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if not row.parts])
def test_a_method_without_parts_says_so(name):
    method = make_method(name)
    assert method.parts(make_batch(method, 0, 0)[0].image) is None
