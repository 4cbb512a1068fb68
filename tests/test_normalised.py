"""Batch norm computed at once with what follows it is torch's: values, gradients, statistics, training with it."""

import copy

import pytest
import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.func import functional_call, vmap

from bench import fused_norm
from bench.checkpoint import read_tensors
from bench.compiled import NoCompiler
from bench.devices.batch_norm import synchronise, unsynchronise
from bench.devices.share import Share
from bench.fused_norm import fuse_norms
from bench.speed import Speed
from models.backbones import Backbone
from tests.learning import MemoryAttempt, make_method, pretrain_config
from tests.test_train import rows, run

pytestmark = pytest.mark.usefixtures("compiled")

# Of the largest entry, against fp64; torch's own comes to 2e-6 in the same tests.
ERROR = 5e-7
LAST = torch.channels_last


def images(*shape, seed=0):
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (2 * made + 1).contiguous(memory_format=LAST)


def ready(net):
    """With weights that are no ones and zeros, in channels_last."""
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d) and part.affine:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return net.to(memory_format=LAST)


class Sum(nn.Module):
    """The end of a block, whose convolutions would add errors of their own."""

    def __init__(self, channels, act=None):
        super().__init__()
        self.norm, self.act = nn.BatchNorm2d(channels), act

    def forward(self, x):
        shortcut = x.roll(1, 0)
        return fused_norm.normalised(self.norm, x, self.act, shortcut)


CASES = {
    "alone": (lambda: nn.BatchNorm2d(24), (5, 24, 4, 6)),
    "alone, no affine map": (lambda: nn.BatchNorm2d(24, affine=False), (5, 24, 4, 6)),
    "alone, no statistics": (lambda: nn.BatchNorm2d(8, track_running_stats=False), (40, 8, 3, 3)),
    "alone, 1x1 maps": (lambda: nn.BatchNorm2d(8), (9, 8, 1, 1)),
    "mean over all batches": (lambda: nn.BatchNorm2d(8, momentum=None), (9, 8, 2, 2)),
    "relu": (lambda: nn.Sequential(nn.BatchNorm2d(40), nn.ReLU()), (7, 40, 5, 3)),
    "relu in place": (lambda: nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True)), (33, 64, 8, 8)),
    "leaky": (lambda: nn.Sequential(nn.BatchNorm2d(64), nn.LeakyReLU(0.2, inplace=True)), (3, 64, 16, 16)),
    "pool": (lambda: nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (5, 24, 8, 8)),
    "pool, odd": (lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (40, 8, 7, 5)),
    "pool, 1x2": (lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), (9, 8, 1, 2)),
    "pool, leaky": (
        lambda: nn.Sequential(nn.BatchNorm2d(40), nn.LeakyReLU(0.2), nn.MaxPool2d(3, 2, 1)),
        (3, 40, 6, 4),
    ),
    "sum": (lambda: Sum(40), (4, 40, 4, 4)),
    "sum, relu": (lambda: Sum(40, nn.ReLU(inplace=True)), (70, 40, 4, 4)),
    "sum, leaky": (lambda: Sum(16, nn.LeakyReLU(0.1)), (4, 16, 3, 4)),
}


