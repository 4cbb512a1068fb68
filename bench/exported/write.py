"""From a finished run to the folder of its backbone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.errors import RecordError, UsageError
from bench.exported.card import make_card
from bench.exported.folder import CARD, CONFIG, KEY, WEIGHTS, as_text, check_target, written_whole
from bench.files import write_bytes
from bench.plan import label
from bench.protocols import Scale
from bench.records import Run, load_run, load_runs, packed_file
from bench.selection import WHOLE, freeze_points
from models.plugins import registers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.backbones import Backbone

# On timm's own forward pass and on ours; both are the same operations in the same order.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        run: id of the pretraining whose backbone it is.
        label: of that pretraining.
        architecture: timm's name of the network.
        params: its number of parameters.
        sha256: of the weights in the pretraining's folder, as results of probes name them.
        module: that has to be imported so that timm knows the network; "" of timm's own.
    """

    folder: Path
    run: str
    label: str
    architecture: str
    params: int
    sha256: str
    module: str


def pretraining_of(run: Run, results: Path) -> Run:
    """The pretraining whose backbone a run stands for.

    Raises:
        UsageError: the run trained stages of the backbone itself, or the pretraining is not done or has no weights.
    """
    config, parent = run.config, run
    if config["kind"] != "pretrain":
        found = load_run(results, config["pretrain_id"])
        if found is None:
            raise UsageError(f"{label(config)}: its pretraining {config['pretrain_id']} is not in {results}")
        parent = found
    if config["kind"] == "probe":
        last = freeze_points(parent.config["backbone"])[-1]
        if config["freeze"] != last:
            raise UsageError(
                f"{label(config)} trained stages of its own, whose weights no probe keeps: name its pretraining"
                f" {parent.id}, or the probe at {last}, which is that backbone whole"
            )
    if parent.result is None:
        raise UsageError(f"{label(parent.config)} is {parent.state}: only what is done can be exported")
    if parent.weights is None:
        raise UsageError(f"the weights of {label(parent.config)} are gone from {parent.dir}")
    return parent


def export(run: Run, results: Path, to: Path, *, force: bool = False, license: str = "unknown") -> Exported:
    """Write the backbone of a run as a folder that timm opens.

    Args:
        run: a pretraining; or a probe or an evaluation, which stands for its pretraining.
        results: the results folder that it is of.
        to: the folder to write.
        force: replace an exported backbone that is there.
        license: of the weights, as the hub names licences.

    Raises:
        UsageError: the folder is not ours to write, the run has no backbone to give, or timm alone would not compute
            what this project computes with it, or nobody knows the scale of its input. Nothing is written.
        RecordError: the weights are broken.
    """
    check_target(to, force)
    if packed_file(results) is not None:
        raise UsageError(
            f"{results} holds records without weights: export from the results folder they are of"
        )
    parent = pretraining_of(run, results)
    scale = seen_scale(run, parent, results)
    twin = timm_twin(parent)
    config = _config(parent, twin, license, scale)
    card = make_card(parent, results, config, license)
    with written_whole(to) as place:
        # Read by timm as it is: no pickle, and no metadata but the format's.
        from safetensors.torch import save

        tensors = {name: tensor.detach().contiguous() for name, tensor in twin.net.state_dict().items()}
        write_bytes(place / WEIGHTS, save(tensors, {"format": "pt"}))
        write_bytes(place / CONFIG, as_text(config).encode())
        write_bytes(place / CARD, card.encode())
        _check_opened(place, twin, int(parent.config["image_size"]))
    params = sum(p.numel() for p in twin.net.parameters())
    return Exported(to, parent.id, label(parent.config), twin.architecture, params, twin.sha256,
                    config[KEY].get("needs", {}).get("module", ""))  # fmt: skip


@dataclass(frozen=True)
class Twin:
    """A backbone that was trained here, and the same as timm alone builds it.

    Attributes:
        backbone: ours.
        net: timm's, with the same weights. What timm runs after the last stage (a final norm) stays as timm
            initialises it: no method trains it.
        architecture: timm's name of it.
        args: timm's arguments for it.
        sha256: of the weights in the pretraining's folder.
        untrained: names of the tensors that are timm's own.
    """

    backbone: "Backbone"
    net: "nn.Module"
    architecture: str
    args: dict[str, Any]
    sha256: str
    untrained: list[str]


def timm_twin(run: Run) -> Twin:
    """The backbone of a pretraining, and the same by timm.

    Raises:
        UsageError: timm's network cannot hold its weights.
        RecordError: the weights are broken or gone.
    """
    import timm

    from bench.build import build_backbone, under
    from bench.checkpoint import read_with_digest
    from bench.streams import seeded_init
    from models.backbones import timm_model

    name = run.config["backbone"]
    backbone = build_backbone(name, 0)
    assert run.weights is not None
    try:
        tensors, digest = read_with_digest(run.weights)
    except FileNotFoundError as error:
        raise RecordError(str(error)) from None
    backbone.load_state_dict(under(tensors, "backbone."))
    architecture, args = timm_model(name)
    args = {**args, **backbone.args}
    with seeded_init(0, "init", "backbone"):
        net = timm.create_model(architecture, num_classes=0, **args)
    missing, unexpected = net.load_state_dict(under(tensors, "backbone.net."), strict=False)
    if unexpected:
        raise UsageError(
            f"timm's {architecture} has no {unexpected[0]!r}: it cannot hold the weights of {name}"
        )
    return Twin(backbone, net.eval(), architecture, args, digest, missing)


