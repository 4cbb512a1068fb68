"""The columns of a file of packed runs, and what stands in them."""

import json
from typing import TYPE_CHECKING, Any

from bench.config import schedule
from bench.data.fractions import typed_name
from bench.files import dumps
from bench.packed.scrub import scrub, scrub_status
from bench.reading import as_object

if TYPE_CHECKING:
    import pyarrow

    from bench.records import Run

# Raised when a reader of an earlier version could not read the file, or would misread it.
VERSION = 1
MARK = b"bench.records"
CHECKSUM = b"bench.sha256"
RULES = ("last", "val", "best-test")
TEXTS = ("config", "result", "provenance", "status", "epochs")


def rule_column(score: str, rule: str) -> str:
    """Name of the column that holds a probe's score under a rule, such as "top1_best_test"."""
    return f"{score}_{rule.replace('-', '_')}"


def schema() -> "pyarrow.Schema":
    """Names and types of the columns."""
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int64()
    array = pa.struct(
        [*((name, text) for name in ("file", "name", "form", "dtype", "shape")), ("data", pa.binary())]
    )
    return pa.schema(
        [
            *((name, text) for name in ("id", "kind", "method", "dataset", "pretrain_dataset")),
            ("seed", whole),
            ("probe_seed", whole),
            *((name, text) for name in ("freeze", "evaluation", "protocol", "backbone", "schedule", "state")),
            *((rule_column(score, rule), real) for score in ("top1", "top5") for rule in RULES),
            ("metrics", pa.map_(text, real)),
            ("seconds", real),
            *((name, text) for name in ("commit", "source_hash", "device", "started", "pretrain_id")),
            *((name, text) for name in TEXTS),
            ("arrays", pa.list_(array)),
        ]
    )


def compact(value: Any) -> str:
    """JSON without blanks, in the order that it has."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        return compact(json.loads(dumps(value)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def row(run: "Run") -> dict[str, Any]:
    """What stands in the columns of a run, all but its arrays."""
    config, result = run.config, run.result
    # Of a run that is done, its provenance says when it began and ended.
    status = run.status if result is None else None
    found, pretrain = result or {}, config.get("pretrain", config)
    probe = config["kind"] == "probe"
    provenance = scrub(run.provenance)
    rules = found.get("rules") or {}
    return {
        "id": run.id,
        "kind": config["kind"],
        "method": pretrain["method"],
        "dataset": typed_name(config["dataset"]),
        "pretrain_dataset": typed_name(pretrain["dataset"]),
        "seed": pretrain["seed"],
        "probe_seed": config["seed"] if probe else None,
        **{name: config.get(name) for name in ("freeze", "evaluation", "protocol", "pretrain_id")},
        "backbone": pretrain["backbone"],
        "schedule": schedule(config),
        "state": run.state,
        **{
            rule_column(score, rule): _number((rules.get(rule) or {}).get(score))
            for score in ("top1", "top5")
            for rule in RULES
        },
        "metrics": [(key, float(v)) for key, v in (found.get("metrics") or {}).items() if _number(v) is not None],
        "seconds": _number(found.get("seconds")),
        "commit": _text(as_object(provenance.get("git")).get("commit")),
        "source_hash": _text(provenance.get("source_hash")),
        "device": _text(provenance.get("device")),
        "started": _text(provenance.get("started")),
        "config": compact(config),
        "result": None if result is None else compact(result),
        "provenance": compact(provenance),
        "status": None if status is None else compact(scrub_status(status, str(run.provenance.get("host") or ""))),
        "epochs": run.metrics_text(),
    }  # fmt: skip
