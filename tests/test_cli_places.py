"""Results folders, data and terminals that are not as one would like."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.commands import computing
from bench.errors import Diverged, UsageError
from bench.launch import local
from bench.progress import PlainDisplay
from tests.fake_trainer import FakeTrainer

STUDY = ["-m", "beta-vae,random", "-d", "digits", "-s", "1", "--probes", "conv1", "--preset", "smoke"]
SMALL = ["run", *STUDY, "--evaluate", "none"]


@pytest.fixture
def trainer(monkeypatch):
    one = FakeTrainer()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    return one


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_where_all_is_done_need_not_be_writable(tmp_path, capsys, trainer, monkeypatch):
    assert call(capsys, *SMALL, "--results", tmp_path)[0] == 0

    def refuse(results, create=True):
        raise UsageError(f"{results} cannot be written: choose another folder with --results")

    monkeypatch.setattr(computing, "open_results", refuse)
    code, out, err = call(capsys, *SMALL, "--results", tmp_path)
    assert (code, err) == (0, "")
    assert "4 of 4 cells are done (0 now" in out
    code, out, err = call(capsys, *SMALL, "--results", tmp_path, "--force")
    assert (code, out) == (2, "")
    assert "cannot be written" in err


def test_bars_count_the_cells_that_failed_earlier(tmp_path, capsys, trainer, monkeypatch):
    waiting, ended = [], []

    class Watched(PlainDisplay):
        def cell_ended(self, outcome, number, total):
            ended.append(outcome.state)
            super().cell_ended(outcome, number, total)

    def make(cells, stream):
        waiting.append(len(cells))
        return Watched(cells, stream)

    trainer.faults["beta-vae digits seed 0 pretrain"] = Diverged(3)
    call(capsys, *SMALL, "--results", tmp_path)
    monkeypatch.setattr(computing, "make_display", make)
    call(capsys, *SMALL, "--results", tmp_path, "-s", "2")
    assert ended.count("kept") == 2
    assert waiting == [len(ended) - 2]


def test_images_that_do_not_fit_into_memory_are_exit_2(tmp_path, capsys, monkeypatch):
    def load(*_, **__):
        raise MemoryError("Unable to allocate 335 GiB")

    monkeypatch.setattr(computing.datasets, "load", load)
    code, _, err = call(capsys, *SMALL, "--results", tmp_path / "results")
    assert (code, err) == (2, "bench: error: digits does not fit into memory: Unable to allocate 335 GiB\n")
    assert not (tmp_path / "results").exists()


def test_an_image_size_beyond_all_files_is_exit_2(tmp_path, capsys):
    name = f"folder:{tmp_path}@10000000000"
    code, out, err = call(capsys, *SMALL, "-d", name, "--results", tmp_path / "results")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "image size 10000000000 is above 65535" in err


def test_a_report_on_a_file_or_into_one_is_exit_2(tmp_path, capsys, trainer):
    file = tmp_path / "file"
    file.write_text("")
    code, _, err = call(capsys, "report", "--results", file)
    assert (code, err) == (2, f"bench: error: {file} holds no packed records: `bench pack` writes them\n")
    call(capsys, *SMALL, "--results", tmp_path / "results")
    code, _, err = call(capsys, "report", "--results", tmp_path / "results", "--out", file / "x")
    assert code == 2
    assert err.count("\n") == 1
    assert "--out" in err


def test_a_report_on_a_terminal_that_has_only_ascii(tmp_path, capsys, trainer, monkeypatch):
    call(capsys, *SMALL, "--results", tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["report", "--results", str(tmp_path)]) == 0
    stream.flush()
    assert b"Random (untrained)" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_an_output_that_cannot_be_written_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "list", "methods"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.strip() == "bench: error: No space left on device"


@pytest.mark.parametrize("words", [SMALL, [*SMALL, "--dry-run"], ["report"], ["list", "runs"], ["show", "a"]])
def test_a_results_folder_inside_a_file_is_one_plain_line(tmp_path, capsys, words):
    file = tmp_path / "file"
    file.write_text("")
    code, out, err = call(capsys, *words, "--results", file / "x" / "y")
    assert (code, out) == (2, "")
    assert err == f"bench: error: {file / 'x' / 'y'} is not a folder: {file} is a file\n"


def test_a_broken_result_is_warned_of_once(tmp_path, capsys, trainer):
    call(capsys, *SMALL, "--results", tmp_path)
    for broken in list(tmp_path.glob("runs/*/result.json"))[:2]:
        broken.unlink()
        broken.write_text("{")
    code, out, err = call(capsys, *SMALL, "--results", tmp_path)
    assert code == 0
    assert (out + err).count("result.json cannot be read") == 2
    assert err.count("bench: warning: ") == 2
    assert out.count("a broken result.json was set aside") == 2
