"""Where features that are computed once are kept: in memory within a budget, or in a file; for the next probe too.

Probes of one pretraining that run in one process (several freeze points, seeds, learning rates) need the same
features: those of the last probes stay, as long as the budget that the next one is given holds them too, and until
the process begins a pretraining.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bench.data.arrays import Split
from bench.data.batches import Pixels
from bench.data.chosen import choose_rows
from bench.data.shuffling import Reach
from bench.data.streaming import open_pixels
from bench.features import (
    CHUNK,
    CachedFeatures,
    ComputedFeatures,
    Source,
    cache_bytes,
    chunk,
    compute,
    empty_pixels,
    empty_rows,
    never,
)

# A file is worth its while where writing takes at most this share of computing: reading its rows in any order, epoch
# after epoch, costs no more than writing them once, and the page cache makes most of them free.
DISK_SHARE = 0.5
# Of the free space, what features may take.
FREE_SHARE = 0.5


@dataclass
class _Kept:
    images: np.ndarray
    labels: Tensor
    features: Tensor
    mirrored: Tensor | None
    bytes: int  # of memory; 0 in a file


class Shelf:
    """Features by what they are of, the oldest given up first."""

    def __init__(self) -> None:
        self.items: dict[tuple[Any, ...], _Kept] = {}

    def get(self, key: tuple[Any, ...], images: np.ndarray) -> _Kept | None:
        """What is kept under a key, if it is of these very images."""
        kept = self.items.get(key)
        return kept if kept is not None and kept.images is images else None

    def make_room(self, wanted: int, budget: int, needed: set[tuple[Any, ...]]) -> None:
        """Give up what is not needed until so many bytes more fit the budget, and files anyway."""
        for key in [key for key in self.items if key not in needed]:
            if wanted > self.room(budget) or not self.items[key].bytes:
                del self.items[key]

    def room(self, budget: int) -> int:
        """What is left of a budget."""
        return budget - sum(kept.bytes for kept in self.items.values())

    def put(self, key: tuple[Any, ...], kept: _Kept) -> None:
        """Keep features, as the newest."""
        self.items.pop(key, None)
        self.items[key] = kept


SHELF = Shelf()


class FeatureStore:
    """The sources of one probe, within one budget.

    Args:
        device: where features are kept.
        scale: of the images, see `bench.data.batches.Pixels`.
        make: computes features of images.
        budget: bytes of memory for all features.
        disk: bytes of a file for those that do not fit; 0 is no file.
        folder: in which that file would be; it has no name and is gone with the process.
        data_bytes: see `bench.launch.control.RunOptions`.
        key: what features depend on besides the images; None keeps nothing for the next probe.
        earlier: keys of features of which these can be made, the nearest first, and what builds
            that which makes them, called only where such features are kept.
        by_pixel: keep features pixel by pixel, as convolutions want them, in place of channel by channel.
        note: told what does not fit, and what is done about it.
        between: called between chunks of images; may raise to end the work.
    """

    def __init__(
        self,
        device: torch.device,
        scale: Any,
        make: Callable[[Pixels], ComputedFeatures],
        *,
        budget: int,
        disk: int = 0,
        folder: Path | None = None,
        data_bytes: int | None = None,
        key: tuple[Any, ...] | None = None,
        earlier: Sequence[tuple[tuple[Any, ...], Callable[[], Callable[[Tensor], Tensor]]]] = (),
        by_pixel: bool = False,
        note: Callable[[str], None] = print,
        between: Callable[[], None] = never,
    ) -> None:
        self.device, self.scale, self.make, self.budget, self.left = device, scale, make, budget, budget
        self.disk, self.folder, self.key, self.note, self.between = disk, folder, key, note, between
        self.data_bytes, self.earlier, self.by_pixel = data_bytes, earlier, by_pixel
        self._begun = {begun for begun, _ in earlier}
        self.mine: set[tuple[Any, ...]] = set()
        self._open: WeakSet[Pixels] = WeakSet()

    def close(self) -> None:
        """End what reads images ahead; sources whose features are computed cannot be used fast any more."""
        for pixels in list(self._open):
            pixels.close()

    def source(
        self, name: str, split: Split, flip: bool, once: bool, rows: Int[Tensor, " m"] | None = None
    ) -> Source:
        """Features of a split.

        Args:
            name: of the split.
            split: images and labels.
            flip: whether mirrored images are wanted too.
            once: whether they may be computed once.
            rows: which of the images are meant by 0, 1, ...; None is all.
        """
        key = None if self.key is None or not once else (*self.key, name, flip)
        if key is not None and (kept := SHELF.get(key, split.images)) is not None:
            self.left -= 0 if key in self.mine else kept.bytes
            self.mine.add(key)
            SHELF.put(key, kept)
            return CachedFeatures(kept.labels, kept.features, kept.mirrored, rows)
        if key is not None and (made := self._onward(key, split, name, flip)) is not None:
            return CachedFeatures(made.labels, made.features, made.mirrored, rows)
        if rows is not None and key is None:
            split, rows = _part(split, rows), None
        pixels = open_pixels(split, self.device, self.scale, budget=self.data_bytes, note=self.note)
        # Not held: images are to go when their features are there.
        self._open.add(pixels)
        computed = self.make(pixels)
        if not once:
            return computed
        wanted = cache_bytes(computed, flip)
        if key is not None:
            SHELF.make_room(wanted, self.budget, self.mine)
        allocate = None
        if wanted > self.left:
            text = (
                f"features of {len(split.labels)} images would take {wanted >> 20} MiB, more "
                f"than the {self.left >> 20} MiB left"
            )
            allocate, why = self._file(computed, wanted)
            if allocate is None:
                self.note(f"{text}: they are computed for every batch" + (f" ({why})" if why else ""))
                return _Rows(computed, rows) if rows is not None else computed
            self.note(f"{text}: they are kept in a file ({why})")
        else:
            self.left -= wanted
        put = allocate or self._memory
        features = compute(computed, False, self.between, put)
        mirrored = compute(computed, True, self.between, put) if flip else None
        pixels.close()
        if key is not None:
            self.mine.add(key)
            size = wanted if allocate is None else 0
            SHELF.put(key, _Kept(split.images, pixels.labels, features, mirrored, size))
        return CachedFeatures(pixels.labels, features, mirrored, rows)

    def _onward(self, key: tuple[Any, ...], split: Split, name: str, flip: bool) -> _Kept | None:
        """Features made of those of an earlier freeze point; None where there are none, or both would not fit."""
        for begun, make in self.earlier:
            base = SHELF.get((*begun, name, flip), split.images)
            if base is None:
                continue
            onward = make()
            wanted = onward(base.features[:1]).nbytes * len(base.labels) * (2 if flip else 1)
            # A file of the other split's, too: it costs no memory and is asked for next.
            files = {k for k, kept in SHELF.items.items() if not kept.bytes and k[:-2] in self._begun}
            SHELF.make_room(wanted, self.budget, {*self.mine, *files, (*begun, name, flip)})
            if wanted > min(self.left, SHELF.room(self.budget)):
                return None
            features = self._through(onward, base.features)
            mirrored = None if base.mirrored is None else self._through(onward, base.mirrored)
            self.left -= wanted
            self.mine.add(key)
            SHELF.put(key, made := _Kept(split.images, base.labels, features, mirrored, wanted))
            return made
        return None

    def _through(self, onward: Callable[[Tensor], Tensor], base: Tensor) -> Tensor:
        made: Tensor | None = None
        # In the chunks in which they would be computed from images: the same bits.
        for begin in range(0, len(base), CHUNK):
            self.between()
            part = onward(base[begin : begin + CHUNK])
            made = self._memory(part, len(base)) if made is None else made
            made[begin : begin + CHUNK] = part
        assert made is not None
        return made

    def _memory(self, like: Tensor, count: int) -> Tensor:
        return (empty_pixels if self.by_pixel else empty_rows)(like, count)

    def _file(
        self, computed: ComputedFeatures, wanted: int
    ) -> tuple[Callable[[Tensor, int], Tensor] | None, str]:
        """Something that allocates in a file, or None; and why."""
        if not self.disk or self.folder is None or self.device.type != "cpu":
            return None, ""
        room = min(self.disk, int(shutil.disk_usage(self.folder).free * FREE_SHARE))
        if wanted > room:
            return None, f"a file may take {room >> 20} MiB"
        begun = time.perf_counter()
        part = chunk(computed, 0, False)
        computing = time.perf_counter() - begun
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                begun = time.perf_counter()
                file.write(part.numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
                writing = time.perf_counter() - begun
        except OSError as error:
            return None, f"a file cannot be written: {error.strerror}"
        each = f"{writing / len(part) * 1e6:.0f} microseconds an image to write, {computing / len(part) * 1e6:.0f}"
        if writing > DISK_SHARE * computing:
            return None, f"{each} to compute: a file would not pay"
        return self._allocate, f"{each} to compute"

    def _allocate(self, like: Tensor, count: int) -> Tensor:
        by_pixel = self.by_pixel and like.ndim == 4
        shape = (count, *(like.permute(0, 2, 3, 1) if by_pixel else like).shape[1:])
        with tempfile.TemporaryFile(dir=self.folder) as file:
            # Taken whole: a page of a sparse file on a full disk would end the process.
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * like.element_size())
            made = torch.from_numpy(np.memmap(file, like.numpy().dtype, "r+", shape=shape))
        return made.permute(0, 3, 1, 2) if by_pixel else made


class _Rows:
    """Some images of a source."""

    def __init__(self, source: Source, rows: Int[Tensor, " m"]) -> None:
        self.source, self.rows = source, rows.to(source.index_device)
        self.index_device = source.index_device

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        self.source.expect((self.rows[part] for part in parts), of, reach)

    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.source.batch(self.rows[index], flip)

    def look(self, index: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        return self.source.look(self.rows[index])


def _part(split: Split, rows: Int[Tensor, " m"]) -> Split:
    chosen = rows.cpu().numpy()
    return Split(choose_rows(split.images, chosen), split.labels[chosen])
