"""Weights of a backbone that exist already: named as timm does, by a folder or a file, known by their hash.

No torch until a name is looked up. What of them enters a configuration is where they are from, their SHA-256 and the
scale of their input; a path never does.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, UsageError
from bench.evaluations.weights import Weights, sha256_of
from bench.exported.folder import Described, read_folder

TIMM = "timm"
# By which name a path of them goes in `RunOptions.weights`.
KEY = "backbone"
# Arguments of timm's that change no feature of a network whose weights are given and that has no head.
_HARMLESS = ("dynamic_img_size", "zero_init_last", "num_classes", "drop_rate", "drop_path_rate")
FILES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Given:
    """Weights that somebody has.

    Attributes:
        backbone: name of the network that they are of.
        origin: where they are from: "timm NAME.TAG", "file", or the label of the run that was exported.
        sha256: of the file.
        scale: of their input, see `bench.protocols.TrainSettings`; None where the file does not say.
        typed: by what they were named; a path is absolute.
        path: of the file, absolute.
        labels: the data set whose labels they have learned from, where a run of ours says so.
    """

    backbone: str
    origin: str
    sha256: str
    scale: str | None
    typed: str
    path: str
    labels: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What of them enters a configuration."""
        labels = {"labels": self.labels} if self.labels else {}
        return {"origin": self.origin, "sha256": self.sha256, "scale": self.scale, **labels}

    @property
    def weights(self) -> Weights:
        """The file."""
        return Weights(self.path, self.sha256)

    def __str__(self) -> str:
        scale = f"input scale {self.scale}" if self.scale else "input on the protocol's scale"
        return f"{self.backbone}: {self.origin} (SHA-256 {self.sha256[:16]}), {scale}"


def title(weights: Mapping[str, Any], beside: str | None = None) -> str:
    """Where weights are from, for a reader.

    Args:
        weights: `Given.identity`.
        beside: scale of the input of what they stand beside; another one of their own is told.
    """
    origin, scale = str(weights["origin"]), weights.get("scale")
    name = f"file {str(weights['sha256'])[:8]}" if origin == "file" else origin
    return f"{name} (input scale {scale})" if beside and scale not in (None, beside) else name


def look_up(text: str, backbone: str | None, fetch: bool = True) -> Given:
    """The weights that a text means, looked for and hashed.

    Args:
        text: `timm`, its own of the backbone; `timm:NAME.TAG` or `timm:NAME`; a folder that timm opens, such as
            `bench export` writes; a file of weights.
        backbone: name of the network that they must be of; None where the text says it.
        fetch: get what is not here from where it is published; otherwise only look.

    Raises:
        UsageError: there are none, they cannot be had, or they are of another backbone. Nothing is written but
            timm's cache.
    """
    if text == TIMM or text.startswith(TIMM + ":"):
        return _of_timm(text, backbone, fetch)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return _of_folder(path, backbone)
    if not path.exists():
        raise UsageError(f"{text} is neither a file of weights nor a folder; timm's own are timm:NAME")
    if path.suffix not in FILES:
        raise UsageError(f"{text}: weights are in a file that ends in one of {', '.join(FILES)}")
    if backbone is None:
        raise UsageError(f"{text} does not say of which network it is: --backbone NAME does")
    return Given(backbone, "file", _hash(path), None, str(path), str(path))


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None


def _of_folder(path: Path, backbone: str | None) -> Given:
    found = read_folder(path)
    name = _backbone_of(found)
    if backbone not in (None, name):
        raise UsageError(f"{path} holds a {name}, and --backbone is {backbone}")
    # It enters an identity and the lines of tables, whoever has edited it.
    origin = f"run {found.own['run'][:8]}: {_line(found.own['label'])}" if _ours(found) else "file"
    labels = found.own.get("labels") if _ours(found) else None
    return Given(name, origin, _hash(found.weights), scale_of(found.mean, found.std, str(path)), str(path),
                 str(found.weights), _line(labels) if isinstance(labels, str) else None)  # fmt: skip


def _ours(found: Described) -> bool:
    named = all(isinstance(found.own.get(key), str) for key in ("run", "label", "backbone"))
    return named and re.fullmatch("[0-9a-f]{16}", found.own["run"]) is not None


