"""`bench export`."""

import re
from pathlib import Path

import click

from bench import plugins
from bench.commands.options import json_option, results_option, user_path
from bench.errors import UsageError
from bench.exported.folder import check_target
from bench.files import dumps
from bench.named import named_run


@click.command("export")
@click.argument("name", metavar="RUN")
@click.option(
    "--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to write."
)
@click.option("--force", is_flag=True, help="Replace an exported backbone that is there.")
@click.option(
    "--license",
    "licence",
    default="unknown",
    show_default=True,
    metavar="NAME",
    help="Of the weights, as the hub names licences; the data set's terms may decide.",
)
@results_option
@json_option
def command(name: str, to: Path, force: bool, licence: str, results: Path, as_json: bool) -> int:
    """A run's backbone as a folder that timm opens without this project.

    RUN is the beginning of an id or a label that `bench list runs` prints: a pretraining, or a probe or an evaluation
    of one. Into DIR go model.safetensors, config.json and a card, README.md.

    \b
    bench export 12236ca7 --to digits-supervised
    python -c 'import timm; timm.create_model("local-dir:digits-supervised", pretrained=True)'
    """  # noqa: D301
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        raise UsageError(
            f"--license {licence}: a licence's name is letters, digits and .+-, such as apache-2.0"
        )
    results, to = user_path(results) or results, user_path(to) or to
    plugins.load()
    run = named_run(results, name)
    check_target(to, force)
    from bench.exported.write import export

    done = export(run, results, to, force=force, license=licence)
    if as_json:
        facts = {k: getattr(done, k) for k in ("folder", "run", "label", "architecture", "params", "sha256")}
        click.echo(dumps(facts, indent=1))
        return 0
    whose = done.module or "timm"
    click.echo(f"{to}: {done.label} ({done.run}), {done.params:,} parameters, {whose}'s {done.architecture}")
    first = f"import {done.module}; " if done.module else ""
    click.echo(f'next: {first}timm.create_model("local-dir:{to}", pretrained=True)')
    return 0
