"""Why a table's cells are empty or short of seeds."""

from collections.abc import Iterable, Sequence

from bench.records import Run
from bench.report import captions
from bench.report.collect import END_TO_END, cell_runs, top1
from bench.report.judge import Entry
from bench.report.model import Column, Gap
from bench.stats import SeedPair


def gaps(
    entries: Sequence[Entry], columns: tuple[Column, ...], pairs: list[SeedPair], rule: str
) -> Iterable[Gap]:
    """Why cells are empty or short of seeds: one line for each row, freeze point and reason."""
    for row, runs in entries:
        lines: dict[tuple[str, str], dict[str, list[tuple[SeedPair, str]]]] = {}
        expected = pairs or [(seed, seed) for seed in sorted(runs.pretrains)]
        points = (
            (Column(END_TO_END, ""),)
            if any(c.end_to_end for c in row.cells)
            else columns or (Column("", ""),)
        )
        for column in points:
            have = cell_runs(runs, column.freeze)
            for pair in expected:
                if pair in have and top1(have[pair], rule) is not None:
                    continue
                state, detail, run_id = _why(have.get(pair), runs.pretrains.get(pair[0]))
                lines.setdefault((state, detail), {}).setdefault(column.title, []).append((pair, run_id))
        yield from _gap_lines(row.label, lines, len(points), expected)


def _gap_lines(
    label: str,
    lines: dict[tuple[str, str], dict[str, list[tuple[SeedPair, str]]]],
    width: int,
    expected: Sequence[SeedPair],
) -> Iterable[Gap]:
    for (state, detail), by_column in sorted(lines.items()):
        by_seeds: dict[str, tuple[list[str], set[str]]] = {}
        for title, entries in by_column.items():
            text = captions.seed_text((pair for pair, _ in entries), expected)
            titles, ids = by_seeds.setdefault(text, ([], set()))
            titles.append(title)
            ids.update(run_id for _, run_id in entries if run_id)
        for text, (titles, ids) in by_seeds.items():
            where = "" if len(titles) == width else ", ".join(titles)
            yield Gap(label, where, text, state, detail, tuple(sorted(ids)))


def _why(probe: Run | None, pretrain: Run | None) -> tuple[str, str, str]:
    """(state, detail, run id) of a cell without a number."""
    if probe is not None:
        if probe.state == "done":
            return "no such rule", "this run knows other rules only", probe.id
        return _state(probe, "probe")
    if pretrain is not None and pretrain.state != "done":
        return _state(pretrain, "pretraining")
    return "missing", "", ""


def _state(run: Run, what: str) -> tuple[str, str, str]:
    error = str(run.status.get("error") or "").strip()
    detail = f"{what}: {error.splitlines()[0]}" if run.state == "failed" and error else what
    return run.state, detail, run.id
