"""The card of an exported backbone: how to load it, the row it belongs to, where it comes from. No torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import schedule, variant
from bench.exported.folder import KEY
from bench.packed.scrub import command
from bench.records import Run

if TYPE_CHECKING:
    from bench.report.model import Column, Row, Table

NOTHING = "Nobody has probed or evaluated it here."


def make_card(run: Run, results: Path, config: Mapping[str, Any], license: str) -> str:
    """The text of README.md, with the metadata that a hub reads.

    Args:
        run: the pretraining.
        results: the folder that it is of, for its row.
        config: what is written as `config.json`.
        license: of the weights.
    """
    from bench.report.panel import dataset_title, spec

    pretrain, size = run.config, run.config["image_size"]
    title, data = spec(pretrain["method"]).title or pretrain["method"], dataset_title(pretrain["dataset"])
    given = pretrain.get("weights")
    head = f"{title}: {pretrain['backbone']} from {data}, seed {pretrain['seed']}"
    if given:
        head = f"{pretrain['backbone']}: {given['origin']}"
        how = "with weights that were not trained in this run, only judged by it"
    elif not pretrain["train"]["epochs"]:
        head = f"{pretrain['backbone']}, untrained, seed {pretrain['seed']}"
        how = "as it was initialised: a control, which has not been trained"
    else:
        how = f"pretrained by {title} on {data} ({size} x {size} pixels, {_epochs(pretrain)}),"
        how += " one of several seeds that compare methods"
    tags = dict.fromkeys(["image-feature-extraction", "timm", "representation-learning", pretrain["method"]])
    metadata = [
        f"license: {license}", "library_name: timm", "pipeline_tag: image-feature-extraction",
        "tags:", *(f"- {tag}" for tag in tags),
    ]  # fmt: skip
    parts = [
        "---\n" + "\n".join(metadata) + "\n---\n",
        f"# {head}\n",
        f"A {pretrain['backbone']}, {how}.\n",
        _loading(config),
        _measured(run, results),
        _provenance(run, config),
        _limits(config, data),
    ]
    return "\n".join(parts)


def _epochs(pretrain: Mapping[str, Any]) -> str:
    count = pretrain["train"]["epochs"]
    return f"{count} epoch{'s' * (count != 1)}"


def _loading(config: Mapping[str, Any]) -> str:
    cfg, args = config["pretrained_cfg"], config.get("model_args")
    body = ", ".join(f"{key}={value}" for key, value in (args or {}).items())
    built = f"`{config['architecture']}`" + (f" with {body}" if body else "")
    mean, std = (tuple(cfg[key]) for key in ("mean", "std"))
    what = ("", "  # what was probed") if config[KEY]["probed"] == "maps" else (": what was probed", "")
    takes, first, whose = "timm 1.0.20 or newer is all that it takes", "", "timm's"
    if needs := config[KEY].get("needs"):
        takes = f"It takes timm 1.0.20 or newer and {needs['package']}, which registers the network with timm"
        first, whose = f"\nimport {needs['module']}  # noqa: F401", f"{needs['package']}'s"
    return f"""## Load it

{takes}:

```python
import timm
import torch{first}

model = timm.create_model("local-dir:DIR", pretrained=True).eval()  # of a hub: "hf-hub:NAME/OF-THIS"
transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg, model=model))
with torch.no_grad():
    image = transform(picture).unsqueeze(0)  # of a PIL image
    pooled = model(image)  # [1, {config["num_features"]}]{what[0]}
    maps = model.forward_features(image){what[1]}
model = timm.create_model("local-dir:DIR", pretrained=True, num_classes=10)  # to fine-tune it
```

It is {whose} {built}.
Input: RGB, {cfg["input_size"][1]} x {cfg["input_size"][2]} pixels as it was pretrained, values in [0, 1] less mean
{mean}, divided by {std}.
"""


def _measured(run: Run, results: Path) -> str:
    """The rows of the tables that this pretraining stands in, as `bench report` computes them."""
    from bench.report.build import build, read

    records = read(results)
    mine = {one.id for one in records.runs if one.config.get("pretrain_id") == run.id}
    report = build(records, study=None, with_figures=False)
    rows = [
        line
        for table in report.tables
        for row in table.rows
        if any(mine & set(cell.runs) for cell in row.cells)
        for line in _table(table, row, mine)
    ]
    body = "\n".join(rows) if rows else f"{NOTHING}\n"
    return f"## What was measured\n\n{body}"


def _table(table: "Table", row: "Row", mine: set[str]) -> Iterator[str]:
    """A row upside down: a line a column, with the mean over seeds and this seed's own number."""
    from bench.report.layout import half_width, number
    from bench.report.markdown import escape

    yield f"{escape(table.title)}, protocol `{table.protocol}`, row *{escape(row.label)}*. After ±: half the width of"
    yield "the 95 % t interval over pretraining seeds; there is none with one.\n"
    yield "| | mean over seeds | seeds | this one |"
    yield "|:---|---:|---:|---:|"
    for column, cell in zip(table.columns, row.cells, strict=True):
        if (e := cell.estimate) is None:
            continue
        own = [value for id_, value in zip(cell.runs, cell.values, strict=True) if id_ in mine]
        half = f" ± {half_width(e.half, column.unit)}" if e.half is not None else ""
        this = number(sum(own) / len(own), column.unit) if own else "—"
        yield f"| {_named(column)} | {number(e.mean, column.unit)}{half} | {e.n} | {this} |"
    yield ""


def _named(column: "Column") -> str:
    from bench.report.markdown import escape

    unit = f" ({column.unit.unit})" if column.unit.unit else ""
    title = column.title if column.unit.title in column.title else f"{column.title}, {column.unit.title}"
    return escape(title + unit)


def _provenance(run: Run, config: Mapping[str, Any]) -> str:
    origin, own = run.provenance, config[KEY]
    git = origin.get("git") or {}
    commit = str(git.get("commit") or "unknown") + (" (edited)" if git.get("dirty") else "")
    versions = origin.get("versions") or {}
    facts = {
        "cell": f"`{run.id}` ({own['label']})",
        "epochs": schedule(run.config),
        "settings": f"`{variant(run.config)}`" if variant(run.config) else "the method's own",
        "command": f"`{' '.join(command(origin.get('argv')))}`",
        "commit": commit,
        "source": str(origin.get("source_hash") or "unknown"),
        "data": f"{own['dataset'].get('name')}, fingerprint {own['fingerprint'] or 'unknown'}",
        "weights": f"SHA-256 {own['weights']}",
        "versions": ", ".join(f"{k} {versions[k]}" for k in ("bench", "torch", "timm") if versions.get(k)),
    }  # fmt: skip
    return (
        "## Where it comes from\n\n" + "\n".join(f"- {key}: {value}" for key, value in facts.items()) + "\n"
    )


def _limits(config: Mapping[str, Any], data: str) -> str:
    size = config["pretrained_cfg"]["input_size"][1]
    extra = ""
    if (config.get("model_args") or {}).get("layers", [1])[-1] == 0:
        extra = "\n- With `features_only=True` beyond the third map: the stages after it are empty."
    return f"""## What it must not be used for

- As evidence about its method: that takes the seeds and the intervals above, never one file of weights.
- Beside numbers of another protocol, data set, image size or number of epochs, the paper's among them.
- Where a mistake harms someone. It has seen {data} at {size} x {size} pixels, and whatever bias lies in these images
  is in its features; nobody has looked at it for any purpose but the comparison.
- Against the terms of {data}, which go for what was learned from it as far as they say so.{extra}
"""
