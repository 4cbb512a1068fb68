"""A real file system that is full, or read-only, in mid run: each with its message, and nothing lost."""

import subprocess
import time
from pathlib import Path

import pytest

from bench.launch.control import Stop
from bench.records import load_runs
from tests import kill_points
from tests.fake_trainer import anything, run
from tests.survival import assert_same_study, bench, end, left_over, start, words

MIB = 1 << 20


def mount(*arguments) -> bool:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A file system of 20 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", folder):
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def resize(folder: Path, size: str) -> None:
    assert mount("-o", f"remount,size={size}", folder)


def fill(folder: Path) -> Path:
    """Somebody else's file, as large as there is room."""
    path = folder / "somebody-else"
    with path.open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"\1" * size) == size:
                    pass
            except OSError:
                continue
    return path


def failures(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("failed: ")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study that nothing happened to."""
    results = tmp_path_factory.mktemp("whole")
    code, out = bench(words(results, "beta-vae-gan,random"))
    assert code == 0, out
    return results


def test_a_cell_that_does_not_fit_fails_by_name_and_the_others_go_on(disk, whole):
    results = disk / "results"
    code, out = bench(words(results, "beta-vae-gan,random"))
    assert code == 1, out
    # Its first checkpoint alone is larger than the disk.
    (failed,) = failures(out)
    assert "beta-vae-gan digits seed 0 pretrain: no space left on the disk, at " in failed
    assert f"{results}/runs/" in failed
    assert "make room there, then run the same line again with --retry-failed" in failed
    assert "skipped: 1 cell of pretrainings that failed" in out
    assert "2 of 4 cells are done" in out
    assert left_over(results) == []
    assert sum(one.state == "done" for one in load_runs(results)) == 2
    resize(disk, "200m")
    code, out = bench(["retry", "--results", str(results)])
    assert code == 0, out
    assert_same_study(results, whole)
    assert left_over(results) == []


def wait_for(process, pattern: str, results: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(results.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_somebody_else_fills_the_disk_in_mid_run_and_what_is_done_stands(disk, whole):
    results = disk / "results"
    process = start(words(results, "random,beta-vae-gan"))
    resize(disk, "200m")
    wait_for(process, "runs/*/attempts/*/checkpoint.safetensors", results)
    filler = fill(disk)
    # With a full disk nothing more can be begun, and what was running says why it ended.
    code, out = end(process)
    assert code == 1, out
    assert failures(out)
    for line in failures(out):
        assert f"no space left on the disk, at {results}" in line
        assert "make room there" in line
    said = []
    for one in load_runs(results, said.append):
        assert one.state in ("done", "failed", "interrupted", "new")
        assert (one.metrics(), one.provenance, one.status) is not None
    # Every file that has its name is whole: reading all of them says nothing.
    assert said == []
    filler.unlink()
    code, out = bench([*words(results, "random,beta-vae-gan"), "--retry-failed"])
    assert code == 0, out
    assert_same_study(results, whole)
    assert left_over(results) == []


def test_where_not_even_a_word_can_be_written_it_is_said_and_the_cell_can_be_run_again(disk, tmp_path):
    trainer = kill_points.Counting(tmp_path / "trace")
    results, filler = disk / "results", []

    class Filling(kill_points.Counting):
        """Comes to its third row with a full disk."""

        def _train(self, start, attempt, stop, progress):
            log = attempt.log

            def fill_then_log(row):
                if row["epoch"] == 3 and not filler:
                    filler.append(fill(disk))
                log(row)

            attempt.log = fill_then_log
            return super()._train(start, attempt, stop, progress)

    summary, watcher = run(kill_points.PLAN, results, Filling(tmp_path / "trace"))
    (failed,) = map(anything, summary.of("failed"))
    assert "no space left on the disk, at " in failed.reason
    assert any("could not be marked failed" in note for note in watcher.notes), watcher.notes
    broken = []
    assert [one.state for one in load_runs(results, broken.append)] == ["interrupted"]
    assert broken == []
    filler[0].unlink()
    assert run(kill_points.PLAN, results, trainer)[0].exit_code == 0
    assert (
        run(kill_points.PLAN, tmp_path / "whole", kill_points.Counting(tmp_path / "t"), Stop())[0].exit_code
        == 0
    )
    assert kill_points.content(results) == kill_points.content(tmp_path / "whole")
    kill_points.check_remains(results, 2)


def test_a_folder_turned_read_only_in_mid_run_fails_by_name_and_goes_on_later(disk, whole):
    results = disk / "results"
    resize(disk, "200m")
    line = words(results, "random,beta-vae-gan")
    process = start(line)
    wait_for(process, "runs/*/attempts/*/checkpoint.safetensors", results)
    deadline = time.monotonic() + 60
    # Refused while a file is open for writing.
    while not mount("-o", "remount,ro", disk):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    code, out = end(process)
    assert code == 1, out
    for failure in failures(out):
        assert f"the file system is read-only, at {results}" in failure
        assert "run the same line again with --retry-failed" in failure
    # Everything that only looks still works.
    for look in (["list", "runs"], ["status"], ["report", "--out", str(disk.parent / "report")]):
        code, out = bench([*look, "--results", str(results)])
        assert code == 0, out
    code, out = bench(line)
    assert (code, len(out.splitlines())) == (2, 1)
    assert f"{results} cannot be written" in out
    assert mount("-o", "remount,rw", disk)
    code, out = bench([*line, "--retry-failed"])
    assert code == 0, out
    assert_same_study(results, whole)
    assert left_over(results) == []
    # All is done: nothing needs to be written any more.
    assert mount("-o", "remount,ro", disk)
    code, out = bench(line)
    assert code == 0, out


def test_a_folder_that_is_full_before_is_refused_with_what_to_do(disk):
    filler = fill(disk)
    code, out = bench(words(disk / "results", "random"))
    assert (code, len(out.splitlines())) == (2, 1)
    assert "no space left" in out
    assert "make room there, or choose another folder" in out
    assert list(disk.iterdir()) == [filler]
