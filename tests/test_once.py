"""A step with an adversary in which nothing is computed twice is the plain step: BiGAN's E(x), the discriminators."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import nn

from bench import direct
from bench.accelerated import Bf16Engine
from bench.direct import replace_direct, with_weight
from bench.engines import PlainEngine, train_step
from bench.errors import Interrupted
from bench.once import Encoder, compute_once, image_logits, joint_logits
from bench.prepared import prepare
from bench.speed import PLAIN, Speed, choose, kept, stacked, uncompiled
from models.bigan import BiGAN
from models.networks import ImageDiscriminator, JointDiscriminator
from tests.learning import MemoryAttempt, make_batch, make_method, pretrain_config
from tests.test_flat import assert_same, channels_last, plain_adam
from tests.test_train import StopAfter, read_tensors, run


def pair(dtype: torch.dtype = torch.float64) -> Any:
    """A plain BiGAN and its like that computes once."""
    plain = channels_last("bigan", dtype)
    ours = copy.deepcopy(plain)
    compute_once(ours)
    return plain, ours


def take(method, *numbers, confined=False, dtype=torch.float64, optimizer=None):
    """Steps; the losses of the last one."""
    optimizer = optimizer or plain_adam(method)
    losses = {}
    for step in numbers:
        batch, noises, schedule = make_batch(method, 0, step, dtype=dtype)
        losses = train_step(PlainEngine(method, confined), optimizer, batch, noises, schedule)
    return losses


def encodings(monkeypatch):
    """Where E is computed: whether gradients were wanted, in turn."""
    found = []
    own = BiGAN.encode

    def encode(method, image):
        found.append(torch.is_grad_enabled())
        return own(method, image)

    monkeypatch.setattr(BiGAN, "encode", encode)
    return found


@pytest.mark.parametrize("confined", [False, True])
def test_steps_are_the_plain_ones(confined, monkeypatch):
    """To 1e-12 in fp64 after three steps: weights, batch norms' statistics and counts, losses."""
    plain, ours = pair()
    wanted = take(plain, 0, 1, 2)
    found = encodings(monkeypatch)
    given = take(ours, 0, 1, 2, confined=confined)
    assert found == [True] * 3
    assert_same(ours, plain, 1e-12)
    assert given.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (given[name] - value).abs() <= 1e-12, name


@pytest.mark.parametrize("name", ["patchvae-gan", "beta-vae-gan-lw"])
def test_steps_with_an_adversary_are_the_plain_ones(name, monkeypatch):
    plain = channels_last(name)
    ours = copy.deepcopy(plain)
    compute_once(ours)
    wanted = take(plain, 0, 1, 2)
    monkeypatch.setattr(ImageDiscriminator, "forward", lambda *_: 1 / 0)
    given = take(ours, 0, 1, 2, confined=True)
    assert_same(ours, plain, 1e-12)
    for key, value in wanted.items():
        assert (given[key] - value).abs() <= 1e-12 * max(1.0, value.abs().item()), key


