"""The paper's Tables 8 to 12, printed from the live modules: what is counted here is what is trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import nn

from models.backbones import Backbone
from models.method import Method
from models.registry import resolve_config, spec

METHODS = (("β-VAE", "beta-vae"), ("BiGAN", "bigan"), ("PatchVAE", "patchvae"))
HEAD_UNITS = 512


@dataclass(frozen=True)
class Architecture:
    """One table: a header, rows of cells, and the number it has in the paper."""

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def count(*modules: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def describe(module: nn.Module) -> str:
    """Layers in the paper's notation: (kernel x kernel, channels, stride, pad), BN, ReLU, ..."""
    words = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kernel, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])  # pyright: ignore
            words.append(f"({kernel}×{kernel}, {layer.out_channels}, {stride}, {pad})")
        elif isinstance(layer, nn.MaxPool2d):
            words.append(f"Pool({layer.kernel_size}×{layer.kernel_size}, {layer.stride}, {layer.padding})")
        elif isinstance(layer, nn.BatchNorm2d):
            words.append("BN")
        elif isinstance(layer, nn.ReLU):
            words.append("ReLU")
        elif isinstance(layer, nn.LeakyReLU):
            words.append(f"LeakyReLU({layer.negative_slope})")
        elif isinstance(layer, nn.Tanh):
            words.append("tanh")
        elif isinstance(layer, nn.Linear):
            words.append(f"{layer.in_features}×{layer.out_features}")
    return " ".join(words)


def build(name: str, image_size: int, backbone: str = "resnet9") -> Method:
    """A method with its default settings, without memory for its weights."""
    row = spec(name)
    module, _, cls = row.target.partition(":")
    with torch.device("meta"):
        return getattr(import_module(module), cls)(resolve_config(name), Backbone(backbone), image_size)


def decoder(method: Method) -> nn.Module:
    """What turns latents into an image."""
    return method.get_submodule("generator" if hasattr(method, "generator") else "decoder")


def classifier(backbone: Backbone, image_size: int, classes: int) -> nn.Sequential:
    """The probe's head on a whole backbone (Table 12), without memory for its weights."""
    inputs = backbone.num_features * (image_size // backbone.stride) ** 2
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(inputs, HEAD_UNITS), nn.ReLU(), nn.Linear(HEAD_UNITS, classes))


def _encoder_table(number: int, data: str, size: int) -> Architecture:
    methods = [build(name, size) for _, name in METHODS]
    heads = [m.get_submodule("heads") for m in methods]
    reduce = [describe(h.get_submodule("reduce")) if hasattr(h, "reduce") else "-" for h in heads]
    outputs = []
    for h in heads:
        children = h.get_submodule("outputs") if hasattr(h, "outputs") else h
        parts = [(n, c) for n, c in children.named_children() if n != "occurrence"]
        outputs.append(", ".join(f"{n}: {describe(c)}" for n, c in parts))
    occurrence = [describe(h.get_submodule("occurrence")) if hasattr(h, "occurrence") else "-" for h in heads]
    totals = [f"{count(m.backbone, h):,}" for m, h in zip(methods, heads, strict=True)]
    rows = (
        ("Features ϕ", *["Resnet-9"] * 3),
        ("Q^O", *occurrence),
        ("Q^A, shared", *reduce),
        ("Q^A, outputs", *outputs),
        ("# Parameters", *totals),
    )
    return Architecture(number, f"Encoders, {data}", ("Layer", *(t for t, _ in METHODS)), rows)


def _decoder_table(number: int, data: str, size: int) -> Architecture:
    decoders = [decoder(build(name, size)) for _, name in METHODS]
    steps = [_blocks(d) for d in decoders]
    height = max(map(len, steps))
    rows = [(f"{i + 1}", *(s[i] if i < len(s) else "" for s in steps)) for i in range(height)]
    totals = ("# Parameters", *(f"{count(d):,}" for d in decoders))
    return Architecture(number, f"Decoders, {data}", ("Layer", *(t for t, _ in METHODS)), (*rows, totals))


def _blocks(module: nn.Module) -> list[str]:
    """One entry a convolution with what follows it."""
    blocks: list[list[str]] = []
    for layer in module.children():
        text = describe(layer)
        if isinstance(layer, nn.ConvTranspose2d):
            blocks.append([text])
        else:
            blocks[-1].append(text)
    return [" ".join(b) for b in blocks]


def _classifier_table() -> Architecture:
    data = (("CIFAR100", 32, 100), ("Indoor67", 64, 67), ("Places205", 64, 205))
    with torch.device("meta"):
        backbone = Backbone("resnet9")
    heads = [classifier(backbone, size, classes) for _, size, classes in data]
    names = ("Conv1", "Conv2-3", "Conv4-5")
    rows: list[tuple[str, ...]] = []
    for i, name in enumerate(names):
        text = " ".join(filter(None, (describe(m) for m in backbone.stage_modules(i, i + 1))))
        rows.append((name, *[text] * 3))
    rows.append(("FC", *(describe(h) for h in heads)))
    rows.append(("# Parameters", *(f"{count(backbone, h):,}" for h in heads)))
    columns = ("Layer", *(f"{n} ({s}×{s}×3)" for n, s, _ in data))
    return Architecture(12, "Classifier", columns, tuple(rows))


def tables() -> Iterable[Architecture]:
    """Tables 8 to 12, in order."""
    small, large = "CIFAR100 (32×32)", "Indoor67 and Places205 (64×64)"
    return (
        _encoder_table(8, small, 32),
        _encoder_table(9, large, 64),
        _decoder_table(10, small, 32),
        _decoder_table(11, large, 64),
        _classifier_table(),
    )
