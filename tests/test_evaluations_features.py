"""kNN and the linear probe against scikit-learn's, and that nothing is chosen on the test set."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from bench.data.arrays import Dataset, Split
from bench.errors import UsageError
from bench.evaluations.features import best_classes, flatten, hit_rate
from bench.evaluations.linear import choose_l2, fit
from bench.evaluations.neighbours import knn_votes
from bench.launch.control import RunOptions
from bench.probe import holdout_split
from tests.evaluating import judge, pretrained
from tests.learning import noise_data


def blobs(count, classes=4, dim=6, seed=0, spread=1.5):
    """Overlapping clouds of points around one centre a class."""
    g = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    labels = np.arange(count) % classes
    points = centres[labels] + spread * g.normal(size=(count, dim)) + 3.0
    return torch.tensor(points, dtype=torch.float64), torch.tensor(labels)


@pytest.mark.parametrize("k", [1, 7, 500])
def test_votes_of_neighbours_are_scikit_learns(k):
    x, y = blobs(90)
    test, _ = blobs(40, seed=1)
    k_there = min(k, len(x))
    theirs = KNeighborsClassifier(
        k_there,
        metric="cosine",
        algorithm="brute",
        weights=lambda d: np.exp((1 - d) / 0.07),  # pyright: ignore[reportArgumentType]
    ).fit(x.numpy(), y.numpy())
    votes = knn_votes(x, y, test, num_classes=4, k=k, temperature=0.07)
    np.testing.assert_allclose(votes / votes.sum(1, keepdim=True), theirs.predict_proba(test.numpy()))


def test_neighbours_are_the_same_however_the_images_are_cut_into_chunks(monkeypatch):
    from bench.evaluations import neighbours

    x, y = blobs(90)
    test, _ = blobs(40, seed=1)
    whole = knn_votes(x, y, test, num_classes=4, k=5, temperature=0.07)
    monkeypatch.setattr(neighbours, "PAIRS", 1)
    torch.testing.assert_close(knn_votes(x, y, test, num_classes=4, k=5, temperature=0.07), whole)


def test_a_class_that_no_neighbour_has_is_not_predicted():
    x, y = blobs(40, classes=8)
    best = best_classes(knn_votes(x, y, x, num_classes=8, k=1, temperature=0.07), absent=0.0)
    assert best.dtype == torch.int16
    assert torch.equal(best[:, 0].long(), y)
    assert (best[:, 1:] == -1).all()
    assert hit_rate(best, y, 1) == hit_rate(best, y, 5) == 1.0


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.001])
def test_the_linear_probe_is_the_minimum_that_scikit_learn_finds(l2):
    x, y = blobs(200)
    ours = fit(x, y, l2, num_classes=4, max_iter=1000, tolerance=1e-14)
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=10_000).fit(standard, y.numpy())
    np.testing.assert_allclose(ours.weight, theirs.coef_, atol=2e-5)
    logits = ours.logits(x)
    expected = theirs.predict_proba(standard)
    np.testing.assert_allclose(torch.softmax(logits, 1), expected, atol=2e-5)


def test_where_the_fit_begins_changes_how_long_it_takes_and_not_where_it_ends():
    x, y = blobs(200)
    options = {"num_classes": 4, "max_iter": 1000, "tolerance": 1e-12}
    strong = fit(x, y, 1.0, **options)
    cold, warm = (fit(x, y, 0.1, start=start, **options) for start in (None, strong))
    torch.testing.assert_close(warm.weight, cold.weight, atol=1e-4, rtol=0)


def test_a_feature_that_never_changes_does_no_harm():
    x, y = blobs(60)
    dead = torch.cat([x, torch.full((60, 2), 0.3, dtype=x.dtype)], 1)
    options = {"num_classes": 4, "max_iter": 500, "tolerance": 1e-12}
    torch.testing.assert_close(
        fit(dead, y, 0.1, **options).logits(dead), fit(x, y, 0.1, **options).logits(x), atol=1e-4, rtol=0
    )


def test_the_penalty_is_that_with_the_least_loss_on_the_held_out_images():
    x, y = blobs(40, spread=4.0)
    held = blobs(200, seed=2, spread=4.0)
    choice = choose_l2(x, y, held, (10.0, 1.0, 0.1, 0.01, 0.001), num_classes=4, max_iter=300)
    assert choice.l2 == min(choice.held_out, key=lambda l2: choice.held_out[l2])
    assert 1 < len(choice.held_out) < 5, "it goes on until held-out images get worse, and no further"


def test_all_is_chosen_on_a_tenth_of_the_training_split_and_never_on_the_test_split(tmp_path):
    pretrain, weights, _ = pretrained("random", tmp_path)
    data = noise_data(train=60)
    one, ours = judge("features", pretrain, weights, tmp_path / "1", data)
    other = Dataset(
        data.name,
        data.train,
        Split(data.test.images[:7] // 2, data.test.labels[:7]),
        data.pool,
        data.classes,
        data.fingerprint,
        data.flip,
    )
    two, _ = judge("features", pretrain, weights, tmp_path / "2", other)
    assert one["facts"] == two["facts"]
    assert one["metrics"] != two["metrics"]

    held = holdout_split(60, 0)[1].numpy()
    labels = data.train.labels.copy()
    labels[held] = (labels[held] + 1) % 10
    changed = Dataset(
        data.name,
        Split(data.train.images, labels),
        data.test,
        data.pool,
        data.classes,
        data.fingerprint,
        False,
    )
    three, _ = judge("features", pretrain, weights, tmp_path / "3", changed)
    assert three["facts"]["l2_held_out_loss"] != one["facts"]["l2_held_out_loss"]
    assert ours.arrays["predictions"]["top5_knn"].shape == (20, 5)


def test_the_features_are_those_of_the_frozen_backbone_image_by_image(tmp_path, monkeypatch):
    from bench.evaluations import features as module
    from bench.evaluations import task

    monkeypatch.setattr(task.Task.chunks, "__defaults__", (7,))
    seen = []
    monkeypatch.setattr(module, "flatten", lambda *given: seen.append(flatten(*given)) or seen[-1])
    pretrain, weights, method = pretrained("patchvae", tmp_path)
    result, attempt = judge("features", pretrain, weights, tmp_path / "1", l2=0.1)
    data = noise_data()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        train, test = (
            torch.cat([
                method.backbone((torch.from_numpy(split.images[[i]].copy()) / 255 - mean) / std).flatten(1)
                for i in range(len(split))
            ])
            for split in (data.train, data.test)
        )  # fmt: skip
    torch.testing.assert_close(torch.cat(seen), torch.cat([train, test]), rtol=1e-4, atol=1e-5)
    votes = knn_votes(
        train, torch.from_numpy(data.train.labels), test, num_classes=10, k=20, temperature=0.07
    )
    assert result["facts"]["features"] == 2048 == train.shape[1]
    found = torch.from_numpy(attempt.arrays["predictions"]["top5_knn"][:, 0]).long()
    assert (found == votes.argmax(1)).float().mean() >= 0.95
    assert result["metrics"]["knn_top1"] == float((found.numpy() == data.test.labels).mean())
    assert result["facts"]["l2"] == 0.1
    assert result["facts"]["l2_held_out_loss"] == {}


def test_features_that_do_not_fit_are_refused_with_what_helps(tmp_path):
    pretrain, weights, _ = pretrained("random", tmp_path)
    little = RunOptions(threads=1, cache_bytes=60 * 128 * 4)
    with pytest.raises(UsageError, match=r"features of 60 images would take 0 MiB.*features.grid=1"):
        judge("features", pretrain, weights, tmp_path / "1", options=little)
    assert judge("features", pretrain, weights, tmp_path / "1", options=little, grid=1)[0]["metrics"]


@pytest.mark.parametrize(("side", "cells"), [(3, 9), (4, 16), (8, 16), (7, 16)])
def test_a_large_map_is_averaged_down_to_the_grid(side, cells):
    features = torch.rand(2, 5, side, side)
    flat = flatten(features, 4)
    assert flat.shape == (2, 5 * cells)
    if side == 8:
        torch.testing.assert_close(flat[0, 0], features[0, 0, :2, :2].mean())
    if side <= 4:
        assert torch.equal(flat, features.flatten(1))
