"""scikit-learn's handwritten digits: 1,797 images of 8x8, a subset of UCI's Optical Recognition data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.source import DatasetSpec, File, Progress, Source

if TYPE_CHECKING:
    from bench.data.arrays import Decoded

NUM_TEST_PER_CLASS = 36


def digits(spec: DatasetSpec, root: Path | None) -> Source:  # noqa: ARG001
    """Read the digits from scikit-learn's own files.

    Values 0..16 become 0..255, 8x8 pixels become the wanted size (bicubic, on bytes), one channel three.
    The test split is 36 images of every class at even distances in the published order, so that early
    and late writers are in both splits; the other 1,437 train.
    """

    def no_files() -> list[File]:
        return []

    def read(skip_corrupt: bool, progress: Progress | None) -> "Decoded":  # noqa: ARG001
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        from bench.data.arrays import Decoded

        raw: Any = load_digits()
        size = (spec.image_size, spec.image_size)
        small = np.rint(raw.images * (255 / 16)).astype(np.uint8)
        grey = np.stack(
            [np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BICUBIC)) for x in small]
        )
        images = np.repeat(grey[:, None], 3, axis=1)
        labels = raw.target.astype(np.int64)

        is_test = np.zeros(len(labels), bool)
        for label in range(10):
            members = np.flatnonzero(labels == label)
            is_test[
                members[(np.arange(NUM_TEST_PER_CLASS) * 2 + 1) * len(members) // (2 * NUM_TEST_PER_CLASS)]
            ] = 1
        train = ~is_test
        return Decoded(
            images=images[train],
            labels=labels[train],
            num_train=int(train.sum()),
            pool_start=0,
            test_images=images[is_test],
            test_labels=labels[is_test],
            classes=tuple(str(label) for label in range(10)),
        )

    return Source(None, no_files, read, light=True)
