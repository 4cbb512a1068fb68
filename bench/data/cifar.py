"""CIFAR-10 and CIFAR-100 in the layouts of https://www.cs.toronto.edu/~kriz/cifar.html.

Every file is held against the checksum of the published one before its bytes are used.
"""

import hashlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.archives import unpack
from bench.data.source import DatasetSpec, File, Progress, Source, first_folder, stat_files
from bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.data.arrays import Decoded

RECORD_BYTES = 2 + 3 * 32 * 32  # coarse label, fine label, three planes
PUBLISHED = {
    "cifar-100-binary/train.bin": "sha1:e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
    "cifar-100-binary/test.bin": "sha1:8fb6623e830365ff53cf14adec797474f5478006",
    "cifar-100-python/train": "md5:16019d7e3df5f24257cddd939b257f8d",
    "cifar-100-python/test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
    "cifar-100-python/meta": "md5:7973b15100ade9c7d40fb424638fde48",
    "cifar-10-batches-py/data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "md5:634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "md5:40351d587109b95175f43aff81a1287e",
    "cifar-10-batches-py/batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888",
}


def cifar100(spec: DatasetSpec, root: Path | None) -> Source:
    """The binary layout if its folder is there, else the python one; the fine labels."""
    if root is not None and (root / "cifar-100-binary" / "train.bin").exists():
        return _binary(spec, root / "cifar-100-binary")
    where = first_folder(spec, root, ["cifar-100-python"], holds="train")
    return _pickled(where, ["train"], ["test"], "meta", "fine_labels", "fine_label_names")


def cifar10(spec: DatasetSpec, root: Path | None) -> Source:
    """The python layout, whose files have published checksums one by one."""
    where = first_folder(spec, root, ["cifar-10-batches-py"], holds="data_batch_1")
    train = [f"data_batch_{i}" for i in range(1, 6)]
    return _pickled(where, train, ["test_batch"], "batches.meta", "labels", "label_names")


def _binary(spec: DatasetSpec, where: Path) -> Source:
    names = ["fine_label_names.txt", "test.bin", "train.bin"]

    def list_files() -> list[File]:
        files = stat_files(where, names)
        for file, count in zip(files[1:], (spec.num_test, spec.num_train), strict=True):
            if count is not None and file.size != count * RECORD_BYTES:
                want = count * RECORD_BYTES
                raise DataError(f"{where / file.path} has {file.size} bytes, not {want}: download it again")
        return files

    def read(skip_corrupt: bool, progress: Progress | None) -> "Decoded":  # noqa: ARG001
        import numpy as np

        def split(name: str) -> tuple[Any, Any]:
            records = np.frombuffer(_checked(where / name), np.uint8).reshape(-1, RECORD_BYTES)
            images = np.ascontiguousarray(records[:, 2:]).reshape(-1, 3, 32, 32)
            return images, records[:, 1].astype(np.int64)

        classes = (where / names[0]).read_text().split()
        return _decoded(*split("train.bin"), *split("test.bin"), classes)

    return Source(where, list_files, read)


def _pickled(
    where: Path,
    train: Sequence[str],
    test: Sequence[str],
    meta: str,
    labels_key: str,
    names_key: str,
) -> Source:
    def read(skip_corrupt: bool, progress: Progress | None) -> "Decoded":  # noqa: ARG001
        import numpy as np

        def split(names: Sequence[str]) -> tuple[Any, Any]:
            parts = [_load_pickle(where / name) for name in names]
            images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
            labels = np.concatenate([part[labels_key] for part in parts]).astype(np.int64)
            return images, labels

        return _decoded(*split(train), *split(test), _load_pickle(where / meta)[names_key])

    return Source(where, lambda: stat_files(where, [*train, *test, meta]), read)


def _decoded(
    images: "NDArray[Any]",
    labels: "NDArray[Any]",
    test_images: "NDArray[Any]",
    test_labels: "NDArray[Any]",
    classes: Sequence[str],
) -> "Decoded":
    from bench.data.arrays import Decoded

    return Decoded(images, labels, len(labels), 0, test_images, test_labels, tuple(classes))


def _checked(path: Path) -> bytes:
    """The bytes of a file whose checksum is the published one.

    Raises:
        DataError: it is not.
    """
    data = path.read_bytes()
    kind, want = PUBLISHED[f"{path.parent.name}/{path.name}"].split(":")
    has = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    if has != want:
        raise DataError(f"{path}: {kind} is {has}, not the published {want}: download it again")
    return data


class _ArraysOnly(pickle.Unpickler):
    """Builds lists, dictionaries, strings and NumPy arrays, and calls nothing else a file may name."""

    def find_class(self, module: str, name: str) -> Any:
        import _codecs

        import numpy as np

        rebuild: Any = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): rebuild,
            ("numpy._core.multiarray", "_reconstruct"): rebuild,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _codecs.encode,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return allowed[module, name]


def _load_pickle(path: Path) -> dict[str, Any]:
    data = _checked(path)
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} is not one of the published pickles: {error}") from error


def download(spec: DatasetSpec, root: Path) -> None:
    """Fetch the python layout; the archive's checksum is torchvision's, and it is unpacked by `unpack`.

    Raises:
        DataError: no network, the wrong bytes, or nowhere to put them.
    """
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[spec.name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        download_url(reader.url, str(root), reader.filename, reader.tgz_md5)
    except (OSError, RuntimeError) as error:
        how = spec.source.format(root=root)
        raise DataError(f"{spec.name} could not be downloaded ({error}); by hand: {how}") from error
    unpack(root / reader.filename, root)
