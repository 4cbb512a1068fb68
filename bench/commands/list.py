"""`bench list`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import plugins
from bench.commands.options import counted, data_option, json_option, results_option, table, user_path
from bench.config import schedule
from bench.data import registry as datasets
from bench.evaluations.registry import EVALUATIONS
from bench.files import dumps
from bench.headlines import show_result
from bench.plan import label
from bench.records import load_runs
from bench.selection import FREEZE_POINTS, STRIDES
from bench.settings import GROUPS, fields_of
from models import registry as methods
from models.plugins import offered

if TYPE_CHECKING:
    from bench.studies import Study


@click.group("list")
def command() -> None:
    """What there is: methods, evaluations, settings, data sets, backbones, runs, studies, architectures."""


def _print(header: list[str], rows: list[list[Any]], facts: list[dict[str, Any]], as_json: bool) -> None:
    if not as_json and any(fact.get("package") for fact in facts):
        # Where the rows come from that are not this project's, after their names.
        header = [header[0], "package", *header[1:]]
        rows = [[row[0], fact.get("package"), *row[1:]] for row, fact in zip(rows, facts, strict=True)]
    click.echo(dumps(facts, indent=1) if as_json else table(header, rows))


@command.command("methods")
@json_option
def list_methods(as_json: bool) -> None:
    """Methods and controls."""
    plugins.load()
    facts = [
        {
            "name": row.name,
            "title": row.title,
            "control": row.control,
            "labels": row.labels,
            "version": row.version,
            "package": plugins.package("methods", row.name),
            "settings": {k: getattr(row.config_cls(), k) for k in methods.setting_names(row.name)},
        }
        for row in methods.METHODS.values()
    ]
    rows = []
    for fact in facts:
        kind = "control" if fact["control"] else "labels" if fact["labels"] else "no labels"
        rows.append([fact["name"], fact["title"], kind, f"{len(fact['settings'])} settings"])
    _print(["name", "title", "learns from", "see bench list settings"], rows, facts, as_json)


@command.command("settings")
@json_option
def list_settings(as_json: bool) -> None:
    """What --set may change, and the default."""
    plugins.load()
    found: dict[str, dict[str, Any]] = {}
    for row in methods.METHODS.values():
        defaults = row.config_cls()
        for key in methods.setting_names(row.name):
            fact = found.setdefault(key, {"name": key, "default": getattr(defaults, key), "methods": []})
            fact["methods"].append(row.name)
    for group, cls in GROUPS.items():
        defaults = cls()
        for key in fields_of(cls):
            found[f"{group}.{key}"] = {
                "name": f"{group}.{key}",
                "default": getattr(defaults, key),
                "methods": list(methods.METHODS),
            }
    facts = list(found.values())
    rows = []
    for fact in facts:
        every = len(fact["methods"]) == len(methods.METHODS)
        rows.append([fact["name"], fact["default"], "all" if every else ", ".join(fact["methods"])])
    _print(["setting", "default", "methods"], rows, facts, as_json)


@command.command("evaluations")
@json_option
def list_evaluations(as_json: bool) -> None:
    """What judges a pretraining beside the probe, what it measures, and to which methods it applies."""
    plugins.load()
    facts = [
        {
            "name": row.name,
            "title": row.title,
            "version": row.version,
            "package": plugins.package("evaluations", row.name),
            "metrics": [dataclasses.asdict(metric) for metric in row.metrics],
            "methods": [name for name, method in methods.METHODS.items() if row.applies(method)],
            "weights": row.weights,
        }
        for row in EVALUATIONS.values()
    ]
    rows = [
        [
            fact["name"],
            fact["title"],
            ", ".join(m["name"] for m in fact["metrics"]),
            f"{len(fact['methods'])} methods",
        ]
        for fact in facts
    ]
    _print(["name", "title", "measures", "applies to"], rows, facts, as_json)


@command.command("datasets")
@data_option
@json_option
def list_datasets(root: Path | None, as_json: bool) -> None:
    """Data sets, and whether they are there."""
    plugins.load()
    facts = [
        {**datasets.describe(name, user_path(root)), "package": plugins.package("datasets", name)}
        for name in datasets.DATASETS
    ]
    rows = [
        [
            fact["name"],
            fact["image_size"],
            fact["num_classes"],
            fact["num_train"],
            fact["num_test"],
            "found" if fact["found"] else fact["problem"],
        ]
        for fact in facts
    ]
    rows.append(["folder:PATH", "", "", "", "", "your own: train/ and val/ or test/, one folder a class"])
    rows.append(
        ["timm:NAME", "", "", "", "", "what timm reads: timm:torch/NAME, hfds, wds, tfds, or a folder"]
    )
    layouts = ", ".join(f"{row.name}:PATH" for row in datasets.DATASETS.values() if row.takes_path)
    rows.append(["LAYOUT:PATH", "", "", "", "", f"a part of a data set in its layout: {layouts}"])
    header = ["name", "pixels", "classes", "train", "test", "here"]
    _print(header, rows, facts if as_json else [*facts, {}, {}], as_json)


@command.command("backbones")
@click.option("--all", "everything", is_flag=True, help="Every model of timm; takes some seconds.")
@json_option
def list_backbones(everything: bool, as_json: bool) -> None:
    """Networks that may be probed, and where they may be frozen."""
    facts: list[dict[str, Any]] = [
        {"name": name, "stride": STRIDES[name], "freeze_points": points}
        for name, points in FREEZE_POINTS.items()
    ]
    # Known by their entry points alone: their freeze points and stride are those of the network when it is built.
    facts += [{"name": point.name, "package": str(one)} for point, one in offered("bench.backbones")]
    if everything:
        import timm

        known = {fact["name"] for fact in facts}
        facts += [{"name": name} for name in timm.list_models() if name not in known]
    rows = [[f["name"], f.get("stride"), ", ".join(f.get("freeze_points", ()))] for f in facts]
    _print(["name", "stride", "freeze points"], rows, facts, as_json)
    if not everything and not as_json:
        click.echo("and any CNN of timm that is a plain sequence of stages: bench list backbones --all")


@command.command("runs")
@results_option
@json_option
def list_runs(results: Path, as_json: bool) -> None:
    """What was run, and how it ended."""
    plugins.load()
    facts = []
    for run in load_runs(user_path(results) or results):
        error = run.status.get("error") if run.result is None else None
        facts.append(
            {
                "id": run.id,
                "state": run.state,
                "kind": run.config["kind"],
                "label": label(run.config),
                "epochs": schedule(run.config),
                "found": show_result(run.result) or error or "",
                "dir": run.dir,
            }
        )
    facts.sort(key=lambda fact: fact["label"])
    rows = [[f[key] for key in ("id", "state", "label", "epochs", "found")] for f in facts]
    if not facts and not as_json:
        click.echo(f"no runs in {results}")
        return
    _print(["id", "state", "cell", "epochs", "result"], rows, facts, as_json)


@command.command("architectures")
@json_option
def list_architectures(as_json: bool) -> None:
    """The paper's Tables 8 to 12, from the live modules."""
    from models.architectures import tables

    found = list(tables())
    if as_json:
        click.echo(dumps([dataclasses.asdict(one) for one in found], indent=1))
        return
    for one in found:
        click.echo(f"Table {one.number}: {one.title}")
        click.echo(table(list(one.columns), [list(row) for row in one.rows]) + "\n")


