"""Of which other code the steps are that an attempt goes on from: the same switches may have rounded otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import RecordError
from bench.files import read_json


def sources(provenance: Mapping[str, Any]) -> dict[str, str]:
    """What code computes, by package: hashes of this project's and of those whose methods and data sets it has."""
    plugins = provenance.get("plugins") or {}
    found = {"bench": provenance.get("source_hash")}
    found |= {name: facts.get("source_hash") for name, facts in sorted(plugins.items())}
    return {name: text for name, text in found.items() if text}


def other_sources(path: Path, now: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The other code, from the first: for the provenance, and for the log.

    Most changes of the code change no number, so this is not said to the user.

    Args:
        path: provenance of the attempt that is gone on from; what that one went on from counts too.
        now: provenance of the one that goes on.

    Returns:
        `other_sources` and words, or nothing of either where all is of the same code or nobody knows.
    """
    try:
        before = read_json(path)
    except (FileNotFoundError, RecordError):
        return {}, ""
    ours, told = sources(now), [*before.get("other_sources", []), sources(before)]
    others = [facts for i, facts in enumerate(told) if facts and facts != ours and facts not in told[:i]]
    if not ours or not others:
        return {}, ""
    earlier = "; ".join(map(_words, others))
    said = f"; earlier steps are of other code ({earlier}; now {_words(ours)}): bits may not be those of a run that"
    return {"other_sources": others}, f"{said} was not stopped"


def _words(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in facts.items())
