"""How often the search for near-equal images is right, by pairs that people have judged.

Barz and Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates" (2020), looked at the nearest training
image of every test image of CIFAR-10 and CIFAR-100 and said of 891 of the latter's what it is:
https://github.com/cvjena/cifair, meta/duplicates_cifar100.csv.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import perceptual
from bench.data.leaks import compare
from bench.data.whole import recorded
from bench.errors import DataError

JUDGMENTS = ("exact", "near", "very similar")
DISTANCES = (4, 6, 8, 10)
AGREEMENTS = (-1.0, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Row:
    """One pair of thresholds: what is found with them.

    Attributes:
        distance: of hashes, in bits.
        agreement: of gradients; -1 is no second look.
        found: test images with a pair.
        judged: of those, how many are judged each of `JUDGMENTS`.
        same_shot: share of those found whose judgment is exact or near.
        recall: share of the test images so judged that are found.
    """

    distance: int
    agreement: float
    found: int
    judged: tuple[int, ...]
    same_shot: float
    recall: float


def read_judgments(path: Path) -> dict[int, int]:
    """Test image -> judgment, of a file with the columns TestID and Judgment.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    try:
        with path.open(newline="") as file:
            found = {int(row["TestID"]): int(row["Judgment"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} has no columns TestID and Judgment, as ciFAIR's lists have") from error
    if not found or not set(found.values()) <= set(range(len(JUDGMENTS))):
        raise DataError(f"{path}: a judgment is 0 (exact), 1 (near) or 2 (very similar)")
    return found


def held_against(name: str, root: Path | None, path: Path) -> list[Row]:
    """What every pair of thresholds finds of a data set, held against judgments.

    Args:
        name: of the data set.
        root: the data folder.
        path: of the judgments.

    Raises:
        DataError: the data set or the judgments cannot be read, or they speak of other images.
    """
    judged = read_judgments(path)
    data, known = recorded(name, root)
    if max(judged) >= len(data.test):
        raise DataError(f"{path} speaks of test image {max(judged)}, and {name} has {len(data.test)}")
    train, test = known.signed["train"], known.signed["test"]
    wide = compare(
        data.train.images, train, data.test.images, test, distance=max(DISTANCES), agreement=min(AGREEMENTS)
    )
    pairs = np.concatenate([wide.equal, wide.near])
    alike = np.concatenate([np.ones(len(wide.equal)), wide.agreement])
    apart = np.bitwise_count(train.hashes[pairs[:, 0]] ^ test.hashes[pairs[:, 1]])
    same = sum(judgment < 2 for judgment in judged.values())
    rows = []
    for distance in DISTANCES:
        for agreement in AGREEMENTS:
            found = np.unique(pairs[(apart <= distance) & (alike >= agreement), 1])
            each = [sum(judged.get(int(i)) == k for i in found) for k in range(len(JUDGMENTS))]
            right = each[0] + each[1]
            rows.append(
                Row(distance, agreement, len(found), tuple(each), right / max(len(found), 1), right / same)
            )
    return rows


def as_table(rows: list[Row]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows in words; the thresholds in force are marked."""
    header = ["bits", "agreement", "test images", *JUDGMENTS, "not judged", "same shot", "recall", ""]
    lines = []
    for row in rows:
        in_force = (row.distance, row.agreement) == (perceptual.DISTANCE, perceptual.AGREEMENT)
        second = "no second look" if row.agreement < 0 else f"{row.agreement}"
        rest = row.found - sum(row.judged)
        shares = [f"{100 * row.same_shot:.0f} %", f"{100 * row.recall:.0f} %"]
        lines.append(
            [row.distance, second, row.found, *row.judged, rest, *shares, "in force" if in_force else ""]
        )
    return header, lines
