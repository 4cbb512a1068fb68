"""What a command line names: methods, data sets, seeds, freeze points, durations."""

import difflib
import fnmatch
import functools
import re
from collections.abc import Iterable, Sequence

from bench.data.dropped import split_dropped
from bench.data.fractions import split_fraction
from bench.errors import UsageError, choice_error
from bench.importing import importing

# Freeze points of the backbones that planning must not wait for timm to know.
FREEZE_POINTS: dict[str, tuple[str, ...]] = {
    "resnet9": ("conv1", "conv1-3", "conv1-5"),
    "resnet18": ("conv1", "conv1-3", "conv1-5", "conv1-7", "conv1-9"),
}
# That of a network which is no sequence of stages, see `models.backbones.WHOLE`.
WHOLE = "whole"
# Pixels of the input that one of the last feature map's stands for.
STRIDES: dict[str, int] = {"resnet9": 8, "resnet18": 32}


def split(texts: Iterable[str]) -> list[str]:
    """The parts of texts that are separated by commas."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def select(
    what: str, texts: Sequence[str], allowed: Iterable[str], open_prefix: str | tuple[str, ...] = ()
) -> list[str]:
    """The names that a selection means, each once, in the order in which they are named.

    Args:
        what: what they are, for the error.
        texts: names with commas, `all`, globs; `!x` takes out what x means.
        allowed: every name there is.
        open_prefix: names that begin so ("folder:") are taken as they are, and so are fractions of data sets and
            data sets without leaks.

    Raises:
        UsageError: a name or a glob that means nothing, or nothing is left.
    """
    names = list(allowed)
    chosen: dict[str, None] = {}
    out: set[str] = set()
    parts = split(texts)
    if parts and all(part.startswith("!") for part in parts):
        parts.insert(0, "all")
    for part in parts:
        word = part.removeprefix("!")
        if word == "all":
            means = names
        elif open_prefix and (word.startswith(open_prefix) or _suffixed(word)):
            means = [word]
        elif any(mark in word for mark in "*?["):
            means = fnmatch.filter(names, word)
        else:
            means = [name for name in names if name == word]
        if not means:
            raise choice_error(what, word, names)
        if word == part:
            chosen.update(dict.fromkeys(means))
        else:
            out.update(means)
    left = [name for name in chosen if name not in out]
    if not left:
        raise UsageError(f"no {what} is left of {','.join(texts)!r}")
    return left


def _suffixed(word: str) -> bool:
    return split_fraction(word)[1] is not None or split_dropped(word)[1] is not None


def parse_seeds(text: str) -> list[int]:
    """Seeds: "3" is 0, 1, 2; "2-4" is 2, 3, 4; "0,7" is 0 and 7; "7," is 7 alone.

    Raises:
        UsageError: anything else.
    """
    wrong = UsageError(f"seeds {text!r}: write a count (3), a range (2-4) or a list (0,7)")
    seeds: dict[int, None] = {}
    single = re.fullmatch(r"\s*(\d{1,9})\s*", text)
    if single:
        count = int(single[1])
        if not 0 < count <= 10_000:
            raise wrong
        return list(range(count))
    for part in split([text]):
        match = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)
        if not match:
            raise wrong
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= 10_000:
            raise wrong
        seeds.update(dict.fromkeys(range(first, last + 1)))
    if not seeds:
        raise wrong
    return list(seeds)


def parse_duration(text: str) -> float:
    """Seconds of a text such as "90", "90s", "9m", "2h", "1h30m".

    Raises:
        UsageError: no such time.
    """
    match = re.fullmatch(r"\s*(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?\s*", text)
    if not match or not any(match.groups()):
        raise UsageError(f"time {text!r}: write 90s, 9m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise UsageError(f"time {text!r}: it must be longer than nothing")
    return total


@functools.cache
def _facts(backbone: str) -> tuple[tuple[str, ...], int]:
    """Freeze points and stride, from the table or from the live network, which is checked to have stages."""
    if backbone in FREEZE_POINTS:
        return FREEZE_POINTS[backbone], STRIDES[backbone]
    with importing():
        import timm

        from models import backbones, plugins

    try:
        plugins.load_backbone(backbone.partition(".")[0])
    except ValueError as error:
        raise UsageError(str(error)) from error
    names = timm.list_models()
    if backbone.partition(".")[0] not in names:
        near = difflib.get_close_matches(backbone, [*FREEZE_POINTS, *names], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`bench list backbones --all` names them"
        raise UsageError(f"unknown backbone {backbone!r}: {hint}")
    try:
        network = backbones.Backbone(backbone)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return backbones.point_names(network.taps), network.stride


def freeze_points(backbone: str) -> tuple[str, ...]:
    """Where a backbone may be frozen, shallow to deep.

    Raises:
        UsageError: no such backbone (the nearest name is given), or one that has no stages.
    """
    return _facts(backbone)[0]


def backbone_stride(backbone: str) -> int:
    """Pixels of the input that one of a backbone's last feature map stands for; see `freeze_points`."""
    return _facts(backbone)[1]
