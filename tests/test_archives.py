"""Archives never write outside their folder, and what is hostile, broken or too large leaves nothing behind."""

import io
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.data import cifar, registry
from bench.data.archives import unpack
from bench.errors import DataError

FILES = {"data/a.bin": b"one", "data/deep/b.bin": b"two" * 1000, "top.txt": b""}


def tarred(path, *members, mode: Any = "w"):
    """A tar of (name, content) or TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path, *members):
    """A zip of (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def zip_link(name, kind=stat.S_IFLNK):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_what_is_in_an_archive_is_unpacked(tmp_path, mode):
    path = tmp_path / "archive"
    if mode == "zip":
        zipped(path, *FILES.items(), ("empty/", b""))
    else:
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        tarred(path, *FILES.items(), folder, mode=mode)
    found = unpack(path, tmp_path / "into")
    assert [p.name for p in found] == ["data", "empty", "top.txt"]
    assert {name: (tmp_path / "into" / name).read_bytes() for name in FILES} == FILES
    assert everything_below(tmp_path / "into") == [
        "data",
        "data/a.bin",
        "data/deep",
        "data/deep/b.bin",
        "empty",
        "top.txt",
    ]


HOSTILE_NAMES = [
    "/etc/bench-was-here",
    "../outside",
    "data/../../outside",
    "..\\outside",
    "C:\\outside",
    "c:outside",
    "\\\\host\\share\\outside",
    "data/\nodd",
]


@pytest.mark.parametrize("make", [tarred, zipped], ids=["tar", "zip"])
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_path_that_leads_out_is_refused_and_nothing_is_unpacked(tmp_path, make, name):
    path = make(tmp_path / "archive", ("data/first", b"harmless"), (name, b"hostile"))
    refused(path, tmp_path, "a path outside the folder")


@pytest.mark.parametrize(
    "members",
    [
        [link("out", "/tmp"), ("out/file", b"through it")],
        [link("out", ".."), ("out/outside", b"through it")],
        [link("deep/out", "../../outside")],
        [("a", b"1"), link("a2", "a")],
        [link("hard", "/etc/passwd", tarfile.LNKTYPE)],
        [link("hard", "../outside", tarfile.LNKTYPE)],
    ],
    ids=["absolute", "up", "deep", "inside", "hard", "hard up"],
)
def test_links_are_never_made(tmp_path, members):
    refused(tarred(tmp_path / "archive", ("data/first", b"harmless"), *members), tmp_path, "a link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_never_made(tmp_path, kind):
    refused(tarred(tmp_path / "archive", link("device", "", kind)), tmp_path, "a device")


def test_links_and_devices_of_a_zip_are_refused_too(tmp_path):
    refused(zipped(tmp_path / "archive", (zip_link("out"), b"/etc")), tmp_path, "a link")
    refused(zipped(tmp_path / "archive", (zip_link("fifo", stat.S_IFIFO), b"")), tmp_path, "a device")


def test_a_tar_whose_last_file_is_a_zip_is_a_tar(tmp_path):
    inner = zipped(tmp_path / "inner.zip", ("hello", b"x"))
    archive = tarred(tmp_path / "a.tar", ("data/a.bin", b"one"), ("data/inner.zip", inner.read_bytes()))
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/data/inner.zip").read_bytes() == inner.read_bytes()


def test_broken_archives_say_so(tmp_path):
    whole = tarred(tmp_path / "whole", ("data", os.urandom(50_000)), mode="w:gz").read_bytes()
    zip_whole = bytearray(zipped(tmp_path / "zip", ("data", os.urandom(50_000))).read_bytes())
    zip_whole[20_000] ^= 1
    for content in (whole[:30_000], whole[:-20_000] + b"x" * 20_000, bytes(zip_whole)):
        (tmp_path / "archive").write_bytes(content)
        refused(tmp_path / "archive", tmp_path, "download it again")
    (tmp_path / "archive").write_bytes(b"<html>not found</html>")
    refused(tmp_path / "archive", tmp_path, "neither a tar archive nor a zip")
    refused(tarred(tmp_path / "archive", ("data", b"1"), ("data", b"2")), tmp_path, "twice")


def test_more_than_the_disk_has_room_for_is_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "archive", ("bomb", bytes(10_000_000)))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9_999_999))
    refused(path, tmp_path, "no room")


def test_what_is_there_already_is_not_written_over(tmp_path):
    path = tarred(tmp_path / "archive", *FILES.items())
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "top.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"top\.txt is there already"):
        unpack(path, tmp_path / "into")
    assert everything_below(tmp_path / "into") == ["top.txt"]
    assert not (tmp_path / "elsewhere").exists()


def test_a_downloaded_archive_is_unpacked_by_the_same_rules(tmp_path, monkeypatch):
    def fetch(url, root, filename, md5):
        tarred(Path(root) / filename, ("../outside", b"hostile"), mode="w:gz")

    reader = SimpleNamespace(url="", filename="cifar-10-python.tar.gz", tgz_md5="")
    datasets = SimpleNamespace(CIFAR10=reader, CIFAR100=reader)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", SimpleNamespace(download_url=fetch))
    with pytest.raises(DataError, match="a path outside the folder"):
        cifar.download(registry.spec("cifar10"), tmp_path / "data")
    assert everything_below(tmp_path) == ["data", "data/cifar-10-python.tar.gz"]


def refused(path, tmp_path, why):
    before = set(everything_below(tmp_path)) | {"into"}
    with pytest.raises(DataError, match=why) as caught:
        unpack(path, tmp_path / "into")
    assert len(str(caught.value).splitlines()) == 1
    assert set(everything_below(tmp_path)) <= before
    assert not Path("/etc/bench-was-here").exists()
    assert not list((tmp_path / "into").iterdir())
