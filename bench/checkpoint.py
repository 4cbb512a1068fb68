"""Checkpoints: tensors plus JSON in one safetensors file, with a checksum over both. Nothing is pickled.

Each is written whole before it takes its name, and the one before it is kept, so that a kill at any moment
leaves at least one to go on from.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RecordError
from bench.files import naming, plain, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"


def _digest(tensors: "dict[str, Tensor]", meta: str) -> str:
    import torch

    total = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_tensors(path: Path, tensors: "dict[str, Tensor]", meta: dict[str, Any] | None = None) -> None:
    """Write tensors and JSON whole.

    Args:
        path: the file.
        tensors: any dtype, on any device; a copy of each is written.
        meta: what JSON can hold; real numbers come back exactly.
    """
    from safetensors.torch import save

    # Own storage each: safetensors refuses tensors that share memory, as tied weights do.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(plain(meta or {}), allow_nan=False)
    write_bytes(path, save(own, {"meta": text, "sha256": _digest(own, text)}))


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Read what `write_tensors` wrote.

    Returns:
        The tensors, on the CPU, and the JSON.

    Raises:
        FileNotFoundError: there is none.
        OSError: the file system does not give it; it may be whole.
        RecordError: it is cut short, or its content is not what was written.
    """
    tensors, meta, _ = _read(path)
    return tensors, json.loads(meta)


def read_with_digest(path: Path) -> "tuple[dict[str, Tensor], str]":
    """The tensors, on the CPU, and the SHA-256 of them and their JSON; see `read_tensors`."""
    tensors, _, digest = _read(path)
    return tensors, digest


def _read(path: Path) -> "tuple[dict[str, Tensor], str, str]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(path)
    with naming(path):
        # Not mapped into memory: a page that a file server does not give then would kill the whole process.
        data = path.read_bytes()
    try:
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])["__metadata__"]
        meta = header["meta"]
        if _digest(tensors, meta) != header["sha256"]:
            raise RecordError(f"{path} is broken: its checksum does not fit")
        json.loads(meta)
        return tensors, meta, header["sha256"]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RecordError(f"{path} is broken: {error}") from None


def save_checkpoint(folder: Path, tensors: "dict[str, Tensor]", meta: dict[str, Any]) -> None:
    """Write the folder's checkpoint and keep the one before it."""
    new = folder / ("new." + NAME)
    write_tensors(new, tensors, meta)
    current = folder / NAME
    if current.exists():
        current.replace(folder / PREVIOUS)
    new.replace(current)


def checkpoint_files(folder: Path) -> list[Path]:
    """A folder's checkpoints, the newest first: one that a kill kept from its final name comes before all."""
    return [path for name in ("new." + NAME, NAME, PREVIOUS) if (path := folder / name).is_file()]
