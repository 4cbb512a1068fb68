"""A measurement as it is read: tables for the terminal and the same as Markdown."""

from collections.abc import Mapping
from typing import Any

from bench.commands.options import table
from bench.perf.clone import AUTHORS
from bench.perf.facts import shared_words

Table = tuple[list[str], list[list[str]]]
"""Header and rows; all columns but the first two hold numbers."""

PROFILE_NOTE = (
    "Where a step's time goes, by torch's profiler;\n"
    "what is computed at once with BN (activation, residual sum, max-pool) counts as BN:"
)
PEAK_NOTE = (
    "MB: the most that a process of one epoch held, with its features and copies of images, without the\n"
    "images given to it; on a processor with torch's own code."
)
SHARED_NOTE = (
    "Probes of one pretraining one after another, with features made anew each time and with those of one kept\n"
    "for the next."
)
READING = (
    "FLOP are those of the plain path, forward and backward, whatever a way computes in their place. conv. %: the"
    " time of the step's convolutions alone, back to back in the best layout and precision, as a share of the step's;"
    " a way with fewer products can pass 100. prod. %: FLOP/s as a share of a large product's. MB: the most that a"
    " process of three steps held, torch's own code included, its images not. plain / way: median over rounds, with"
    " the lowest and the highest."
)


def text(facts: Mapping[str, Any]) -> str:
    """For a terminal of 100 columns."""
    parts = [_machine(facts)]
    for words, (header, rows) in _sections(facts):
        widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
        aligned = [
            [cell if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))]
            for row in [header, *rows]
        ]
        parts.append(words + "\n\n" + table(aligned[0], aligned[1:]))
    return "\n\n".join(parts)


def markdown(facts: Mapping[str, Any], picture: str | None = None) -> str:
    """For a file.

    Args:
        facts: a measurement.
        picture: name of the roofline's file.
    """
    parts = ["# Speed", _machine(facts)]
    for words, (header, rows) in _sections(facts):
        rule = [":--" if k < 2 else "--:" for k in range(len(header))]
        lines = ["| " + " | ".join(row) + " |" for row in (header, rule, *rows)]
        parts += [words, "\n".join(lines)]
    if "pretrain" in facts:
        parts.append(READING)
        if picture:
            parts.append(f"![FLOP/s against FLOP per byte]({picture})")
    return "\n\n".join(parts) + "\n"


def _machine(facts: Mapping[str, Any]) -> str:
    m = facts["machine"]
    words = [
        m["name"],
        f"{m['threads']} thread{'s' * (m['threads'] != 1)}",
        f"torch {m['versions']['torch']}",
        f"{'' if m['bf16_units'] else 'no '}bf16 units",
        shared_words(facts),
    ]
    if m["device"] == "cuda":
        switches = m["switches"]
        words.append(
            f"TF32 {'on' if switches['matmul_tf32'] or switches['cudnn_tf32'] else 'off'},"
            f" cuDNN {m['cudnn']}, benchmark {'on' if switches['cudnn_benchmark'] else 'off'}"
        )
    return ", ".join(words)


def _sections(facts: Mapping[str, Any]) -> list[tuple[str, Table]]:
    found = []
    if "pretrain" in facts:
        part = facts["pretrain"]
        found.append((_pretrain_words(part), _pretrain(part)))
        if AUTHORS in part:
            found.append((_authors_words(part), _authors(part)))
        if any("profile" in way for row in part["rows"] for way in row["ways"]):
            found.append((PROFILE_NOTE, _profile(part)))
    if "probe" in facts:
        found.append((_probe_words(facts["probe"]), _probe(facts["probe"])))
        if "shared" in facts["probe"]:
            found.append((SHARED_NOTE, _shared(facts["probe"]["shared"])))
    return found


def _pretrain_words(part: Mapping[str, Any]) -> str:
    product, each = part["product"], []
    for row in part["rows"]:
        alone = row["convolutions"]
        rate = f"{alone['flops'] / 1e9:.0f}"
        each.append(f"\n{row['method']}'s convolutions alone {rate} ({alone['dtype']}, {alone['layout']})")
    return (
        f"Pretraining: batch {part['batch']}, {part['size']}x{part['size']}, {part['clock']}, medians of"
        f" {part['rounds']} rounds{_beside_words(part)}.\nGFLOP/s at most:"
        f" a large product {product['flops'] / 1e9:.0f} ({product['dtype']}),{','.join(each)}."
        + "".join(
            f"\n{row['method']} {way['way']}: {note}"
            for row in part["rows"]
            for way in row["ways"]
            for note in way.get("notes", ())
        )
    )


def _beside_words(part: Mapping[str, Any]) -> str:
    count = part.get("beside", 1)
    if count == 1:
        return ""
    return f";\n{count} processes take each turn at the same time: ms/step is their mean, rates are their sum"


