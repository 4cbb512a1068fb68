"""`bench doctor`."""

from pathlib import Path

import click

from bench.commands.options import data_option, json_option, results_option, table, user_path
from bench.errors import UsageError
from bench.files import dumps
from bench.selection import parse_duration


@click.command("doctor")
@results_option
@data_option
@click.option("--slurm", is_flag=True, help="Look at the SLURM cluster instead, and run one tiny job on it.")
@click.option(
    "--profile", metavar="NAME|FILE", envvar="BENCH_PROFILE", show_envvar=True, help="With --slurm."
)
@click.option("--nodes", type=click.IntRange(1), metavar="N", help="With --slurm: nodes of the tiny job.")
@click.option(
    "--wait", metavar="TIME", help="With --slurm: so long may the job wait for its start [default: 5m]."
)
@json_option
def command(
    results: Path,
    root: Path | None,
    slurm: bool,
    profile: str | None,
    nodes: int | None,
    wait: str | None,
    as_json: bool,
) -> int:
    """Whether this machine is ready: versions, device, threads, disk, data sets, scheduler.

    With --slurm: whether the cluster is. Its programs, partitions and limits are asked, and whether
    jobs of each class of the profile can ever run; the results folder is tried from here and from a job, which also
    says what Python, torch and GPUs it finds; nothing is left behind.

    Exit code 1 when something is missing that a run cannot do without.
    """
    from bench.doctor import as_facts, diagnose

    place = user_path(results) or results
    if slurm:
        from bench.launch.slurm.doctor import Doctor
        from bench.launch.slurm.profile import load_profile

        doctor = Doctor(
            place,
            load_profile(profile),
            nodes or 1,
            parse_duration(wait or "5m"),
            lambda line: click.echo(line, err=True),
        )
        checks = doctor.look()
    else:
        for name, value in (("--nodes", nodes), ("--wait", wait)):
            if value is not None:
                raise UsageError(f"{name} is for bench doctor --slurm")
        checks = diagnose(place, user_path(root))
    facts = as_facts(checks)
    if as_json:
        click.echo(dumps(facts, indent=1))
    else:
        words = {True: "ok", None: "-", False: "MISSING"}
        click.echo(table(["", "what", "found"], [[words[c.ok], c.name, c.text] for c in checks]))
    return 0 if facts["ok"] else 1
