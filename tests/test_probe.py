"""Probing: the cache is exact, frozen means frozen, every epoch is recorded, resume is exact."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from bench.build import build_backbone, build_method, module_state
from bench.checkpoint import read_tensors, write_tensors
from bench.errors import Diverged, Interrupted, UsageError
from bench.heads import Head, Probe, freeze_index
from bench.launch.control import RunOptions, Stop
from bench.probe import holdout_split, probe
from bench.protocols import ProbeSettings
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_train import StopAfter, quiet, rows


def probe_config(freeze="conv1-5", seed=0, method="random", backbone="resnet9", size=32, **settings):
    chosen = ProbeSettings(**{"epochs": 3, "batch_size": 8, "lr_step": 2, **settings})
    return {
        "schema": 1,
        "kind": "probe",
        "pretrain": pretrain_config(method, backbone=backbone, size=size),
        "dataset": {"name": "noise", "version": 1},
        "image_size": size,
        "freeze": freeze,
        "seed": seed,
        "protocol": "paper",
        "probe": dataclasses.asdict(chosen),
    }


def save_weights(path, **config):
    """A backbone whose BN statistics are not the initial ones."""
    method = build_method(pretrain_config("random", **config), 10).train()
    size = method.image_size
    with torch.no_grad():
        method.backbone(torch.randn(32, 3, size, size))
    write_tensors(path, module_state(method))
    return path


def run(config, weights, attempt, data=None, stop=None, **options):
    return probe(
        config,
        data or noise_data(),
        weights,
        attempt,
        device="cpu",
        stop=stop or Stop(),
        progress=quiet,
        options=RunOptions(threads=1, **options),
    )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("freeze", ["conv1", "conv1-3", "conv1-5"])
def test_features_computed_once_are_those_of_every_batch(freeze, flip, weights, tmp_path):
    """Same accuracies, and losses to 1e-5, as running the frozen prefix for every batch."""
    config = probe_config(freeze, flip=flip)
    cached = run(config, weights, MemoryAttempt(tmp_path))
    attempt = MemoryAttempt(tmp_path)
    plain = run(config, weights, attempt, cache_bytes=0)
    assert "computed for every batch" in attempt.notes[0]
    for ours, theirs in zip(cached["epochs"], plain["epochs"], strict=True):
        for key in ("train_loss", "test_loss"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5), key
        assert ours["test_top1"] == theirs["test_top1"]


@pytest.mark.parametrize("freeze", ["none", "conv1-3"])
@pytest.mark.parametrize("steps", [1, 5, 13])
def test_stopped_after_any_step_it_ends_bit_for_bit_alike(freeze, steps, weights, tmp_path):
    config = probe_config(freeze, bn_affine=freeze == "none")
    whole, parts = MemoryAttempt(tmp_path), MemoryAttempt(tmp_path)
    expected = run(config, weights, whole)
    with pytest.raises(Interrupted):
        run(config, weights, parts, stop=StopAfter(steps))
    result = run(config, weights, parts)
    assert rows(parts) == rows(whole)
    assert result["epochs"] == expected["epochs"]
    assert result["rules"] == expected["rules"]
    for name, array in whole.arrays["predictions"].items():
        np.testing.assert_array_equal(parts.arrays["predictions"][name], array)


def test_rules_follow_from_the_recorded_epochs_and_the_kept_predictions(weights, tmp_path):
    attempt = MemoryAttempt(tmp_path)
    result = run(probe_config(epochs=5, lr=0.05), weights, attempt)
    tops = [row["test_top1"] for row in result["epochs"]]
    assert result["rules"]["last"]["epoch"] == 5
    assert result["rules"]["best-test"]["top1"] == max(tops)
    assert result["rules"]["best-test"]["epoch"] == 1 + int(np.argmax(tops))
    saved = attempt.arrays["predictions"]
    for rule in ("last", "best-test"):
        top5 = saved[f"top5_{rule.replace('-', '_')}"]
        assert top5.shape == (20, 5)
        assert (top5[:, 0] == saved["labels"]).mean() == pytest.approx(result["rules"][rule]["top1"])
        assert (top5 == saved["labels"][:, None]).any(1).mean() == pytest.approx(
            result["rules"][rule]["top5"]
        )


def test_the_epoch_of_rule_val_is_chosen_without_the_test_set(weights, tmp_path):
    attempt = MemoryAttempt(tmp_path)
    result = run(probe_config(epochs=5, holdout=True, lr=0.05), weights, attempt)
    vals = [row["val_top1"] for row in result["epochs"]]
    assert set(result["rules"]) == {"val"}
    assert result["rules"]["val"]["epoch"] == 1 + int(np.argmax(vals))
    shuffled = noise_data()
    other = dataclasses.replace(
        shuffled, test=dataclasses.replace(shuffled.test, labels=shuffled.test.labels[::-1])
    )
    again = run(probe_config(epochs=5, holdout=True, lr=0.05), weights, MemoryAttempt(tmp_path), data=other)
    assert again["rules"]["val"]["epoch"] == result["rules"]["val"]["epoch"]


def test_the_holdout_is_a_tenth_and_disjoint():
    kept, held = holdout_split(1000, 3)
    assert len(held) == 100
    assert sorted(kept.tolist() + held.tolist()) == list(range(1000))
    assert not torch.equal(held, holdout_split(1000, 4)[1])


def test_the_learning_rate_falls_as_the_schedule_says(weights, tmp_path):
    result = run(probe_config(epochs=5), weights, MemoryAttempt(tmp_path))
    assert [row["lr"] for row in result["epochs"]] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def state_at_first_checkpoint(config, weights, tmp_path):
    """The probe's model after the first epoch's one step, and the rows of the whole run."""
    attempt = MemoryAttempt(tmp_path)
    result = run(config, weights, attempt, checkpoint_every_steps=1)
    assert attempt.checkpoint is not None
    tensors, meta = attempt.checkpoint
    assert meta["step"] == 1
    return {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, result


def test_heads_of_a_seed_start_alike_and_depend_on_the_seed(weights, tmp_path):
    """With next to no learning rate the weights are still those of the start."""
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 40, "lr": 1e-20}
    first, rows_ = state_at_first_checkpoint(probe_config(seed=1, **settings), weights, tmp_path)
    again, same_rows = state_at_first_checkpoint(probe_config(seed=1, **settings), weights, tmp_path)
    other, _ = state_at_first_checkpoint(probe_config(seed=2, **settings), weights, tmp_path)
    assert rows_["epochs"] == same_rows["epochs"]
    for key in ("head.hidden.weight", "head.output.weight"):
        assert torch.equal(first[key], again[key]), key
        assert (first[key] - other[key]).std() == pytest.approx(0.01 * 2**0.5, rel=0.1), key


@pytest.mark.parametrize("bn_affine", [False, True])
@pytest.mark.parametrize(("freeze", "start"), [("conv1", 1), ("conv1-5", 3), ("none", 0)])
def test_what_is_frozen_does_not_move(freeze, start, bn_affine):
    backbone = build_backbone("resnet9", 0)
    assert freeze_index(backbone, freeze) == start
    model = Probe(backbone, start, Head(2048, 10), bn_affine, batch_bn=False).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    with torch.no_grad():
        features = backbone(torch.randn(4, 3, 32, 32), 0, start)
    model(features, torch.ones(4, 2048)).square().sum().backward()
    optimizer.step()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    stages = ("net.conv1", "net.layer1", "net.layer2")
    for i, stage in enumerate(stages):
        names = {k for k in before if stage in k and "bn" not in k and "downsample.1" not in k}
        assert names <= moved if i >= start else not names & moved, stage
    affine = {k for k in moved if ("bn" in k or "downsample.1" in k) and k.endswith(("weight", "bias"))}
    assert bool(affine) == (bn_affine and start < 3)
    running = {k for k in moved if "running" in k}
    assert bool(running) == (start < 3)


def test_reference_statistics_follow_the_batch_in_layers_called_frozen(weights, tmp_path):
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 40}
    begin, _ = read_tensors(weights)
    stored, kept = state_at_first_checkpoint(probe_config(**settings), weights, tmp_path)
    moved, followed = state_at_first_checkpoint(
        probe_config(frozen_bn="batch", **settings), weights, tmp_path
    )
    assert kept["epochs"][0]["train_loss"] != followed["epochs"][0]["train_loss"]
    running = [key for key in begin if "running" in key]
    assert len(running) == 20
    for key in running:
        assert torch.equal(stored[key], begin[key]), key
        assert not torch.equal(moved[key], begin[key]), key
    for key in set(begin) - set(running):
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(moved[key], begin[key]), key


def test_five_classes_have_no_top_five(weights, tmp_path):
    result = run(probe_config(), weights, MemoryAttempt(tmp_path), data=noise_data(classes=5))
    assert result["rules"]["last"]["top5"] is None


def test_another_backbone_is_probed_at_its_own_stages(tmp_path):
    weights = save_weights(tmp_path / "w.safetensors", backbone="convnext_atto", size=64)
    config = probe_config("stage3", backbone="convnext_atto", size=64, epochs=1)
    result = run(config, weights, MemoryAttempt(tmp_path), data=noise_data(size=64))
    assert len(result["epochs"]) == 1
    with pytest.raises(UsageError, match=r"no freeze point 'conv1'.*stage4"):
        run(probe_config("conv1", backbone="convnext_atto", size=64), weights, MemoryAttempt(tmp_path))


def test_weights_are_those_that_were_saved(weights):
    tensors, _ = read_tensors(weights)
    assert "backbone.net.conv1.weight" in tensors
    assert not torch.equal(tensors["backbone.net.bn1.running_mean"], torch.zeros(64))


def test_a_loss_that_is_not_finite_on_test_images_fails_the_probe(weights, tmp_path):
    """One enormous last step: the training loss before it is finite, what it leaves is not."""
    attempt = MemoryAttempt(tmp_path)
    with pytest.raises(Diverged, match="held-out images"):
        run(probe_config(epochs=1, batch_size=40, lr=1e25), weights, attempt)
    assert attempt.arrays == {}


def test_the_budget_for_features_is_shared(weights, tmp_path):
    """Forty training images of 2048 floats fit, then the twenty test images do not."""
    attempt = MemoryAttempt(tmp_path)
    run(probe_config(epochs=1), weights, attempt, cache_bytes=45 * 2048 * 4)
    assert [note for note in attempt.notes if "20 images" in note] == attempt.notes != []
