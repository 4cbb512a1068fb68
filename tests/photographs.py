"""Images that look like photographs to a hash: soft shapes with an edge or two, no two alike."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def photographs(count, seed=0, size=32):
    """uint8, (count, 3, size, size)."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        image = coarse.resize((size, size), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for _ in range(4):
            (left, right), (top, bottom) = np.sort(draw.integers(0, size, (2, 2)), axis=1).tolist()
            pen.ellipse((left, top, right, bottom), fill=tuple(draw.integers(0, 256, 3).tolist()))
        found.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(found)


def recompressed(images, quality=60):
    """The same as JPEG files hold them."""
    found = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
    return np.stack(found)


def save_tree(where: Path, splits):
    """A folder tree of PNG files: {"train": {"cat": images}}."""
    for split, classes in splits.items():
        for name, images in classes.items():
            folder = where / split / name
            folder.mkdir(parents=True)
            for i, image in enumerate(images):
                Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:03}.png")
