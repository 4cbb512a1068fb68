"""The parts of a cell's time and memory, measured on a miniature, and how they add up to a whole cell's. No torch."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from bench.micro.signature import Images, batch_of


@dataclass(frozen=True)
class Parts:
    """Seconds of the parts of a cell.

    Attributes:
        fixed: from its start to its first step, and from its last to its result.
        step: a training step; 0 where there is none.
        features: an image's features, where they are computed once.
        test: an image on which a probe is tested after an epoch.
        whole: of an evaluation, what grows with the images, for all of them.
        steps: how many were measured.
    """

    fixed: float
    step: float = 0.0
    features: float = 0.0
    test: float = 0.0
    whole: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class Measurement:
    """What a miniature told.

    Attributes:
        parts: of the clock on the wall.
        processor: the same in seconds of the processor, which others who use it do not lengthen.
        memory: bytes at the peak, with the miniature's own images.
        images: of the miniature, in memory.
        feature_bytes: of an image's features, where they are computed once.
        point: a probe's freeze point.
        features: of how many images the miniature had them, mirrored ones by themselves.
        phases: of a step; each would be compiled by itself.
        compile: seconds to compile a phase and the share of a step that is left, where that may happen.
        at: when, ISO 8601.
        device: what it calls itself.
        start: seconds until a process has imported what cells need.
    """

    parts: Parts
    processor: Parts
    memory: int
    images: int
    feature_bytes: int = 0
    point: str = ""
    features: int = 0
    phases: int = 1
    compile: tuple[float, float] | None = None
    at: str = ""
    device: str = ""
    start: float = 0.0

    def seconds(
        self,
        config: Mapping[str, Any],
        images: Images,
        *,
        processor: bool = False,
        left: Iterable[Self] = (),
    ) -> float:
        """Of a whole cell, from its start to its result.

        Args:
            config: the cell's.
            images: that it sees.
            processor: seconds of the processor in place of those on the wall.
            left: of probes whose features are there still: of those that took longest this one's are made.
        """
        parts = self.processor if processor else self.parts
        if config["kind"] == "evaluate":
            return parts.fixed + parts.whole
        if config["kind"] == "pretrain":
            settings = config["train"]
            steps = settings["epochs"] * _batches(config, images.train, images, settings["drop_last"])
            return parts.fixed + self._steps(steps, parts.step)
        settings = config["probe"]
        held = max(1, images.train // 10) if settings["holdout"] else 0
        epochs = settings["epochs"]
        steps = epochs * _batches(config, images.train - held, images, settings["drop_last"])
        there = [(one.processor if processor else one.parts).features for one in left]
        each = max(0.0, parts.features - max(there, default=0.0))
        features = each * feature_images(config, images)
        return parts.fixed + features + steps * parts.step + epochs * parts.test * (images.test + held)

    def _steps(self, steps: float, each: float) -> float:
        """Of all steps, of which those to go are compiled where that pays."""
        if self.compile is None:
            return steps * each
        before = min(steps, 25.0)
        seconds, share = self.compile
        plain, compiled = (steps - before) * each, seconds * self.phases + (steps - before) * each * share
        return before * each + min(plain, compiled)

    def bytes(
        self,
        config: Mapping[str, Any],
        images: Images,
        budget: int,
        on_gpu: bool,
        left: Iterable[Self] = (),
    ) -> int:
        """Peak of a whole cell: the accelerator's, or what this process would have of the processor's memory.

        Args:
            config: the cell's.
            images: that it sees.
            budget: for features that are computed once.
            on_gpu: whose memory it is.
            left: of probes whose features the miniature's process had not, and the cell's has still.
        """
        more = images.pool + images.test - self.images
        # On a processor once as they are mapped from their file and once as they are trained on.
        size = 3 * int(config["image_size"] or 64) ** 2 * (1 if on_gpu else 2)
        # Those of one point lie there once; of two points they may be as large.
        others = {one.point: one.feature_bytes for one in left if one.point != self.point}
        count = feature_images(config, images)
        features = min(self.feature_bytes * count, budget) + sum(others.values()) * count
        had = min(self.feature_bytes * self.features, budget)
        return max(0, self.memory + more * size + features - had)

    def as_json(self) -> dict[str, Any]:
        """For the cache."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """What `as_json` gave.

        Raises:
            TypeError, ValueError, KeyError: it is something else.
        """
        known = {f.name for f in fields(cls)}
        more = {key: value for key, value in row.items() if key in known}
        for name in ("parts", "processor"):
            more[name] = Parts(**row[name])
        if more.get("compile") is not None:
            seconds, share = more["compile"]
            more["compile"] = (float(seconds), float(share))
        return cls(**more)


def feature_images(config: Mapping[str, Any], images: Images) -> int:
    """Images of which a probe has features, mirrored ones by themselves."""
    flip = config["kind"] == "probe" and config["probe"]["flip"]
    return images.pool * (2 if flip else 1) + images.test


def _batches(config: Mapping[str, Any], count: int, images: Images, drop_last: bool) -> float:
    """Full batches of an epoch; the short last one counts as the share of a batch that it is."""
    batches = count / batch_of(config, images)
    return float(int(batches)) if drop_last else batches
