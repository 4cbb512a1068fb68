"""Files that an earlier crash left cut, garbled or empty: named, set aside where they must be made anew, never taken.

Each case is a copy of a real study, finished or stopped in the middle, with one thing broken. Whoever looks at it
still sees the rest; the same line typed again ends with the numbers of a study that nothing happened to.
"""

import errno
import os
import re
import shutil
from pathlib import Path

import pytest

from bench.cli import main
from bench.loop import Pace
from bench.plan import Selection, make_plan
from bench.records import Attempt, load_runs
from tests.fake_trainer import run
from tests.survival import assert_same_study, left_over, words
from tests.survival_cases import CASES, DAMAGES

METHOD = "beta-vae"


def call(capsys, *line) -> tuple[int, str]:
    """`bench` in this process: exit code, and what was said."""
    capsys.readouterr()
    code = main([str(word) for word in line])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The study done; and stopped in the middle of its pretraining, with two checkpoints; and of its probe."""
    folder = tmp_path_factory.mktemp("studies")
    assert main(words(folder / "done", METHOD)) == 0
    after_step = Pace.after_step
    for number, name in enumerate(("pretraining", "probing"), 1):
        with pytest.MonkeyPatch.context() as patch:
            begun = []

            def stopping(pace, step, *more, begun=begun, number=number, **options):
                begun.extend([None] * (step == 1))
                if (len(begun), step) == (number, 5):
                    pace.stop.request()
                after_step(pace, step, *more, **options)

            patch.setattr(Pace, "after_step", stopping)
            assert main(words(folder / name, METHOD)) == 130
    return folder


@pytest.fixture
def copy(studies, tmp_path):
    def make(study: str) -> Path:
        # Links between a cell's result and its attempt's are not kept: each file is broken by itself.
        return Path(shutil.copytree(studies / study, tmp_path / "results"))

    return make


def named(results: Path, pattern: str, studies: Path) -> Path:
    """The file that a case is about."""
    ids = {run.config["kind"]: run.id for run in load_runs(studies / "done")}
    pattern = pattern.format(**ids)
    found = sorted(results.glob(pattern))
    return found[0] if found else results / pattern


def look(capsys, results: Path, cell: str) -> dict[str, str]:
    """What every command that only looks says; none may fail."""
    lines = {
        "list": ["list", "runs"],
        "show": ["show", cell],
        "report": ["report", "--out", results.parent / "report"],
        "status": ["status"],
    }
    said = {}
    for name, line in lines.items():
        code, said[name] = call(capsys, *line, "--results", results)
        assert code == 0 or name == "show", (name, said[name])
        assert "Traceback" not in said[name]
    return said


@pytest.mark.parametrize(
    "damage",
    [pytest.param(d, marks=[pytest.mark.slow] if d in ("garbage", "empty") else []) for d in DAMAGES],
)
@pytest.mark.parametrize("name", CASES)
def test_what_a_crash_has_broken_is_named_and_nothing_is_lost(name, damage, studies, copy, capsys):
    case = CASES[name]
    results = copy(case.study)
    path = named(results, case.pattern, studies)
    before = path.read_bytes() if path.exists() else b'{"host": "a", "pid": 1}'
    broken = DAMAGES[damage](before)
    path.write_bytes(broken)
    inside = path.parent
    while inside.parent.name != "runs" and inside != results:
        inside = inside.parent
    cell = inside.name if inside != results else next((results / "runs").iterdir()).name

    said = look(capsys, results, cell)
    for command in case.looks:
        # A terminal breaks lines where it likes.
        assert f"{path}cannotberead" in "".join(said[command].split()).replace("isbroken", "cannotberead"), (
            said
        )
    # Who only looks changes nothing.
    assert path.read_bytes() == broken

    code, out = call(capsys, *words(results, METHOD))
    assert code == case.code, out
    assert "Traceback" not in out
    assert re.search(case.says.format(path=re.escape(str(path))), out), out
    aside = path.with_name(path.name + ".broken-1")
    assert aside.exists() == case.aside
    if case.aside:
        assert aside.read_bytes() == broken
    look(capsys, results, cell)
    if case.code == 0 and case.same:
        assert_same_study(results, studies / "done")
        assert [name for name in left_over(results) if ".broken-" not in name] == []
    if case.code == 1:
        code, out = call(capsys, "retry", "--steal", "--results", results)
        assert code == 0, out
        assert aside.read_bytes() == broken
        assert call(capsys, *words(results, METHOD))[0] == 0
        assert_same_study(results, studies / "done")


def test_strangers_are_named_and_left_alone(copy, studies, capsys):
    results = copy("pretraining")
    (attempt,) = results.glob("runs/*/attempts/0001")
    strangers = [attempt.with_name("0002"), attempt.with_name("notes"), results / "runs" / "notes.txt"]
    for path in strangers:
        path.write_text("mine")
    (results / "runs" / "my notes").mkdir()
    said = look(capsys, results, attempt.parent.parent.name)
    for path in strangers[:2]:
        assert f"{path} is no attempt: it is left alone" in said["show"]
    for path in (strangers[2], results / "runs" / "my notes"):
        assert f"{path} is no cell's folder: it is left alone" in said["list"]
    code, out = call(capsys, *words(results, METHOD))
    assert code == 0, out
    assert [path.read_text() for path in strangers] == ["mine"] * 3
    for path in (strangers[2], results / "runs" / "my notes"):
        path.unlink() if path.is_file() else path.rmdir()
    assert_same_study(results, studies / "done")


@pytest.mark.parametrize("name", ["runs/{pretrain}", "runs/{pretrain}/attempts"])
def test_a_file_in_a_folders_place_fails_that_cell_by_name(name, copy, studies, capsys):
    results = copy("pretraining")
    path = named(results, name, studies)
    shutil.rmtree(path)
    path.write_text("mine")
    look(capsys, results, "0")
    code, out = call(capsys, *words(results, METHOD))
    assert code == 1, out
    assert "Traceback" not in out
    (failed,) = (line for line in out.splitlines() if line.startswith("failed: "))
    assert str(path) in failed
    assert path.read_text() == "mine"


def unreadable(patch, chosen, code):
    """Files that are there, and that the file system does not give: by either way that they are read."""
    opened, read = os.open, Path.read_bytes

    def refuse(path):
        if chosen(Path(path)):
            raise OSError(code, os.strerror(code))

    def open_stale(path, *rest, **more):
        refuse(path)
        return opened(path, *rest, **more)

    def read_stale(path):
        refuse(path)
        return read(path)

    patch.setattr(os, "open", open_stale)
    patch.setattr(Path, "read_bytes", read_stale)


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
def test_a_result_that_cannot_be_read_for_a_moment_is_neither_set_aside_nor_computed_again(
    code, copy, studies, capsys, monkeypatch
):
    results = copy("done")
    path = named(results, "runs/{pretrain}/result.json", studies)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, lambda asked: asked == path, code)
        answer, out = call(capsys, *words(results, METHOD))
    assert answer == 1, out
    assert "run the same line again" in out
    assert str(path) in out
    assert path.read_bytes() == before
    assert not list(results.rglob("*.broken-*"))
    answer, out = call(capsys, *words(results, METHOD))
    assert (answer, "2 of 2 cells are done (0 now" in out) == (0, True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_once_the_result_is_published_fails_nothing(code, tmp_path, monkeypatch):
    plan = make_plan(Selection((METHOD,), ("digits",), probes=("conv1",), preset="smoke"))
    write = Attempt._write_status

    def full(self, state, **more):
        if state == "done":
            raise OSError(code, os.strerror(code))
        write(self, state, **more)

    monkeypatch.setattr(Attempt, "_write_status", full)
    summary, watcher = run(plan, tmp_path)
    assert (summary.exit_code, len(summary.of("done"))) == (0, 2)
    assert sum("is done, and could not be tidied up" in note for note in watcher.notes) == 2
    assert [one.state for one in load_runs(tmp_path)] == ["done", "done"]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "status.json", "config.json"])
def test_a_checkpoint_that_cannot_be_read_for_a_moment_is_not_given_up(
    name, copy, studies, capsys, monkeypatch
):
    results = copy("pretraining")
    with monkeypatch.context() as patch:
        unreadable(patch, lambda asked: asked.name == name, errno.ESTALE)
        code, out = call(capsys, *words(results, METHOD))
    assert (code, "stale NFS handle" in out) == (1, True), out
    assert not list(results.rglob("*.broken-*"))
    code, out = call(capsys, *words(results, METHOD), "--retry-failed")
    assert code == 0, out
    assert_same_study(results, studies / "done")