def _authors_words(part: Mapping[str, Any]) -> str:
    theirs = part[AUTHORS]
    lines = [
        f"Beside the authors' code ({theirs['repository']} at {theirs['commit'][:12]}), their step on a batch that",
        "is in memory as their floats: their loader and their log files are not timed.",
    ]
    for row in part["rows"]:
        facts = row[AUTHORS]
        if "missing" in facts:
            lines.append(f"{row['method']}: {facts['missing']}.")
            continue
        same = facts["parameters"] == facts["parameters_of_ours"]
        ours = "as ours" if same else f"ours {facts['parameters_of_ours']:,}"
        note = f",\n  {facts['note']}" if facts["note"] else ""
        lines.append(f"{row['method']}: {facts['parameters']:,} parameters, {ours}{note}.")
    return "\n".join(lines)


def _authors(part: Mapping[str, Any]) -> Table:
    rows = [
        [
            row["method"],
            way["way"],
            f"{way['images_per_second']:.0f}",
            _ratio(way["times_authors"]) if "times_authors" in way else "1",
        ]
        for row in part["rows"]
        if "missing" not in row[AUTHORS]
        for way in row["ways"]
    ]
    return ["method", "way", "images/s", "authors / way"], rows


def _pretrain(part: Mapping[str, Any]) -> Table:
    header = ["method", "way", "ms/step", "images/s", "GFLOP/s", "conv. %", "prod. %"]
    memory = any("peak_bytes" in way for row in part["rows"] for way in row["ways"])
    rows = []
    for row in part["rows"]:
        for way in row["ways"]:
            rows.append(
                [
                    row["method"],
                    way["way"],
                    f"{way['ms']:.0f}" if way["ms"] >= 100 else f"{way['ms']:.3g}",
                    f"{way['images_per_second']:.0f}",
                    f"{way['flops'] / 1e9:.1f}",
                    f"{100 * way['of_convolutions']['median']:.0f}",
                    f"{100 * way['of_product']['median']:.0f}",
                    *([f"{way['peak_bytes'] / 1e6:.0f}"] if "peak_bytes" in way else [""] if memory else []),
                    "1" if way["way"] == "plain" else _ratio(way["times_faster"]),
                ]
            )
    return [*header, *(["MB"] if memory else []), "plain / way"], rows


def _ratio(ratio: Mapping[str, Any]) -> str:
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f}–{ratio['highest']:.2f})"


def _profile(part: Mapping[str, Any]) -> Table:
    profiles = [(row["method"], way["way"], way["profile"]) for row in part["rows"] for way in row["ways"]]
    total: dict[str, float] = {}
    for _, _, shares in profiles:
        for kind, share in shares.items():
            total[kind] = total.get(kind, 0.0) + share
    kinds = sorted(total, key=lambda kind: (kind == "other", -total[kind]))
    rows = [
        [method, way, *(f"{100 * shares.get(kind, 0.0):.1f} %" for kind in kinds)]
        for method, way, shares in profiles
    ]
    return ["method", "way", *kinds], rows


def _probe_words(part: Mapping[str, Any]) -> str:
    ceiling = part["ceiling"]
    return (
        f"A probe: {part['epochs']} epochs from {part['epochs_run']} run, {part['images']} images and"
        f" {part['tested']} to test on, medians of {part['pairs']} rounds.\nGFLOP/s at most: a large product"
        f" {ceiling['matmul_flops'] / 1e9:.0f} ({ceiling.get('dtype', 'fp32')}); convolutions forward"
        f" {ceiling['convolutions_flops'] / 1e9:.0f} (fp32,"
        f" {ceiling['convolutions_images_per_second']:.0f} images/s)."
        + (f"\n{PEAK_NOTE}" if _has_peaks(part) else "")
    )


def _has_peaks(part: Mapping[str, Any]) -> bool:
    return any("peak_bytes" in way for row in part["rows"] for way in row["ways"].values())


def _probe(part: Mapping[str, Any]) -> Table:
    memory, rows = _has_peaks(part), []
    for row in part["rows"]:
        for way, t in row["ways"].items():
            share = row["flop_per_image"] * t["images_per_second"] / part["ceiling"]["matmul_flops"]
            rows.append(
                [
                    row["freeze"],
                    way,
                    f"{t['seconds']:.1f}",
                    f"{t['ms_a_batch']:.1f}",
                    f"{t['images_per_second']:.0f}",
                    f"{100 * share:.0f}",
                    *([f"{t['peak_bytes'] / 1e6:.0f}"] if "peak_bytes" in t else [""] if memory else []),
                    f"{t['times_faster']:.2f} ({min(t['each_round']):.2f}–{max(t['each_round']):.2f})",
                ]
            )
    header = [
        "frozen",
        "features",
        "seconds",
        "ms a batch",
        "images/s",
        "prod. %",
        *(["MB"] if memory else []),
    ]
    return [*header, "recomputed / way"], rows


def _shared(shared: Mapping[str, Any]) -> Table:
    points = ", ".join(shared["freezes"])
    parts = {"before": "seconds before training", "whole": "all seconds"}
    rows = [[points, words, _ratio(shared[part])] for part, words in parts.items()]
    return ["frozen, in turn", "of", "anew / kept"], rows
