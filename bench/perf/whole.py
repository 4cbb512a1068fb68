"""A whole table's cells in two ways, side by side: `python -m bench.perf.whole FAST PLAIN [--at-once N]`.

Both are results folders of the same cells, as two lines of `bench run` leave them that differ in `--speed` or `-j`
alone. Told by kind of cell: its share of the fast run, its seconds in both, and their ratio; then how far apart
the accuracies of probes are, means over seeds. No torch.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import BenchError, UsageError
from bench.plan import label, pretraining
from bench.records import Run, load_runs
from bench.run_folder import RESULT

# When a run was stopped and when it went on, seconds since 1970.
Stops = Sequence[tuple[float, float]]


class Kind(NamedTuple):
    """Cells of one kind.

    Attributes:
        name: what they are.
        cells: how many.
        fast: their seconds in the one run, of several at once each the share that it takes of the wall.
        plain: in the other.
    """

    name: str
    cells: int
    fast: float
    plain: float


class Apart(NamedTuple):
    """How far the accuracies of two runs are apart, in points, the one's less the other's.

    Attributes:
        rows: what probes are of, but for their seeds.
        median: of the distances.
        most: the largest distance.
        where: of which row.
        mean: with its sign.
    """

    rows: int
    median: float
    most: float
    where: str
    mean: float


def finished(folder: Path) -> dict[str, Run]:
    """Cells with a result, by id."""
    return {run.id: run for run in load_runs(folder) if run.result is not None}


def same_cells(fast: Path, plain: Path) -> tuple[dict[str, Run], dict[str, Run]]:
    """The cells of both folders.

    Raises:
        UsageError: there are none, or one has a cell that the other has not finished.
    """
    both = finished(fast), finished(plain)
    for (one, other), missing in zip((both, both[::-1]), (plain, fast), strict=True):
        if lacking := sorted(label(one[id].config) for id in one.keys() - other.keys()):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UsageError(f"{missing} has not finished {lacking[0]}{more}")
    if not both[0]:
        raise UsageError(f"{fast} and {plain} have no finished cell")
    return both


def kind_of(config: Mapping[str, Any]) -> str:
    """What cells are told together: a method's pretrainings, all probes of a freeze point."""
    if config["kind"] == "pretrain":
        return f"{config['method']} pretrain"
    if config["kind"] == "evaluate":
        return str(config["evaluation"])
    return "end to end" if config["freeze"] == "none" else f"probes, {config['freeze']}"


def kinds(
    fast: Mapping[str, Run], plain: Mapping[str, Run], at_once: int = 1, stops: Sequence[Stops] = ((), ())
) -> list[Kind]:
    """Seconds by kind of cell, in the order of names.

    Args:
        fast: cells of the one run, by id.
        plain: the same of the other.
        at_once: how many cells the one had running at the same time.
        stops: when each run was stopped, whose seconds no cell is to have.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for id, run in fast.items():
        pair = (_seconds(run, stops[0]) / at_once, _seconds(plain[id], stops[1]))
        found.setdefault(kind_of(run.config), []).append(pair)
    return [
        Kind(name, len(pairs), *(sum(pair[k] for pair in pairs) for k in (0, 1)))
        for name, pairs in sorted(found.items())
    ]


def apart(fast: Mapping[str, Run], plain: Mapping[str, Run]) -> Apart | None:
    """How far apart the accuracies of probes are after their last epoch; None where there is no probe."""
    rows: dict[str, list[float]] = {}
    for id, run in fast.items():
        if run.config["kind"] == "probe":
            rows.setdefault(_row(run.config), []).append(100 * (_top1(run) - _top1(plain[id])))
    means = {row: statistics.mean(found) for row, found in sorted(rows.items())}
    if not means:
        return None
    where = max(means, key=lambda row: abs(means[row]))
    distances = [abs(value) for value in means.values()]
    name = label(json.loads(where)).replace(" seed 0", "")
    return Apart(
        len(means), statistics.median(distances), max(distances), name, statistics.mean(means.values())
    )


def lines(found: Iterable[Kind]) -> list[str]:
    """A Markdown table, with a last row of all."""
    found = list(found)
    fast, plain = sum(kind.fast for kind in found), sum(kind.plain for kind in found)
    whole = Kind("all", sum(kind.cells for kind in found), fast, plain)
    rows = [
        "| cells | number | of the fast run | s | plain s | plain / fast |",
        "|:---|---:|---:|---:|---:|---:|",
    ]
    for kind in [*found, whole]:
        share = f"{100 * kind.fast / whole.fast:.1f} %" if whole.fast else "–"
        rows.append(
            f"| {kind.name} | {kind.cells} | {share} | {kind.fast:.1f} | {kind.plain:.1f} |"
            f" {f'{kind.plain / kind.fast:.2f}' if kind.fast else '–'} |"
        )
    return rows


def _row(config: Mapping[str, Any]) -> str:
    """A probe's configuration, all but its seeds and what follows from them."""
    alike = {**config, "seed": 0, "pretrain": {**pretraining(config), "seed": 0}}
    alike.pop("pretrain_id", None)
    return json.dumps(alike, sort_keys=True)


def _seconds(run: Run, stops: Stops) -> float:
    took = _told(run, lambda result: result["seconds"] + (result.get("feature_seconds") or 0.0))
    end = (run.dir / RESULT).stat().st_mtime if stops else 0.0
    return took - sum(max(0.0, min(b, end) - max(a, end - took)) for a, b in stops)


def _top1(run: Run) -> float:
    # Of a probe that holds images out, those of its one test.
    return _told(run, lambda result: (result["rules"].get("last") or result["rules"]["val"])["top1"])


def _told(run: Run, read: Callable[[dict[str, Any]], float]) -> float:
    try:
        return float(read(run.result or {}))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"the result of {label(run.config)} ({run.dir}) does not say what is compared"
        ) from None


def _stops(path: Path) -> Sequence[Stops]:
    try:
        one, other = json.loads(path.read_text())
        return [[(float(a), float(b)) for a, b in found] for found in (one, other)]
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"--stops {path}: not what `bench.perf.in_turn --stops` writes ({error})") from None


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.whole", description=__doc__)
    parser.add_argument("fast", type=Path, help="results folder of the one run")
    parser.add_argument("plain", type=Path, help="of the other")
    parser.add_argument(
        "--at-once", type=int, default=1, help="cells that the one had running at a time (its -j)"
    )
    parser.add_argument(
        "--stops", type=Path, metavar="FILE", help="of `bench.perf.in_turn`, which ran both in turn"
    )
    given = parser.parse_args()
    if given.at_once < 1:
        parser.error(f"--at-once {given.at_once}: at least one cell runs at a time")
    try:
        stops = ((), ()) if given.stops is None else _stops(given.stops)
        fast, plain = same_cells(given.fast, given.plain)
        found, distance = kinds(fast, plain, given.at_once, stops), apart(fast, plain)
    except BenchError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print("\n".join(lines(found)))
    if distance is not None:
        print(
            f"top-1 of {distance.rows} rows, means over seeds, differs by {distance.median:.2f} points in the median"
            f" and {distance.most:.2f} at most ({distance.where}); mean {distance.mean:+.2f}"
        )


if __name__ == "__main__":
    main()
