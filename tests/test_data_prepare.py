"""Arrays are prepared once: whole or not at all, again when their source has changed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.data import decode, entry, locks, prepare, registry
from bench.errors import DataError
from tests.test_data import class_tree, one_line, same, write_image

NAME = "folder:mine"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    class_tree(tmp_path / "root/mine")
    return tmp_path / "root"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "read_image", lambda *_: pytest.fail("an image was decoded"))


def test_a_second_load_decodes_nothing(root, monkeypatch):
    first = registry.load(NAME, root)
    no_decoding(monkeypatch)
    assert same(first, registry.load(NAME, root))


def test_an_entry_tells_what_it_is(root):
    data = registry.load(NAME, root)
    (entry,) = entries(root / ".bench")
    about = json.loads((entry / "fingerprint.json").read_text())
    assert about["sha256"] == data.fingerprint
    assert about["counts"] == {"train": 9, "test": 9, "pool": 9}
    assert (about["source"], about["source_files"]) == ("mine", 18)
    assert np.array_equal(np.load(entry / "images.npy"), data.train.images)


def test_a_changed_source_is_prepared_again(root):
    first = registry.load(NAME, root)
    write_image(root / "mine/train/attic/000.png", seed=99)
    second = registry.load(NAME, root)
    assert not same(first, second)
    assert first.fingerprint != second.fingerprint
    write_image(root / "mine/train/attic/999.png", seed=100)
    assert len(registry.load(NAME, root).train) == 10


def test_outdated_entries_go_when_nobody_has_used_them_for_a_day(root):
    registry.load(NAME, root)
    (old,) = entries(root / ".bench")
    registry.load(f"{NAME}@32", root)  # other settings: stays
    os.utime(old / "fingerprint.json", (0, 0))
    write_image(root / "mine/train/attic/999.png", seed=100)
    registry.load(NAME, root)
    assert not old.exists()
    assert len(entries(root / ".bench")) == 2


def test_a_damaged_entry_is_made_anew(root):
    first = registry.load(NAME, root)
    fingerprint, pixels = first.fingerprint, np.array(first.train.images)
    (entry,) = entries(root / ".bench")
    for damage in ("truncate", "json", "remove"):
        if damage == "truncate":
            os.truncate(entry / "images.npy", 1000)
        elif damage == "json":
            (entry / "fingerprint.json").write_text("{")
        else:
            (entry / "labels.npy").unlink()
        again = registry.load(NAME, root)
        assert again.fingerprint == fingerprint
        assert np.array_equal(again.train.images, pixels)
    assert entries(root / ".bench") == [entry]


def test_skipping_corrupt_images_is_another_entry(root):
    registry.load(NAME, root)
    registry.load(NAME, root, skip_corrupt=True)
    assert len(entries(root / ".bench")) == 2


def test_folders_of_one_name_do_not_share_an_entry(root):
    class_tree(root / "other/mine")
    write_image(root / "other/mine/train/attic/000.png", seed=5)
    for path in (root / "mine").rglob("*.png"):  # the same names, sizes and times
        twin = root / "other" / path.relative_to(root)
        os.truncate(twin, max(path.stat().st_size, twin.stat().st_size))
        os.truncate(path, twin.stat().st_size)
        os.utime(path, (1, 1))
        os.utime(twin, (1, 1))
    assert not same(registry.load(NAME, root), registry.load("folder:other/mine", root))


def test_an_unwritable_data_folder_falls_back_to_the_cache_folder(root, tmp_path, monkeypatch):
    (root / ".bench").write_text("in the way")
    first = registry.load(NAME, root)
    assert len(entries(tmp_path / "cache")) == 1
    no_decoding(monkeypatch)
    assert same(first, registry.load(NAME, root))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write to")
def test_a_folder_that_the_kernel_refuses_falls_back_too(root, tmp_path):
    registry.load(f"folder:{root}/mine", Path("/proc"))
    assert len(entries(tmp_path / "cache")) == 1


def test_nowhere_to_write_is_one_line(root, tmp_path):
    (root / ".bench").write_text("in the way")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError) as error:
        registry.load(NAME, root)
    assert "BENCH_CACHE" in one_line(error)


def test_digits_need_no_folder_that_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert len(registry.load("digits", None).test) == 360


def test_a_prepared_entry_is_used_where_nothing_can_be_written(root, monkeypatch):
    first = registry.load(NAME, root)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("something was written"))
    monkeypatch.setattr(
        os, "utime", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EROFS, "read-only"))
    )
    assert same(first, registry.load(NAME, root))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_is_one_line_and_leaves_nothing(root, tmp_path, monkeypatch, code):
    write = entry._write_array

    def full(path, array):
        write(path, array[:1])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(entry, "_write_array", full)
    with pytest.raises(DataError) as error:
        registry.load(NAME, root)
    assert "no space left" in one_line(error)
    assert str(root / ".bench") in str(error.value)
    assert not (root / ".bench").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so_with_its_number():
    with pytest.raises(OSError, match=r".") as error:
        entry._write_array(Path("/dev/full"), np.zeros(100_000, np.uint8))
    assert error.value.errno == errno.ENOSPC


def test_what_an_interrupt_left_is_gone_on_with(root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(entry, "_write_array", interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.load(NAME, root)
    assert [left.name[:9] for left in entries(root / ".bench")] == [".partial-"]
    no_decoding(monkeypatch)
    assert len(registry.load(NAME, root).train) == 9


LOAD = """
import sys, time, pathlib
from bench.data import decode, entry, locks, prepare, registry
if sys.argv[2] == "hang":
    write = entry._write_array
    def hang(path, array):
        write(path, array)
        print("half-way", flush=True)
        time.sleep(60)
    entry._write_array = hang
