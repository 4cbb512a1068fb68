"""A head's three products in C are torch's in fp64, with any number of threads; torch's where C may not have them."""

import dataclasses

import pytest
import torch

from bench import probe_steps
from bench.compiled import NoCompiler
from bench.head_products import PanelProducts, TorchProducts, drop, in_panels
from bench.probe_speed import ProbeSpeed, choose_probe
from tests.test_probe_speed import two_ways

pytestmark = pytest.mark.usefixtures("compiled")

# Relative to the largest entry; of torch's own in fp32 it is up to 1e-6.
ERROR = 2e-6

# Images, inputs, outputs: the paper's whole batch and its last, parts of a strip, of a depth and of six rows, more
# rows than are summed at once.
SIZES = [(128, 2048, 512), (80, 2048, 512), (1, 16, 16), (7, 528, 80), (13, 48, 272), (300, 64, 96)]


def batch(n, d, h, dropout=0.5):
    """A weight, a bias, a batch, a gradient and a mask."""
    torch.manual_seed(0)
    mask = -(torch.rand(n, d) >= dropout).to(torch.int32)
    return torch.randn(h, d), torch.randn(h), torch.randn(n, d), torch.randn(n, h), mask


def all_three(products, bias, e, scale=2.0):
    to_weight = torch.full_like(products.weight, float("nan"))
    products.to_weight(e, to_weight)
    return products.hidden(bias, scale), to_weight, products.to_inputs(e)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_they_are_torchs_in_fp64(sizes, masked):
    weight, bias, x, e, mask = batch(*sizes)
    mask = mask if masked else None
    assert in_panels(weight, x, mask)
    before = x.clone()
    ours = all_three(PanelProducts(weight, x, mask), bias, e)
    assert torch.equal(x, before)
    kept = None if mask is None else -mask.double()
    theirs = all_three(TorchProducts(weight.double(), x.double(), kept), bias.double(), e.double())
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= ERROR * other.abs().max()
    if mask is not None:
        assert torch.equal(ours[2] == 0, mask == 0)


@pytest.mark.parametrize("threads", [2, 3, 40])
def test_no_bit_depends_on_how_many_threads_share_them(threads, monkeypatch):
    weight, bias, x, e, mask = batch(13, 528, 272)
    alone = all_three(PanelProducts(weight, x, mask), bias, e)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shared = all_three(PanelProducts(weight, x, mask), bias, e)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_each_thread_lays_columns_in_memory_of_its_own():
    weight, _, x, _, _ = batch(5, 32, 48)
    own = PanelProducts(weight, x, None)
    work, out = torch.full((own.library.work_dense(3),), float("nan")), torch.empty(5, 48)
    pointers = [t if t is None else t.data_ptr() for t in (own.panels, weight, None, out, work)]
    own.library.multiply_dense(*pointers, 5, 32, 48, 1, 32, 3)
    torch.testing.assert_close(out, x @ weight.T)
    assert (~work.view(3, -1).isnan()).sum(1).tolist() == [16 * 32] * 3


def test_what_is_not_a_number_is_told_and_what_is_dropped_is_zero():
    weight, bias, x, e, mask = batch(9, 32, 16)
    mask[0, 0], mask[1, 1] = 0, -1
    x[0, 0] = x[1, 1] = float("nan")
    hidden, to_weight, _ = all_three(PanelProducts(weight, x, mask), bias, e)
    assert hidden.isnan().any(1).tolist() == [i == 1 for i in range(9)]
    assert to_weight.isnan().any(0).tolist() == [k == 1 for k in range(32)]


def test_a_gradient_that_is_no_longer_the_one_that_was_packed_is_packed_anew():
    weight, _, x, e, mask = batch(5, 32, 48)
    products = PanelProducts(weight, x, mask)
    first = products.to_inputs(e)
    assert torch.equal(products.to_inputs(2 * e), 2 * first)
    assert torch.equal(products.to_inputs(e.T.contiguous().T), first)


def test_c_is_not_given_what_it_would_misread():
    weight, _, x, _, mask = batch(6, 32, 48)
    assert in_panels(weight, x, mask)
    assert not in_panels(weight[:47], x, mask)
    assert not in_panels(weight[:, :31], x[:, :31], None)
    assert not in_panels(weight.T.contiguous().T, x, mask)
    assert not in_panels(weight, x.T.contiguous().T, mask)
    assert not in_panels(weight.double(), x, mask)
    assert not in_panels(weight, x.double(), mask)
    assert not in_panels(weight, x[:, :16].contiguous(), None)
    assert not in_panels(weight[:, :0], x[:, :0], None)
    assert not in_panels(weight[:0], x, None)
    assert not in_panels(weight, x, mask.T.contiguous().T)
    assert not in_panels(weight, x, mask.float())
    assert not in_panels(weight, x, mask[:3])
    assert not in_panels(weight, x[:0], None)
    with torch.autocast("cpu", torch.bfloat16):
        assert not in_panels(weight, x, mask)


def test_c_does_not_write_a_gradient_that_lies_otherwise():
    weight, _, x, e, mask = batch(6, 32, 48)
    with pytest.raises(AssertionError):
        PanelProducts(weight, x, mask).to_weight(e, torch.empty(32, 48).T)


def test_without_a_compiler_it_is_told_before_the_first_step(monkeypatch):
    def missing():
        raise NoCompiler("none")

    monkeypatch.setattr(probe_steps, "library", missing)
    with pytest.raises(NoCompiler):
        two_ways("conv1-5", ProbeSpeed(closed_head=True, head_panels=True))


def test_products_in_bf16_are_torchs():
    """No device has both by itself; asked for, `precision` is what counts."""
    ways, advance = two_ways("conv1-5", ProbeSpeed(closed_head=True, head_panels=True, precision="bf16"))
    _, same = two_ways("conv1-5", ProbeSpeed(closed_head=True, precision="bf16"))
    assert torch.equal(advance(0)[1][1], same(0)[1][1])
    assert ways[1][1].panels is False


@pytest.mark.parametrize("kind", [torch.int32, torch.float32])
def test_a_mask_of_bits_drops_what_one_of_factors_does(kind):
    x = torch.randn(4, 6)
    kept = torch.rand(4, 6) < 0.5
    expected = torch.where(kept, x, 0.0)
    drop(x, -kept.to(kind) if kind == torch.int32 else kept.to(kind))
    assert torch.equal(x, expected)


@pytest.mark.parametrize("freeze", ["conv1-5", "conv1-3"])
@pytest.mark.parametrize("dropout", [0.5, 0.0])
def test_steps_of_a_probe_are_those_without_it(freeze, dropout, monkeypatch):
    """And the head's products are made so, each once a step."""
    fast = choose_probe("cpu", "auto", "fp32")
    assert fast.head_panels
    made = []
    init = PanelProducts.__init__
    monkeypatch.setattr(PanelProducts, "__init__", lambda self, *given: made.append(1) or init(self, *given))
    finals = []
    for speed in (fast, dataclasses.replace(fast, head_panels=False)):
        ways, advance = two_ways(freeze, speed, dropout=dropout)
        last = [advance(number) for number in range(3)][-1]
        (_, values), (_, logits) = last
        finals.append((logits, values["train_loss"], ways[1][0].head.hidden.weight.grad))
    assert len(made) == 3
    for one, other in zip(*finals, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    # It is another way of computing.
    assert not torch.equal(finals[0][2], finals[1][2])
