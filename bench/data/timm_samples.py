"""The images that timm's readers give, decoded: bytes on all cores, in their order."""

import io
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.compressed import on_all_cores
from bench.data.decode import square, to_rgb
from bench.data.source import DatasetSpec, Progress
from bench.errors import DataError

CHUNK = 512  # images decoded at once


def decode_split(
    spec: DatasetSpec, split: str, dataset: Any, skip_corrupt: bool, progress: Progress | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """uint8 images, int64 labels, and what could not be decoded.

    Raises:
        DataError: something cannot be decoded, or has not one label.
    """
    size, lost = spec.image_size, []
    all_images, all_labels, seen = [np.empty((0, 3, size, size), np.uint8)], [np.empty(0, np.int64)], 0
    samples = _samples(dataset)
    while chunk := list(itertools.islice(samples, CHUNK)):
        images, kept = np.empty((len(chunk), 3, size, size), np.uint8), np.ones(len(chunk), bool)

        def work(i: int, chunk: Any = chunk, images: Any = images) -> str | None:
            try:
                images[i] = _decode(chunk[i][0], size).transpose(2, 0, 1)
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
                return (str(error) or type(error).__name__).splitlines()[0]
            return None

        for i, why in enumerate(on_all_cores(work, len(chunk))):
            if why is not None:
                if not skip_corrupt:
                    raise DataError(
                        f"{spec.name}: image {seen + i} of the split {split!r} is corrupt ({why});"
                        " leave it out with --skip-corrupt"
                    )
                kept[i] = False
                lost.append(f"{split}/{seen + i}")
        try:
            labels = np.array([int(label) for _, label in chunk], np.int64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{spec.name}: its images have not one label each: {error}") from error
        all_images.append(images[kept])
        all_labels.append(labels[kept])
        seen += len(chunk)
        if progress is not None:
            progress(seen, max(seen, len(dataset)))
    return np.concatenate(all_images), np.concatenate(all_labels), lost


def _samples(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """(image or its bytes, label), in order: bytes where timm has not decoded them, to be decoded on all cores."""
    from torch.utils.data import IterableDataset

    if isinstance(dataset, IterableDataset):
        yield from dataset  # type: ignore[reportGeneralTypeIssues]
        return
    source: Any = getattr(dataset, "reader", dataset)
    for i in range(len(source)):
        image, label = source[i][:2]
        if hasattr(image, "read"):
            with image as file:
                yield file.read(), label
        else:
            yield image, label


def relabelled(spec: DatasetSpec, labels: NDArray[np.int64], train: Any, test: Any) -> NDArray[np.int64]:
    """Labels of a test split as the training split counts its classes: timm counts those that it finds in each.

    Args:
        spec: the data set's row.
        labels: as timm has them.
        train: timm's dataset of the training split.
        test: of the test split.

    Raises:
        DataError: a class of the test split is none of the training split.
    """
    ours, theirs = _index(train), _index(test)
    if not ours or not theirs or ours == theirs:
        return labels
    used = set(labels.tolist())
    for name, label in theirs.items():
        if label in used and name not in ours:
            raise DataError(f"{spec.name}: class {name!r} of the test split is not in the training split")
    place = {label: ours[name] for name, label in theirs.items() if name in ours}
    return np.array([place[label] for label in labels.tolist()], np.int64)


def class_names(dataset: Any, count: int) -> tuple[str, ...]:
    """Names in the order of the labels; numbers where timm knows no names."""
    index = _index(dataset)
    if index:
        names = {label: name for name, label in index.items()}
        return tuple(names.get(label, str(label)) for label in range(max(max(names) + 1, count)))
    return tuple(str(label) for label in range(count))


def _index(dataset: Any) -> dict[str, int]:
    """Label of each class by its name, of a folder, a tar or torchvision's data sets; else empty."""
    for holder in (getattr(dataset, "reader", None), dataset):
        index = getattr(holder, "class_to_idx", None) or getattr(holder, "class_name_to_idx", None)
        if index:
            return {str(name): int(label) for name, label in index.items()}
    return {}


def _decode(data: Image.Image | bytes, size: int) -> NDArray[np.uint8]:
    """A file that is in memory, or an image that another library has decoded, as (size, size, 3)."""
    if isinstance(data, Image.Image):
        return np.asarray(square(to_rgb(data), size))
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (2 * size, 2 * size))
        return np.asarray(square(to_rgb(image), size))
