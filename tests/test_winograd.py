"""Convolutions with fewer products are the same convolutions: values, both gradients, and what trains on them."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import winograd
from bench.checkpoint import read_tensors
from bench.compiled import NoCompiler, load_library
from bench.errors import Diverged, Interrupted
from bench.minimal_filters import FOUR, ONE, THREE, TILE, TWO
from bench.speed import Speed
from bench.tile_forms import FORMS
from bench.winograd import replace_convolutions
from tests.learning import MemoryAttempt, make_method, pretrain_config
from tests.test_train import StopAfter, rows, run

# Relative to the largest entry; the plain convolutions' own is 1e-6.
ERROR = 2e-5
SWITCHES = Speed(flat_update=True, winograd=True, keep_memory=True)


@pytest.mark.parametrize(("matrices", "taps"), [(FOUR, 4), (THREE, 3), (TWO, 2), (ONE, 1)])
def test_the_matrices_give_a_filters_output_exactly(matrices, taps):
    a, g, b = (np.array(m, dtype=object) for m in matrices)
    draw = np.random.default_rng(0)
    for _ in range(5):
        d = np.array([Fraction(int(v)) for v in draw.integers(-99, 99, TILE + taps - 1)], dtype=object)
        f = np.array([Fraction(int(v)) for v in draw.integers(-99, 99, taps)], dtype=object)
        expected = [sum(f[k] * d[i + k] for k in range(taps)) for i in range(TILE)]
        assert list(a @ ((g @ f) * (b @ d))) == expected
        # Backwards they give the whole product of two polynomials, which tiles that overlap add up.
        x = d[:TILE]
        whole = [
            sum(f[k] * x[i - k] for k in range(taps) if 0 <= i - k < TILE) for i in range(TILE + taps - 1)
        ]
        assert list(b.T @ ((g @ f) * (a.T @ x))) == whole


LAYERS = {
    "3x3 at 8x8": (nn.Conv2d(16, 48, 3, 1, 1, bias=False), 8),
    "3x3 at 4x12": (nn.Conv2d(32, 16, 3, 1, 1), (4, 12)),
    "4x4 of stride 2 at 8x8": (nn.Conv2d(32, 16, 4, 2, 1), 8),
    "4x4 of stride 2 at 16x8": (nn.Conv2d(16, 32, 4, 2, 1, bias=False), (16, 8)),
    "3x3 of stride 2 at 8x8": (nn.Conv2d(32, 48, 3, 2, 1, bias=False), 8),
    "3x3 of stride 2 at 16x24": (nn.Conv2d(48, 16, 3, 2, 1), (16, 24)),
    "transposed at 4x4": (nn.ConvTranspose2d(16, 32, 4, 2, 1, bias=False), 4),
    "transposed at 8x12": (nn.ConvTranspose2d(32, 16, 4, 2, 1), (8, 12)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)
def test_output_and_gradients_are_those_of_the_plain_layer_in_fp64(name, memory, compiled):
    layer, side = LAYERS[name]
    torch.manual_seed(0)
    sides = (side, side) if isinstance(side, int) else side
    image = torch.randn(3, layer.in_channels, *sides).to(memory_format=memory).requires_grad_()
    fast = nn.Sequential(type(layer)(**_arguments(layer))).to(memory_format=memory)
    assert replace_convolutions(fast) == 1
    ours = fast(image)
    wanted = [image, *fast.parameters()]
    doubles = [t.detach().double().requires_grad_() for t in wanted]
    if isinstance(layer, nn.Conv2d):
        theirs = F.conv2d(*doubles, stride=layer.stride, padding=1)
    else:
        theirs = F.conv_transpose2d(*doubles, stride=2, padding=1)
    pull = torch.randn(theirs.shape)
    grads = torch.autograd.grad(ours, wanted, pull)
    expected = torch.autograd.grad(theirs, doubles, pull.double())
    for one, other in zip((ours, *grads), (theirs, *expected), strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= ERROR * other.abs().max()


@pytest.mark.parametrize("name", LAYERS)
def test_neither_how_many_images_are_taken_at_a_time_nor_threads_change_an_output(
    name, compiled, monkeypatch, threads
):
    layer, side = LAYERS[name]
    sides = (side, side) if isinstance(side, int) else side
    fast = nn.Sequential(type(layer)(**_arguments(layer)))
    assert replace_convolutions(fast) == 1
    image = torch.randn(7, layer.in_channels, *sides, requires_grad=True)
    found = []
    for tiles, count in ((1 << 30, 1), (1, 1), (3, 1), (1 << 30, 2), (1, 3)):
        monkeypatch.setattr(winograd, "TILES", tiles)
        torch.set_num_threads(count)
        y = fast(image)
        found.append((y, *torch.autograd.grad(y.square().sum(), (image, *fast.parameters()))))
    for y, dx, *rest in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(dx, found[0][1])
        # Sums over images are in another order.
        for one, other in zip(rest, found[0][2:], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * other.abs().max().item())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("side", [4, 8, 16])
def test_tiles_are_taken_in_whole_blocks_of_rows(form, side):
    count = winograd._at_a_time(form, 500, side, side, 64, 64, 1)
    assert count < 500
    assert count * (side // TILE) ** 2 % winograd.ROWS == 0
    # One image of a large map; all there are where a filter is read too often.
    assert winograd._at_a_time(form, 500, 56, 56, 64, 64, 1) == 1
    assert winograd._at_a_time(form, 5, side, side, 64, 64, 1) <= 5


def test_gradients_that_are_not_wanted_are_not_computed(compiled):
    for layer, _ in LAYERS.values():
        fast = nn.Sequential(type(layer)(**_arguments(layer)))
        replace_convolutions(fast)
        weight = next(fast.parameters())
        image = torch.randn(2, layer.in_channels, 8, 8, requires_grad=True)
        whole = torch.autograd.grad(fast(image).square().sum(), (image, weight))
        weight.requires_grad_(False)
        assert torch.equal(torch.autograd.grad(fast(image).square().sum(), image)[0], whole[0])
        weight.requires_grad_()
        assert torch.equal(torch.autograd.grad(fast(image.detach()).square().sum(), weight)[0], whole[1])


@pytest.mark.parametrize("name", LAYERS)
def test_a_penalty_of_a_gradients_norm_has_the_plain_layers_gradient(name, compiled):
    """The second derivative, as of R1 or a WGAN's penalty."""
    layer, side = LAYERS[name]
    sides = (side, side) if isinstance(side, int) else side
    torch.manual_seed(0)
    plain = nn.Sequential(type(layer)(**_arguments(layer)), nn.Softplus())
    fast = copy.deepcopy(plain)
    assert replace_convolutions(fast) == 1
    data, found = torch.randn(2, layer.in_channels, *sides), []
    for net in (plain, fast):
        image = data.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(image).sum(), image, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (image, *net.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * one.abs().max().item())