if sys.argv[2] == "slow":
    read = decode.read_image
    decode.read_image = lambda *args: (time.sleep(0.02), read(*args))[1]
    registry_read = prepare._read
    def counted(*args):
        print("decodes", end=" ", flush=True)
        return registry_read(*args)
    prepare._read = counted
print(registry.load("folder:mine", pathlib.Path(sys.argv[1])).fingerprint)
"""


def start(root: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LOAD, str(root), how], stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_left_is_no_entry_and_is_swept_by_the_next(root):
    process = start(root, "hang")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGKILL)
    lock, left = entries(root / ".bench")
    assert lock.name.startswith(".lock-")
    assert left.name.startswith(".partial-")
    assert len(registry.load(NAME, root).train) == 9
    (entry,) = entries(root / ".bench")
    assert entry.name.startswith("folder-mine-")


def test_two_processes_at_once_prepare_one_entry(root):
    processes = [start(root, "slow") for _ in range(3)]
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert {answer[-1] for answer in answers} == {registry.load(NAME, root).fingerprint}
    assert sum("decodes" in answer for answer in answers) == 1
    assert len(entries(root / ".bench")) == 1


def test_without_locks_the_first_to_finish_is_kept(root, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    read = prepare._read
    won = []

    def overtaken(*args):
        decoded = read(*args)
        if not won:  # while we decode, another machine does the same and publishes first
            won.append(True)
            registry.load(NAME, root)
        return decoded

    monkeypatch.setattr(prepare, "_read", overtaken)
    assert len(registry.load(NAME, root).train) == 9
    assert len(entries(root / ".bench")) == 1


def test_an_unreadable_source_is_not_blamed_on_the_cache_folder(root, monkeypatch):
    def gone(*_):
        shutil.rmtree(root / "mine/train/cave")

    monkeypatch.setattr(decode.Image, "init", gone)
    with pytest.raises(DataError, match=r"cannot read .*cave"):
        registry.load(NAME, root)


def test_progress_counts_every_file(root):
    seen = []
    registry.load(NAME, root, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (18, 18)
    assert seen == sorted(seen)


def test_opening_a_prepared_data_set_is_quick(root):
    registry.load(NAME, root)
    begin = time.perf_counter()
    registry.load(NAME, root)
    assert time.perf_counter() - begin < 0.5
