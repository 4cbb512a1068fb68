"""Which row of a table the others are compared with."""

from collections.abc import Sequence

from bench.errors import UsageError, choice_error
from bench.report.matching import same_settings
from bench.report.sheets import Sheet


def check_baseline(wanted: str, sheets: Sequence[Sheet]) -> None:
    """Refuse a baseline that no table has, or of which a table has several rows.

    Raises:
        UsageError: names what is allowed.
    """
    known = {name: None for sheet in sheets for row in sheet.rows for name in (row.method, row.label)}
    if known and wanted not in known:
        raise choice_error("baseline", wanted, known)
    for sheet in sheets:
        baseline_row(sheet, wanted)


def baseline_row(sheet: Sheet, wanted: str | None) -> int | None:
    """Number of the row that is meant: by its label, else the method's only row, else its row at the defaults.

    Raises:
        UsageError: the table has several rows of the method and none at its defaults.
    """
    if wanted is None:
        return None
    for number, row in enumerate(sheet.rows):
        if row.label == wanted:
            return number
    rows = [number for number, row in enumerate(sheet.rows) if row.method == wanted]
    if len(rows) < 2:
        return rows[0] if rows else None
    for number in rows:
        behind = sheet.rows[number].runs
        if not sheet.rows[number].pretrained_on and all(
            same_settings({}, runs, sheet.panels[place]) for place, runs in behind.items()
        ):
            return number
    labels = ", ".join(repr(sheet.rows[number].label) for number in rows)
    raise UsageError(f"baseline {wanted!r} could be any of {labels}: name one of these")
