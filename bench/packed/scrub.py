"""What of a record names a machine, an account or a person: it is not published.

Gone: the host, the process, and of a scheduler's facts all but what was granted (GPUs, CPUs, memory, time). Absolute
paths, in commands and in errors, keep their last part: `--data /home/ada/sets` becomes `--data sets`, and so do
`file://` addresses; `ada@engine` becomes `USER@HOST`. What decides how a number came about stays: versions, commit,
platform, device, threads, fingerprints, times.
"""

import functools
import re
from typing import Any

_GONE = ("host", "pid")
# Of the scheduler's facts, those that say what a run was given.
_GRANTED = ("restarts", "cpus", "memory_mib", "memory_mib_per_cpu", "limit_seconds")
# From a slash that begins a word, or follows "=" or ":" or a quote or one of timm's readers, to the end of the word.
_PATH = re.compile(
    r"(?:(?<![\w.~/\-])|(?<=:wds/)|(?<=:hfds/))(?:~[\w.-]*)?/(?!/)[^\s:=,;'\"()\[\]<>|]*[^\s:=,;.'\"()\[\]<>|]"
)
_FILE = re.compile(r"\bfile:/[^\s,;'\"()\[\]<>|]*[^\s:=,;.'\"()\[\]<>|]", re.IGNORECASE)
# Of a remote copy, an address with a password, or a mail; not `cifar100@10%` or `folder:birds@32`.
_ACCOUNT = re.compile(
    r"(?:(?<=//)|(?<![\w.+/:@-]))[\w.+-]+(?::[^\s/@]*)?@(?:[A-Za-z][\w.-]*\w|\d+(?:\.\d+){3})(?!\w)"
)
# A word of a command whose value is a path, which may have blanks in it: `--data=/home/a b/c`, `folder:/a b/c`.
_VALUE = re.compile(
    r"((?:--?[\w-]+=)?(?:(?!file:)\w+:)?)((?:file:/|~[\w.-]*/|/(?!/)).*)", re.IGNORECASE | re.DOTALL
)


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or "/"


# The runs of one command have nearly all their texts in common.
@functools.lru_cache(1 << 14)
def scrub_text(text: str, host: str = "") -> str:
    """A text with absolute paths cut down to their last part, and without accounts and the host's name.

    Args:
        text: such as an error.
        host: name of the machine, where it is known.
    """
    for pattern in (_FILE, _PATH):
        text = pattern.sub(lambda found: _last_part(found[0]), text)
    text = _ACCOUNT.sub("USER@HOST", text)
    return re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text) if host else text


def _word(word: str) -> str:
    """A word of a command. It may be a path with blanks in it."""
    found = _VALUE.fullmatch(word)
    # Several are told apart by commas, and then have no blanks.
    if found and (not found[1] or (" " in word and "," not in word)):
        return found[1] + scrub_text(_last_part(found[2]))
    return scrub_text(word)


def _strings(value: Any) -> Any:
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, dict):
        return {key: _strings(inner) for key, inner in value.items()}
    return [_strings(inner) for inner in value] if isinstance(value, list) else value


def command(argv: Any) -> list[str]:
    """The words of a command as they may be published; it begins with `bench`."""
    words = [_word(str(word)) for word in argv] if isinstance(argv, list) else []
    return ["bench", *words[1:]]


def scrub(provenance: dict[str, Any]) -> dict[str, Any]:
    """A run's provenance as it may be published. What was scrubbed stays as it is."""
    kept = {
        key: _strings(value) for key, value in provenance.items() if key not in (*_GONE, "argv", "scheduler")
    }
    if "argv" in provenance:
        kept = {"argv": command(provenance["argv"]), **kept}
    if isinstance(facts := provenance.get("scheduler"), dict):
        kept["scheduler"] = {key: facts[key] for key in _GRANTED if key in facts}
        # Their names, which may be serial numbers, are of one machine.
        if isinstance(gpus := facts.get("gpus"), str):
            kept["scheduler"]["gpus"] = ",".join(str(k) for k, _ in enumerate(gpus.split(",")))
        elif gpus is not None:
            kept["scheduler"]["gpus"] = gpus
    return kept


def scrub_status(status: dict[str, Any], host: str = "") -> dict[str, Any]:
    """What an attempt says of itself, as it may be published."""
    return {
        key: scrub_text(value, host) if isinstance(value, str) else value for key, value in status.items()
    }
