"""What computes cells: `bench.train`, `bench.probe`, `bench.evaluate`; torch is loaded when the first one starts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.importing import importing

if TYPE_CHECKING:
    from bench.together_speed import TogetherSpeed


class TorchTrainer:
    """The real thing; torch is loaded when the first cell starts."""

    def pretrain(self, *args: Any, **options: Any) -> dict[str, Any]:
        """See `bench.train.pretrain`."""
        with importing():
            from bench.train import pretrain

        _give_up_features()
        return pretrain(*args, **options)

    def pretrain_together(
        self, *args: Any, **options: Any
    ) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
        """See `bench.together.pretrain_together`."""
        with importing():
            from bench.together import pretrain_together

        _give_up_features()
        return pretrain_together(*args, **options)

    def together_speed(self, *args: Any, **options: Any) -> "TogetherSpeed":
        """See `bench.together_speed.measure`."""
        with importing():
            from bench.together_speed import measure

        return measure(*args, **options)

    def probe(self, *args: Any, **options: Any) -> dict[str, Any]:
        """See `bench.probe.probe`."""
        with importing():
            from bench.probe import probe

        return probe(*args, **options)

    def evaluate(self, *args: Any, **options: Any) -> dict[str, Any]:
        """See `bench.evaluate.evaluate`."""
        with importing():
            from bench.evaluate import evaluate

        return evaluate(*args, **options)


def _give_up_features() -> None:
    """Those of earlier probes: what a pretraining leaves will have others, and it needs the memory."""
    from bench.feature_store import SHELF

    SHELF.items.clear()
