"""A preparation that is killed, cut short or refused space goes on where it was, and ends with the same bytes."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import decode, entry, partial, prepare, registry
from bench.data.entry import Listing
from bench.data.locks import held_elsewhere, locked, remove_left_locks
from bench.data.source import File
from bench.errors import DataError
from tests.test_data import one_line

NAME = "folder:mine@16"
CLASSES, EACH, TESTED = 5, 100, 20


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """600 tiny JPEGs, two of them broken."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for split, count in (("train", EACH), ("test", TESTED)):
        for label in range(CLASSES):
            folder = root / f"mine/{split}/class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (3, 5, 3), dtype=np.uint8)
                side = 18 if (split, label, number) == ("train", 0, 3) else 20
                Image.fromarray(pixels).resize((24, side)).save(folder / f"{number:03d}.jpg")
    for path in ("train/class1/017.jpg", "test/class3/004.jpg"):
        (root / "mine" / path).write_text("no image")
    return root


@pytest.fixture
def root(tree, monkeypatch, tmp_path) -> Path:
    """The same files, linked, with a folder of its own for the arrays; every step is written down at once."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(partial, "SYNC_SECONDS", 0.0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").symlink_to(tree / "mine")
    return tmp_path / "data"


def load(root):
    return registry.load(NAME, root, skip_corrupt=True, min_side=1)


def in_memory(root):
    source = registry._find(registry.spec(NAME), root)
    return source.read(True, None)


def left(root):
    return sorted(root.glob(".bench/.partial-*"))


def interrupt_after(monkeypatch, files):
    """Decoding is interrupted after so many files; gives those that were decoded."""
    read, seen = decode.read_image, []

    def counted(path, size):
        if len(seen) == files:
            raise KeyboardInterrupt
        seen.append(path)
        return read(path, size)

    monkeypatch.setattr(decode, "read_image", counted)
    return seen


def test_the_entry_is_that_of_arrays_in_memory_byte_for_byte(root):
    decoded = in_memory(root)
    data = load(root)
    assert data.fingerprint == decoded.fingerprint()
    assert data.corrupt == ("train/class1/017.jpg", "test/class3/004.jpg")
    (folder,) = root.glob(".bench/folder-*")
    # What was found of its leaks is kept in its folder, and is no part of it.
    assert {path.name for path in folder.iterdir()} - {"leaks.json", "signatures.npz"} == {
        "fingerprint.json", "images.npy", "labels.npy", "test_images.npy", "test_labels.npy"
    }  # fmt: skip
    for name, array in decoded.arrays().items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        assert (folder / f"{name}.npy").read_bytes() == buffer.getvalue()
    about = json.loads((folder / "fingerprint.json").read_text())
    assert (about["smallest"], about["smallest_name"]) == (18, "train/class0/003.jpg")


PREPARE = """
import pathlib, sys
from bench.data import decode, partial, registry
partial.SYNC_SECONDS = 0.0
read = decode.read_image
def slow(path, size):
    print(path, flush=True)
    return read(path, size)
