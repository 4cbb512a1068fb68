"""The fast ways of a probe give the plain way's numbers, are exactly resumable, and keep to their budget."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench import feature_store
from bench.bilinear import Plan, batch_first, convolve, positions_first, transform_weight
from bench.build import build_backbone
from bench.draws import KeepBits, keep_mask, same_twister
from bench.errors import Interrupted
from bench.frozen import FrozenPrefix
from bench.heads import Head, Probe, freeze_index
from bench.probe_speed import PLAIN_PROBE, ProbeSpeed, choose_probe, kept_probe
from bench.probe_steps import make_steps
from bench.protocols import ProbeSettings
from bench.streams import stream
from tests.learning import MemoryAttempt, noise_data
from tests.test_probe import probe_config, run
from tests.test_train import StopAfter, rows

pytestmark = pytest.mark.usefixtures("empty_shelf")

FAST = choose_probe("cpu", "auto", "fp32")
HALF = ProbeSpeed(folded=True, closed_head=True, precision="bf16")


def images(count, size=32, seed=0):
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=size, mode="bilinear").contiguous(memory_format=torch.channels_last)


def used_backbone(name="resnet9", size=32):
    """A backbone whose BN has seen images."""
    backbone = build_backbone(name, 0).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    backbone.train()
    with torch.no_grad():
        for k in range(3):
            backbone(images(16, size, k))
    return backbone.eval()


def convolved(x, weight, plan):
    return batch_first(convolve(plan, positions_first(x), transform_weight(plan, weight)), *plan.out)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(4, 4), (8, 8), (2, 2), (1, 1), (7, 5), (9, 3)])
def test_fewer_products_are_the_same_convolution(sides, stride):
    g = stream(0, "bilinear")
    x = torch.randn(3, 5, *sides, generator=g, dtype=torch.float64)
    weight = torch.randn(4, 5, 3, 3, generator=g, dtype=torch.float64)
    plan = Plan(sides[0], sides[1], stride)
    theirs = F.conv2d(x, weight, None, stride, 1)
    torch.testing.assert_close(convolved(x, weight, plan), theirs, atol=1e-12, rtol=1e-12)


def test_a_map_of_four_by_four_takes_a_quarter_of_the_products_and_loses_a_digit_at_most():
    assert Plan(4, 4).products == 36
    x, weight = torch.randn(16, 64, 4, 4), torch.randn(64, 64, 3, 3) / 24
    exact = F.conv2d(x.double(), weight.double(), None, 1, 1)
    ours = convolved(x, weight, Plan(4, 4))
    error = (ours - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < 3e-6


@pytest.mark.parametrize("dropout", [0.1, 0.3, 0.45, 0.5, 0.65, 0.7, 0.75, 0.9, 0.95])
def test_the_first_number_that_dropout_keeps_is_torchs(dropout):
    """Of the 2^24 that there are; a uniform number is one in so many of them, which no small mask sees."""
    least = KeepBits(dropout).least
    around = torch.arange(least - 2, least + 3, dtype=torch.float32) * 2.0**-24
    assert (around >= dropout).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("in_c", [False, True])
@pytest.mark.parametrize("dropout", [0.5, 0.25, 0.1])
def test_dropout_keeps_what_the_stream_says(dropout, in_c, compiled):
    assert same_twister(in_c)
    bits = KeepBits(dropout, in_c)
    # Words come 624 at a time.
    for step, shape in enumerate([(9, 130), (1, 1), (4, 156), (5, 1000)]):
        plain = keep_mask(shape, dropout, 3, "dropout", step, device="cpu")
        ours = bits.mask(shape, 3, "dropout", step)
        assert ours.dtype == torch.int32
        assert torch.equal(ours == -1, plain > 0)
        assert torch.equal(ours == 0, plain == 0)


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_folded_prefix_computes_what_its_modules_compute(stages, bilinear):
    backbone = used_backbone()
    x = images(8, seed=9)
    with torch.no_grad():
        plain = backbone(x, 0, stages)
    fast = FrozenPrefix(backbone, stages, ProbeSpeed(folded=True, bilinear=bilinear))(x)
    assert fast.shape == plain.shape
    assert (fast - plain).abs().max() < 2e-5 * plain.abs().max()


def test_a_folded_prefix_in_bf16_has_bf16s_digits():
    backbone = used_backbone()
    x = images(8, seed=9)
    with torch.no_grad():
        plain = backbone(x, 0, 3)
    fast = FrozenPrefix(backbone, 3, HALF)(x)
    assert fast.dtype == torch.float32
    assert 1e-4 < (fast - plain).norm() / plain.norm() < 2e-2


def test_a_prefix_that_is_not_recognised_runs_as_it_is():
    backbone = used_backbone("convnext_atto", 64)
    x = images(2, 64)
    with torch.no_grad():
        assert torch.equal(FrozenPrefix(backbone, 2, FAST)(x), backbone(x, 0, 2))


def two_ways(freeze, speed, dtype=torch.float32, batch=16, size=32, **settings):
    """Steps of the plain way and of another, on the same features of images of a size."""
    backbone = used_backbone().to(dtype)
    start = freeze_index(backbone, freeze)
    chosen = dataclasses.asdict(ProbeSettings(**settings))
    torch.manual_seed(0)
    inputs = 128 * (size // 8) ** 2
    head = Head(inputs, 10).to(dtype)
    made = []
    for way in (PLAIN_PROBE, speed):
        model = Probe(copy.deepcopy(backbone), start, copy.deepcopy(head), chosen["bn_affine"], False).train()
        made.append((model, make_steps(model, chosen, 0, inputs, way)))
    with torch.no_grad():
        features = backbone(images(64, size).to(dtype), 0, start)
    labels = torch.arange(64) % 10

    def advance(number):
        index = torch.randperm(64, generator=stream(0, "pick", number))[:batch]
        values = [steps.step(features[index], labels[index], number, 0.01) for _, steps in made]
        logits = []
        for model, steps in made:
            model.eval()
            logits.append(steps.logits(features))
            model.train()
        return values, logits

    return made, advance


@pytest.mark.parametrize(
    ("freeze", "steps", "tolerance"), [("conv1-5", 50, 1e-4), ("conv1-3", 6, 1e-3), ("conv1", 6, 1e-3)]
)
@pytest.mark.parametrize("winograd", [True, False])
def test_logits_of_the_first_steps_are_the_plain_ways(freeze, steps, tolerance, winograd):
    """Where stages are trained a ReLU that rounding flips moves logits at once; in fp64 they agree, see below."""
    _, advance = two_ways(freeze, dataclasses.replace(FAST, winograd=winograd))
    for number in range(steps):
        values, (plain, fast) = advance(number)
        torch.testing.assert_close(fast, plain, atol=tolerance, rtol=0)
        assert values[1]["train_loss"].item() == pytest.approx(values[0]["train_loss"].item(), abs=tolerance)


@pytest.mark.parametrize(("freeze", "dropout"), [("conv1-5", 0.5), ("conv1-3", 0.75), ("conv1", 0.0)])
def test_the_closed_form_is_autograds_gradient(freeze, dropout):
    """In fp64 to eleven digits, and that of trained stages through it."""
    speed = ProbeSpeed(closed_head=True)
    made, advance = two_ways(freeze, speed, torch.float64, batch=4, dropout=dropout, bn_affine=True)
    for number in range(3):
        advance(number)
    (plain, _), (fast, _) = made
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, atol=1e-11, rtol=1e-11, msg=name)


def test_dropout_leaves_what_stages_gave_as_it_was():
    """Of one pixel an image's features are not copied to be flattened; their gradient wants them whole."""
    made, advance = two_ways("conv1-3", ProbeSpeed(closed_head=True), torch.float64, size=8)
    advance(0)
    (plain, _), (fast, _) = made
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, atol=1e-11, rtol=1e-11, msg=name)


