"""Data sets as they lie here, before anything of them is decoded. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import registry as datasets
from bench.data.dropped import dropped_name, split_dropped
from bench.data.fractions import whole_name
from bench.data.names import located_name


@dataclass(frozen=True)
class Source:
    """What of a data set enters a configuration.

    Attributes:
        name: as the user named it.
        identity: see `bench.data.registry.identity`.
        image_size: pixels a side.
        flip: whether its images are mirrored.
    """

    name: str
    identity: dict[str, Any]
    image_size: int | None
    flip: bool


class Sources:
    """Data sets of a folder. Each is looked at once, as it may be thousands of files.

    Args:
        root: the folder.
        skip_corrupt: leave out images that cannot be decoded.
        drop_leaks: leave out training images that are in the test split too.
    """

    def __init__(self, root: Path | None, skip_corrupt: bool = False, drop_leaks: bool = False) -> None:
        self._root, self._skip_corrupt, self._drop_leaks = root, skip_corrupt, drop_leaks
        self._located: dict[str, dict[str, Any]] = {}
        self._sources: dict[str, Source] = {}

    def locate(self, name: str) -> dict[str, Any]:
        """See `bench.data.registry.locate`."""
        if name not in self._located:
            self._located[name] = datasets.locate(name, self._root)
        return self._located[name]

    def source(self, name: str) -> Source:
        """What of a data set enters a configuration; see `bench.data.registry.identity` for what it raises."""
        if self._drop_leaks and split_dropped(name)[1] is None:
            name = dropped_name(name)
        return self._source(name)

    def origin(self, name: str, probed: str) -> Source:
        """The same of what is pretrained on, to be probed on another data set, or on the same."""
        if self._drop_leaks and whole_name(name) != whole_name(probed):
            return self._source(
                dropped_name(split_dropped(name)[0], located_name(whole_name(probed), self._root))
            )
        return self.source(name)

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            row, identity = datasets.spec(name), datasets.identity(name, self._root, self._skip_corrupt)
            self._sources[name] = Source(name, identity, row.image_size, row.flip)
        return self._sources[name]
