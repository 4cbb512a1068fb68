"""`bench perf`: what a step comes to, its ceilings, what a table says, and that what got slower is told by ratios."""

import json
import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bench import direct, winograd
from bench.cli import main
from bench.commands import perf
from bench.errors import UsageError
from bench.perf import shown
from bench.perf.breakdown import breakdown, kind_of
from bench.perf.facts import SCHEMA, read_facts, spread
from bench.perf.roofline import roofline
from bench.perf.steps import make_steps, random_images, some_images
from bench.perf.ways import chosen, ways
from bench.perf.work import Convolutions, work_of
from bench.speed import PLAIN, Speed, choose
from models import losses

CPU = torch.device("cpu")
# Convolutions that are computed by our own code.
OWN = [
    n
    for module in (direct, winograd)
    for n, v in vars(module).items()
    if isinstance(v, type) and issubclass(v, torch.autograd.Function)
]
SHAPE: dict[str, Any] = {"batch": 4, "size": 16, "num_classes": 10}


def facts(ratio=1.2, share=0.8, rounds=9, noise=0.02):
    """A measurement of one method whose rounds scatter by `noise` around what it is given."""
    around = [1 + noise * (k - (rounds - 1) / 2) / max(1, rounds - 1) for k in range(rounds)]

    def way(name, faster, of):
        return {
            "way": name,
            "ms": 600.0 / faster,
            "images_per_second": 128 / 0.6 * faster,
            "flops": 40e9 * faster,
            "peak_bytes": 900_000_000,
            "times_faster": spread([faster * k if name != "plain" else 1.0 for k in around]),
            "of_convolutions": spread([of * k for k in around]),
            "of_product": spread([of * k for k in around]),
        }

    row = {
        "method": "patchvae-gan",
        "flop": 24e9,
        "touched_bytes": 6e8,
        "convolutions": {"flops": 50e9, "dtype": "fp32", "layout": "channels_last"},
        "ways": [way("plain", 1.0, share), way("no-keep-memory", ratio, share * ratio)],
    }
    part = {
        "batch": 128,
        "size": 32,
        "rounds": rounds,
        "precision": "auto",
        "clock": "CPU seconds",
        "product": {"dtype": "fp32", "flops": 57e9},
        "copied_bytes_per_second": 9e9,
        "rows": [row],
    }
    machine = {
        "device": "cpu",
        "name": "a processor",
        "threads": 1,
        "cores": 2,
        "load": 1.5,
        "bf16_units": False,
        "versions": {"torch": "2.14"},
        "source": {"hash": "0" * 16, "commit": "c" * 40},
        "taken": "2026-01-01T00:00:00+00:00",
        "switches": {},
    }
    return {"schema": SCHEMA, "pretrain": part, "machine": machine}


@pytest.fixture(scope="module")
def plain_step():
    return make_steps("beta-vae", PLAIN, random_images(4, 16, 10), device=CPU, **SHAPE)


def test_flop_and_bytes_of_operations_are_those_counted_by_hand():
    x, w = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3, requires_grad=True)
    work = work_of(lambda: F.conv2d(x, w, padding=1).sum().backward())
    forward = 2 * 2 * 5 * 8 * 8 * 3 * 9
    # The input has no gradient: backwards there is the weight's alone.
    assert work.flop == 2 * forward
    assert [len(call[1]) for call in work.calls] == [9, 11]
    out, image, weight = 4 * 2 * 5 * 64, 4 * 2 * 3 * 64, 4 * 5 * 27
    assert work.touched >= 2 * (out + image + weight)
    assert work_of(lambda: x.view(-1).view(2, -1)).touched == 0


def test_convolutions_alone_are_a_steps_own(plain_step):
    work = work_of(plain_step.next)
    alone = Convolutions(work.calls, CPU, "channels_last", torch.float32)
    assert alone.flop() == pytest.approx(work.flop, rel=1e-3)
    modules = [
        m for m in plain_step.method.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    ]
    # Each once forward and once backward: a beta-VAE has one phase and shares no layer.
    assert len(work.calls) == 2 * len(modules)