def test_a_head_in_bf16_learns_as_the_plain_one_within_its_digits():
    _, advance = two_ways("conv1-5", HALF)
    for number in range(10):
        (plain, half), _ = advance(number)
        assert half["train_loss"].item() == pytest.approx(plain["train_loss"].item(), abs=0.05)


@pytest.mark.parametrize("freeze", ["conv1-3", "conv1-5"])
@pytest.mark.parametrize("steps", [1, 7])
def test_stopped_after_any_step_the_fast_way_too_ends_bit_for_bit_alike(freeze, steps, weights, tmp_path):
    config = probe_config(freeze, holdout=True, bn_affine=True)
    whole, parts = MemoryAttempt(tmp_path), MemoryAttempt(tmp_path)
    data = noise_data()
    expected = run(config, weights, whole, data, probing=FAST)
    with pytest.raises(Interrupted):
        run(config, weights, parts, data, stop=StopAfter(steps), probing=FAST)
    feature_store.SHELF.items.clear()
    result = run(config, weights, parts, data, probing=FAST)
    assert rows(parts) == rows(whole)
    assert result["epochs"] == expected["epochs"]
    for name, array in whole.arrays["predictions"].items():
        np.testing.assert_array_equal(parts.arrays["predictions"][name], array)


@pytest.mark.parametrize(
    "settings", [{}, {"holdout": True, "bn_affine": True, "scale": "symmetric"}, {"flip": True}]
)
def test_a_fast_probe_tells_what_the_plain_one_tells(settings, weights, tmp_path):
    config = probe_config("conv1-3", epochs=2, **settings)
    plain = run(config, weights, MemoryAttempt(tmp_path))
    fast = run(config, weights, MemoryAttempt(tmp_path), probing=FAST)
    for ours, theirs in zip(fast["epochs"], plain["epochs"], strict=True):
        assert ours.keys() == theirs.keys()
        for key in ("train_loss", "test_loss"):
            assert ours[key] == pytest.approx(theirs[key], abs=5e-4), key
    assert fast["rules"].keys() == plain["rules"].keys()


