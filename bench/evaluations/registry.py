"""Every evaluation by name: what it applies to, what it measures, where its function is. No torch here.

An evaluation is a function `(Task) -> Findings` (`bench.evaluations.task`), a settings dataclass and a row of
`EVALUATIONS`; nothing else knows it by name. A package's comes by the entry point `bench.evaluations`.
"""

import fnmatch
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError, choice_error
from bench.evaluations import settings
from bench.selection import select, split
from models import plugins
from models.registry import MethodSpec

# What a person types to have no evaluation at all.
NONE = "none"


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation.

    Attributes:
        name: key in the result's "metrics"; a `*` stands for what the method calls its terms.
        title: what a table prints.
        unit: "share" is a rate between 0 and 1.
        better: which way is good.
    """

    name: str
    title: str
    unit: Literal["share", "dB", "nats", "count", ""] = ""
    better: Literal["higher", "lower", "neither"] = "higher"


@dataclass(frozen=True)
class EvaluationSpec:
    """One row of the registry.

    Attributes:
        name: what the user types.
        title: what a person calls it.
        version: raised whenever what it computes changes; part of a cell's identity.
        target: "module:function".
        settings_cls: frozen dataclass of its settings.
        applies: whether a method can be judged by it.
        metrics: what it measures, the most telling first.
        whole: it needs the whole method, not the backbone alone, so the images must have the size of those that it
            was pretrained on.
        weights: it needs weights of somebody else's network, whose hash is its setting `weights_sha256`; without a
            file of them `all` does not mean it.
        cost: seconds an image, in those of a reconstruction; an order of magnitude, until one has finished.
    """

    name: str
    title: str
    version: int
    target: str
    settings_cls: type
    applies: Callable[[MethodSpec], bool]
    metrics: tuple[Metric, ...]
    whole: bool = False
    weights: bool = False
    cost: float = 1.0

    def metric(self, name: str) -> Metric | None:
        """What is known of a number by its key in a result."""
        return next((one for one in self.metrics if fnmatch.fnmatchcase(name, one.name)), None)


def _frozen(method: MethodSpec) -> bool:
    """The backbone is judged as pretraining left it; an end-to-end method's is trained by its probe alone."""
    return not method.end_to_end


def _decodes(method: MethodSpec) -> bool:
    return method.decoder


def _has_parts(method: MethodSpec) -> bool:
    return method.parts


EVALUATIONS: dict[str, EvaluationSpec] = {
    row.name: row
    for row in [
        EvaluationSpec(
            name="features",
            title="kNN and linear probe",
            version=1,
            target="bench.evaluations.features:features",
            settings_cls=settings.FeaturesSettings,
            applies=_frozen,
            metrics=(
                Metric("knn_top1", "kNN top-1", "share"),
                Metric("linear_top1", "linear top-1", "share"),
                Metric("linear_top5", "linear top-5", "share"),
            ),
        ),
        EvaluationSpec(
            name="reconstruction",
            title="Reconstruction",
            version=1,
            target="bench.evaluations.reconstruction:reconstruction",
            settings_cls=settings.ReconstructionSettings,
            applies=_decodes,
            metrics=(
                Metric("psnr", "PSNR", "dB"),
                Metric("ssim", "SSIM"),
                Metric("distortion", "distortion", better="lower"),
                Metric("rate", "rate", "nats", "neither"),
                Metric("rate_*", "rate", "nats", "neither"),
            ),
            whole=True,
        ),
        EvaluationSpec(
            name="parts",
            title="Parts",
            version=1,
            target="bench.evaluations.parts:parts",
            settings_cls=settings.PartsSettings,
            applies=_has_parts,
            metrics=(
                Metric("parts_alive", "parts alive", "count", "neither"),
                Metric("purity_labels", "label purity", "share"),
                Metric("purity_labels_chance", "label purity by chance", "share", "neither"),
                Metric("purity_pixels", "pixel purity", "share"),
                Metric("purity_pixels_chance", "pixel purity by chance", "share", "neither"),
                Metric("coverage", "locations with a part", "share", "neither"),
                Metric("overlap", "locations with two parts", "share", "lower"),
                Metric("overlap_iou", "IoU of two parts", "share", "lower"),
            ),
            whole=True,
        ),
        EvaluationSpec(
            name="fid",
            title="FID and KID of reconstructions",
            version=1,
            target="bench.evaluations.fid:fid",
            settings_cls=settings.FIDSettings,
            applies=_decodes,
            metrics=(Metric("fid", "FID", better="lower"), Metric("kid", "KID", better="lower")),
            whole=True,
            weights=True,
            cost=100.0,
        ),
    ]
}


def load_plugins() -> None:
    """Add the evaluations that packages offer; one that cannot be used is noted in `models.plugins.BROKEN`."""
    plugins.load("bench.evaluations", EvaluationSpec, EVALUATIONS, _check)


def _check(row: EvaluationSpec) -> None:
    """Refuse a stranger's row that would fail later, where nobody expects it."""
    plugins.check_target(row.target)
    if not row.metrics:
        raise ValueError("it measures nothing: metrics is empty")
    row.settings_cls()


def spec(name: str) -> EvaluationSpec:
    """The row of an evaluation.

    Raises:
        UsageError: no such evaluation; names the nearest one.
    """
    if name not in EVALUATIONS:
        load_plugins()
    if name not in EVALUATIONS:
        if broken := plugins.broken("bench.evaluations", name):
            raise UsageError(str(broken))
        raise choice_error("evaluation", name, EVALUATIONS)
    return EVALUATIONS[name]


def choose(texts: Sequence[str], have: Container[str] = ()) -> tuple[str, ...]:
    """The evaluations that a person means: names with commas, `all`, globs, `!x`, or `none`.

    Args:
        texts: as typed; nothing is `all`.
        have: those for which there are weights; of those that need some, `all` and globs mean no others.

    Raises:
        UsageError: a name that means nothing or needs weights that are not there, or nothing is left.
    """
    parts = split(texts or ("all",))
    if parts == [NONE]:
        return ()
    if NONE in parts:
        raise UsageError(f"{NONE!r} goes with no other evaluation: {','.join(parts)}")
    usual = [name for name, row in EVALUATIONS.items() if not row.weights or name in have]
    for name in parts:
        if name in EVALUATIONS and name not in usual:
            raise UsageError(f"evaluation {name!r} needs weights: --{name}-weights FILE")
    return tuple(select("evaluation", texts or ("all",), usual))
