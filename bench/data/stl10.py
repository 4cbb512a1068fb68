"""STL-10 (Coates et al., AISTATS 2011) in its binary layout: https://cs.stanford.edu/~acoates/stl10.

The 100,000 images without labels join the pool for pretraining. Every file is held against the checksum of the
published one before its bytes are used.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.source import DatasetSpec, File, Progress, Source, first_folder, stat_files
from bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.arrays import Decoded

SIDE = 96
NUM_UNLABELLED = 100_000
MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
NAMES = "class_names.txt"


def stl10(spec: DatasetSpec, root: Path | None) -> Source:
    """`stl10_binary/*.bin`: images by columns, labels from 1."""
    where = first_folder(spec, root, ["stl10_binary"], holds="train_X.bin")

    def list_files() -> list[File]:
        files = stat_files(where, [NAMES, *MD5])
        has = {file.path: file.size for file in files}
        counts = {"train": spec.num_train or 0, "test": spec.num_test or 0}
        wanted = {f"{split}_X.bin": count * 3 * SIDE * SIDE for split, count in counts.items()}
        wanted |= {f"{split}_y.bin": count for split, count in counts.items()}
        wanted["unlabeled_X.bin"] = NUM_UNLABELLED * 3 * SIDE * SIDE
        for name, want in wanted.items():
            if has[name] != want:
                raise DataError(f"{where / name} has {has[name]} bytes, not {want}: unpack it again")
        return files

    def read(skip_corrupt: bool, progress: Progress | None) -> "Decoded":  # noqa: ARG001
        import numpy as np

        from bench.data.arrays import Decoded

        for name in MD5:
            _check(where / name)
        classes = tuple((where / NAMES).read_text().split())
        parts = [_images(where / f"{name}_X.bin") for name in ("train", "unlabeled")]
        counts = [len(part) for part in parts]
        images = np.empty((sum(counts), 3, SIDE, SIDE), np.uint8)
        images[: counts[0]], images[counts[0] :] = parts
        labels = np.concatenate([_labels(where / "train_y.bin"), np.full(counts[1], -1, np.int64)])
        return Decoded(
            images=images,
            labels=labels,
            num_train=counts[0],
            pool_start=0,
            test_images=np.ascontiguousarray(_images(where / "test_X.bin")),
            test_labels=_labels(where / "test_y.bin"),
            classes=classes,
        )

    return Source(where, list_files, read)


def _images(path: Path) -> "NDArray[np.uint8]":
    """(n, 3, 96, 96), mapped: in the file the columns of an image follow one another."""
    import numpy as np

    return np.memmap(path, np.uint8, "r").reshape(-1, 3, SIDE, SIDE).transpose(0, 1, 3, 2)


def _labels(path: Path) -> "NDArray[np.int64]":
    import numpy as np

    return np.fromfile(path, np.uint8).astype(np.int64) - 1


def _check(path: Path) -> None:
    with path.open("rb") as file:
        has = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if has != MD5[path.name]:
        raise DataError(f"{path}: md5 is {has}, not the published {MD5[path.name]}: download it again")