def test_all_but_the_first_update_are_given_tensors_as_memory(weights, tmp_path, monkeypatch):
    """None is left to torch, which would copy gradients: only the first, which makes the momentum."""
    torchs, taken = torch.optim.SGD.step, []
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, closure=None: taken.append(1) or torchs(self))
    config = probe_config("conv1", epochs=2, batch_size=20)
    run(config, weights, MemoryAttempt(tmp_path), probing=FAST)
    assert len(taken) == 1


def test_the_references_batch_statistics_are_left_as_they_are(weights, tmp_path):
    config = probe_config("conv1-5", epochs=2, frozen_bn="batch", batch_size=20)
    plain, fast = MemoryAttempt(tmp_path), MemoryAttempt(tmp_path)
    run(config, weights, plain)
    run(config, weights, fast, probing=FAST)
    assert rows(fast) == rows(plain)


def test_probes_of_one_pretraining_share_features_and_end_as_they_do_alone(weights, tmp_path, monkeypatch):
    data = noise_data()
    alone = run(probe_config(seed=1, epochs=1), weights, MemoryAttempt(tmp_path), data, probing=FAST)
    run(probe_config(seed=0, epochs=1), weights, MemoryAttempt(tmp_path), data, probing=FAST)
    computed = []
    monkeypatch.setattr(feature_store, "compute", lambda *a, **k: computed.append(a))
    shared = run(
        probe_config(seed=1, epochs=1, lr=0.01), weights, MemoryAttempt(tmp_path), data, probing=FAST
    )
    assert computed == []
    assert shared["epochs"] == alone["epochs"]
    with pytest.raises((TypeError, AttributeError)):
        # Other images are another matter, though they are called the same.
        run(probe_config(seed=1, epochs=1), weights, MemoryAttempt(tmp_path), noise_data(), probing=FAST)


def test_shared_features_of_other_probes_go_when_the_budget_is_needed(weights, tmp_path):
    """Sixty images of 2048 floats at Conv[1-5], of 4096 at Conv[1-3]: one of the two fits."""
    data, budget = noise_data(), 60 * 4096 * 4
    for freeze in ("conv1-5", "conv1-3"):
        attempt = MemoryAttempt(tmp_path)
        run(probe_config(freeze, epochs=1), weights, attempt, data, probing=FAST, cache_bytes=budget)
        assert attempt.notes == []
        assert sum(kept.bytes for kept in feature_store.SHELF.items.values()) <= budget
    assert {key[1] for key in feature_store.SHELF.items} == {"conv1-3"}


@pytest.mark.parametrize(("share", "words"), [(1e9, "kept in a file"), (0.0, "a file would not pay")])
def test_what_does_not_fit_is_kept_in_a_file_where_that_pays(share, words, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "DISK_SHARE", share)
    config = probe_config(epochs=2, holdout=True)
    attempt = MemoryAttempt(tmp_path)
    result = run(config, weights, attempt, probing=FAST, cache_bytes=0)
    feature_store.SHELF.items.clear()
    memory = run(config, weights, MemoryAttempt(tmp_path), probing=FAST)
    assert words in attempt.notes[0]
    for ours, theirs in zip(result["epochs"], memory["epochs"], strict=True):
        assert ours["test_loss"] == pytest.approx(theirs["test_loss"], abs=1e-5)
        if share:
            assert ours == theirs
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_a_file_is_not_begun_without_room_for_it(weights, tmp_path):
    attempt = MemoryAttempt(tmp_path)
    run(probe_config(epochs=1), weights, attempt, probing=FAST, cache_bytes=0, cache_disk_bytes=1000)
    assert "a file may take 0 MiB" in attempt.notes[0]
    assert "computed for every batch" in attempt.notes[0]


def test_switches_are_chosen_by_the_device_and_kept_by_a_probe_that_goes_on():
    assert choose_probe("cpu", "plain") == PLAIN_PROBE
    assert (FAST.bilinear, FAST.winograd) == (True, True)
    for other in (choose_probe("cpu", "auto", "bf16"), choose_probe("cuda", "auto", "fp32")):
        assert (other.bilinear, other.winograd) == (False, False)
    assert not kept_probe(FAST.as_json(), "cuda").winograd
    assert kept_probe(FAST.as_json(), "cpu") == FAST
    assert kept_probe(None, "cpu") == PLAIN_PROBE
    assert kept_probe({**FAST.as_json(), "of tomorrow": True}, "cpu") == FAST
