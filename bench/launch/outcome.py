"""What every executor speaks: who computes a cell, who watches, what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.errors import BenchError, RecordError
from bench.files import trouble
from bench.launch.control import Progress, RunOptions, Stop
from bench.plan import Cell
from bench.records import Attempt

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.together_speed import TogetherSpeed

OutcomeState = Literal["done", "kept", "failed", "skipped", "elsewhere", "stopped"]


class BrokenWeights(RecordError):
    """What a pretraining that is done has left cannot be read; it must be made again.

    Args:
        text: what is wrong.
        run_dir: of the pretraining.
        weights: the file that is broken; None where it is gone.
    """

    def __init__(self, text: str, run_dir: Path, weights: Path | None) -> None:
        super().__init__(text)
        self.run_dir, self.weights = run_dir, weights

    def files(self) -> list[Path]:
        """What must be set aside before it can be made again."""
        return [path for path in (self.weights, self.run_dir / "result.json") if path is not None]


def one_line(error: BaseException) -> str:
    """An error as the user reads it; where the file system is to blame, with what to do."""
    if isinstance(error, OSError) and (text := trouble(error)) is not None:
        return text
    text = " ".join(str(error).split())
    if isinstance(error, BenchError):
        return text
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


class Trainer(Protocol):
    """What computes a cell; `bench.train`, `bench.probe` and `bench.evaluate` together."""

    def pretrain(
        self,
        config: dict[str, Any],
        data: "Dataset",
        attempt: Attempt,
        *,
        device: str,
        stop: Stop,
        progress: Progress,
        options: RunOptions,
    ) -> dict[str, Any]:
        """Train a method; the body of its result."""
        ...

    def pretrain_together(
        self,
        configs: Sequence[dict[str, Any]],
        data: "Dataset",
        attempts: Sequence[Attempt],
        *,
        device: str,
        stop: Stop,
        progress: Sequence[Progress],
        options: RunOptions,
    ) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
        """Train several seeds of a method at once; each one's number with how it ended, as soon as it has."""
        ...

    def together_speed(
        self, configs: Sequence[dict[str, Any]], data: "Dataset", *, device: str, options: RunOptions
    ) -> "TogetherSpeed":
        """Measure whether that is faster than one seed after another."""
        ...

    def probe(
        self,
        config: dict[str, Any],
        data: "Dataset",
        backbone_weights: Path,
        attempt: Attempt,
        *,
        device: str,
        stop: Stop,
        progress: Progress,
        options: RunOptions,
    ) -> dict[str, Any]:
        """Train a head on a backbone; the body of its result."""
        ...

    def evaluate(
        self,
        config: dict[str, Any],
        data: "Dataset",
        weights: Path,
        pretrained: dict[str, Any],
        attempt: Attempt,
        *,
        device: str,
        stop: Stop,
        progress: Progress,
        options: RunOptions,
    ) -> dict[str, Any]:
        """Judge what a pretraining left; the body of its result."""
        ...


class Display(Protocol):
    """Who watches."""

    def cell_started(self, cell: Cell, number: int, total: int) -> None:
        """A cell begins."""

    def cell_ended(self, outcome: "Outcome", number: int, total: int) -> None:
        """A cell is done, failed or left out."""

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """A cell has come so far."""

    def row(self, row: dict[str, Any]) -> None:
        """A cell has a new row of metrics."""

    def note(self, text: str) -> None:
        """A line to show."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: the cell.
        state: "done" now, "kept" from an earlier run, "failed" now or earlier, "skipped" because what it
            needs is missing, "elsewhere" because another process works on it, "stopped" in the middle.
        reason: why, in one line.
        seconds: spent on it now.
        log: where to read more.
        result: of a cell that is done.
    """

    cell: Cell
    state: OutcomeState
    reason: str = ""
    seconds: float = 0.0
    log: Path | None = None
    result: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether the cell has a result."""
        return self.state in ("done", "kept")


@dataclass
class Summary:
    """What became of a plan.

    Attributes:
        total: cells that were asked for.
        outcomes: by cell id; cells that were not reached have none.
        stopped: why the run ended before its end, if it did.
    """

    total: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    stopped: BenchError | None = None

    def of(self, *states: str) -> list[Outcome]:
        """Outcomes with one of the states."""
        return [outcome for outcome in self.outcomes.values() if outcome.state in states]

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 3 or 130 stopped, 3 also when others still work on a part."""
        if self.stopped is not None:
            return self.stopped.exit_code
        if self.of("failed"):
            return 1
        return 0 if len(self.of("done", "kept")) == self.total else 3
