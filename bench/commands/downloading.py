"""`bench run --download`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.commands import tables
from bench.commands.options import typed
from bench.commands.words import Voice
from bench.data import registry as datasets
from bench.errors import DataError
from bench.plan import Selection


def download(given: Mapping[str, Any], selection: Selection, root: Path | None, say: Voice) -> None:
    """Fetch the data sets that a command line names and that are not there."""
    names = [*selection.datasets, selection.pretrain_on or selection.datasets[0]]
    if given["tables"] and not typed("dataset_names"):
        names = [
            name for one in tables.chosen(given)[1] for name in one.datasets if name in datasets.DATASETS
        ]
    for name in dict.fromkeys(names):
        try:
            datasets.locate(name, root)
        except DataError:
            say(f"{name}: downloading")
            datasets.download(name, root)