@pytest.mark.parametrize("change", ["hook", "bias", "stride"])
def test_an_image_discriminator_with_something_of_its_own_is_called_as_ever(change):
    torch.manual_seed(0)
    plain = ImageDiscriminator().double()
    if change == "hook":
        plain.logit.register_forward_hook(lambda *seen: 2 * seen[-1])
    elif change == "bias":
        plain.logit.bias = nn.Parameter(torch.ones(1, dtype=torch.float64))
    else:
        plain.logit.stride = (2, 2)
    image = torch.randn(3, 3, 24, 16, dtype=torch.float64)
    torch.testing.assert_close(image_logits(plain, image), plain(image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("part", ["encoder", "joint"])
def test_each_part_alone_is_the_plain_one(part):
    plain, ours = pair()
    if part == "encoder":
        del ours.discriminator.forward
    else:
        del ours.encode
    take(plain, 0, 1)
    take(ours, 0, 1)
    assert_same(ours, plain, 1e-12)


def test_the_discriminators_logits_and_every_gradient_are_the_plain_ones():
    torch.manual_seed(0)
    plain = JointDiscriminator(6, 16).double()
    ours = copy.deepcopy(plain)
    ours.forward = functools.partial(joint_logits, ours)
    found = []
    for one in (plain, ours):
        generator = torch.Generator().manual_seed(1)
        image = torch.randn(3, 3, 16, 24, generator=generator, dtype=torch.float64, requires_grad=True)
        z = torch.randn(3, 6, 1, 1, generator=generator, dtype=torch.float64, requires_grad=True)
        logits = one(image, z)
        grads = torch.autograd.grad(logits.square().sum(), [image, z, *one.parameters()], create_graph=True)
        again = torch.autograd.grad(grads[0].square().sum() + grads[1].square().sum(), [image, z])
        found.append([logits, *grads, *again])
    for wanted, given in zip(*found, strict=True):
        assert given.shape == wanted.shape
        torch.testing.assert_close(given, wanted, rtol=1e-11, atol=1e-12)


def test_in_single_precision_with_every_switch_a_run_is_near_and_repeats_bit_for_bit(compiled, tmp_path):
    config = pretrain_config("bigan", size=32, epochs=1)
    rows, weights = {}, {}
    for name, switches in {
        "with": choose("cpu"),
        "again": choose("cpu"),
        "without": Speed(**{**choose("cpu").as_json(), "once": False}),
    }.items():
        attempt = MemoryAttempt(tmp_path / name)
        run(config, attempt, switches=switches)
        rows[name] = attempt.rows[-1]
        weights[name] = read_tensors(tmp_path / name / "model.safetensors")[0]
    for key, value in weights["with"].items():
        assert torch.equal(value, weights["again"][key]), key
    assert not all(torch.equal(value, weights["without"][key]) for key, value in weights["with"].items())
    for key in ("loss", "loss_fool", "d_real", "d_fake"):
        assert rows["with"][key] == pytest.approx(rows["without"][key], rel=1e-3)


def test_one_step_with_every_switch_is_the_one_without_this_one(compiled, tmp_path):
    """Weights and batch norms' statistics in single precision, E's norms in C."""
    ended = []
    for speed in (Speed(**{**choose("cpu").as_json(), "once": False}), choose("cpu")):
        method = make_method("bigan").to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        prepare(method, speed, MemoryAttempt(tmp_path).note)
        batch, noises, schedule = make_batch(method, 0, 0)
        batch = batch._replace(image=batch.image.contiguous(memory_format=torch.channels_last))
        train_step(
            PlainEngine(method, True), torch.optim.SGD(method.parameters(), 1.0), batch, noises, schedule
        )
        ended.append(method)
    assert_same(ended[1], ended[0], 1e-5)


def test_the_features_part_is_computed_as_the_layer_is(compiled, monkeypatch):
    """By C where the layer is, and not of an image that does not fit."""
    layer: Any = nn.Sequential(nn.Conv2d(24, 32, 1, bias=False))
    replace_direct(layer)
    words, own = [], direct._call
    monkeypatch.setattr(direct, "_call", lambda word, *rest: words.append(word) or own(word, *rest))
    image = torch.randn(3, 16, 4, 6)
    weight = layer[0].weight[:, :16]
    given = with_weight(layer[0], image, weight)
    assert words == ["convolve"]
    torch.testing.assert_close(given, nn.functional.conv2d(image, weight), rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError, match="channels"):
        with_weight(layer[0], torch.randn(3, 8, 4, 6), weight)
    assert words == ["convolve"]


def test_a_run_that_was_stopped_ends_bit_for_bit_alike(compiled, tmp_path):
    config = pretrain_config("bigan", size=32, epochs=2)
    whole, parts = MemoryAttempt(tmp_path / "whole"), MemoryAttempt(tmp_path / "parts")
    run(config, whole, switches=choose("cpu"))
    with pytest.raises(Interrupted):
        run(config, parts, stop=StopAfter(3), switches=choose("cpu"))
    run(config, parts, switches=choose("cpu"))
    ends = [read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("whole", "parts")]
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key


@pytest.mark.parametrize("place", ["joint", "first", "activation", "bias", "global"])
def test_a_discriminator_with_something_of_its_own_is_called_as_ever(place):
    _, ours = pair()
    joint, seen, handle = ours.discriminator.joint, [], None
    if place == "joint":
        joint.register_forward_hook(lambda *_: seen.append(1))
    elif place == "first":
        joint[0].register_forward_pre_hook(lambda *_: seen.append(1))
    elif place == "activation":
        joint[1].inplace = False
        joint[1].register_full_backward_hook(lambda *_: seen.append(1))
    elif place == "bias":
        joint[0].bias = nn.Parameter(torch.ones(512, dtype=torch.float64))
    else:
        handle = nn.modules.module.register_module_forward_hook(lambda *_: seen.append(1))
    batch, noises, _ = make_batch(ours, 0, 0, dtype=torch.float64)
    z = noises[0]["z"]
    try:
        given = ours.discriminator(batch.image, z)
        given.sum().backward()
    finally:
        if handle is not None:
            handle.remove()
    assert bool(seen) == (place != "bias")
    wanted = JointDiscriminator.forward(ours.discriminator, batch.image, z)
    # Of batch norms that have counted once more the output is the same.
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=1e-12)


def test_whose_it_is(tmp_path):
    class Other(BiGAN):
        """Encodes as it likes."""

    class Judge(ImageDiscriminator):
        """Judges as it likes."""

    for name in ("patchvae", "supervised"):
        plain: Any = make_method(name)
        compute_once(plain)
        assert "encode" not in plain.__dict__
    other: Any = make_method("bigan")
    judged: Any = make_method("beta-vae-gan")
    other.__class__, judged.discriminator.__class__ = Other, Judge
    compute_once(other)
    assert "encode" not in other.__dict__
    assert "forward" in other.discriminator.__dict__
    compute_once(judged)
    assert "forward" not in judged.discriminator.__dict__
    method: Any = make_method("bigan")
    prepare(method, PLAIN, MemoryAttempt(tmp_path).note)
    assert "encode" not in method.__dict__
    prepare(method, Speed(once=True), MemoryAttempt(tmp_path).note)
    encode, judge = method.encode, method.discriminator.forward
    prepare(method, Speed(once=True), MemoryAttempt(tmp_path).note)
    assert (method.encode, method.discriminator.forward) == (encode, judge)
    assert isinstance(encode, Encoder)


def test_where_the_switch_is_on():
    assert choose("cpu").once
    assert choose("cpu", precision="bf16").once
    for other in (PLAIN, choose("cpu", "plain"), stacked(choose("cpu")), uncompiled(choose("cpu"))):
        assert not other.once
    assert kept(choose("cpu").as_json(), "cpu").once
    assert not kept({"winograd": True}, "cpu").once
    assert not kept(choose("cpu").as_json(), "cuda").once
    with pytest.raises(ValueError, match="compile must be never"):
        Speed(once=True, compile="always")


def test_in_bf16_the_discriminators_logits_alone_are_made_otherwise(monkeypatch):
    """Its engine has hooks on every child: E(x) is computed twice."""
    losses = []
    for method in pair(dtype=torch.float32):
        batch, noises, schedule = make_batch(method, 0, 0)
        found = encodings(monkeypatch)
        losses.append(train_step(Bf16Engine(method), plain_adam(method), batch, noises, schedule))
        assert found == [False, True]
    for name, value in losses[0].items():
        assert losses[1][name].item() == pytest.approx(value.item(), rel=0.02), name
    assert any(not torch.equal(losses[1][name], value) for name, value in losses[0].items())
