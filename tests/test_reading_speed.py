"""Records are read quickly: held against what the usual readers need for the same files."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from bench.packed import write_packed
from bench.records import load_runs
from tests.bulk_runs import bulk

COUNT = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bulk(tmp_path_factory.mktemp("bulk") / "results", COUNT)


def seconds(work):
    """Of the processor, the best of seven: other tests run beside."""
    found = []
    for _ in range(7):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def usual(folder: Path):
    """Every file by the standard library and NumPy, and each configuration made canonical as its id asks."""
    for run in folder.glob("runs/*"):
        attempt = run / "attempts" / "0001"
        config = json.loads((run / "config.json").read_text())
        json.dumps(json.loads(json.dumps(config)), sort_keys=True)
        json.loads((run / "result.json").read_text())
        json.loads((attempt / "provenance.json").read_text())
        if config["kind"] == "pretrain":
            [json.loads(line) for line in (attempt / "metrics.jsonl").read_text().splitlines()]
        else:
            with np.load(attempt / "predictions.npz") as file:
                assert {key: file[key] for key in file.files}


def ours(path: Path):
    runs = load_runs(path)
    assert len(runs) == COUNT
    for run in runs:
        assert run.result
        assert run.provenance
        assert (
            run.metrics() or run.config.get("method") == "random"
            if run.config["kind"] == "pretrain"
            else run.predictions()
        )


def test_a_folder_is_read_in_half_the_time_of_the_usual_readers(folder):
    assert seconds(lambda: ours(folder)) < 0.5 * seconds(lambda: usual(folder))


def test_a_packed_file_is_read_in_half_the_time_of_a_folders_usual_readers(folder, tmp_path):
    path = write_packed(load_runs(folder), tmp_path / "records.parquet", predictions="all")
    assert seconds(lambda: ours(path)) < 0.5 * seconds(lambda: usual(folder))
