"""What each method minimises, written out a second time; who is told what by an adversary; how heads begin."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import softplus

from bench.build import build_method
from bench.engines import updated_names
from models import losses
from models.method import Method
from models.patchvae import pool_appearance
from models.registry import METHODS, resolve_config
from tests.learning import TRAINED, make_batch, pretrain_config

AUTOENCODERS = [name for name in METHODS if name.startswith(("beta-vae", "patchvae"))]
ADVERSARIAL = ["beta-vae-gan", "patchvae-gan"]


def method_with(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, **settings) -> Any:
    """A method with some of its settings changed; its children are reached by name."""
    config = pretrain_config(name, seed)
    config["method_config"] = dataclasses.asdict(resolve_config(name, **settings))
    return build_method(config, 10).to(dtype).train()


def batch_of(method: Method, count: int = 4):
    batch, noises, schedule = make_batch(method, 0, 0, count, dtype=next(method.parameters()).dtype)
    return batch.image, batch, noises, schedule


def squared(recon: Tensor, image: Tensor, weights: Tensor | float = 1.0) -> float:
    return (weights * (recon - image) ** 2).sum().item() / len(image)


def move(parameters: Sequence[Tensor], loss: Tensor, length: float = 1e-3) -> None:
    """One step of the given length down the gradient."""
    grads = torch.autograd.grad(loss, parameters)
    norm = math.sqrt(sum(g.square().sum().item() for g in grads))
    with torch.no_grad():
        for parameter, g in zip(parameters, grads, strict=True):
            parameter -= length * g / norm


def stepped(method: Method, phase: int) -> list[Tensor]:
    return [dict(method.named_parameters())[n] for n in updated_names(method, method.phases[phase])]


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_beta_vae_minimises_squared_error_plus_beta_times_the_kl(beta):
    method = method_with("beta-vae", beta=beta)
    image, batch, noises, schedule = batch_of(method)
    mu, logvar = method.heads(method.backbone(image))
    q = Normal(mu, (logvar / 2).exp())
    kl = kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum().item() / len(image)
    recon = squared(method.decoder(mu + q.scale * noises[0]["z"]), image)
    values = method("elbo", batch, noises[0], schedule)
    assert kl > 1
    assert values["kl"].item() == pytest.approx(kl)
    assert values["recon"].item() == pytest.approx(recon)
    assert values["loss"].item() == pytest.approx(recon + beta * kl, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "prior"),
    [({}, 1 / 16), ({"num_parts": 4}, 1 / 4), ({"prior_occ": 0.2}, 0.2)],
    ids=["of 16 parts", "of 4 parts", "set"],
)
def test_patchvae_weighs_the_appearance_kl_by_beta_app_and_the_occurrence_kl_by_beta_occ(settings, prior):
    method = method_with("patchvae", beta_app=3.0, beta_occ=0.25, **settings)
    image, batch, noises, schedule = batch_of(method)
    parts = method.heads(method.backbone(image))
    mu, var = pool_appearance(parts)
    normal = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    kl_app = kl_divergence(Normal(mu, var.sqrt()), normal).sum().item() / len(image)
    q = Bernoulli(logits=parts.occurrence)
    kl_occ = kl_divergence(q, Bernoulli(torch.full_like(q.logits, prior))).sum().item() / len(image)
    u = noises[0]["occurrence"]
    occurrence = torch.sigmoid((parts.occurrence + (u / (1 - u)).log()) / schedule["temperature"])
    appearance = mu + var.sqrt() * noises[0]["appearance"]
    code = torch.einsum("bnd,bnhw->bndhw", appearance, occurrence).flatten(1, 2)
    recon = squared(method.decoder(code), image)
    values = method("elbo", batch, noises[0], schedule)
    assert values["kl_app"].item() == pytest.approx(kl_app)
    assert values["kl_occ"].item() == pytest.approx(kl_occ)
    assert values["recon"].item() == pytest.approx(recon)
    assert values["loss"].item() == pytest.approx(recon + 3.0 * kl_app + 0.25 * kl_occ, rel=1e-9)


def test_the_paper_weighs_appearance_by_1_and_occurrence_by_three_fifths_of_a_prior_of_one_part_in_n():
    config = resolve_config("patchvae")
    assert (config.beta_app, config.beta_occ, config.prior) == (1.0, 0.6, 1 / 16)
    assert resolve_config("patchvae", num_parts=8).prior == 1 / 8
    assert resolve_config("beta-vae").beta == 1.0


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_weighted_method_weighs_the_squared_error_by_the_laplacian_and_a_plain_one_does_not(name):
    method = method_with(name, laplacian_patch=4)
    image, batch, noises, schedule = batch_of(method)
    recon = method.infer(image, noises[0], schedule).recon
    plain = squared(recon, image)
    weighted = squared(recon, image, losses.laplacian_weights(image, 4))
    assert abs(weighted - plain) > 1e-3 * plain
    values = method(method.phases[0].loss, batch, noises[0], schedule)
    assert values["recon"].item() == pytest.approx(weighted if name.endswith("-lw") else plain, rel=1e-9)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_an_adversarial_elbo_adds_beta_gan_times_both_cross_entropies_of_the_discriminator(name):
    method, plain = method_with(name, beta_gan=0.5), method_with(name.removesuffix("-gan"))
    image, batch, noises, schedule = batch_of(method)
    recon = method.infer(image, noises[0], schedule).recon
    real = softplus(-method.discriminator(image)).mean().item()
    fake = softplus(method.discriminator(recon)).mean().item()
    elbo = plain("elbo", batch, noises[0], schedule)["loss"].item()
    values = method("reconstruct_and_discriminate", batch, noises[0], schedule)
    assert values["d_real"].item() == pytest.approx(real, rel=1e-9)
    assert values["d_fake"].item() == pytest.approx(fake, rel=1e-9)
    assert values["loss"].item() == pytest.approx(elbo + 0.5 * (real + fake), rel=1e-9)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_fooling_is_beta_gan_times_the_cross_entropy_of_reconstructions_passing_for_images(name):
    method = method_with(name, beta_gan=0.5)
    image, batch, noises, schedule = batch_of(method)
    recon = method.infer(image, noises[1], schedule).recon
    fooled = softplus(-method.discriminator(recon)).mean().item()
    values = method("fool", batch, noises[1], schedule)
    assert values["fool"].item() == pytest.approx(fooled, rel=1e-9)
    assert values["loss"].item() == pytest.approx(0.5 * fooled, rel=1e-9)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_discriminator_comes_to_say_real_of_images_and_fake_of_reconstructions(name):
    method = method_with(name, dtype=torch.float32)
    image, batch, noises, schedule = batch_of(method)
    weights = list(method.get_submodule("discriminator").parameters())
    for _ in range(12):
        loss = method("reconstruct_and_discriminate", batch, noises[0], schedule)["loss"]
        move(weights, loss, length=0.1)
    with torch.no_grad():
        recon = method.infer(image, noises[0], schedule).recon
        assert (method.discriminator(image) > 0).all()
        assert (method.discriminator(recon) < 0).all()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_fooling_step_makes_reconstructions_look_more_real_and_leaves_the_discriminator_alone(name):
    method = method_with(name)
    image, batch, noises, schedule = batch_of(method)

    def logit():
        with torch.no_grad():
            return method.discriminator(method.infer(image, noises[1], schedule).recon).mean().item()

    before, judge = logit(), copy.deepcopy(dict(method.discriminator.named_parameters()))
    move(stepped(method, 1), method("fool", batch, noises[1], schedule)["loss"])
    assert logit() > before
    for key, value in method.discriminator.named_parameters():
        assert torch.equal(value, judge[key]), key


def bigan_logits(method: Any, image: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of an image with its own code, and of a generated image with the code it came from."""
    with torch.no_grad():
        encoded = method.discriminator(image, method.encode(image))
        return encoded, method.discriminator(method.generator(z), z)


