"""Places205 (Zhou et al., NIPS 2014, http://places.csail.mit.edu) and MiniPlaces, in their authors' layouts.

Both list "path label" a line, and a path holds the class: `a/abbey/gsun_....jpg` is of the class abbey.
"""

from pathlib import Path

from bench.data.listed import Labelled, Listing, listed, read_labels, read_lines
from bench.data.source import DatasetSpec, Source, first_folder
from bench.errors import DataError

SPLIT = "trainvalsplit_places205"
IMAGES = "data/vision/torralba/deeplearning/images256"
KIT = "development_kit/data"


def places205(spec: DatasetSpec, root: Path | None) -> Source:
    """`trainvalsplit_places205/{train,val}_places205.csv`, images as in their archive; val is the test split."""
    where = first_folder(spec, root, ["places205", "Places205", "."], holds=SPLIT)
    lists = (where / SPLIT / "train_places205.csv", where / SPLIT / "val_places205.csv")

    def look() -> Listing:
        images = where / IMAGES
        if not images.is_dir():
            raise DataError(
                f"{spec.name}: {where} lacks its images: unpack imagesPlaces205_resize.tar.gz so that {images} exists"
            )
        train, test = (read_labels(path) for path in lists)
        return Listing(images, *_numbered(spec, train, test, "train_places205.csv"), lists)

    return listed(spec, where, look)


def _numbered(
    spec: DatasetSpec, train: Labelled, test: Labelled, name: str
) -> tuple[Labelled, Labelled, tuple[str, ...]]:
    """The splits with labels 0, 1, ... and the names of the classes, by the folders that the images lie in.

    A part of the data set may lack some classes; all labels of the whole are there, and stay what they are.

    Raises:
        DataError: a label has two folders: the list is not what it was.
    """
    folders: dict[int, str] = {}
    for path, label in train:
        folder = path.rpartition("/")[0]
        if folders.setdefault(label, folder) != folder:
            raise DataError(
                f"{spec.name}: {name} gives the label {label} to {folders[label]} and to {folder}: unpack it again"
            )
    strange = next((path for path, label in test if label not in folders), None)
    if strange is not None:
        raise DataError(f"{spec.name}: {strange} is of a class without a training image: unpack it again")
    order = {label: i for i, label in enumerate(sorted(folders))}
    # The first folder is only the letter that the class begins with.
    classes = tuple(folders[label].partition("/")[2] or folders[label] for label in order)
    return [(p, order[x]) for p, x in train], [(p, order[x]) for p, x in test], classes


def miniplaces_full(spec: DatasetSpec, root: Path | None) -> Source:
    """`images/{train,val}/...` and `development_kit/data/{train,val,categories}.txt`; val is the test split."""
    where = first_folder(spec, root, ["miniplaces", "miniplaces/data", "."], holds=KIT)
    lists = tuple(where / KIT / name for name in ("train.txt", "val.txt", "categories.txt"))

    def look() -> Listing:
        images = where / "images"
        if not images.is_dir():
            raise DataError(
                f"{spec.name}: {where} lacks its images: unpack data.tar.gz so that {images}/train exists"
            )
        train, test = (read_labels(path) for path in lists[:2])
        names = {label: path.partition("/")[2] or path for path, label in read_labels(lists[2])}
        used = sorted({label for _, label in train})
        strange = sorted({label for _, label in (*train, *test)} - (names.keys() & set(used)))
        if strange:
            raise DataError(
                f"{spec.name}: the label {strange[0]} is in train.txt or val.txt but not in categories.txt or not"
                f" in train.txt of {where / KIT}: unpack it again"
            )
        order = {label: i for i, label in enumerate(used)}
        train, test = ([(path, order[label]) for path, label in part] for part in (train, test))
        return Listing(images, train, test, tuple(names[label] for label in used), lists)

    return listed(spec, where, look)


def tinyimagenet(spec: DatasetSpec, root: Path | None) -> Source:
    """Tiny ImageNet: train/<wnid>/images, val/images with val_annotations.txt, wnids.txt; val is the test split."""
    from bench.data.source import list_images

    where = first_folder(spec, root, ["tiny-imagenet-200"], holds="wnids.txt")
    lists = (where / "wnids.txt", where / "val" / "val_annotations.txt")

    def look() -> Listing:
        classes = tuple(sorted(read_lines(lists[0])))
        label = {name: i for i, name in enumerate(classes)}
        train = []
        for name in classes:
            if not (where / "train" / name).is_dir():
                raise DataError(
                    f"{spec.name}: {where} lacks train/{name}, which wnids.txt names: unpack it again"
                )
            train += [(path, label[name]) for path in list_images(where, f"train/{name}")]
        test = []
        for line in read_lines(lists[1]):
            name, wnid, *_ = [*line.split("\t"), ""]
            if wnid not in label:
                raise DataError(f"{lists[1]}: {line[:80]!r} names no class of wnids.txt: unpack it again")
            test.append((f"val/images/{name}", label[wnid]))
        return Listing(where, train, test, classes, lists)

    return listed(spec, where, look)
