"""`bench show`."""

from pathlib import Path
from typing import Any

import click

from bench import plugins
from bench.commands.options import json_option, results_option, table, user_path
from bench.config import schedule, variant
from bench.files import dumps
from bench.plan import label
from bench.records import Run, find_run


@click.command("show")
@click.argument("run_id", metavar="RUN")
@results_option
@json_option
def command(run_id: str, results: Path, as_json: bool) -> int:
    """Everything about one run: settings, result, provenance, epochs.

    RUN is the beginning of an id that `bench list runs` prints.
    """
    # A label, and what was changed, are known by the method's own defaults.
    plugins.load()
    run = find_run(user_path(results) or results, run_id)
    if as_json:
        click.echo(dumps(_facts(run), indent=1))
        return 0
    click.echo(f"{run.id}  {label(run.config)}, epochs {schedule(run.config)}, {run.state}")
    click.echo(f"folder: {run.dir}")
    if changed := variant(run.config):
        click.echo(f"changed: {changed}")
    if run.result is None and run.status.get("error"):
        click.echo(f"error: {run.status['error']}")
    _section("config", run.config)
    _section("result", {k: v for k, v in (run.result or {}).items() if k != "epochs"})
    _section("provenance", run.provenance)
    if rows := run.metrics():
        header = list(dict.fromkeys(key for row in rows for key in row))
        click.echo("\nepochs")
        click.echo(table(header, [[_short(row.get(key)) for key in header] for row in rows]))
    return 0


def _facts(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "label": label(run.config),
        "state": run.state,
        "dir": run.dir,
        "config": run.config,
        "result": run.result,
        "status": run.status,
        "provenance": run.provenance,
        "metrics": run.metrics(),
    }


def _short(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            pair for key, inner in value.items() for pair in _flat(inner, f"{path}.{key}" if path else key)
        ]
    return [(path, value)]


def _section(name: str, value: dict[str, Any]) -> None:
    if value:
        click.echo(f"\n{name}")
        pairs = _flat(value)
        width = max(len(key) for key, _ in pairs)
        for key, inner in pairs:
            click.echo(f"  {key.ljust(width)}  {_short(inner)}")
