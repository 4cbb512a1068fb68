"""A report's folder holds the records that it was made from."""

import shutil

import pytest

from bench.cli import main
from bench.packed import beside
from tests.synthetic_runs import Runs

METHODS, POINTS = ("beta-vae", "patchvae"), ("conv1", "conv1-5")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("records") / "results")
    runs.cells(METHODS, [0, 1], POINTS)
    return runs.root


def report(*words):
    return main(["report", *map(str, words)])


def test_a_report_of_the_records_beside_it_has_the_same_tables(results, tmp_path, capsys):
    assert report(results, "--out", tmp_path / "first") == 0
    assert report(tmp_path / "first", "--out", tmp_path / "second") == 0
    assert (tmp_path / "first/tables.csv").read_bytes() == (tmp_path / "second/tables.csv").read_bytes()
    assert (tmp_path / "first/tables.tex").read_bytes() == (tmp_path / "second/tables.tex").read_bytes()


def test_many_records_are_packed_by_a_process_of_their_own_into_the_same_bytes(
    results, tmp_path, capsys, monkeypatch
):
    report(results, "--out", tmp_path / "here")
    monkeypatch.setattr(beside, "FEW", 0)
    monkeypatch.setattr(beside, "write_packed", None)
    assert report(results, "--out", tmp_path / "there") == 0
    assert (tmp_path / "here/records.parquet").read_bytes() == (
        tmp_path / "there/records.parquet"
    ).read_bytes()


def test_what_that_process_refuses_is_one_line(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(beside, "FEW", 0)
    target = tmp_path / "out/records.parquet"
    target.parent.mkdir()
    target.write_text("mine")
    assert report(results, "--out", target.parent) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"bench: error: {target} cannot be written: --to {target} is there already and no Parq"
    )
    assert target.read_text() == "mine"


def test_packed_records_are_copied_and_left_alone_where_they_are_the_source(results, tmp_path, capsys):
    main(["pack", str(results), "--to", str(tmp_path / "packed/records.parquet")])
    packed = (tmp_path / "packed/records.parquet").read_bytes()
    for out in ("elsewhere", "packed"):
        assert report(tmp_path / "packed", "--out", tmp_path / out) == 0
        assert (tmp_path / out / "records.parquet").read_bytes() == packed


@pytest.mark.parametrize("few", [0, 1000])
def test_results_may_begin_with_a_dash_and_lie_beside_folders_named_as_ours(
    results, tmp_path, capsys, monkeypatch, few
):
    monkeypatch.setattr(beside, "FEW", few)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(results, "-results")
    for name in ("bench", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    assert report("--", "-results") == 0, capsys.readouterr().err
    assert (tmp_path / "-results/report/records.parquet").is_file()


def test_another_folder_is_advised_only_where_this_one_cannot_be_written(results, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert report(results, "--out", tmp_path / "file") == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    assert report(results, "--baseline", "nobody", "--out", tmp_path / "out") == 2
    assert "--out" not in capsys.readouterr().err
