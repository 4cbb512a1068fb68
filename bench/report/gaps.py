"""Why a table's cells are empty or short of seeds."""

from collections.abc import Iterable, Sequence

from bench.records import Run
from bench.report.model import Gap, Row
from bench.report.panel import cell_runs, value_of
from bench.report.sheets import WEIGHTED, Sheet
from bench.report.words import seed_text
from bench.stats import SeedPair
from bench.studies.metrics import Metric


def gaps(sheet: Sheet, rows: Sequence[Row], pairs: list[SeedPair]) -> Iterable[Gap]:
    """Why cells are empty or short of seeds: one line for each row, data set and reason."""
    for i, row in enumerate(rows):
        for place, panel in enumerate(sheet.panels):
            behind = sheet.rows[i].runs.get(place)
            own = [j for j in range(len(sheet.columns)) if sheet.places[j] == place]
            if any(row.cells[j].end_to_end for j in own):
                own = own[:1]
            lines: dict[tuple[str, str], dict[str, list[tuple[SeedPair, str]]]] = {}
            for j in own:
                column = sheet.columns[j]
                if column.unit.source == WEIGHTED and row.cells[j].estimate is None:
                    continue
                have = cell_runs(behind, column.freeze, column.unit) if behind is not None else {}
                expected = (
                    pairs if column.unit.probed else [(s, s) for s in dict.fromkeys(s for s, _ in pairs)]
                )
                pretrains = behind.pretrains if behind is not None else {}
                for pair in expected or [(seed, seed) for seed in sorted(pretrains)]:
                    if pair in have and value_of(have[pair], column.rule, column.unit) is not None:
                        continue
                    state, detail, run_id = _why(
                        have.get(pair), pretrains.get(pair[0]), column.rule, column.unit
                    )
                    lines.setdefault((state, detail), {}).setdefault(column.title, []).append((pair, run_id))
            where = panel.title if len(sheet.panels) > 1 else ""
            yield from _gap_lines(row.label, where, lines, len(own), pairs)


def _gap_lines(
    label: str,
    where: str,
    lines: dict[tuple[str, str], dict[str, list[tuple[SeedPair, str]]]],
    width: int,
    expected: Sequence[SeedPair],
) -> Iterable[Gap]:
    for (state, detail), by_column in sorted(lines.items()):
        by_seeds: dict[str, tuple[list[str], set[str]]] = {}
        for title, entries in by_column.items():
            text = seed_text((pair for pair, _ in entries), expected)
            titles, ids = by_seeds.setdefault(text, ([], set()))
            titles.append(title)
            ids.update(run_id for _, run_id in entries if run_id)
        for text, (titles, ids) in by_seeds.items():
            place = ", ".join([*([where] if where else []), *(titles if len(titles) < width else [])])
            yield Gap(label, place, text, state, detail, tuple(sorted(ids)))


def _why(probe: Run | None, pretrain: Run | None, rule: str, metric: Metric) -> tuple[str, str, str]:
    """(state, detail, run id) of a cell without a number."""
    if probe is not None:
        if probe.state == "done":
            if metric.probed and rule not in ((probe.result or {}).get("rules") or {}):
                return "no such rule", "this run knows other rules only", probe.id
            if not metric.probed and metric.name not in ((probe.result or {}).get("metrics") or {}):
                return "not measured", "this evaluation gives none here", probe.id
            return "no number", "what came out is not finite", probe.id
        return _state(probe, "probe" if probe.config["kind"] == "probe" else str(probe.config["evaluation"]))
    if pretrain is not None and pretrain.state != "done":
        return _state(pretrain, "pretraining")
    return "missing", "", ""


def _state(run: Run, what: str) -> tuple[str, str, str]:
    error = str(run.status.get("error") or "").strip()
    detail = f"{what}: {error.splitlines()[0]}" if run.state == "failed" and error else what
    return run.state, detail, run.id
