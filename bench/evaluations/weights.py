"""Weights of somebody else's network that an evaluation needs and the user has: known by their hash. No torch."""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.errors import UsageError
from bench.files import naming

# The Inception that FID and KID are defined on, as torch-fidelity publishes it (release v0.2.0, 95,628,359 bytes).
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        path: of it, absolute. No part of any cell's identity.
        sha256: of its content, which is.
    """

    path: str
    sha256: str


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inception(path: Path, vouched: str | None) -> Weights:
    """The Inception weights in a file.

    Args:
        path: of the file.
        vouched: the hash of other weights than torch-fidelity's that the user wants to take for them.

    Raises:
        UsageError: torch-fidelity is not installed, there is no such file, or its content is not what it should be.
    """
    if vouched is not None and not re.fullmatch("[0-9a-fA-F]{64}", vouched):
        raise UsageError(f"--fid-weights-sha256 {vouched}: a SHA-256 is 64 hexadecimal digits")
    if find_spec("torch_fidelity") is None:
        raise UsageError("--fid-weights needs torch-fidelity: pip install 'bench-representations[fid]'")
    if not path.is_file():
        raise UsageError(f"--fid-weights {path} is not a file; torch-fidelity's is at {INCEPTION_URL}")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UsageError(f"--fid-weights {path} cannot be read: {error.strerror or error}") from None
    wanted = INCEPTION_SHA256 if vouched is None else vouched.lower()
    if found == wanted:
        return Weights(str(path.absolute()), found)
    if vouched is not None:
        raise UsageError(
            f"--fid-weights {path}: its SHA-256 is {found}, not the {wanted} that was vouched for"
        )
    raise UsageError(
        f"--fid-weights {path}: its SHA-256 is {found}, not {wanted} of torch-fidelity's file ({INCEPTION_URL});"
        f" --fid-weights-sha256 {found} takes it all the same"
    )
