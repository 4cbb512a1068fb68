"""ILSVRC2012, the thousand classes of ImageNet (Russakovsky et al., IJCV 2015): https://image-net.org.

The training images lie in one folder a class (its wnid) in every layout. The 50,000 validation images, which serve as
the test split, lie

    flat, as their archive holds them, with the labels in the development kit (`ILSVRC2012_devkit_t12`),
    flat, as Kaggle has them below `ILSVRC/Data/CLS-LOC`, with the labels in `LOC_val_solution.csv` or in the kit,
    or in one folder a class, as torchvision and timm want them.

Classes are the wnids in sorted order.
"""

import re
from pathlib import Path

from bench.data.folders import ClassFolders
from bench.data.listed import Listing, listed, read_lines
from bench.data.source import DatasetSpec, Source, first_folder, list_folders, list_images
from bench.errors import DataError

PLACES = ["imagenet", "ImageNet", "ILSVRC2012", "imagenet/ILSVRC2012"]
KAGGLE = "ILSVRC/Data/CLS-LOC"
KIT = "ILSVRC2012_devkit_t12"
KIT_ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
TRUTH, META = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"
SOLUTION = "LOC_val_solution.csv"


def imagenet(spec: DatasetSpec, root: Path | None) -> Source:
    """The layout that is there; val is the test split."""
    places = [*PLACES, KAGGLE, *(f"{place}/{KAGGLE}" for place in PLACES)]
    where = first_folder(spec, root, places, holds="train")
    if not (where / "val").is_dir():
        raise DataError(
            f"{spec.name}: {where} lacks its validation images: unpack ILSVRC2012_img_val.tar"
            f" so that {where}/val exists"
        )
    if list_folders(where / "val"):
        return listed(spec, where, lambda: _sorted(spec, where))
    # Kaggle's labels lie beside ILSVRC/.
    kaggle = where.as_posix().endswith(KAGGLE)
    above = [where, where.parent, *(where.parents[1:3] if kaggle else ())]

    def look() -> Listing:
        tree = ClassFolders(spec, where, "train", "val")
        labels, lists = _labels(spec, where, above)
        index = {name: i for i, name in enumerate(tree.classes)}
        test = []
        for path in list_images(where, "val"):
            name = Path(path).stem
            if name not in labels:
                raise DataError(
                    f"{spec.name}: {where / path} is not among the {len(labels)} of {lists[-1].name}"
                )
            # A part of the data set may hold the validation images of every class.
            if labels[name] in index:
                test.append((path, index[labels[name]]))
            elif spec.num_classes is not None:
                raise DataError(
                    f"{spec.name}: {path} is of the class {labels[name]}, which {where}/train lacks: unpack it again"
                )
        return Listing(where, tree.images("train"), test, tree.classes, lists)

    return listed(spec, where, look)


def _sorted(spec: DatasetSpec, where: Path) -> Listing:
    """Validation images in folders of their classes, in the order in which they lie in the official archive."""
    tree = ClassFolders(spec, where, "train", "val")
    index = {name: i for i, name in enumerate(tree.classes)}
    # A part of the data set may hold the validation images of every class.
    some = [name for name in list_folders(where / "val") if name in index or spec.num_classes is not None]
    if strange := next((name for name in some if name not in index), None):
        raise DataError(f"{spec.name}: class {strange!r} is in val/ but not in train/ of {where}")
    test = [(path, index[name]) for name in some for path in list_images(where, f"val/{name}")]
    test.sort(key=lambda item: Path(item[0]).name)
    return Listing(where, tree.images("train"), test, tree.classes)


def _labels(spec: DatasetSpec, where: Path, above: list[Path]) -> tuple[dict[str, str], tuple[Path, ...]]:
    """Wnid of every validation image by its name, and the files that say so.

    Raises:
        DataError: nothing says so, or what says so is broken.
    """
    for folder in above:
        if (folder / KIT / "data").is_dir():
            return _by_kit(folder / KIT), (folder / KIT / META, folder / KIT / TRUTH)
        if (folder / SOLUTION).is_file():
            return _by_solution(folder / SOLUTION), (folder / SOLUTION,)
    raise DataError(
        f"{spec.name}: the validation images in {where}/val are not sorted into classes and their labels are missing:"
        f" unpack {KIT_ARCHIVE} (from https://image-net.org) so that {above[0] / KIT}/data exists"
    )


def _by_kit(kit: Path) -> dict[str, str]:
    """Line i of the ground truth is the ILSVRC2012_ID of image i; meta.mat says which wnid that is."""
    from scipy.io import loadmat

    if not (kit / META).is_file():
        raise DataError(f"{kit / META} is missing: unpack {KIT_ARCHIVE} again")
    try:
        synsets = loadmat(kit / META, squeeze_me=True)["synsets"]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except (OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError) as error:
        raise DataError(f"{kit / META} cannot be read ({error}): unpack {KIT_ARCHIVE} again") from error
    found = {}
    for number, line in enumerate(read_lines(kit / TRUTH), 1):
        if not line.isdigit() or int(line) not in wnids:
            raise DataError(
                f"{kit / TRUTH}: line {number} is {line[:40]!r}, no ILSVRC2012_ID of meta.mat:"
                f" unpack {KIT_ARCHIVE} again"
            )
        found[f"ILSVRC2012_val_{number:08d}"] = wnids[int(line)]
    return found


def _by_solution(path: Path) -> dict[str, str]:
    """Kaggle's "ILSVRC2012_val_00048981,n03995372 85 1 499 272": the class of the first box."""
    found = {}
    for line in read_lines(path)[1:]:
        match = re.match(r"(\w+),(n\d{8})\b", line)
        if match is None:
            raise DataError(f"{path}: {line[:80]!r} is not an image and its class: download it again")
        found[match[1]] = match[2]
    return found
