"""A report's folder holds the records that it was made from."""

import json
import shutil

import pytest

from bench.cli import main
from bench.packed import beside
from bench.records import load_runs
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


@pytest.mark.parametrize("few", [0, 1000])
def test_what_is_no_parquet_file_is_left_alone_and_nothing_is_written(
    results, tmp_path, capsys, monkeypatch, few
):
    monkeypatch.setattr(beside, "FEW", few)
    target = tmp_path / "out/records.parquet"
    target.parent.mkdir()
    target.write_text("mine")
    assert report(results, "--out", target.parent) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"bench: error: {target} is there already and no Parquet file: it is left alone"
    assert [path.name for path in target.parent.iterdir()] == ["records.parquet"]
    assert target.read_text() == "mine"


def test_records_that_change_while_the_report_is_made_are_packed_as_it_has_them(
    results, tmp_path, monkeypatch
):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    monkeypatch.setattr(beside, "FEW", 0)
    runs = load_runs(copy)
    with beside.packed_beside(copy, runs[:-1], tmp_path / "out") as target:
        pass
    assert [run.id for run in load_runs(target)] == [run.id for run in runs[:-1]]


def test_packed_records_with_pictures_are_packed_without(results, tmp_path, capsys):
    source = tmp_path / "packed/records.parquet"
    main(["pack", str(results), "--to", str(source)])
    assert any("reconstructions" in run.array_names for run in load_runs(source))
    report(source, "--out", tmp_path / "out")
    found = load_runs(tmp_path / "out/records.parquet")
    assert len(found) == len(load_runs(source))
    assert not any("reconstructions" in run.array_names for run in found)


def test_packed_records_are_copied_and_left_alone_where_they_are_the_source(results, tmp_path, capsys):
    main(["pack", str(results), "--no-pictures", "--to", str(tmp_path / "packed/records.parquet")])
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


def test_facts_of_another_kind_than_they_should_be_are_left_out(results, tmp_path, capsys):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    for run in load_runs(copy):
        assert run.attempt_dir
        path = run.attempt_dir / "provenance.json"
        path.write_text(json.dumps({**run.provenance, "git": "x", "versions": 3, "data": [1], "argv": "y"}))
    for path in copy.glob("runs/*/result.json"):
        found = json.loads(path.read_text())
        path.unlink()
        path.write_text(json.dumps({**found, "seconds": "fast"}))
    assert report(copy, "--out", tmp_path / "out") == 0
    assert "β-VAE" in (tmp_path / "out/tables.md").read_text()