def _check_opened(folder: Path, twin: Twin, size: int) -> None:
    """Open a folder as anybody would, and look whether it computes what was probed.

    Raises:
        UsageError: it does not.
    """
    import timm

    if _apart(twin.backbone, timm.create_model(f"local-dir:{folder}", pretrained=True), size) > TOLERANCE:
        after = f" (such as {twin.untrained[0].rpartition('.')[0]})" if twin.untrained else ""
        raise UsageError(
            f"timm's {twin.architecture} computes more than the stages that were trained{after}: its features would"
            " differ"
        )


def _apart(backbone: "Backbone", net: Any, size: int) -> float:
    """Largest difference of two networks' feature maps on an image, relative to the largest value."""
    import torch

    image: Tensor = torch.linspace(-2, 2, 3 * size * size).reshape(1, 3, size, size).sin()
    net.eval()
    with torch.no_grad():
        ours = backbone.eval()(image)
        # Of a network that is one stage, its pooled features.
        theirs: Tensor = (
            net(image)[:, :, None, None] if backbone.taps == (WHOLE,) else net.forward_features(image)
        )
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-12))


def seen_scale(run: Run, pretrain: Run, results: Path) -> Scale:
    """The scale on which a backbone saw its images, see `bench.protocols.TrainSettings`.

    Args:
        run: what was named: the pretraining, or a probe or an evaluation of it, which may have a scale of its own.
        pretrain: the pretraining.
        results: the folder that they are of.

    Raises:
        UsageError: it was trained on no images, and its probes saw theirs on several scales.
    """
    config = pretrain.config
    if own := _scale_of_judge(run):
        return own
    if given := (config.get("weights") or {}).get("scale"):
        return given
    if config["train"]["epochs"]:
        return config["train"]["scale"]
    judges = [
        one for one in load_runs(results) if one.config.get("pretrain_id") == pretrain.id and one.result
    ]
    found = sorted({scale for one in judges if (scale := _scale_of_judge(one))})
    if len(found) > 1:
        raise UsageError(
            f"{label(config)} was trained on no images, and what judged it saw them on the scales"
            f" {' and '.join(found)}: name the probe or the evaluation that is meant"
        )
    return cast("Scale", found[0]) if found else config["train"]["scale"]


def _scale_of_judge(run: Run) -> Scale | None:
    return (run.config.get("probe") or run.config.get("evaluate") or {}).get("scale")


def _interpolation(dataset: str) -> str:
    """How an image file is brought to a size, as timm names it; arrays of one size are not, but for digits."""
    from bench.data import registry

    try:
        return "bilinear" if registry.spec(dataset).files else "bicubic"
    except UsageError:
        # Of a package that is no longer installed.
        return "bilinear"


def _needs(architecture: str) -> dict[str, Any]:
    """The package without which timm does not know a network."""
    found = registers(architecture.partition(".")[0])
    return {} if found is None else {"needs": {"package": str(found[0]), "module": found[1]}}


def _config(run: Run, twin: Twin, license: str, scale: Scale) -> dict[str, Any]:
    """What timm reads, with what only this project knows under a key of its own."""
    from bench.data.batches import MEAN_STD
    from bench.report.overlaps import labels_seen

    pretrain, known, args = run.config, cast(Any, twin.net), twin.args
    mean, std = MEAN_STD[scale]
    size, method = pretrain["image_size"], pretrain["method"]
    cfg = {key: known.pretrained_cfg.get(key) for key in ("first_conv", "classifier")}
    return {
        "architecture": twin.architecture,
        "num_classes": 0,
        "num_features": int(known.num_features),
        "global_pool": "avg",
        **({"model_args": args} if args else {}),
        "pretrained_cfg": {
            "tag": f"{method.replace('-', '_')}_{run.id[:8]}",
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": False,
            "interpolation": _interpolation(str(pretrain["dataset"]["name"])),
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": 0,
            "pool_size": None,
            "license": license,
            **{key: value for key, value in cfg.items() if value},
        },
        KEY: {
            "run": run.id,
            "label": label(pretrain).removesuffix(" pretrain"),
            "method": method,
            "backbone": pretrain["backbone"],
            "probed": "pooled" if freeze_points(pretrain["backbone"]) == (WHOLE,) else "maps",
            "dataset": dict(pretrain["dataset"]),
            "fingerprint": (run.provenance.get("data") or {}).get("fingerprint"),
            "seed": pretrain["seed"],
            "labels": labels_seen(pretrain),
            **_needs(twin.architecture),
            "weights": twin.sha256,
        },
    }