decode.read_image = slow
data = registry.load(sys.argv[1], pathlib.Path(sys.argv[2]), skip_corrupt=True, min_side=1)
print(data.fingerprint)
"""


def prepare_until(root, files):
    """Another process prepares; it is killed after so many files. Gives the lines that it wrote."""
    command = [sys.executable, "-c", PREPARE, NAME, str(root)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if len(lines) == files:
                process.send_signal(signal.SIGKILL)
    return lines


def test_killed_twice_it_goes_on_and_ends_with_the_same_fingerprint(root):
    first, second = prepare_until(root, 250), prepare_until(root, 200)
    assert [path.name.startswith(".partial-") for path in left(root)] == [True]
    third = prepare_until(root, None)
    # What is decoded again is what the threads had ahead, and no more.
    assert 600 < len(first) + len(second) + len(third) < 1200
    assert len(third) < 500
    assert third[-1] == load(root).fingerprint == in_memory(root).fingerprint()
    assert left(root) == []
    about = json.loads(next(root.glob(".bench/folder-*/fingerprint.json")).read_text())
    assert (about["smallest"], about["smallest_name"]) == (18, "train/class0/003.jpg")


@pytest.mark.parametrize("damage", ["nothing", "half a line", "rows beyond the journal", "rows lost"])
def test_only_what_the_journal_vouches_for_is_trusted(root, monkeypatch, damage):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 400)
        with pytest.raises(KeyboardInterrupt):
            load(root)
    (folder,) = left(root)
    done = partial.Journal.read(folder / partial.JOURNAL).files
    assert 0 < done <= 400
    if damage == "half a line":
        with (folder / partial.JOURNAL).open("a") as file:
            file.write('{"files": 5000, "rows": {"images": 50')
    elif damage == "rows beyond the journal":
        with (folder / "images.npy").open("ab") as file:
            file.write(b"x" * 5000)
    elif damage == "rows lost":
        os.truncate(folder / "images.npy", 1000)
    seen = interrupt_after(monkeypatch, None)
    assert load(root).fingerprint == in_memory(root).fingerprint()
    # Once here, and once in memory.
    assert len(seen) == 1200 - (0 if damage == "rows lost" else done)


def test_an_interrupt_among_the_test_images_loses_none_of_the_others(root, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 590)
        with pytest.raises(KeyboardInterrupt):
            load(root)
    seen = interrupt_after(monkeypatch, None)
    data = load(root)
    assert {path.parts[-3] for path in seen} == {"test"}
    assert data.fingerprint == in_memory(root).fingerprint()


def test_data_that_are_refused_leave_nothing(root):
    with pytest.raises(DataError, match="2 corrupt images"):
        registry.load(NAME, root, min_side=1)
    assert not (root / ".bench").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(root, monkeypatch):
    monkeypatch.setattr(partial.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    monkeypatch.setattr(decode, "read_image", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(DataError) as error:
        load(root)
    text = one_line(error)
    assert "no space left" in text
    assert "0.5 MB are needed, 0.0 MB are free" in text
    assert not (root / ".bench").exists()


@pytest.mark.parametrize("dear", [True, False])
def test_a_disk_that_fills_up_meanwhile_keeps_what_took_long_and_nothing_else(root, monkeypatch, dear):
    append, told = partial.Rows.append, []

    def full(self, rows):
        told.append(len(rows))
        if len(told) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, rows)

    monkeypatch.setattr(entry, "DEAR_BYTES", 1000 if dear else 1 << 30)
    with monkeypatch.context() as patch:
        patch.setattr(partial.Rows, "append", full)
        with pytest.raises(DataError) as error:
            load(root)
    assert "no space left" in one_line(error)
    assert len(left(root)) == dear
    assert load(root).fingerprint == in_memory(root).fingerprint()


def test_what_another_data_set_has_left_stays_unless_it_is_outdated_or_old(root, monkeypatch, tree):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 200)
        with pytest.raises(KeyboardInterrupt):
            load(root)
    (other,) = left(root)
    small = root / "small"
    for split in ("train", "test"):
        (small / split / "one").mkdir(parents=True)
        shutil.copy(tree / "mine/train/class0/000.jpg", small / split / "one/0.jpg")
    registry.load("folder:small@16", root, min_side=1)
    assert left(root) == [other]
    os.utime(other / partial.JOURNAL, (0, 0))
    registry.load("folder:small@24", root, min_side=1)
    assert left(root) == []


def test_what_was_begun_of_an_outdated_source_is_removed(root, tmp_path, monkeypatch, tree):
    (root / "mine").unlink()
    shutil.copytree(tree / "mine", root / "mine", copy_function=os.link)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 200)
        with pytest.raises(KeyboardInterrupt):
            load(root)
    assert len(left(root)) == 1
    (root / "mine/train/class0/000.jpg").unlink()
    assert len(load(root).train) == CLASSES * EACH - 2
    assert left(root) == []


def test_the_digest_of_a_listing_is_that_of_its_json():
    import hashlib

    files = [File('a/"é".jpg', 1, 2), File("b.jpg", 30, 40)]
    for some in (files, files[:1], []):
        assert Listing.of(some).sha256 == hashlib.sha256(json.dumps(some).encode()).hexdigest()
    assert (Listing.of(files).count, Listing.of(files).bytes) == (2, 31)


def test_what_is_written_behind_half_a_line_can_be_read(tmp_path):
    journal = partial.Journal(tmp_path / partial.JOURNAL, files=3)
    journal.append({1: "broken"})
    with journal.path.open("ab") as file:
        file.write(b'{"files": 5, "ro')
    journal = partial.Journal.read(journal.path)
    assert (journal.files, journal.failures) == (3, {1: "broken"})
    journal.files = 7
    journal.append({4: "cut"})
    journal = partial.Journal.read(journal.path)
    assert (journal.files, journal.failures) == (7, {1: "broken", 4: "cut"})


def test_a_header_is_as_long_for_few_rows_as_for_many():
    assert {len(partial._header((n, 3, 64, 64))) for n in (0, 1, 10**3, 2_448_502, 10**12)} == {128}


@pytest.mark.parametrize("linked", ["root", "cache"])
def test_behind_a_link_what_was_decoded_is_published_as_it_is(tree, tmp_path, monkeypatch, linked):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / ("link" if linked == "cache" else "none")))
    root = tree
    if linked == "root":
        (tmp_path / "real/mine").symlink_to(tree / "mine")
        root = tmp_path / "link"
    else:
        (tmp_path / "mine").symlink_to(tree / "mine")
        monkeypatch.setattr(prepare, "cache_folders", lambda _: [tmp_path / "link"])
        root = tmp_path
    data = registry.load(NAME, root, skip_corrupt=True, min_side=1)
    assert data.fingerprint == in_memory(root).fingerprint()
    assert isinstance(data.train.images, np.memmap)
    assert list(tmp_path.glob("real/**/.partial-*")) == []


@pytest.mark.parametrize("dear", [False, True])
def test_what_took_long_is_kept_for_skip_corrupt_when_a_file_is_broken(root, monkeypatch, dear):
    monkeypatch.setattr(entry, "DEAR_BYTES", 1000 if dear else 1 << 30)
    with pytest.raises(DataError, match="2 corrupt images"):
        registry.load(NAME, root, min_side=1)
    assert len(left(root)) == dear
    seen = []
    with monkeypatch.context() as patch:
        read = decode.read_image
        patch.setattr(decode, "read_image", lambda *args: (seen.append(args), read(*args))[1])
        data = load(root)
    assert len(seen) == (0 if dear else CLASSES * (EACH + TESTED))
    assert data.fingerprint == in_memory(root).fingerprint()
    assert left(root) == []


def test_two_data_sets_are_prepared_beside_one_another_and_one_is_waited_for(root):
    told, folder = [], root / ".bench"
    with locked(folder, "another"):
        assert len(load(root).train) == CLASSES * EACH - 1
        assert held_elsewhere(folder, "another")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from bench.data.locks import locked\n"
            "with locked(Path(sys.argv[1]), 'one'): print('held', flush=True); sys.stdin.readline()",
            str(folder),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    def waiting():
        told.append("waiting")
        holder.communicate("go\n")

    with locked(folder, "one", waiting) as held:
        assert held
    assert told == ["waiting"]
    assert sorted(path.name for path in folder.glob(".lock*")) == []


def test_a_lock_that_is_removed_is_held_meanwhile(root, monkeypatch):
    folder, taken = root / ".bench", []
    folder.mkdir()
    (folder / ".lock-left").touch()
    unlink = Path.unlink

    def watched(path, **options):
        taken.append(held_elsewhere(folder, "left"))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    remove_left_locks(folder, keep=())
    assert taken == [True]
    assert list(folder.iterdir()) == []


def test_locks_that_killed_processes_left_go_with_what_they_were_of(root):
    folder = root / ".bench"
    folder.mkdir()
    (folder / ".lock-left").touch()
    load(root)
    assert list(folder.glob(".lock*")) == []
