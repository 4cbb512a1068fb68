"""What training and probing really do with their settings, seen from below: at the optimiser, the first
convolution, the head and the losses, whatever lies between them and the configuration.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench import config as cfg
from bench.build import build_method, module_state
from bench.checkpoint import read_tensors, write_tensors
from bench.data.arrays import Dataset, Split
from bench.data.batches import MEAN_STD
from bench.engines import draw
from bench.launch.control import RunOptions, Stop
from bench.probe import holdout_split, probe
from bench.train import pretrain
from models.method import Method, Noise
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_train import quiet

TRAIN, TEST, POOL = range(0, 40), range(100, 120), range(200, 240)
LEFT, RIGHT = 200, 50
FEATURES = 2048


def marked(split: Split, ids: range) -> Split:
    """Images that carry their number, which way round they are, black and white."""
    images = split.images[: len(ids)].copy()
    images[:, :, 0, 0], images[:, :, 0, -1] = 0, 255
    images[:, :, 1, 0] = images[:, :, 1, -1] = np.array(ids)[:, None]
    images[:, :, 2, 0], images[:, :, 2, -1] = LEFT, RIGHT
    return Split(images, split.labels[: len(ids)])


def marked_data() -> Dataset:
    data = noise_data()
    return dataclasses.replace(
        data, train=marked(data.train, TRAIN), test=marked(data.test, TEST), pool=marked(data.pool, POOL)
    )


class Seen(NamedTuple):
    """A batch at the first convolution."""

    training: bool
    images: Tensor

    def bytes(self, row: int, scale: str = "imagenet") -> list[int]:
        """The left pixel of a row, in red, as it was in the file."""
        mean, std = (values[0] for values in MEAN_STD[scale])
        return (255 * (self.images[:, 0, row, 0] * std + mean)).round().int().tolist()

    @property
    def ids(self) -> list[int]:
        return self.bytes(1)

    @property
    def mirrored(self) -> list[bool]:
        return [value == RIGHT for value in self.bytes(2)]


class Watch:
    """Everything of interest that passes while a fixture is in force."""

    def __init__(self) -> None:
        self.batches: list[Seen] = []
        self.head_inputs: list[tuple[bool, Tensor]] = []
        self.noises: list[tuple[str, dict[str, Tensor], dict[str, float]]] = []
        self.groups: list[tuple[type, dict[str, Any]]] = []
        self.first: list[Tensor] = []

    def module(self, module: nn.Module, args: tuple) -> None:
        if isinstance(module, nn.Conv2d) and module.kernel_size == (7, 7) and args[0].shape[-1] == 32:
            self.batches.append(Seen(module.training, args[0].detach().clone()))
        elif isinstance(module, nn.Linear) and module.in_features == FEATURES:
            self.head_inputs.append((module.training, args[0].detach().clone()))
        elif isinstance(module, Method):
            loss, _, noise, schedule = args
            drawn = {k: v.clone() for k, v in noise.items()}
            self.noises.append((loss, drawn, {k: float(v) for k, v in schedule.items()}))

    def optimizer(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        (group,) = optimizer.param_groups
        if not self.groups:
            self.first = [p.detach().clone() for p in group["params"]]
        self.groups.append((type(optimizer), {k: v for k, v in group.items() if k != "params"}))

    @property
    def trained(self) -> list[Seen]:
        return [seen for seen in self.batches if seen.training]


@pytest.fixture
def watching() -> Iterator[Callable[[], Watch]]:
    """Starts a new watch, which ends the one before."""
    handles: list[Any] = []

    def begin() -> Watch:
        while handles:
            handles.pop().remove()
        watch = Watch()
        handles.append(register_module_forward_pre_hook(watch.module))
        handles.append(register_optimizer_step_pre_hook(watch.optimizer))
        return watch

    yield begin
    while handles:
        handles.pop().remove()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "pretrained.safetensors")


def run(kind: Callable, config: dict, *more: Any, attempt: Any, data: Dataset | None = None, **options):
    return kind(
        config,
        data or marked_data(),
        *more,
        attempt,
        device="cpu",
        stop=Stop(),
        progress=quiet,
        options=RunOptions(threads=1, **options),
    )


def short_pretraining(name: str, **settings) -> dict:
    return pretrain_config(name, **{"epochs": 1, "batch_size": 20, **settings})


def short_probe(*freeze, **settings) -> dict:
    return probe_config(*freeze, **{"epochs": 1, "batch_size": 20, **settings})


ADAM = {
    "lr": 1e-4,
    "betas": (0.5, 0.999),
    "eps": 1e-8,
    "weight_decay": 0,
    "amsgrad": False,
    "maximize": False,
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, ADAM), ({"lr": 3e-5, "beta1": 0.8, "beta2": 0.95}, {**ADAM, "lr": 3e-5, "betas": (0.8, 0.95)})],
    ids=["by default", "as set"],
)
def test_every_step_of_pretraining_is_adam_with_the_rate_and_betas_of_its_settings(
    settings, expected, watching, tmp_path
):
    watch = watching()
    run(pretrain, short_pretraining("supervised", **settings), attempt=MemoryAttempt(tmp_path))
    assert len(watch.groups) == 2
    for kind, group in watch.groups:
        assert kind is torch.optim.Adam
        assert {k: group[k] for k in expected} == expected


SGD = {
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "dampening": 0,
    "nesterov": False,
    "maximize": False,
}


OTHER_SGD = {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.003}


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, SGD), (OTHER_SGD, {**SGD, **OTHER_SGD})], ids=["by default", "as set"]
)
def test_every_step_of_a_probe_is_sgd_with_the_rate_momentum_and_decay_of_its_settings(
    settings, expected, watching, weights, tmp_path
):
    watch = watching()
    run(probe, short_probe(epochs=3, lr_step=2, **settings), weights, attempt=MemoryAttempt(tmp_path))
    assert len(watch.groups) == 6
    for step, (kind, group) in enumerate(watch.groups):
        assert kind is torch.optim.SGD
        now = {**expected, "lr": expected["lr"] * (0.1 if step >= 4 else 1)}
        assert {k: group[k] for k in expected} == pytest.approx(now)


def assert_on_scale(batches: list[Seen], scale: str) -> None:
    """Every image has a black and a white pixel, so its extremes are the scale's."""
    mean, std = (torch.tensor(values) for values in MEAN_STD[scale])
    for _, images in batches:
        for extreme, value in ((images.amin((2, 3)), 0.0), (images.amax((2, 3)), 1.0)):
            torch.testing.assert_close(extreme, ((value - mean) / std).expand_as(extreme), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", ["imagenet", "symmetric"])
def test_a_method_sees_training_and_test_images_on_the_scale_of_its_settings(scale, watching, tmp_path):
    watch = watching()
    run(pretrain, short_pretraining("beta-vae", scale=scale), attempt=MemoryAttempt(tmp_path))
    assert [len(seen.images) for seen in watch.batches] == [20, 20, 16]
    assert_on_scale(watch.batches, scale)


@pytest.mark.parametrize("scale", ["imagenet", "symmetric"])
@pytest.mark.parametrize("freeze", ["conv1-5", "none"])
def test_a_probe_sees_all_its_images_on_the_scale_of_its_settings(freeze, scale, watching, weights, tmp_path):
    watch = watching()
    config = short_probe(freeze, scale=scale, holdout=True)
    run(probe, config, weights, attempt=MemoryAttempt(tmp_path))
    assert {i for seen in watch.batches for i in seen.bytes(1, scale)} == {*TRAIN, *TEST}
    assert_on_scale(watch.batches, scale)


def test_black_is_minus_one_and_white_is_one_on_the_symmetric_scale(watching, tmp_path):
    watch = watching()
    run(pretrain, short_pretraining("supervised", scale="symmetric"), attempt=MemoryAttempt(tmp_path))
    images = watch.trained[0].images
    assert (images.min().item(), images.max().item()) == pytest.approx((-1, 1))


@pytest.mark.parametrize(("name", "split"), [("supervised", TRAIN), ("beta-vae", POOL), ("bigan", POOL)])
def test_supervised_learns_from_the_labelled_split_and_the_others_from_the_pool(
    name, split, watching, tmp_path
):
    """Each image once an epoch, and no other."""
    watch = watching()
    run(pretrain, short_pretraining(name), attempt=MemoryAttempt(tmp_path))
    passes = 2 if name == "bigan" else 1  # one for each player
    assert sorted(i for seen in watch.trained for i in seen.ids) == sorted(passes * list(split))


def order_and_mirrors(watch: Watch) -> tuple[list[int], list[bool]]:
    return [i for s in watch.trained for i in s.ids], [m for s in watch.trained for m in s.mirrored]


def assert_seeds_differ(seen: list[tuple[list[int], list[bool]]]) -> None:
    """Of seed 0, seed 0 again and seed 1."""
    (order, mirrors), again, (other_order, other_mirrors) = seen
    assert again == (order, mirrors)
    assert other_order != order
    assert sorted(other_order) == sorted(order)
    assert other_mirrors != mirrors
    assert 10 < sum(mirrors) < 30


def test_order_and_mirroring_of_pretraining_are_drawn_from_the_seed(watching, tmp_path):
    seen = []
    for seed in (0, 0, 1):
        watch = watching()
        run(pretrain, short_pretraining("supervised", seed=seed, flip=True), attempt=MemoryAttempt(tmp_path))
        seen.append(order_and_mirrors(watch))
    assert_seeds_differ(seen)


def test_order_and_mirroring_of_a_probe_are_drawn_from_the_seed(watching, weights, tmp_path):
    seen = []
    for seed in (0, 0, 1):
        watch = watching()
        run(probe, short_probe("none", seed, flip=True), weights, attempt=MemoryAttempt(tmp_path))
        seen.append(order_and_mirrors(watch))
    assert_seeds_differ(seen)


def test_nothing_is_mirrored_unless_the_settings_say_so(watching, weights, tmp_path):
    watch = watching()
    run(pretrain, short_pretraining("supervised"), attempt=MemoryAttempt(tmp_path))
    run(probe, short_probe("none"), weights, attempt=MemoryAttempt(tmp_path))
    assert not any(order_and_mirrors(watch)[1])


DRAW = {"seed": 0, "phase": "elbo", "step": 0}
NOISE = {"a": Noise("normal", (3, 5)), "b": Noise("normal", (3, 5)), "c": Noise("uniform", (200,))}


def test_a_draw_is_a_function_of_seed_phase_name_and_step_and_of_each_of_them():
    like = torch.zeros(())
    one = draw(NOISE, 4, **DRAW, like=like)
    again = draw(NOISE, 4, **DRAW, like=like)
    assert {k: v.shape for k, v in one.items()} == {"a": (4, 3, 5), "b": (4, 3, 5), "c": (4, 200)}
    assert not torch.equal(one["a"], one["b"])
    assert not torch.equal(one["a"][0], one["a"][1])
    for change in ({"seed": 1}, {"phase": "fool"}, {"step": 1}):
        other = draw(NOISE, 4, **{**DRAW, **change}, like=like)
        for name in NOISE:
            assert torch.equal(one[name], again[name])
            assert not torch.equal(one[name], other[name]), (change, name)


def test_a_normal_draw_has_moments_zero_and_one_and_a_uniform_one_lies_between_zero_and_one():
    spec = {"n": Noise("normal", (100,)), "u": Noise("uniform", (100,))}
    drawn = draw(spec, 1000, **DRAW, like=torch.zeros(()))
    assert drawn["n"].mean().item() == pytest.approx(0, abs=0.02)
    assert drawn["n"].std().item() == pytest.approx(1, abs=0.02)
    assert drawn["u"].min() >= 0
    assert drawn["u"].max() < 1
    assert drawn["u"].mean().item() == pytest.approx(0.5, abs=0.01)


def test_pretraining_gives_every_seed_step_phase_and_latent_noise_of_its_own(watching, tmp_path):
    drawn = []
    for seed in (0, 1):
        watch = watching()
        run(pretrain, short_pretraining("patchvae-gan", seed=seed), attempt=MemoryAttempt(tmp_path))
        assert [n[0] for n in watch.noises] == 2 * ["reconstruct_and_discriminate", "fool"]
        drawn += [v.flatten()[:100] for _, noise, _ in watch.noises for v in noise.values()]
    assert len(drawn) == 2 * 2 * 2 * 2
    for i, one in enumerate(drawn):
        assert not any(torch.equal(one, other) for other in drawn[:i])


def test_pretraining_tells_a_loss_the_temperature_of_its_step(watching, tmp_path):
    watch = watching()
    config = short_pretraining("patchvae", batch_size=10)
    config["method_config"]["anneal_rate"] = 0.1
    run(pretrain, config, attempt=MemoryAttempt(tmp_path))
    told = [schedule["temperature"] for _, _, schedule in watch.noises]
    assert told == pytest.approx([math.exp(-0.1 * step) for step in range(4)])


@pytest.mark.parametrize(("settings", "std"), [({}, 0.01), ({"init_std": 0.05}, 0.05)])
def test_a_head_begins_normal_with_the_deviation_of_its_settings_and_no_bias(
    settings, std, watching, weights, tmp_path
):
    watch = watching()
    run(probe, short_probe(**settings), weights, attempt=MemoryAttempt(tmp_path))
    hidden, hidden_bias, output, output_bias = watch.first
    assert (hidden.shape, output.shape) == ((512, FEATURES), (10, 512))
    assert not hidden_bias.any()
    assert not output_bias.any()
    for weight in (hidden, output):
        assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
        assert weight.mean().item() == pytest.approx(0, abs=5 * std / math.sqrt(weight.numel()))
        assert weight.abs().max() > 3 * std, "a normal has tails"


def test_two_seeds_begin_from_two_heads_and_a_seed_from_one(watching, weights, tmp_path):
    heads = []
    for seed in (0, 0, 1):
        watch = watching()
        run(probe, short_probe(seed=seed), weights, attempt=MemoryAttempt(tmp_path))
        heads.append(watch.first)
    for i in (0, 2):
        assert torch.equal(heads[0][i], heads[1][i])
        assert not torch.equal(heads[0][i], heads[2][i])


def one_image() -> Dataset:
    """All images alike, so that what differs at the head is what was dropped."""
    data = noise_data()

    def alike(split: Split) -> Split:
        return Split(np.repeat(data.train.images[7:8], len(split), 0), split.labels)

    return dataclasses.replace(data, train=alike(data.train), test=alike(data.test))


@pytest.mark.parametrize(
    ("settings", "rate"), [({}, 0.5), ({"dropout": 0.2}, 0.2), ({"dropout": 0.0}, 0.0)], ids=str
)
def test_training_drops_features_at_the_rate_of_the_settings_and_scales_up_the_rest_and_testing_keeps_all(
    settings, rate, watching, weights, tmp_path
):
    watch = watching()
    run(probe, short_probe(**settings), weights, attempt=MemoryAttempt(tmp_path), data=one_image())
    trained = torch.cat([x for training, x in watch.head_inputs if training])
    tested = torch.cat([x for training, x in watch.head_inputs if not training])
    assert (len(trained), len(tested)) == (40, 20)
    whole = tested[0]
    torch.testing.assert_close(tested, whole.expand_as(tested), rtol=1e-4, atol=1e-4)
    alive = whole > 0.01
    kept = trained[:, alive] != 0
    torch.testing.assert_close(trained[:, alive], kept * whole[alive] / (1 - rate), rtol=1e-4, atol=1e-4)
    assert 1 - kept.float().mean().item() == pytest.approx(rate, abs=0.02)
    if rate:
        assert len({tuple(row.tolist()) for row in kept}) == 40, "every image of every step its own mask"


def test_what_is_dropped_depends_on_the_seed(watching, weights, tmp_path):
    dropped = []
    for seed in (0, 1):
        watch = watching()
        run(probe, short_probe(seed=seed), weights, attempt=MemoryAttempt(tmp_path), data=one_image())
        dropped.append(next(x for training, x in watch.head_inputs if training) == 0)
    assert not torch.equal(*dropped)


def test_a_probe_with_a_holdout_trains_on_the_other_nine_tenths_alone(watching, weights, tmp_path):
    watch = watching()
    config = short_probe("none", 3, holdout=True, epochs=2)
    run(probe, config, weights, attempt=MemoryAttempt(tmp_path))
    kept, held = (index.tolist() for index in holdout_split(len(TRAIN), 3))
    assert len(held) == 4
    assert sorted(i for seen in watch.trained for i in seen.ids) == sorted(2 * kept)
    evaluated = [seen.ids for seen in watch.batches if not seen.training and len(seen.ids) > 1]
    assert evaluated == 2 * [list(TEST), held]


@pytest.mark.parametrize("freeze", ["conv1-5", "none"])
def test_other_held_out_images_change_only_what_is_measured_on_them(freeze, weights, tmp_path):
    held = holdout_split(len(TRAIN), 0)[1].numpy()
    data = marked_data()
    images, labels = data.train.images.copy(), data.train.labels.copy()
    images[held], labels[held] = 255 - images[held], (labels[held] + 3) % 10
    other = dataclasses.replace(data, train=Split(images, labels))
    config = short_probe(freeze, holdout=True, epochs=2)
    rows = [
        run(probe, config, weights, attempt=MemoryAttempt(tmp_path), data=d)["epochs"] for d in (data, other)
    ]
    for one, two in zip(*rows, strict=True):
        assert one["val_loss"] != two["val_loss"]
        assert {k: v for k, v in one.items() if "val" not in k} == {
            k: v for k, v in two.items() if "val" not in k
        }


IDENTITY = {"name": "noise", "version": 1}


def last_state(attempt: MemoryAttempt) -> dict[str, Tensor]:
    """The probe's model as it was when last saved."""
    assert attempt.checkpoint is not None
    tensors = attempt.checkpoint[0]
    return {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}


@pytest.mark.parametrize("protocol", ["paper", "clean", "reference"])
def test_scratch_trains_every_scale_and_shift_of_its_backbone(protocol, tmp_path):
    more: dict[str, Any] = {"image_size": 32, "flip": False, "seed": 0, "protocol": protocol}
    start = cfg.pretrain_config("scratch", IDENTITY, **more)
    settings = {"probe.batch_size": 10, "probe.epochs": 1}
    config = cfg.probe_config(start, IDENTITY, freeze="conv1-5", settings=settings, **more)
    begun = module_state(build_method(start, 10))
    write_tensors(tmp_path / "begun.safetensors", begun)
    attempt = MemoryAttempt(tmp_path)
    run(probe, config, tmp_path / "begun.safetensors", attempt=attempt, checkpoint_every_steps=1)
    ended = last_state(attempt)
    backbone = [k for k in begun if k.startswith("backbone.") and k.endswith((".weight", ".bias"))]
    assert sum("bn" in k for k in backbone) == 18
    for key in backbone:
        assert not torch.equal(begun[key], ended[key]), key


def test_a_supervised_pretraining_trains_every_scale_and_shift_of_its_backbone(tmp_path):
    config = short_pretraining("supervised")
    begun = build_method(config, 10).state_dict()
    run(pretrain, config, attempt=MemoryAttempt(tmp_path))
    ended = read_tensors(tmp_path / "model.safetensors")[0]
    assert not [k for k, v in ended.items() if torch.equal(v, begun[k])]


def batch_norm_statistics(weights, tmp_path, frozen_bn: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the frozen backbone: as loaded, and after one step on all training images."""
    attempt = MemoryAttempt(tmp_path)
    config = short_probe(frozen_bn=frozen_bn, batch_size=40, epochs=2)
    run(probe, config, weights, attempt=attempt, checkpoint_every_steps=1)
    begun = {k: v for k, v in read_tensors(weights)[0].items() if "running" in k or "num_batches" in k}
    ended = last_state(attempt)
    assert len(begun) == 3 * 10
    return begun, {k: ended[k] for k in begun}


def test_frozen_batch_norm_keeps_its_statistics_by_default(weights, tmp_path):
    begun, ended = batch_norm_statistics(weights, tmp_path, "stored")
    for key, value in begun.items():
        assert torch.equal(value, ended[key]), key


def test_frozen_batch_norm_of_the_reference_takes_the_statistics_of_every_training_batch(
    watching, weights, tmp_path
):
    watch = watching()
    begun, ended = batch_norm_statistics(weights, tmp_path, "batch")
    for key, value in begun.items():
        if key.endswith("num_batches_tracked"):
            assert ended[key] == value + 1, "of each step, and of no test batch"
        else:
            assert not torch.equal(value, ended[key]), key
    kernel = read_tensors(weights)[0]["backbone.net.conv1.weight"]
    seen = torch.nn.functional.conv2d(watch.trained[0].images, kernel, stride=2, padding=3)
    key = "backbone.net.bn1.running_mean"
    torch.testing.assert_close(ended[key], 0.9 * begun[key] + 0.1 * seen.mean((0, 2, 3)))