def test_ways_are_plain_fast_and_each_switch_turned():
    found = ways(choose("cpu"), each=True, compiled=True)
    assert list(found) == [
        "plain",
        "fast",
        "+flat-update",
        "no-fused-adam",
        "no-winograd",
        "no-direct",
        "no-fused-norm",
        "no-once",
        "no-keep-memory",
        "compiled",
    ]
    assert found["plain"] == PLAIN
    assert found["compiled"] == Speed(compile="always")
    for name, speed in found.items():
        if name[0] == "+" or name.startswith("no-"):
            turned = [k for k, v in speed.as_json().items() if v != found["fast"].as_json()[k]]
            assert turned == [name.lstrip("+").removeprefix("no-").replace("-", "_")]


def test_a_gpus_fast_way_is_measured_as_a_long_run_has_it_compiled():
    found = ways(choose("cuda", precision="fp32"), each=True, bf16=True)
    assert found["fast"].compile == "always"
    assert {"no-compile", "no-flat-update", "+graph", "+bf16"} < set(found)
    assert found["+graph"].compile == "never"


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="unknown way 'fsat': did you mean 'fast'"):
        chosen(ways(choose("cpu")), ["fsat"])


@pytest.mark.parametrize("side", [8, 20])
def test_images_are_repeated_to_fill_batches_and_scaled(side):
    few = random_images(2, 10, 3)
    some = some_images(few, 4, side)
    assert some.images.shape == (16, 3, side, side)
    assert (some.labels == [*few.labels, *few.labels]).all()
    assert (some_images(few, 2, 10).images == few.images).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolution"),
        ("aten::conv_transpose2d", "convolution"),
        *((name, "convolution") for name in OWN),
        *((f"{name}Backward", "convolution") for name in OWN),
        ("aten::native_batch_norm_backward", "BN"),
        ("_Normalised", "BN"),
        ("_Pooled", "BN"),
        ("autograd::engine::evaluate_function: _PooledBackward", "BN"),
        ("aten::leaky_relu_", "activation"),
        ("aten::max_pool2d_with_indices_backward", "pooling"),
        ("Optimizer.step#Adam.step", "Adam"),
        ("aten::mul", None),
    ],
)
def test_an_operation_has_the_kind_of_its_name(name, kind):
    assert kind_of(name) == kind


def test_a_profile_shares_out_the_whole_step_and_leaves_the_losses_as_they_were():
    step = make_steps("beta-vae", choose("cpu"), random_images(4, 16, 10), device=CPU, **SHAPE)
    before = dict(vars(losses))
    shares = breakdown(step.next, CPU)
    assert dict(vars(losses)) == before
    assert math.isclose(sum(shares.values()), 1)
    # Its max-pool is computed at once with BN.
    assert {"convolution", "BN", "activation", "Adam", "losses"} <= set(shares)
    assert shares["other"] < 0.25


def test_a_table_fits_a_hundred_columns_and_says_the_numbers():
    text = shown.text(facts())
    assert max(len(line) for line in text.splitlines()) <= 100
    line = next(line for line in text.splitlines() if "no-keep-memory" in line)
    assert line.split() == [
        "patchvae-gan",
        "no-keep-memory",
        "500",
        "256",
        "48.0",
        "96",
        "96",
        "900",
        "1.20",
        "(1.19–1.21)",
    ]
    assert "| patchvae-gan | no-keep-memory | 500 |" in shown.markdown(facts(), "perf.svg")


def test_a_roofline_is_whole_and_the_same_for_the_same_numbers():
    drawn = roofline(facts())
    assert drawn["png"].startswith(b"\x89PNG")
    texts = [e.text for e in ET.fromstring(drawn["svg"]).iter("{http://www.w3.org/2000/svg}text")]
    assert {"patchvae-gan", "plain", "no-keep-memory", "a copy: 9 GB/s"} <= set(texts)
    assert roofline(facts())["svg"] == drawn["svg"]


