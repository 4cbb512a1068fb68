"""A table of layers and parameter counts, as the live modules print it, beside the paper's totals. No torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOTALS = "# Parameters"


@dataclass(frozen=True)
class Architecture:
    """One table of layers.

    Attributes:
        name: its number in the paper.
        title: what it describes.
        source: where the totals are printed.
        columns: the header; the first names the layers.
        rows: texts, one a column; the last row is of the totals.
        published: the paper's total a column, without the first.

    Raises:
        ValueError: a row, or the published totals, have not as many entries as there are columns.
    """

    name: str
    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    published: tuple[int, ...]

    def __post_init__(self) -> None:
        for entries, wanted in [
            *((row, len(self.columns)) for row in self.rows),
            (self.published, len(self.columns) - 1),
        ]:
            if len(entries) != wanted:
                raise ValueError(f"table {self.name}: {entries!r} has {len(entries)} entries for {wanted}")
        if not self.rows or self.rows[-1][0] != TOTALS:
            raise ValueError(f"table {self.name}: its last row is not {TOTALS!r}")

    @property
    def totals(self) -> tuple[int, ...]:
        """Parameters of our modules, a number a column without the first."""
        return tuple(int(text.replace(",", "")) for text in self.rows[-1][1:])


def read_architectures(
    path: Path, source: str, published: Sequence[Sequence[int]]
) -> tuple[Architecture, ...]:
    """What `bench list architectures --json` has printed into a file.

    Args:
        path: the file.
        source: where the paper prints its tables.
        published: the paper's totals, of each table of the file in turn.

    Raises:
        ValueError: the file is of other tables.
    """
    return tuple(
        Architecture(
            str(row["number"]),
            row["title"],
            f"{source}, Table {row['number']}",
            tuple(row["columns"]),
            tuple(tuple(texts) for texts in row["rows"]),
            tuple(totals),
        )
        for row, totals in zip(json.loads(path.read_text(encoding="utf-8")), published, strict=True)
    )