def test_bigan_calls_an_image_with_its_code_real_and_a_generated_one_fake_and_swaps_both_to_fool():
    method = method_with("bigan")
    image, batch, noises, schedule = batch_of(method)
    encoded, generated = bigan_logits(method, image, noises[0]["z"])
    told = method("discriminate", batch, noises[0], schedule)
    assert told["d_real"].item() == pytest.approx(softplus(-encoded).mean().item(), rel=1e-9)
    assert told["d_fake"].item() == pytest.approx(softplus(generated).mean().item(), rel=1e-9)
    assert told["loss"].item() == pytest.approx((told["d_real"] + told["d_fake"]).item())

    encoded, generated = bigan_logits(method, image, noises[1]["z"])
    swapped = method("fool", batch, noises[1], schedule)
    assert swapped["fool_encoder"].item() == pytest.approx(softplus(encoded).mean().item(), rel=1e-9)
    assert swapped["fool_generator"].item() == pytest.approx(softplus(-generated).mean().item(), rel=1e-9)
    assert swapped["loss"].item() == pytest.approx(sum(swapped[k].item() for k in swapped if k != "loss"))


def test_bigans_discriminator_comes_to_tell_the_two_kinds_of_pairs_apart():
    method = method_with("bigan", dtype=torch.float32)
    image, batch, noises, schedule = batch_of(method)
    for _ in range(12):
        move(stepped(method, 0), method("discriminate", batch, noises[0], schedule)["loss"], length=0.1)
    encoded, generated = bigan_logits(method, image, noises[0]["z"])
    assert (encoded > 0).all()
    assert (generated < 0).all()