def computed(net, x, pull=None):
    """Output, all gradients and buffers of two steps in training."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    net(x)
    # Not a leaf: what writes to its input would be refused.
    y = net(x * 1)
    grads = torch.autograd.grad(
        y, [x, *net.parameters()], torch.ones_like(y) if pull is None else pull.to(y.dtype)
    )
    return [y.detach(), *grads, *net.buffers()]


@pytest.mark.parametrize("name", CASES)
def test_output_gradients_and_running_statistics_are_torchs_in_fp64(name, monkeypatch):
    make, shape = CASES[name]
    plain = ready(make())
    fast = copy.deepcopy(plain)
    assert fuse_norms(fast) == 1
    x = images(*shape)
    pull = images(*copy.deepcopy(plain)(x).shape, seed=1)
    assert fused(copy.deepcopy(fast), x) == 1
    ours = computed(fast, x, pull)
    monkeypatch.setattr(fused_norm, "_fits", lambda *_: False)
    theirs = computed(plain.double(), x.double(), pull)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= ERROR * other.abs().max().clamp_min(1)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("downsample", [False, True])
def test_a_block_of_a_resnet_is_timms(block, downsample):
    planes = 32 // block.expansion
    shortcut = nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32)) if downsample else None
    plain = ready(block(32, planes, downsample=shortcut))
    fast = copy.deepcopy(plain)
    assert fuse_norms(fast) == (2 if block is BasicBlock else 3) + downsample
    x = images(9, 32, 8, 8)
    pull = images(9, 32, 8, 8, seed=1)
    assert fused(copy.deepcopy(fast), x) == fuse_norms(copy.deepcopy(plain))
    exact = computed(copy.deepcopy(plain).double(), x.double(), pull)
    for one, other in zip(computed(fast, x, pull), exact, strict=True):
        assert (one - other).abs().max() <= 5e-6 * other.abs().max().clamp_min(1)


def fused(net, x):
    """How many norms are computed at once: by the nodes of the graph."""
    seen, found = [net(x.clone().requires_grad_()).grad_fn], 0
    known = set(seen)
    while seen:
        node = seen.pop()
        found += type(node).__name__ in ("_NormalisedBackward", "_PooledBackward")
        new = [n for n, _ in node.next_functions if n is not None and n not in known]
        known.update(new)
        seen += new
    return found


def test_norms_of_the_papers_networks_are_computed_at_once():
    backbone = Backbone("resnet9").to(memory_format=LAST)
    assert fuse_norms(backbone) == 10
    x = images(4, 3, 32, 32)
    assert fused(backbone, x) == 10
    for name, count in {"patchvae": 13, "beta-vae": 15, "patchvae-gan": 15, "supervised": 10}.items():
        assert fuse_norms(make_method(name)) == count
    deep = Backbone("resnet50").to(memory_format=LAST)
    assert fuse_norms(deep) == fused(deep, images(2, 3, 64, 64))


def test_a_large_mean_loses_no_digits_of_a_small_variance():
    """Where the mean of squares less the square of the mean has none left, nor has a mean in fp32 alone."""
    x = (images(20, 8, 5, 5) * 1e-2 + 1e4).contiguous(memory_format=LAST)
    fast, exact = nn.BatchNorm2d(8, eps=1e-12), nn.BatchNorm2d(8, eps=1e-12).double()
    fuse_norms(fast)
    pull = images(20, 8, 5, 5, seed=1)
    for one, other in zip(computed(fast, x, pull), computed(exact, x.double(), pull), strict=True):
        assert (one - other).abs().max() <= ERROR * other.abs().max()


def test_a_constant_channel_and_an_outlier_are_torchs():
    x = images(64, 8, 4, 4)
    x[:, 1] = 3.0
    x[0, 2, 0, 0] = 1e4
    fast, exact = nn.BatchNorm2d(8), nn.BatchNorm2d(8).double()
    fuse_norms(fast)
    for one, other in zip(computed(fast, x), computed(exact, x.double()), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_a_pool_of_equal_values_gives_its_gradient_to_torchs_one(act):
    plain = ready(nn.Sequential(nn.BatchNorm2d(16), act, nn.MaxPool2d(3, 2, 1)))
    fast = copy.deepcopy(plain)
    fuse_norms(fast)
    x = images(6, 16, 8, 8).round()
    assert type(fast(x).grad_fn).__name__ == "_PooledBackward"
    pull = images(6, 16, 4, 4, seed=1)
    ours, theirs = (computed(copy.deepcopy(net), x, pull)[1] for net in (fast, copy.deepcopy(plain)))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bits_depend_neither_on_threads_nor_on_when(threads):
    for name in ("sum, relu", "leaky", "relu", "pool", "pool, odd"):
        make, shape = CASES[name]
        fast = ready(make())
        fuse_norms(fast)
        found = []
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            found.append(computed(copy.deepcopy(fast), images(*shape)))
        for other in found[1:]:
            assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_in_evaluation_running_statistics_are_used_and_stay():
    plain = ready(nn.Sequential(nn.BatchNorm2d(16), nn.LeakyReLU(0.2)))
    plain(images(8, 16, 4, 4))
    fast = copy.deepcopy(plain)
    fuse_norms(fast)
    x, before = images(8, 16, 4, 4, seed=3), copy.deepcopy(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(x), plain.eval()(x), rtol=1e-5, atol=2e-6)
    # Its gradient is left to torch.
    assert not fused(fast, x)
    for one, other in zip(computed(fast, x), computed(plain, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in fast.state_dict().items())


@pytest.mark.parametrize("name", ["relu", "leaky", "sum, relu", "alone", "pool", "pool, odd", "pool, leaky"])
def test_a_penalty_of_a_gradients_norm_has_torchs_gradient(name):
    make, shape = CASES[name]
    found = []
    for dtype in (torch.float32, torch.float64):
        net = ready(make())
        fuse_norms(net)
        net = net.to(dtype)
        x = images(*shape).to(dtype).requires_grad_()
        assert fused(net, x.detach()) == (dtype == torch.float32)
        (slope,) = torch.autograd.grad((net(x) ** 3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (x, *net.parameters())))
    # Some of them are differences of large terms.
    largest = max(other.abs().max().item() for other in found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * largest)


def test_gradients_that_are_not_wanted_are_not_given():
    net = ready(nn.Sequential(nn.BatchNorm2d(16), nn.ReLU()))
    fuse_norms(net)
    x = images(4, 16, 4, 4)
    weight, bias = net.parameters()
    wanted, _ = torch.autograd.grad(net(x).square().sum(), (weight, bias))
    bias.requires_grad_(False)
    net(x).square().sum().backward()
    assert bias.grad is None
    assert weight.grad is not None
    assert torch.equal(weight.grad, wanted)
    # Frozen, as in a probe: the batch's statistics all the same.
    weight.requires_grad_(False)
    x.requires_grad_()
    net(x).square().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    "change",
    ["contiguous", "12 channels", "fp64", "autocast", "vmap", "hook", "act hook", "act of another kind"],
)
def test_what_does_not_fit_takes_torchs_way_bit_for_bit(change):
    channels = 12 if change == "12 channels" else 16
    act = nn.GELU() if change == "act of another kind" else nn.ReLU(inplace=True)
    plain, x = ready(nn.Sequential(nn.BatchNorm2d(channels), act)), images(6, channels, 4, 4)
    if change == "contiguous":
        x = x.contiguous()
    if change == "fp64":
        plain, x = plain.double(), x.double()
    fast = copy.deepcopy(plain)
    fuse_norms(fast)
    seen = []
    if change.endswith("hook"):
        fast[change == "act hook"].register_forward_hook(
            lambda _m, _i, out: seen.append(out.detach().clone())
        )
    if change in ("hook", "act hook", "act of another kind"):
        # The norm is computed alone, and every module is called.
        fused_norm_only = nn.Sequential(plain[0])
        y = fast(x)
        torch.testing.assert_close(y, plain(x), rtol=1e-5, atol=1e-5)
        assert len(seen) == change.endswith("hook")
        if change == "hook":
            torch.testing.assert_close(seen[0], fused_norm_only(x), rtol=1e-5, atol=1e-5)
        if change == "act hook":
            assert torch.equal(seen[0], y)
        return
    if change == "vmap":
        stacked = images(3 * 6, channels, 4, 4).view(3, 6, channels, 4, 4)
        frozen: dict[str, torch.Tensor] = dict(plain.named_parameters())
        nets = (plain.eval(), fast.eval())
        ours, theirs = (
            vmap(lambda x, net=net: functional_call(net, frozen, (x,)))(stacked) for net in reversed(nets)
        )
        assert torch.equal(ours, theirs)
        return
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        ours, theirs = computed(fast, x), computed(plain, x)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_one_value_a_channel_is_refused_as_by_torch():
    net = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())
    fuse_norms(net)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        net(images(1, 8, 1, 1))
    net.eval()(images(1, 8, 1, 1))


@pytest.mark.parametrize("ours_first", [True, False])
def test_devices_that_share_a_batch_keep_their_own_batch_norm(ours_first):
    class Told(Share):
        mine, whole, asked = 4, 8, 0

        def __init__(self):
            pass

        def sums(self, vector):
            type(self).asked += 1
            return 2 * vector

    net = ready(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()))
    x = images(4, 8, 2, 2)
    if ours_first:
        fuse_norms(net)
    synchronise(net, Told())
    fuse_norms(net)
    assert not fused(net, x)
    assert Told.asked == 1
    unsynchronise(net)
    assert fused(net, x)


def test_parameters_buffers_and_names_stay_and_a_copy_is_its_own():
    backbone = Backbone("resnet9").to(memory_format=LAST)
    before = copy.deepcopy(backbone.state_dict())
    fuse_norms(backbone)
    assert list(backbone.state_dict()) == list(before)
    twin = copy.deepcopy(backbone)
    twin(images(4, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert not torch.equal(twin.state_dict()["net.bn1.running_mean"], before["net.bn1.running_mean"])


def test_stages_run_by_themselves_are_the_whole():
    backbone = Backbone("resnet9").to(memory_format=LAST)
    fuse_norms(backbone)
    x = images(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(backbone(backbone(x, 0, 1), 1), backbone(x))


@pytest.mark.parametrize("name", [pytest.param("patchvae-gan", marks=pytest.mark.slow), "supervised"])
def test_a_run_is_near_the_plain_one_and_repeats_itself_bit_for_bit(name, tmp_path):
    """Losses to 1 % over four steps; that of more steps and seeds is a long test, `test_speed_drift.py`."""
    config = pretrain_config(name, epochs=2, batch_size=20, flip=True)
    fast, again, plain = (MemoryAttempt(tmp_path / word) for word in ("fast", "again", "plain"))
    run(config, fast, switches=Speed(fused_norm=True))
    run(config, again, switches=Speed(fused_norm=True))
    run(config, plain)
    assert rows(fast) == rows(again)
    models = [read_tensors(tmp_path / word / "model.safetensors")[0] for word in ("fast", "again", "plain")]
    assert all(torch.equal(models[0][key], value) for key, value in models[1].items())
    assert any(not torch.equal(models[0][key], value) for key, value in models[2].items())
    for ours, theirs in zip(rows(fast), rows(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=0.03)


def test_without_a_compiler_the_run_is_plain_and_says_so(tmp_path, monkeypatch):
    def missing():
        raise NoCompiler("no C compiler")

    monkeypatch.setattr(fused_norm, "library", missing)
    config = pretrain_config("supervised", epochs=1, batch_size=20)
    attempt, plain = MemoryAttempt(tmp_path / "a"), MemoryAttempt(tmp_path / "b")
    run(config, attempt, switches=Speed(fused_norm=True))
    run(config, plain)
    assert attempt.notes == ["batch norm stays plain: no C compiler"]
    assert rows(attempt) == rows(plain)
