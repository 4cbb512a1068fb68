"""What a measurement leaves: one JSON object with the machine it was taken on. No torch before that is described."""

import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.files import write_json
from bench.perf.clone import AUTHORS

SCHEMA = "bench perf 1"


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The median of a value a round, its lowest, its highest and each."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "each": list(values),
    }


def machine(device: str, name: str, threads: int) -> dict[str, Any]:
    """The device, the software and the switches on which numbers depend.

    Args:
        device: "cpu" or "cuda".
        name: what it calls itself.
        threads: of all that was measured.
    """
    import torch

    from bench.launch.device import num_cores, processor_name
    from bench.provenance import determinism, git_state, now, package_versions, source_hash
    from bench.speed import has_bf16

    facts: dict[str, Any] = {
        "device": device,
        "name": name,
        "processor": processor_name(),
        "cores": num_cores(),
        "threads": threads,
        "bf16_units": has_bf16(device),
        "versions": package_versions(("torch", "numpy")),
        "source": {"hash": source_hash(), **git_state()},
        "switches": determinism(),
        "load": os.getloadavg()[0],
        "taken": now(),
    }
    if device == "cuda":
        facts |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "capability": list(torch.cuda.get_device_capability()),
            "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
        }
    return facts


def shared_words(facts: Mapping[str, Any]) -> str:
    """How busy the machine was when measuring ended, in words."""
    load = facts["machine"]["load"]
    return f"load {load:.1f} on {facts['machine']['cores']} cores at its end"


def read_facts(path: Path) -> dict[str, Any]:
    """What an earlier measurement left.

    Raises:
        UsageError: the file cannot be read, or is something else.
    """
    try:
        facts = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not _whole(facts):
        raise UsageError(f"{path} is no measurement: give a perf.json of `bench perf --out`, or of --json")
    return facts


def _whole(facts: dict[str, Any]) -> bool:
    try:
        numbers = [value for _, values in ratios(facts) for value in values]
        known = [facts["machine"][key] for key in ("device", "name", "threads", "taken", "source")]
        return facts["schema"] == SCHEMA and bool(known) and bool(numbers) and all(v > 0 for v in numbers)
    except (KeyError, TypeError, AttributeError):
        return False


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Keep a measurement."""
    write_json(path, facts)


def ratios(facts: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], list[float]]]:
    """What two measurements may be compared by: (what, ratio of what), and its value in each round.

    Of the authors' step there is nothing: it gets no slower, and ours are held against it. Nor of features that are
    kept from one freeze point to the next: both sides of that ratio may get faster.
    """
    for row in facts.get("pretrain", {}).get("rows", ()):
        for way in row["ways"]:
            what = f"{row['method']} {way['way']}"
            if way["way"] == AUTHORS:
                continue
            if "times_authors" in way:
                yield (what, "authors / way"), way["times_authors"]["each"]
            if way["way"] != "plain":
                yield (what, "plain / way"), way["times_faster"]["each"]
            yield (what, "of convolutions"), way["of_convolutions"]["each"]
    for row in facts.get("probe", {}).get("rows", ()):
        for name, way in row["ways"].items():
            if name != "recomputed":
                yield (f"{row['freeze']} {name}", "recomputed / way"), way["each_round"]
