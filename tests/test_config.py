"""Configurations and ids: the same cell has one id, and nothing else has it."""

import json

import pytest

from bench import config as cfg
from bench.errors import UsageError
from bench.protocols import PRESETS, PROTOCOLS, ProbeSettings, TrainSettings, preset_epochs
from bench.settings import parse_settings
from models import registry as methods

DIGITS = {"name": "digits", "version": 1}


def pretrain(method="patchvae", identity=DIGITS, **more):
    return cfg.pretrain_config(method, identity, **{"image_size": 32, "flip": False, "seed": 0, **more})


def probe(start, **more):
    more = {"image_size": 32, "flip": False, "seed": 0, "freeze": "conv1-5", **more}
    return cfg.probe_config(start, DIGITS, **more)


@pytest.mark.parametrize("method", methods.METHODS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_method_under_every_protocol_has_a_configuration_that_json_keeps(method, protocol):
    config = pretrain(method, protocol=protocol)
    assert json.loads(json.dumps(config)) == config
    probed = probe(config, protocol=protocol)
    assert json.loads(json.dumps(probed)) == probed
    assert probed["pretrain_id"] == cfg.config_id(config)
    assert cfg.variant(config) == cfg.variant(probed) == ""


def test_an_id_does_not_depend_on_the_order_of_keys_and_is_pinned():
    config = pretrain()
    assert cfg.config_id(dict(reversed(config.items()))) == cfg.config_id(config)
    # Changing this orphans every run on disk: raise the schema or add the field to IMPLIED instead.
    assert cfg.config_id({"schema": 1, "kind": "pretrain", "lr": 1e-4}) == "201c8d230e942412"


def test_a_field_at_the_value_that_earlier_runs_implied_stays_out_of_the_hash():
    old = {"train": {"lr": 0.1}}
    implied = {"train.compile": False, "probe.x": 1}
    assert cfg.canonical({"train": {"lr": 0.1, "compile": False}}, implied) == cfg.canonical(old, implied)
    assert cfg.canonical({"train": {"lr": 0.1, "compile": True}}, implied) != cfg.canonical(old, implied)
    before, after = (
        {"pretrain": old, "freeze": "conv1"},
        {"pretrain": {"train": {"lr": 0.1, "compile": False}}},
    )
    assert cfg.canonical({**before, **after}, implied) == cfg.canonical(before, implied), "a probe of it, too"


def test_whole_and_real_numbers_of_a_real_setting_are_one_cell():
    one, same = pretrain(settings={"beta_occ": 1}), pretrain(settings={"beta_occ": 1.0})
    assert cfg.config_id(one) == cfg.config_id(same)


@pytest.mark.parametrize("name", ["seed", "backbone", "preset", "method"])
def test_what_changes_the_computation_changes_the_id(name):
    other = {"seed": 1, "backbone": "resnet18", "preset": "smoke", "method": "bigan"}[name]
    assert cfg.config_id(pretrain(**{name: other})) != cfg.config_id(pretrain())


def test_an_untrained_backbone_is_one_cell_under_all_protocols_and_training_settings():
    ids = {
        cfg.config_id(pretrain("random", protocol=protocol, preset=preset, settings={"pretrain.lr": lr}))
        for protocol in PROTOCOLS
        for preset in PRESETS
        for lr in (0.1, 0.2)
    }
    assert len(ids) == 1


def test_scratch_is_probed_end_to_end_whatever_freeze_point_is_asked():
    start = pretrain("scratch")
    assert start["train"]["epochs"] == 0
    configs = [probe(start, freeze=freeze) for freeze in ("conv1", "conv1-5")]
    assert configs[0] == configs[1]
    assert configs[0]["freeze"] == "none"
    assert configs[0]["probe"]["bn_affine"] is True


def test_the_three_protocols_are_those_of_the_table():
    paper, clean, reference = (pretrain(protocol=name) for name in ("paper", "clean", "reference"))
    assert [c["train"]["scale"] for c in (paper, clean, reference)] == ["imagenet", "symmetric", "imagenet"]
    assert [c["train"]["epoch_images"] for c in (paper, clean, reference)] == [None, None, 50_000]
    assert [c["train"]["drop_last"] for c in (paper, clean, reference)] == [False, False, True]
    assert [c["method_config"]["annealing"] for c in (paper, clean, reference)] == [
        "exponential",
        "exponential",
        "compounded",
    ]
    probes = [
        probe(start, protocol=name)["probe"]
        for start, name in ((paper, "paper"), (clean, "clean"), (reference, "reference"))
    ]
    assert [p["bn_affine"] for p in probes] == [False, True, False]
    assert [p["frozen_bn"] for p in probes] == ["stored", "stored", "batch"]
    assert [p["holdout"] for p in probes] == [False, True, False]
    assert [p["drop_last"] for p in probes] == [False, False, False]
    assert [PROTOCOLS[name].rule for name in ("paper", "clean", "reference")] == ["last", "val", "best-test"]


def test_the_papers_numbers_are_the_defaults():
    train, head = TrainSettings(), ProbeSettings()
    assert (train.lr, train.batch_size, train.beta1, train.beta2) == (1e-4, 128, 0.5, 0.999)
    assert (head.lr, head.lr_step, head.lr_gamma, head.momentum) == (0.01, 30, 0.1, 0.9)
    assert (head.hidden, head.dropout, head.weight_decay, head.init_std) == (512, 0.5, 1e-4, 0.01)
    assert preset_epochs("full", "cifar100") == preset_epochs("full", "indoor67") == (90, 90)
    assert preset_epochs("full", "places205") == (2, 5)
    assert preset_epochs("full", "imagenet") == (30, 30)
    assert preset_epochs("smoke", "cifar100") == (2, 3)
    assert preset_epochs("smoke", "folder:birds") == PRESETS["smoke"]["folder"]


def test_a_variant_is_what_differs_in_the_words_of_set():
    pairs = ("num_parts=8", "pretrain.lr=1e-3", "probe.dropout=0", "pretrain.epochs=1")
    settings = parse_settings(pairs, ["patchvae"])
    start = pretrain(settings=settings)
    assert cfg.variant(start) == "num_parts=8,pretrain.lr=0.001"
    assert cfg.variant(probe(start, settings=settings)) == "num_parts=8,pretrain.lr=0.001,probe.dropout=0"
    assert cfg.schedule(probe(start, preset="smoke")) == "1+3"
    assert cfg.variant(pretrain(protocol="reference")) == ""


def test_settings_are_typed_by_their_field():
    pairs = ["prior_occ=none", "weighted_by=1", "pretrain.epoch_images=100", "probe.bn_affine=yes"]
    names = ["patchvae", "bigan"]
    settings = parse_settings([p for p in pairs if "by" not in p], names)
    assert settings == {"prior_occ": None, "pretrain.epoch_images": 100, "probe.bn_affine": True}
    assert "joint_channels" not in pretrain("patchvae", settings={"joint_channels": 8})["method_config"]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("num_prts=3", "did you mean 'num_parts'"),
        ("latent_dim=3", "no selected method has a setting 'latent_dim'"),
        ("num_parts=many", "not a whole number"),
        ("beta_app=nan", "finite"),
        ("annealing=slow", "allowed: exponential, compounded"),
        ("probe.holdout=maybe", "allowed: true, false"),
        ("num_parts", "key=value"),
        ("weighted=true", "no selected method"),
    ],
)
def test_a_wrong_setting_is_one_line(pair, words):
    with pytest.raises(UsageError, match=words):
        parse_settings([pair], ["patchvae"])


@pytest.mark.parametrize(
    "settings",
    [{"num_parts": -1}, {"pretrain.lr": 0.0}, {"pretrain.epochs": -1}, {"pretrain.beta1": 1.0}],
)
def test_a_value_that_the_settings_refuse_is_a_usage_error(settings):
    with pytest.raises(UsageError):
        pretrain(settings=settings)
    with pytest.raises(UsageError):
        probe(pretrain(), settings={"probe.epochs": 0})


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (lambda: TrainSettings(scale="bogus"), "scale is 'bogus'; allowed: imagenet, symmetric"),  # pyright: ignore
        (lambda: ProbeSettings(frozen_bn="nope"), "allowed: stored, batch"),  # pyright: ignore
        (lambda: ProbeSettings(momentum=5), "momentum is 5"),
    ],
)
def test_settings_are_checked_when_built(settings, word):
    with pytest.raises(ValueError, match=word):
        settings()
