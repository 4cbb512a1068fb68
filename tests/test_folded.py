"""A probe's frozen prefix and its tests, BN folded into convolutions, give the plain way's numbers."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench import probe_speed
from bench.build import build_backbone
from bench.folded import FoldedStages
from bench.probe_speed import PLAIN_PROBE, ProbeSpeed, choose_probe
from bench.winograd import convolve_and, replace_convolutions
from tests.learning import MemoryAttempt, noise_data
from tests.test_probe import probe_config, run
from tests.test_probe_speed import images, two_ways, used_backbone

pytestmark = pytest.mark.usefixtures("empty_shelf")

FAST = choose_probe("cpu", "auto", "fp32")


def disturb(backbone, seed):
    """What an epoch does: every weight and statistic is another."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*backbone.parameters(), *backbone.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=g))


@pytest.mark.parametrize(
    "speed", [FAST, ProbeSpeed(bilinear=True), ProbeSpeed(winograd=True), ProbeSpeed(direct=True)]
)
@pytest.mark.parametrize(("begin", "size"), [(0, 32), (1, 32), (2, 32), (1, 40)])
def test_folded_stages_follow_weights_and_statistics(begin, size, speed):
    backbone = used_backbone()
    with torch.no_grad():
        x = backbone(images(5, size), 0, begin)
        folded = FoldedStages(backbone, begin, None, speed)
        disturb(backbone, 1)
        plain = backbone(x, begin)
    assert (folded(x) - plain).abs().max() > 1e-2 * plain.abs().max()
    folded.refresh()
    for given in (x, x.contiguous()):
        assert (folded(given) - plain).abs().max() < 1e-5 * plain.abs().max()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("taps", "stride"), [(3, 1), (3, 2), (4, 2)])
def test_what_follows_a_convolution_is_computed_with_it_to_the_last_bit(
    taps, stride, residual, relu, threads, compiled
):
    g = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(32, 48, taps, stride, 1, bias=False).requires_grad_(False)
    assert replace_convolutions(layer) == 1
    x = torch.randn(7, 32, 16, 24, generator=g)
    x[3, 5, 2, 2], x[4, 5, 9, 9] = torch.nan, torch.inf
    bias = torch.randn(48, 1, 1, generator=g)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = layer(x)
        # As torch has it, channel by channel.
        added = torch.randn(expected.shape, generator=g) if residual else None
        expected = expected + bias
        expected = expected if added is None else expected + added
        found = convolve_and(layer, x, bias, added, relu)
    finally:
        torch.set_num_threads(before)
    assert found is not None
    assert expected.isnan().any()
    torch.testing.assert_close(found, expected.relu() if relu else expected, rtol=0, atol=0, equal_nan=True)


def test_what_is_computed_elsewhere_is_left_to_it(compiled):
    x, bias = torch.randn(1, 32, 16, 16), torch.zeros(32)
    ours, theirs = (nn.Conv2d(32, 32, 3, 1, 1, bias=False).requires_grad_(False) for _ in range(2))
    assert convolve_and(theirs, x, bias, None, False) is None
    replace_convolutions(ours)
    assert convolve_and(ours, x, bias, None, False) is not None
    assert convolve_and(ours, x[..., :14], bias, None, False) is None
    assert convolve_and(ours, x.double(), bias, None, False) is None
    assert convolve_and(ours, x, bias.double(), None, False) is None
    assert convolve_and(ours, x, bias, x.double(), False) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve_and(ours, x, bias, None, False) is None
    # What torch would broadcast, or refuse.
    for added in (x[:, :1], x[..., :1], torch.cat([x, x])):
        assert convolve_and(ours, x, bias, added, False) is None
    assert convolve_and(ours, x, bias[:31], None, False) is None
    assert convolve_and(ours, x, torch.zeros(64)[::2], None, False) is None
    # What is differentiated.
    for given in ((x.clone().requires_grad_(), bias, x), (x, bias.clone().requires_grad_(), x)):
        assert convolve_and(ours, *given, False) is None
        with torch.no_grad():
            assert convolve_and(ours, *given, False) is not None
    ours.requires_grad_()
    assert convolve_and(ours, x, bias, None, False) is None
    ours.requires_grad_(False)
    strided = nn.Conv2d(32, 32, 3, 2, 1, bias=False).requires_grad_(False)
    replace_convolutions(strided)
    assert convolve_and(strided, x, bias, None, False) is not None
    assert convolve_and(strided, x[..., :12, :12], bias, None, False) is None


