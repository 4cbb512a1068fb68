"""Parameter counts of the paper's Tables 8 to 12, number for number, and the backbones."""

from typing import Any

import pytest
import timm
import torch

from models.architectures import build, classifier, count, decoder, tables
from models.backbones import Backbone, point_names

ENCODERS = {
    (32, "beta-vae"): 888_192,
    (32, "bigan"): 789_792,
    (32, "patchvae"): 922_896,
    (64, "beta-vae"): 1_478_016,
    (64, "bigan"): 1_084_704,
    (64, "patchvae"): 922_896,
}
DECODERS = {
    (32, "beta-vae"): 774_144,
    (32, "bigan"): 774_144,
    (32, "patchvae"): 683_904,
    (64, "beta-vae"): 1_069_056,
    (64, "bigan"): 1_069_056,
    (64, "patchvae"): 683_904,
}


@pytest.mark.parametrize(("size", "name"), ENCODERS)
def test_encoder_parameters(size, name):
    method = build(name, size)
    assert count(method.backbone, method.get_submodule("heads")) == ENCODERS[size, name]


@pytest.mark.parametrize(("size", "name"), DECODERS)
def test_decoder_parameters(size, name):
    assert count(decoder(build(name, size))) == DECODERS[size, name]


@pytest.mark.parametrize(
    ("size", "classes", "total"), [(32, 100, 1_783_460), (64, 67, 4_912_259), (64, 205, 4_983_053)]
)
def test_classifier_parameters(size, classes, total):
    backbone = Backbone("resnet9")
    assert count(backbone, classifier(backbone, size, classes)) == total


def test_probe_head_is_the_one_counted():
    from bench.heads import Head

    assert count(Backbone("resnet9"), Head(2048, 100)) == 1_783_460


def test_resnet9_is_a_timm_model():
    net: Any = timm.create_model("resnet9", num_classes=0)
    assert count(net) == 683_072
    assert net.num_features == 128
    assert [f["reduction"] for f in net.feature_info] == [2, 4, 8]
    assert net.forward_features(torch.zeros(2, 3, 64, 64)).shape == (2, 128, 8, 8)
    net.reset_classifier(7)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_resnet9_features_only_gives_three_maps():
    net: Any = timm.create_model("resnet9", features_only=True)
    maps = net(torch.zeros(1, 3, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert net.feature_info.channels() == [64, 64, 128]
    assert net.feature_info.reduction() == [2, 4, 8]


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "wide_resnet50_2", "seresnet50", "regnetx_002"])
def test_residual_branches_of_an_untrained_backbone_are_alive(name):
    backbone = Backbone(name)
    for module_name, module in backbone.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.all(module.weight == 1), module_name


@pytest.mark.parametrize("name", ["resnet9", "resnet18", "convnext_atto", "efficientnet_b0", "regnetx_002"])
def test_stages_in_sequence_are_timms_own_features(name):
    backbone = Backbone(name).eval()
    x = torch.randn(2, 3, 64, 64)
    reference = timm.create_model(name, features_only=True, pretrained=False).eval()
    weights = {k.replace(".", "_"): v for k, v in backbone.net.state_dict().items()}
    own = {k: k.replace(".", "_") for k in reference.state_dict()}
    reference.load_state_dict({k: weights[flat] for k, flat in own.items()})
    with torch.no_grad():
        expected = reference(x)
        assert len(backbone.stages) == len(expected) == len(point_names(backbone.taps))
        for i, taps in enumerate(expected, start=1):
            out = backbone(x, 0, i)
            if out.shape == taps.shape:
                assert torch.equal(out, taps)
            assert torch.equal(backbone(out, i), backbone(x)), "a prefix and its suffix make the whole"
        assert torch.equal(backbone(x), expected[-1])


def test_freeze_points_have_the_papers_names():
    def freeze_points(name):
        return point_names(Backbone(name).taps)

    assert freeze_points("resnet9") == ("conv1", "conv1-3", "conv1-5")
    assert freeze_points("resnet18") == ("conv1", "conv1-3", "conv1-5", "conv1-7", "conv1-9")
    assert freeze_points("convnext_atto") == ("stage1", "stage2", "stage3", "stage4")


def test_a_network_that_timm_does_not_know_is_refused_in_one_line():
    with pytest.raises(ValueError, match="no_such_network") as error:
        Backbone("no_such_network")
    assert "\n" not in str(error.value)


def test_a_network_without_sequential_stages_is_frozen_whole():
    assert point_names(Backbone("vit_tiny_patch16_224").taps) == ("whole",)


def test_every_table_prints_with_the_papers_counts():
    printed = {t.number: t for t in tables()}
    assert set(printed) == {8, 9, 10, 11, 12}
    assert printed[8].rows[-1] == ("# Parameters", "888,192", "789,792", "922,896")
    assert printed[12].rows[-1] == ("# Parameters", "1,783,460", "4,912,259", "4,983,053")


def test_the_kept_tables_are_those_of_the_live_modules():
    from bench.studies import STUDIES

    kept = [
        (table.name, table.title, table.columns, table.rows) for table in STUDIES["patchvae"].architectures
    ]
    assert kept == [(str(t.number), t.title, t.columns, t.rows) for t in tables()], (
        "bench list architectures --json > bench/studies/patchvae/architectures.json"
    )


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_atto"])
@pytest.mark.parametrize("name", ["patchvae", "beta-vae-gan", "bigan"])
def test_methods_fit_a_backbone_of_stride_32(name, backbone):
    method = build(name, 64, backbone)
    assert method.backbone.stride == 32
    assert "1024" in str(decoder(method))


def test_an_image_that_is_no_multiple_of_the_stride_is_refused():
    with pytest.raises(ValueError, match="30 is not a multiple"):
        build("patchvae", 30)
