"""Jobs run from a copy of the source: whole or not there, made once, never changed by editing the checkout."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bench
from bench import provenance
from bench.errors import RecordError
from bench.launch.slurm import snapshot
from bench.provenance import git_state, hash_source, source_hash

ROOT = Path(bench.__file__).parent.parent
TELL = "import json, bench.provenance as p; print(json.dumps([p.__file__, p.source_hash(), p.git_state()]))"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the checkout that a test may edit."""
    folder = tmp_path / "checkout"
    for package in ("bench", "models"):
        shutil.copytree(ROOT / package, folder / package)
    monkeypatch.setattr(snapshot, "source_root", lambda: folder)
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_has_what_the_packages_have_and_nothing_else(tmp_path):
    copy = snapshot.take(tmp_path)
    assert copy.parent == tmp_path / "slurm" / "code"
    assert names(copy) == ["bench", "models", "source.json"]
    assert not [path for path in copy.rglob("*") if path.name == "__pycache__" or path.suffix == ".pyc"]
    for name in ("bench/py.typed", "models/py.typed", "bench/report/templates/page.html", "bench/cli.py"):
        assert (copy / name).read_bytes() == (ROOT / name).read_bytes()
    assert not any(path.stat().st_mode & 0o222 for path in copy.rglob("*") if path.is_file())
    assert hash_source(copy) == hash_source(ROOT)


@pytest.mark.parametrize("name", ["bench/panels.c", "bench/winograd.py", "models/losses.py"])
def test_a_source_is_another_when_a_file_that_decides_numbers_is(name, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(snapshot.take(tmp_path), copy)
    path = copy / name
    path.chmod(0o644)
    path.write_text(path.read_text() + "\n")
    assert hash_source(copy) != hash_source(ROOT)


def test_what_runs_from_a_copy_says_the_commit_that_was_submitted(tmp_path):
    copy = snapshot.take(tmp_path)
    told = subprocess.run(
        [sys.executable, "-P", "-c", TELL],
        env={"PYTHONPATH": str(copy)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    file, source, state = json.loads(told.stdout)
    assert Path(file).is_relative_to(copy)
    assert (source, state) == (hash_source(ROOT), git_state())


def test_a_broken_source_json_is_nobody_knows(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "source_root", lambda: tmp_path)
    for text in ("", "[]", '{"commit": "a"}'):
        (tmp_path / "source.json").write_text(text)
        assert provenance.git_state.__wrapped__() == {"commit": None, "dirty": None}
    (tmp_path / "source.json").write_text('{"commit": "a", "dirty": true, "more": 1}')
    assert provenance.git_state.__wrapped__() == {"commit": "a", "dirty": True}


def test_the_same_source_is_copied_once(tmp_path, monkeypatch):
    copy = snapshot.take(tmp_path)
    monkeypatch.setattr(shutil, "copytree", None)
    assert snapshot.take(tmp_path) == copy


def test_an_edit_after_submission_makes_another_copy_and_leaves_the_first(tmp_path, checkout):
    first = snapshot.take(tmp_path)
    (checkout / "bench" / "cli.py").write_text("raise SystemExit('edited')\n")
    second = snapshot.take(tmp_path)
    assert first != second
    assert (first / "bench" / "cli.py").read_bytes() == (ROOT / "bench" / "cli.py").read_bytes()
    assert "edited" in (second / "bench" / "cli.py").read_text()


def test_two_at_once_get_one_whole_copy(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        copies = set(pool.map(lambda _: snapshot.take(tmp_path), range(8)))
    (copy,) = copies
    assert names(copy.parent) == [copy.name]
    assert snapshot.intact(copy, source_hash()) or snapshot.intact(copy, hash_source(ROOT))


def test_a_copy_that_was_damaged_is_set_aside_and_made_anew(tmp_path):
    copy = snapshot.take(tmp_path)
    victim = copy / "bench" / "cli.py"
    victim.chmod(0o644)
    victim.write_text("")
    again = snapshot.take(tmp_path)
    assert again == copy
    assert victim.read_bytes() == (ROOT / "bench" / "cli.py").read_bytes()
    assert names(copy.parent) == [copy.name, f"{copy.name}.broken-1"]


def test_a_copy_cut_short_is_never_one(tmp_path, monkeypatch):
    whole = shutil.copytree

    def die(source, *args, **options):
        if Path(source).name == "models":
            raise KeyboardInterrupt
        return whole(source, *args, **options)

    monkeypatch.setattr(shutil, "copytree", die)
    with pytest.raises(KeyboardInterrupt):
        snapshot.take(tmp_path)
    assert not names(tmp_path / "slurm" / "code")


def test_what_a_kill_left_of_a_copy_is_removed_by_the_next(tmp_path):
    code = (
        "import os, shutil, sys\nfrom pathlib import Path\nfrom bench.launch.slurm import snapshot\n"
        "snapshot.intact = lambda *_: os.kill(os.getpid(), 9) if list(Path(sys.argv[1]).rglob('*.tmp')) else False\n"
        "snapshot.take(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, timeout=60)
    assert done.returncode == -9
    (left,) = names(tmp_path / "slurm" / "code")
    assert left.endswith(".tmp")
    copy = snapshot.take(tmp_path)
    assert names(copy.parent) == [copy.name]


def test_an_edit_in_the_middle_of_copying_is_refused(tmp_path, checkout, monkeypatch):
    whole = shutil.copytree

    def edit(*args, **options):
        (checkout / "bench" / "cli.py").write_text("")
        return whole(*args, **options)

    monkeypatch.setattr(shutil, "copytree", edit)
    with pytest.raises(RecordError, match="edited while it was copied"):
        snapshot.take(tmp_path)
    assert not names(tmp_path / "slurm" / "code")


def test_provenance_says_which_job_it_was():
    assert provenance.scheduler({}) is None
    facts = provenance.scheduler(
        {
            "SLURM_JOB_ID": "1205",
            "SLURM_ARRAY_JOB_ID": "1200",
            "SLURM_ARRAY_TASK_ID": "5",
            "SLURM_RESTART_COUNT": "2",
            "SLURMD_NODENAME": "gpu7",
            "SLURM_CPUS_PER_TASK": "4",
            "SLURM_MEM_PER_NODE": "16000",
            "CUDA_VISIBLE_DEVICES": "1",
        }
    )
    assert facts is not None
    want = {"job": "1205", "array": "1200_5", "restarts": 2, "node": "gpu7", "cpus": 4, "gpus": "1"}
    assert want.items() <= facts.items()
    assert facts["memory_mib"] == 16000