class Standardised(nn.Conv2d):
    """Convolves by its filters less their means."""

    def forward(self, input):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(input, weight, self.bias)


def twice(_, inputs):
    return (inputs[0] * 2,)


# A shortcut pads nothing.
CHANGES = [
    (place, change)
    for place in ("stem", "block", "shortcut")
    for change in ("subclass", "hook", "norm's hook")
]
CHANGES += [("stem", "circular"), ("block", "circular")]


@pytest.mark.parametrize(
    ("place", "change", "speed"),
    [(*row, FAST) for row in CHANGES]
    + [(*row, replace(PLAIN_PROBE, folded=True)) for row in CHANGES if row[0] == "stem"]
    + [(*row, ProbeSpeed(bilinear=True)) for row in CHANGES if row[0] == "block"],
)
@torch.no_grad()
def test_a_convolution_that_is_more_than_torchs_is_left_as_it_is(place, change, speed):
    backbone = used_backbone()
    net: Any = backbone.net
    block = net.layer2[0]
    conv = {"stem": net.conv1, "block": block.conv1, "shortcut": block.downsample[0]}[place]
    norm = {"stem": net.bn1, "block": block.bn1, "shortcut": block.downsample[1]}[place]
    before = backbone(images(2))
    if change == "subclass":
        conv.__class__ = Standardised
    elif change == "circular":
        conv.padding_mode = "circular"
        conv._reversed_padding_repeated_twice = [conv.padding[0]] * 4
    else:
        (conv if change == "hook" else norm).register_forward_pre_hook(twice)
    plain = backbone(images(2))
    assert (plain - before).abs().max() > 1e-3 * before.abs().max()
    found = FoldedStages(backbone, 0, None, speed)(images(2))
    assert (found - plain).abs().max() < 1e-5 * plain.abs().max()


def test_in_double_precision_they_agree_to_eleven_digits():
    backbone = used_backbone().double()
    x = torch.randn(3, 64, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        plain = backbone(x, 1)
    for speed in (FAST, ProbeSpeed(winograd=True)):
        torch.testing.assert_close(FoldedStages(backbone, 1, None, speed)(x), plain, atol=1e-11, rtol=1e-11)


def test_folding_draws_nothing_and_leaves_the_backbone_alone():
    backbone = used_backbone()
    before, state = torch.get_rng_state(), copy.deepcopy(backbone.state_dict())
    FoldedStages(backbone, 0, None, FAST)(images(2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("freeze", ["conv1", "conv1-3"])
def test_a_test_after_each_epoch_is_of_the_weights_of_that_epoch(freeze):
    made, _ = two_ways(freeze, FAST)
    (model, steps) = made[1]
    features = torch.relu(torch.randn(12, *((64, 8, 8))))
    for number in range(3):
        steps.step(features, torch.arange(12) % 10, number, 0.05)
        model.eval()
        with torch.no_grad():
            plain = model(features)
        for part in (slice(0, 7), slice(7, 12)):
            error = (steps.logits(features[part]) - plain[part]).abs().max()
            assert error < 1e-5 * plain.abs().max()
        model.train()


def test_logits_of_a_model_in_training_follow_the_batch():
    made, _ = two_ways("conv1", FAST)
    model, steps = made[1]
    features = torch.relu(torch.randn(6, 64, 8, 8))
    frozen = copy.deepcopy(model).train()
    with torch.no_grad():
        expected = frozen(features)
    model.train()
    torch.testing.assert_close(steps.logits(features), expected, atol=1e-4, rtol=1e-4)


def test_a_backbone_that_is_not_recognised_is_tested_as_it_is():
    backbone = build_backbone("convnext_atto", 0).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(FoldedStages(backbone, 0, None, FAST)(x), backbone(x))


def test_memory_is_kept_by_a_fast_probe_alone(weights, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(probe_speed, "keep_freed_memory", lambda: told.append(True))
    for number, speed in enumerate((PLAIN_PROBE, FAST)):
        run(probe_config(epochs=1), weights, MemoryAttempt(tmp_path), noise_data(), probing=speed)
        assert len(told) == number


def test_the_plain_path_folds_nothing():
    assert not any((PLAIN_PROBE.folded, PLAIN_PROBE.folded_tests, PLAIN_PROBE.shared))
    assert FAST.folded_tests
    assert not choose_probe("cuda", "auto", "fp32").folded_tests
