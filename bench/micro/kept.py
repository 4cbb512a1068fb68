"""Measurements in the cache folder, one file each, so that the next dry run is instant. No torch."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.compiled import cache_folder
from bench.errors import RecordError
from bench.files import read_json, write_json
from bench.launch.device import num_cores, processor_name
from bench.micro.measurement import Measurement
from bench.provenance import source_hash

FOLDER = "measured"


@dataclass(frozen=True)
class Place:
    """Where and how a measurement was taken; it tells nothing of another place.

    Attributes:
        kind: "cpu" or "gpu".
        device: what it calls itself.
        threads: of a cell: what was asked for, else of how many cores the process may use.
        speed: as wished.
        precision: as wished.
        torch: its version.
        source: hash of the source.
    """

    kind: str
    device: str
    threads: str
    speed: str
    precision: str
    torch: str
    source: str

    def elsewhere(self) -> dict[str, str]:
        """What must agree where the device is not at hand, as on a login node."""
        return {key: value for key, value in asdict(self).items() if key not in ("device", "threads")}


def place(kind: str, threads: int | None, speed: str, precision: str) -> Place:
    """This machine, as far as it is known without torch.

    Args:
        kind: "cpu" or "gpu".
        threads: of a cell; None is torch's choice.
        speed: as wished.
        precision: as wished.
    """
    usual = os.environ.get("OMP_NUM_THREADS") or f"{num_cores()} cores"
    said = usual if threads is None else str(threads)
    device = processor_name() if kind == "cpu" else _gpu_name()
    return Place(kind, device, said, speed, precision, metadata.version("torch"), source_hash())


def _gpu_name() -> str:
    """What NVIDIA's driver calls the GPUs; "gpu" where it does not say."""
    names = set()
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        names |= {line.partition(":")[2].strip() for line in lines if line.startswith("Model:")}
    return ", ".join(sorted(names)) or "gpu"


def keep(where: Place, key: str, measurement: Measurement) -> None:
    """Write one; a folder that cannot be written only makes the next dry run measure again."""
    text = json.dumps([asdict(where), key], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        folder = cache_folder() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        row = {"place": asdict(where), "key": key, "measurement": measurement.as_json()}
        write_json(folder / f"{name}.json", row, flush=False)
    except OSError:
        return


def kept(where: Place, keys: Iterable[str], *, anywhere: bool = False) -> dict[str, Measurement]:
    """What is known of some signatures, by key.

    Args:
        where: the place.
        keys: of the signatures.
        anywhere: on whatever device of the kind, with whatever number of threads; of several, the newest.
    """
    wanted, found = set(keys), dict[str, Measurement]()
    try:
        paths = sorted((cache_folder() / FOLDER).glob("*.json"))
    except OSError:
        paths = []
    for path in paths:
        try:
            row = read_json(path)
            if row["key"] not in wanted or not _agrees(row["place"], where, anywhere):
                continue
            measured = Measurement.from_json(row["measurement"])
        except (RecordError, OSError, KeyError, TypeError, ValueError):
            # Of another version, or cut short: measured again.
            continue
        if row["key"] not in found or measured.at > found[row["key"]].at:
            found[row["key"]] = measured
    return found


def _agrees(row: Mapping[str, Any], where: Place, anywhere: bool) -> bool:
    asked = where.elsewhere() if anywhere else asdict(where)
    return all(row[name] == value for name, value in asked.items())