def _line(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _backbone_of(found: Described) -> str:
    """The name by which a folder's network is known here.

    Raises:
        UsageError: it was built with arguments by which no network is known here.
    """
    from models.backbones import TIMM_MODELS

    given = {key: value for key, value in found.model_args.items() if key not in _HARMLESS}
    strange = sorted(given)
    for name, (architecture, args) in TIMM_MODELS.items():
        wanted = {key: value for key, value in args.items() if key not in _HARMLESS}
        if found.architecture != architecture or any(given.get(key) != wanted[key] for key in wanted):
            continue
        # Weights fit whatever lies between them: another activation, stride or padding is another network.
        if given == wanted:
            return name
        strange = sorted(given.keys() - wanted.keys())
    if strange:
        raise UsageError(
            f"{found.path}: its {found.architecture} was built with {strange[0]}={found.model_args[strange[0]]},"
            " and only networks as timm names them are known here"
        )
    return found.architecture


def scale_of(mean: Any, std: Any, what: str) -> str | None:
    """The name of the scale that has this mean and deviation; None where they are not told.

    Raises:
        UsageError: no scale has them.
    """
    from bench.data.batches import MEAN_STD

    if mean is None or std is None:
        return None
    for name, known in MEAN_STD.items():
        pairs = ((known[0], mean), (known[1], std))
        if all(
            len(a) == len(b) and all(abs(x - y) < 1e-6 for x, y in zip(a, b, strict=True)) for a, b in pairs
        ):
            return name
    raise UsageError(f"{what}: no input scale here has its mean {tuple(mean)} and deviation {tuple(std)}")


def _of_timm(text: str, backbone: str | None, fetch: bool) -> Given:
    import timm

    named = text.partition(":")[2] or (backbone or "")
    architecture, _, tag = named.partition(".")
    if not architecture:
        raise UsageError("--weights timm needs to know the network: --backbone NAME")
    if backbone is not None and architecture != backbone:
        raise UsageError(f"{text} is of {architecture}, and --backbone is {backbone}")
    cfg = None
    if timm.is_model(architecture) and (tag or timm.models.is_model_pretrained(architecture)):
        try:
            cfg = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture)
        except RuntimeError:
            cfg = None
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise _no_weights(architecture, tag, timm.list_pretrained())
    name = f"{architecture}.{cfg.tag}" if cfg.tag else architecture
    path = _fetched(name, cfg, fetch)
    return Given(architecture, f"{TIMM} {name}", _hash(path), scale_of(cfg.mean, cfg.std, name), f"{TIMM}:{name}",
                 str(path))  # fmt: skip


def _no_weights(architecture: str, tag: str, known: list[str]) -> UsageError:
    from models.backbones import TIMM_MODELS

    if architecture in TIMM_MODELS:
        return UsageError(
            f"timm has no weights of {architecture}: it is none of its networks, as resnet18 is"
        )
    tags = [name for name in known if name.partition(".")[0] == architecture]
    if tags:
        return UsageError(f"timm has no weights {architecture}.{tag}; it has {', '.join(tags[:6])}")
    near = difflib.get_close_matches(f"{architecture}.{tag}", known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"timm has no weights of {architecture}{hint}")


def _fetched(name: str, cfg: Any, fetch: bool) -> Path:
    """The file of timm's weights, in the hub's cache or in torch's.

    Raises:
        UsageError: it is not there, and cannot be fetched or is not to be.
    """
    where = f"https://huggingface.co/{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url
    try:
        found = _on_hub(cfg, fetch) if cfg.hf_hub_id else _by_address(cfg.url, fetch)
    except BenchError:
        raise
    except Exception as error:
        # The hub's client, its transport and torch's have an error each for a network that is not there.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"timm's weights {name} are not here, and {where} does not give them: {lines[0]}"
        ) from None
    if found is None:
        raise UsageError(
            f"timm's weights {name} are not here: without --dry-run they are fetched from {where}"
        )
    return found


def _on_hub(cfg: Any, fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from huggingface_hub.utils import logging

    # It tells of each of its tries; what came of them is told here.
    logging.set_verbosity_error()
    repo, _, revision = str(cfg.hf_hub_id).partition("@")
    names = [cfg.hf_hub_filename] if cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for file in names:
        if isinstance(path := try_to_load_from_cache(repo, file, revision=revision or None), str):
            return Path(path)
    for number, file in enumerate(names if fetch else ()):
        try:
            return Path(hf_hub_download(repo, file, revision=revision or None))
        except LocalEntryNotFoundError:
            # Of the network, not of the repository.
            raise
        except EntryNotFoundError:
            if number == len(names) - 1:
                raise
    return None


def _by_address(url: str, fetch: bool) -> Path | None:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if path.exists():
        return path
    if not fetch:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), progress=False)
    return path