def test_freeze_points_are_those_of_the_backbone(monkeypatch):
    parts = []
    monkeypatch.setattr(perf, "_measured", lambda given, found: parts.append(found["probe"]) or 0)
    monkeypatch.setattr("bench.perf.probe.measure", lambda wish, tell: {"freezes": wish.freezes})
    given = [["--backbone", "convnext_atto"], ["--backbone", "resnet18"], ["--probes", "conv1"]]
    assert [main(["perf", "probe", *words]) for words in given] == [0, 0, 0]
    measured = [part.measure(None, "cpu", print)["freezes"] for part in parts]
    assert measured == [("stage1", "stage2", "stage3", "stage4"), perf.FREEZES, ("conv1",)]


def test_a_measurement_is_read_back(tmp_path):
    file = tmp_path / "perf.json"
    file.write_text(json.dumps(facts()))
    assert read_facts(file) == facts()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["pretrain", "-m", "beta-vea"], "unknown method 'beta-vea': did you mean 'beta-vae'?"),
        (["pretrain", "-m", "random"], "random takes no training step"),
        (["probe", "--probes", "conv9"], "unknown freeze point 'conv9': did you mean 'conv1'?"),
        (["pretrain", "--device", "gpu"], "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["seeds", "--device", "gpu"], "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["pretrain", "-d", "digts"], "unknown data set 'digts': did you mean 'digits'?"),
        (["pretrain", "--compare", "nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["--threads", "2", "pretrain"], "--threads belongs behind the part"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_cannot_be_measured_is_refused_in_one_line(capsys, words, error):
    assert main(["perf", *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1


def test_a_measurement_is_printed_kept_drawn_and_compared(tmp_path, capsys):
    words = [
        "perf",
        "pretrain",
        "-m",
        "beta-vae",
        "--batch",
        "4",
        "--size",
        "16",
        "--rounds",
        "3",
        "--no-memory",
    ]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "beta-vae  fast" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "perf.json",
        "perf.md",
        "perf.png",
        "perf.svg",
    ]
    kept = json.loads((tmp_path / "a/perf.json").read_text())
    (row,) = kept["pretrain"]["rows"]
    assert row["ways"][0]["times_faster"]["each"] == [1, 1, 1]
    assert row["convolutions"]["flop"] <= row["flop"]
    for way in row["ways"]:
        assert way["flops"] == pytest.approx(row["flop"] / 4 * way["images_per_second"])
        assert way["flops"] == pytest.approx(row["flop"] / way["ms"] * 1e3)
        for ratio in ("times_faster", "of_convolutions"):
            way[ratio]["each"] = [100.0, 100.0, 100.0]
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(kept))
    assert main([*words, "--compare", str(earlier), "--json"]) == 1
    compared = json.loads(capsys.readouterr().out)["compared"]
    assert {row["verdict"] for row in compared} == {"slower"}


def test_alone_it_measures_both_parts_and_prints_both(monkeypatch, capsys):
    way = {
        "seconds": 9.0,
        "ms_a_batch": 8.0,
        "images_per_second": 700.0,
        "times_faster": 5.5,
        "each_round": [5.0, 5.5, 6.0],
    }
    ceiling = {"matmul_flops": 57e9, "convolutions_flops": 50e9, "convolutions_images_per_second": 2000.0}
    probed = {
        **{"epochs": 30, "epochs_run": 3, "images": 1280, "tested": 256, "pairs": 3, "ceiling": ceiling},
        "rows": [{"freeze": "conv1-5", "flop_per_image": 1e6, "ways": {"recomputed": way, "cached": way}}],
    }
    wishes = []
    monkeypatch.setattr(
        "bench.perf.pretrain.measure", lambda wish, tell: wishes.append(wish) or facts()["pretrain"]
    )
    monkeypatch.setattr("bench.perf.probe.measure", lambda wish, tell: wishes.append(wish) or probed)
    assert main(["perf"]) == 0
    text = capsys.readouterr().out
    assert "patchvae-gan  no-keep-memory" in text
    assert "5.50 (5.00–6.00)" in text
    assert wishes[0].methods == ("beta-vae", "patchvae", "patchvae-gan")
    assert (wishes[0].batch, wishes[0].size, wishes[0].rounds) == (128, 32, 9)
    assert (wishes[1].freezes, wishes[1].pairs, wishes[1].images) == (
        ("conv1-5", "conv1-3", "conv1"),
        5,
        1280,
    )
