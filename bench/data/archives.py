"""Archives are unpacked without ever writing outside their folder.

Everything goes into a new folder that only this call knows, in which no link is ever made, so that no path below it
can lead out; names that are absolute, climb or name a drive are refused before they are joined to anything. What
is whole is then moved to its place: an archive that is hostile, broken or too large leaves nothing behind.
"""

import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO
from uuid import uuid4

from bench.errors import DataError

CHUNK = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """An entry of an archive: `content` opens a file's bytes, None is a folder."""

    name: str
    size: int
    content: IO[bytes] | None


def unpack(archive: Path, into: Path) -> list[Path]:
    """Unpack a tar (plain, gz, bz2, xz) or a zip.

    Args:
        archive: the file.
        into: the folder that what it holds is put in; made where it is not there.

    Returns:
        What lies in `into` now because of it: the entries at its top, sorted.

    Raises:
        DataError: it is no such archive, broken, larger than the disk has room for, names a path outside `into`,
            holds a link or a device, or something of a name in it is there already. Nothing was written then.
    """
    into.mkdir(parents=True, exist_ok=True)
    partial = into / f".unpacking-{uuid4().hex}"
    partial.mkdir(mode=0o700)
    try:
        room = shutil.disk_usage(into).free
        with _opened(archive) as members:
            for member in members:
                room -= member.size
                if room < 0:
                    raise DataError(f"{archive}: {into} has no room for what it unpacks to")
                _write(archive, partial, member)
        found = sorted(path.name for path in partial.iterdir())
        for name in found:
            if os.path.lexists(into / name):
                raise DataError(f"{archive}: {into / name} is there already: remove it to unpack again")
        for name in found:
            (partial / name).rename(into / name)
    except _BROKEN as error:
        raise DataError(
            f"{archive} is broken: {str(error) or type(error).__name__}: download it again"
        ) from error
    except OSError as error:
        # Those of gzip and bz2 that mean broken bytes have no number.
        what = "is broken" if error.errno is None else "cannot be unpacked"
        raise DataError(f"{archive} {what}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [into / name for name in found]


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[_Member]]:
    # In this order: a tar whose last file is a zip ends as a zip does.
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive, closing(_taped(path, archive)) as members:
            yield members
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, closing(_zipped(path, archive)) as members:
            yield members
    else:
        raise DataError(f"{path} is neither a tar archive nor a zip: download it again")


def _taped(path: Path, archive: tarfile.TarFile) -> Generator[_Member, None, None]:
    for member in archive:
        if member.isdir():
            yield _Member(member.name, 0, None)
        elif member.isreg():
            yield _Member(member.name, member.size, archive.extractfile(member))
        else:
            raise _refusal(path, member.name, "a link" if member.issym() or member.islnk() else "a device")


def _zipped(path: Path, archive: zipfile.ZipFile) -> Generator[_Member, None, None]:
    for member in archive.infolist():
        name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(path, name, "a link" if kind == stat.S_IFLNK else "a device")
        if member.flag_bits & 1:
            raise DataError(f"{path}: {name} is encrypted")
        if member.is_dir():
            yield _Member(name, 0, None)
        else:
            with archive.open(member) as content:
                yield _Member(name, member.file_size, content)


def _write(archive: Path, folder: Path, member: _Member) -> None:
    target = folder.joinpath(*_parts(archive, member.name))
    if member.content is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Made by this call or not at all: never through something that was there.
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except FileExistsError:
        raise DataError(f"{archive}: {member.name} is in it twice") from None
    left = member.size
    with os.fdopen(file, "wb") as output:
        while chunk := member.content.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise DataError(f"{archive}: {member.name} is larger than it says")
            output.write(chunk)
    if left:
        raise DataError(f"{archive} is broken: {member.name} is cut short: download it again")


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The steps of a path that stays inside.

    Raises:
        DataError: it does not, on this system or another.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or _DRIVE.match(name)
    if outside or any(ord(letter) < 32 for letter in name):
        raise _refusal(archive, name, "a path outside the folder")
    return path.parts


def _refusal(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive}: {name!r} is {what}: this is not the published archive; nothing was unpacked"
    )