def test_a_fooling_step_of_bigan_lowers_the_logit_of_encoded_images_and_raises_that_of_generated_ones():
    method = method_with("bigan")
    image, batch, noises, schedule = batch_of(method)
    encoded, generated = bigan_logits(method, image, noises[1]["z"])
    move(stepped(method, 1), method("fool", batch, noises[1], schedule)["loss"])
    after_encoded, after_generated = bigan_logits(method, image, noises[1]["z"])
    assert after_encoded.mean() < encoded.mean()
    assert after_generated.mean() > generated.mean()


def test_supervised_minimises_the_negative_log_probability_of_the_label_from_pooled_features():
    method = method_with("supervised")
    _, batch, _, schedule = batch_of(method)
    pooled = method.backbone(batch.image).mean((-2, -1))
    logits = pooled @ method.classifier.weight.T + method.classifier.bias
    picked = logits.log_softmax(1)[torch.arange(4), batch.label]
    values = method("classify", batch, {}, schedule)
    assert values["loss"].item() == pytest.approx(-picked.mean().item(), rel=1e-9)
    assert values["train_top1"].item() == (logits.argmax(1) == batch.label).double().mean().item()


@pytest.mark.parametrize("name", ["random", "scratch"])
def test_a_control_has_nothing_to_minimise(name):
    assert method_with(name).phases == ()


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "supervised"])
def test_convolutions_of_backbone_and_heads_begin_kaiming_normal_by_fan_out_without_bias(name):
    method = method_with(name)
    for child in ("backbone", "heads"):
        for key, layer in method.get_submodule(child).named_modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                tolerance = 5 / math.sqrt(2 * layer.weight.numel())
                std = layer.weight.std().item()
                assert std == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance), key
                assert layer.weight.abs().max() > 2.5 * std, "a normal has tails"
                assert layer.bias is None or not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight == 1).all()
                assert not layer.bias.any()


def test_the_layer_of_supervised_begins_with_a_deviation_of_a_hundredth_and_no_bias():
    weight = method_with("supervised").classifier.weight
    assert weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * weight.numel()))
    assert not method_with("supervised").classifier.bias.any()


@pytest.mark.parametrize("name", ["beta-vae-gan", "patchvae-gan", "bigan"])
def test_decoders_and_discriminators_begin_as_torch_has_them(name):
    """Uniform within one over the root of the fan-in."""
    method = method_with(name)
    decoder = method.get_submodule("generator" if name == "bigan" else "decoder")
    layers = [*decoder.modules(), *method.get_submodule("discriminator").modules()]
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(weights) > 6
    for weight in weights:
        bound = 1 / math.sqrt(weight[0].numel())
        assert weight.abs().max().item() <= bound
        tolerance = 5 / math.sqrt(weight.numel())
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=tolerance)


@pytest.mark.parametrize("name", TRAINED)
def test_heads_of_two_seeds_begin_differently(name):
    one, other = method_with(name, seed=0), method_with(name, seed=1)
    for key, value in one.named_parameters():
        if value.ndim > 1:
            assert not torch.equal(value, other.get_parameter(key)), key