@pytest.mark.parametrize("change", ["no images", "double weight", "no batch", "double by default"])
def test_what_c_cannot_take_is_left_to_torch(change, compiled):
    layer = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1))
    image = torch.randn(2, 16, 8, 8)
    plain = copy.deepcopy(layer)
    replace_convolutions(layer)
    if change == "double weight":
        with pytest.raises(RuntimeError):
            layer.double()(image)
        return
    image = image[:0] if change == "no images" else image[0] if change == "no batch" else image
    torch.set_default_dtype(torch.float64 if change == "double by default" else torch.float32)
    try:
        torch.testing.assert_close(layer(image), plain(image), atol=1e-5, rtol=1e-4)
    finally:
        torch.set_default_dtype(torch.float32)


def _arguments(layer):
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    return {**{n: getattr(layer, n) for n in names}, "bias": layer.bias is not None}


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(16, 16, 3, 2, 1), 12),
        (nn.Conv2d(16, 16, 3, 2, 1, dilation=2), 16),
        (nn.Conv2d(16, 16, 4, 2, 1), 12),
        (nn.Conv2d(16, 16, 3, 2, 0), 16),
        (nn.Conv2d(16, 16, 1), 8),
        (nn.Conv2d(3, 16, 3, 1, 1), 8),
        (nn.Conv2d(16, 24, 3, 1, 1), 8),
        (nn.Conv2d(32, 32, 3, 1, 1, groups=2), 8),
        (nn.ConvTranspose2d(16, 3, 4, 2, 1), 8),
        (nn.ConvTranspose2d(16, 16, 4, 2, 1, output_padding=1), 8),
        (nn.Conv2d(16, 16, 3, 1, 1), 6),
        (nn.ConvTranspose2d(16, 16, 4, 2, 1), 5),
    ],
    ids=str,
)
def test_a_layer_or_an_image_that_does_not_fit_takes_the_plain_way_bit_for_bit(layer, size, compiled):
    image = torch.randn(2, layer.in_channels, size, size)
    expected = layer(image)
    replace_convolutions(nn.Sequential(layer))
    assert torch.equal(layer(image), expected)


