"""`bench pack`, as a person meets it."""

import pytest

from bench.cli import main
from bench.errors import RecordError
from bench.packed import write_packed
from bench.records import load_runs
from tests.synthetic_runs import Runs


@pytest.fixture
def results(tmp_path):
    runs = Runs(tmp_path / "results")
    runs.cells(["beta-vae", "random"], range(2), n_test=50)
    runs.pretrain("bigan", 0, state="failed", error="no space")
    runs.pretrain("bigan", 1, state="interrupted")
    return runs.root


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_packs_and_says_what(results, tmp_path, capsys):
    target = tmp_path / "x.parquet"
    code, out, err = run(capsys, "pack", results, "--to", target, "--no-pictures")
    assert (code, err) == (0, "")
    assert "10 runs (8 done, 1 failed, 1 interrupted)" in out
    small = target.stat().st_size
    assert run(capsys, "pack", "--results", results, "--to", target)[0] == 0
    assert target.stat().st_size > small
    assert run(capsys, "list", "runs", "--results", target)[1].count("\n") == 11
    one = load_runs(target)[0]
    assert "provenance" in run(capsys, "show", one.id[:6], "--results", target)[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "--to", "x.parquet"], "nowhere does not exist"),
        (["empty", "--to", "x.parquet"], "no runs in empty"),
        (["results", "--to", "notes.txt"], "notes.txt is there already and no Parquet file"),
        (["results", "--to", "empty"], "name a file"),
        (["results", "--results", "empty", "--to", "x.parquet"], "leave one out"),
        (["results"], "--to"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(results, tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    code, _, err = run(capsys, "pack", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert says in err
    assert not (tmp_path / "x.parquet").exists()
    assert (tmp_path / "notes.txt").read_text() == "notes"


def test_a_broken_file_ends_a_command_with_one_line(results, tmp_path, capsys):
    path = write_packed(load_runs(results), tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    code, _, err = run(capsys, "list", "runs", "--results", path)
    assert (code, err.count("\n")) == (RecordError.exit_code, 1)
    assert "x.parquet is broken" in err
