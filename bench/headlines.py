"""What came out of a step, a row or a cell, in a few words."""

from collections.abc import Mapping
from typing import Any

from bench.evaluations.registry import EVALUATIONS

_RATES = ("top1", "accuracy")
_FEW = 4


def show_values(values: Mapping[str, Any]) -> str:
    """Loss and accuracy of a step or a row, as far as it has them."""
    parts = []
    for name, value in values.items():
        if not isinstance(value, int | float):
            continue
        if any(rate in name for rate in _RATES):
            parts.append(f"{name} {100 * value:.1f} %")
        elif "loss" in name:
            parts.append(f"{name} {value:.4g}")
    return ", ".join(parts[:_FEW])


def show_result(result: Mapping[str, Any] | None) -> str:
    """What came out of a cell, in a few words."""
    if not result:
        return ""
    if result.get("kind") == "evaluate":
        return _show_metrics(str(result.get("evaluation")), result.get("metrics") or {})
    if result.get("kind") == "probe":
        figures: dict[str, str] = {}
        for rule, row in sorted(result.get("rules", {}).items(), reverse=True):
            # A second rule that finds the same says nothing new.
            figures.setdefault(f"{100 * row['top1']:.2f} %", rule)
        found = ", ".join(f"{figure} ({rule})" for figure, rule in figures.items())
        return f"top-1 {found}" if found else ""
    return show_values(result.get("metrics") or {})


def _show_metrics(evaluation: str, metrics: Mapping[str, Any]) -> str:
    """The first metrics of an evaluation, as its registry has them."""
    if evaluation not in EVALUATIONS:
        return ""
    parts = []
    for metric in EVALUATIONS[evaluation].metrics:
        value = metrics.get(metric.name)
        if isinstance(value, int | float):
            share = metric.unit == "share"
            unit = "%" if share else "" if metric.unit == "count" else metric.unit
            number = f"{100 * value:.2f}" if share else f"{value:.4g}"
            parts.append(f"{metric.title} {number} {unit}".rstrip())
    return ", ".join(parts[:_FEW])