def test_the_convolutions_of_the_papers_networks_are_found(compiled):
    assert replace_convolutions(make_method("patchvae")) == 13
    assert replace_convolutions(make_method("beta-vae")) == 10
    assert replace_convolutions(make_method("supervised")) == 8
    assert replace_convolutions(make_method("patchvae-gan")) == 15


def test_what_is_not_finite_stays_so(compiled):
    layer = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False))
    assert replace_convolutions(layer) == 1
    image = torch.zeros(1, 16, 8, 8)
    image[0, 0, 5, 5] = float("nan")
    assert layer(image)[0, 0, 5, 5].isnan()


@pytest.mark.parametrize("name", ["patchvae-gan", "supervised"])
def test_stopped_after_any_step_a_fast_run_ends_bit_for_bit_alike_and_near_the_plain_one(
    name, tmp_path, compiled
):
    """Losses to 1 % over four steps; that of more steps and seeds is measured in docs/performance.md."""
    config = pretrain_config(name, epochs=2, batch_size=20, flip=True)
    whole, parts, plain = (MemoryAttempt(tmp_path / word) for word in ("whole", "parts", "plain"))
    run(config, whole, switches=SWITCHES)
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(config, parts, StopAfter(1), switches=SWITCHES)
    run(config, parts, switches=SWITCHES)
    assert rows(parts) == rows(whole)
    run(config, plain)
    for ours, theirs in zip(rows(whole), rows(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=0.03)
    models = [read_tensors(tmp_path / word / "model.safetensors")[0] for word in ("whole", "parts", "plain")]
    assert all(torch.equal(models[0][key], value) for key, value in models[1].items())
    assert any(not torch.equal(models[0][key], value) for key, value in models[2].items())


def test_a_fast_run_that_diverges_says_so(tmp_path, compiled):
    with pytest.raises(Diverged):
        run(pretrain_config("beta-vae", lr=1e6, epochs=4), MemoryAttempt(tmp_path), switches=SWITCHES)


def test_without_a_compiler_the_run_is_plain_and_says_so(tmp_path, monkeypatch):
    def missing():
        raise NoCompiler("no C compiler")

    monkeypatch.setattr(winograd, "library", missing)
    config = pretrain_config("supervised", epochs=1, batch_size=20)
    attempt, plain = MemoryAttempt(tmp_path / "a"), MemoryAttempt(tmp_path / "b")
    run(config, attempt, switches=Speed(winograd=True))
    run(config, plain)
    assert attempt.notes == ["convolutions stay plain: no C compiler"]
    assert rows(attempt) == rows(plain)


def test_what_does_not_compile_is_no_library(tmp_path, monkeypatch, compiled):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    with pytest.raises(NoCompiler, match="fails"):
        load_library("wrong", "int f( {")
    assert list(tmp_path.iterdir()) == []


def test_a_library_is_compiled_once(tmp_path, monkeypatch, compiled):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    assert load_library("two", "int two(void) { return 2; }").two() == 2
    (made,) = tmp_path.iterdir()
    begun = made.stat().st_mtime_ns
    load_library("two", "int two(void) { return 2; }")
    assert made.stat().st_mtime_ns == begun


def test_a_library_that_was_cut_short_is_made_anew(tmp_path, monkeypatch, compiled):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setenv("BENCH_CACHE", str(whole))
    assert load_library("three", "int three(void) { return 3; }").three() == 3
    (made,) = whole.iterdir()
    # In another folder: by its path a process knows what it has loaded, and would not look at the file.
    cut.mkdir()
    (cut / made.name).write_bytes(b"cut")
    monkeypatch.setenv("BENCH_CACHE", str(cut))
    assert load_library("three", "int three(void) { return 3; }").three() == 3
    assert (cut / made.name).stat().st_size > 1000


def test_a_user_without_a_home_computes_plainly(monkeypatch, compiled):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    for name in ("BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", nobody)
    with pytest.raises(NoCompiler, match="BENCH_CACHE may name a folder"):
        load_library("five", "int five(void) { return 5; }")
