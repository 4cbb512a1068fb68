"""Files: whole or not there, taken by one, and what a file system says of itself."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import files
from bench.errors import RecordError, Unreadable
from bench.launch.outcome import one_line

# Ways to take a name: hard links; none, but Linux's rename that replaces nothing; neither of the two.
WAYS = ("links", "renames", "locks")


def without(way):
    """Make this process's file system one that lacks what comes before `way`."""

    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if way != "links":
        os.link = refuse
    if way == "locks":
        files._rename_exclusively = lambda: files._rename_under_lock


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setattr(os, "link", os.link)
    monkeypatch.setattr(files, "_rename_exclusively", files._rename_exclusively)
    without(request.param)
    return request.param


def test_a_name_is_taken_once(way, tmp_path):
    one, two, target = tmp_path / "one", tmp_path / "two", tmp_path / "target"
    one.write_text("1")
    two.write_text("2")
    assert files.publish(one, target)
    assert not files.publish(two, target)
    assert target.read_text() == "1"
    assert files.publish_text("3", tmp_path / "text")
    assert not files.publish_text("4", tmp_path / "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "target", "text", "two"]


def test_a_file_server_that_forgot_its_answer_does_not_cost_us_our_name(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("1")
    # The first request was done and its answer lost: the kernel's second one is refused.
    os.link(source, target)
    assert files.publish(source, target)


RACE = """
import multiprocessing, os, sys
from pathlib import Path
from tests.test_files import without
from bench import files

SIZE = 1 << 20

def race(folder, me, barrier, wins, done):
    without(sys.argv[1])
    for k in range(ROUNDS):
        target = folder / f"t{k}"
        source = folder / f"s{k}.{me}"
        source.write_bytes(bytes([me]) * SIZE)
        barrier.wait()
        if files.publish(source, target):
            with wins.get_lock():
                wins[k] += 1
        assert target.stat().st_size == SIZE
        barrier.wait()
    done.value = 1

def watch(folder, done):
    "Whoever reads finds all of it or nothing."
    while not done.value:
        for k in range(ROUNDS):
            try:
                data = (folder / f"t{k}").read_bytes()
            except FileNotFoundError:
                continue
            assert len(data) == SIZE and len(set(data)) == 1, len(data)

ROUNDS, COUNT = 12, 4
context, folder = multiprocessing.get_context("fork"), Path(sys.argv[2])
barrier, wins, done = context.Barrier(COUNT), context.Array("i", ROUNDS), context.Value("i", 0)
workers = [context.Process(target=race, args=(folder, me, barrier, wins, done)) for me in range(COUNT)]
workers.append(context.Process(target=watch, args=(folder, done)))
for worker in workers:
    worker.start()
for worker in workers:
    worker.join(40)
    assert worker.exitcode == 0
assert list(wins) == [1] * ROUNDS, list(wins)
"""


@pytest.mark.parametrize("way", WAYS)
def test_of_many_that_publish_at_once_one_wins_and_nobody_reads_a_part(way, tmp_path):
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", RACE, way, str(tmp_path)], check=True, timeout=60, cwd=root)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ENOSPC", ("no space left", "make room", "--retry-failed")),
        ("EDQUOT", ("quota", "make room", "--retry-failed")),
        ("EROFS", ("read-only", "--retry-failed")),
        ("ESTALE", ("stale NFS handle", "file server lost the file", "run the same line again")),
        ("EIO", ("input/output error", "run the same line again")),
    ],
)
def test_what_a_file_system_says_is_a_line_that_names_the_file_and_what_to_do(
    code, words, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(os, "fsync", fail)
    writers = (
        lambda: files.write_json(tmp_path / "x.json", {}),
        lambda: files.publish_text("text", tmp_path / "x.json"),
    )
    for write in writers:
        with pytest.raises(OSError, match=r"x\.json") as caught:
            write()
        text = one_line(caught.value)
        assert all(word in text for word in (*words, str(tmp_path / "x.json")))
        assert "\n" not in text
        assert ".tmp" not in text
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_now_is_not_what_is_broken(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    for content in (b"", b'{"a"', b"\x00" * 40, b"\xff\xfe\x01", b"[1]", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"x\.json") as caught:
            files.read_json(path)
        assert not isinstance(caught.value, Unreadable)

    def stale(_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(files.Path, "read_bytes", stale)
    with pytest.raises(Unreadable, match=r"stale NFS handle.*x\.json"):
        files.read_json(path)


def test_a_write_that_cannot_even_tidy_up_tells_the_first_trouble(tmp_path, monkeypatch):
    def fail(code):
        def call(*_, **__):
            raise OSError(code, os.strerror(code))

        return call

    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    monkeypatch.setattr(files.Path, "unlink", fail(errno.EROFS))
    with pytest.raises(OSError, match="No space"):
        files.write_json(tmp_path / "x.json", {})


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    path.write_text("{}")
    real, times = Path.read_bytes, []

    def stale(self):
        times.append(self)
        if len(times) == 1:
            raise OSError(errno.ESTALE, "Stale file handle", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", stale)
    assert files.read_json(path) == {}