@command.command("studies")
@click.option(
    "--study", metavar="NAME|FILE", help="This one alone; a Python file that defines STUDY is your own."
)
@json_option
def list_studies(study: str | None, as_json: bool) -> None:
    """What `bench run --table` runs: tables, rows, columns, claims."""
    from bench.studies import STUDIES, load_study

    found = [load_study(study)] if study is not None else list(STUDIES.values())
    if as_json:
        click.echo(dumps([_study_facts(one) for one in found], indent=1))
        return
    for one in found:
        click.echo(f"{one.name}: {one.title} ({one.citation}) {one.url}".rstrip())
        rows = [
            [
                t.name,
                t.title,
                ", ".join(t.datasets),
                f"{len(t.rows)}" + (f" + {counted(len(t.controls), 'control')}" if t.controls else ""),
                len(t.columns),
                len(t.claims),
            ]
            for t in one.tables
        ]
        rows += [[a.name, a.title, "bench list architectures", "", "", ""] for a in one.architectures]
        click.echo(table(["table", "title", "data sets", "rows", "columns", "claims"], rows) + "\n")
        claims = [[t.name, claim.name, claim.text] for t in one.tables for claim in t.claims]
        if claims:
            click.echo(table(["table", "claim", "what it says"], claims) + "\n")


def _study_facts(study: "Study") -> dict[str, Any]:
    """A study for a program: what is declared, but for the layers of networks."""
    facts = dataclasses.asdict(study)
    facts["architectures"] = [{"name": a.name, "title": a.title} for a in study.architectures]
    return facts
