"""What a column of a table may print: where the number comes from, its unit, and which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One kind of number.

    Attributes:
        name: what a declaration says.
        title: what a table prints.
        unit: of the number as it is printed.
        higher_is_better: None where neither way is better by itself.
        source: "probe", or the name of the evaluation of a pretraining that computes it.
        percent: records hold a fraction, tables and margins a percentage.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    source: str
    percent: bool = False

    @property
    def probed(self) -> bool:
        """Whether probes give it, so that a column needs a freeze point."""
        return self.source == "probe"


METRICS: dict[str, Metric] = {
    row.name: row
    for row in [
        Metric("top1", "Top-1", "%", True, "probe", percent=True),
        Metric("top5", "Top-5", "%", True, "probe", percent=True),
        Metric("psnr", "PSNR", "dB", True, "reconstruction"),
        Metric("ssim", "SSIM", "", True, "reconstruction"),
        Metric("rate", "Rate", "nats an image", None, "reconstruction"),
        Metric("distortion", "Distortion", "squared error an image", False, "reconstruction"),
        Metric("fid", "FID", "", False, "fid"),
        Metric("kid", "KID", "", False, "fid"),
        Metric("knn_top1", "kNN top-1", "%", True, "features", percent=True),
        Metric("linear_top1", "Linear top-1", "%", True, "features", percent=True),
        Metric("parts_alive", "Parts alive", "parts", None, "parts"),
    ]
}
