"""Records as one file: what a results folder says, as a table in Parquet, a row a run.

Columns with the facts people ask for stand beside the records themselves, which are kept as JSON texts and bytes;
`bench.records.load_runs` gives them back as the runs they were. The same records give the same bytes (with the same
pyarrow, whose version Parquet writes into the file). What would name a machine or a person is not in it, see
`bench.packed.scrub`. A checksum of the whole file is in its footer.

    pandas.read_parquet("records.parquet", columns=["method", "dataset", "freeze", "seed", "top1_last"])
"""

from bench.packed.beside import check_target, packed_beside
from bench.packed.predictions import Kept
from bench.packed.read import PackedRun, load_packed
from bench.packed.scrub import scrub, scrub_text
from bench.packed.write import pack, write_packed

__all__ = [
    "Kept",
    "PackedRun",
    "check_target",
    "load_packed",
    "pack",
    "packed_beside",
    "scrub",
    "scrub_text",
    "write_packed",
]
