"""What a reader returns: where a data set lies, which files it is made of, how to read them.

Neither NumPy nor Pillow here: finding out whether data are there must stay cheap.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.data.names import resolve
from bench.errors import DataError
from bench.protocols import PRESETS
from models.plugins import check_target

if TYPE_CHECKING:
    from bench.data.arrays import Decoded
    from bench.data.decode import Layout

IMAGE_SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".sgi",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    )
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DatasetSpec:
    """One row of the registry.

    Attributes:
        name: what the user types.
        title: what a table prints.
        image_size: height and width in pixels of the prepared images.
        num_classes: None where only the folder knows.
        version: raised whenever the prepared arrays change; part of a run's identity.
        flip: whether training may mirror images left to right.
        paper: the column of the paper's tables, if it has one.
        source: one line that ends "... so that {root}/... exists": what to download from where.
        loader: "module:function" of `(DatasetSpec, root) -> Source`.
        num_train: published number of training images; checked where it is not None.
        num_test: published number of test images; likewise.
        needs_root: False for data that come with an installed package.
        files: made of image files, any of which may be broken.
        takes_path: `name:PATH` reads a part of it that lies elsewhere, in the same layout.
        at: PATH of such a name.
        near_equal: whether images that nearly agree are likely copies; small drawings are all alike.
        overlaps: names of data sets that its images come from: features that learned these with their labels are
            marked in its reports.
        compressed: its images stay compressed and are decoded when they are asked for; None lets their number
            and size decide (`bench.data.compressed`).
        epochs: preset -> (pretraining epochs, probe epochs), where they are not those of any folder.
    """

    name: str
    title: str
    image_size: int
    num_classes: int | None
    version: int
    flip: bool
    paper: str | None
    source: str
    loader: str
    num_train: int | None = None
    num_test: int | None = None
    needs_root: bool = True
    files: bool = True
    takes_path: bool = False
    at: str | None = None
    near_equal: bool = True
    overlaps: tuple[str, ...] = ()
    compressed: bool | None = None
    epochs: dict[str, tuple[int, int]] = field(default_factory=dict)


def check_row(row: DatasetSpec) -> None:
    """Refuse a package's row that would fail later, where nobody expects it.

    Raises:
        ValueError: names the field and its value.
    """
    check_target(row.loader)
    if not isinstance(row.version, int) or row.version < 1:
        raise ValueError(f"version is {row.version!r}, not a whole number from 1")
    if not isinstance(row.image_size, int) or row.image_size < 1:
        raise ValueError(f"image_size is {row.image_size!r}, not a number of pixels")
    if unknown := sorted(set(row.epochs) - set(PRESETS)):
        raise ValueError(f"epochs of an unknown preset {unknown[0]!r}; allowed: {', '.join(PRESETS)}")
    # Braces that stand for something else would fail when the data are missing.
    row.source.format(root="DIR")


class File(NamedTuple):
    """One file of a data set: POSIX path below the data set's folder, bytes, modification time in ns."""

    path: str
    size: int
    mtime: int


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    Attributes:
        where: its folder; None for data that come with an installed package.
        list_files: the files it is made of, sorted; checks what can be told without opening an image.
            Raises `DataError`.
        read: `(skip_corrupt, progress) -> Decoded`, the slow part. Raises `DataError`.
        settings: whatever changes the arrays besides the files and the version.
        light: reads so fast that it may stay in memory where no folder can be written.
        layout: which image file has which label, of data that are made of image files. Raises `DataError`.
    """

    where: Path | None
    list_files: Callable[[], Sequence[File]]
    read: Callable[[bool, Progress | None], "Decoded"]
    settings: tuple[object, ...] = ()
    light: bool = False
    layout: "Callable[[], Layout] | None" = None

    @property
    def images_where(self) -> Path | None:
        """The folder that the paths of its images are relative to, which may lie below the data set's own."""
        return self.where if self.layout is None else self.layout().where


def missing(spec: DatasetSpec, root: Path | None) -> DataError:
    """One line: what is not there, what to download from where, into which folder."""
    how = spec.source.format(root="DIR" if root is None else root)
    if root is None:
        return DataError(f"{spec.name} needs a data folder (--data DIR or BENCH_DATA): {how}")
    if not root.is_dir():
        return DataError(f"{spec.name}: the data folder {root} (--data, BENCH_DATA) does not exist: {how}")
    return DataError(f"{spec.name} not found under {root}: {how} (or: --data DIR, BENCH_DATA)")


def first_folder(spec: DatasetSpec, root: Path | None, candidates: Sequence[str], holds: str) -> Path:
    """The first of root's `candidates` that has an entry `holds`; of `name:PATH`, PATH itself or one below it.

    Raises:
        DataError: none has, or there is no root; names what to download.
    """
    if spec.at is not None:
        given = given_folder(spec, root)
        for place in (given, *(given / candidate for candidate in candidates)):
            if (place / holds).exists():
                return place
        raise DataError(f"{spec.name}: {given} has no {holds}: it must lie as in {layout_of(spec)}")
    for candidate in candidates:
        if root is not None and (root / candidate / holds).exists():
            return root / candidate
    raise missing(spec, root)


def given_folder(spec: DatasetSpec, root: Path | None) -> Path:
    """The folder that `folder:PATH` or `name:PATH` names.

    Raises:
        DataError: there is none.
    """
    path = spec.at or ""
    where = resolve(path, root)
    if where is None:
        tried = path if root is None or Path(path).is_absolute() else f"{path} (nor {root / path})"
        raise DataError(f"{spec.name}: there is no folder {tried}")
    return where


def layout_of(spec: DatasetSpec) -> str:
    """What the published data set looks like: the end of its `source`."""
    return spec.source.partition(" so that ")[2].format(root="DIR") or spec.source


def stat_files(where: Path, paths: Sequence[str]) -> list[File]:
    """Sizes and times of files, sorted by path.

    Raises:
        DataError: one of them cannot be read; names it.
    """
    files = []
    for path in sorted(paths):
        try:
            status = (where / path).stat()
        except OSError as error:
            raise DataError(f"cannot read {where / path}: {error.strerror}") from error
        files.append(File(path, status.st_size, status.st_mtime_ns))
    return files


def list_images(where: Path, below: str) -> list[str]:
    """Paths, relative to `where`, of the image files in its folder `below` and deeper; sorted.

    Images are told by their suffix (`IMAGE_SUFFIXES`); names that begin with a dot are left out.

    Raises:
        DataError: a folder cannot be read; names it.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error

    found = []
    for folder, folders, names in os.walk(where / below, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(folder).relative_to(where).as_posix()
        found += [
            f"{prefix}/{name}"
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


def list_folders(where: Path) -> list[str]:
    """Names of the folders in `where`, sorted; those that begin with a dot are left out.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(p.name for p in where.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {where}: {error.strerror}") from error
