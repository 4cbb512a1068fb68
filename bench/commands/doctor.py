"""`bench doctor`."""

from pathlib import Path

import click

from bench.commands.options import data_option, json_option, results_option, table, user_path
from bench.files import dumps


@click.command("doctor")
@results_option
@data_option
@json_option
def command(results: Path, root: Path | None, as_json: bool) -> int:
    """Whether this machine is ready: versions, device, threads, disk, data sets, scheduler.

    Exit code 1 when something is missing that a run cannot do without.
    """
    from bench.doctor import as_facts, diagnose

    checks = diagnose(user_path(results) or results, user_path(root))
    facts = as_facts(checks)
    if as_json:
        click.echo(dumps(facts, indent=1))
    else:
        words = {True: "ok", None: "-", False: "MISSING"}
        click.echo(table(["", "what", "found"], [[words[c.ok], c.name, c.text] for c in checks]))
    return 0 if facts["ok"] else 1
