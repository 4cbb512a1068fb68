"""What is published under results/ renders the same tables, byte for byte, on any checkout."""

from pathlib import Path

import pytest

from bench.report import build, write

PUBLISHED = Path(__file__).parent.parent / "results" / "published"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob("*/records.parquet"))


def test_something_is_published():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_records_render_the_published_tables(folder, tmp_path):
    paths = write(build(folder), tmp_path, ["markdown", "latex", "csv"])
    for path in paths.values():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_records_hold_no_checkpoints_and_name_no_machine(folder):
    report = build(folder, with_figures=False)
    assert report.problems == ()
    assert {path.suffix for path in folder.iterdir()} <= {".parquet", ".md", ".tex", ".csv"}
