"""Five thousand cells on a real controller: planned, sent as arrays of a hundred, looked at, called back."""

import json
import time

import pytest

from tests.slurm_study import bench, profile, status

pytestmark = pytest.mark.slurm

HOLD = "slurm_additional_parameters = {hold = true}"
HELD = f"\n[pretrain]\n{HOLD}\n[probe]\n{HOLD}\n"


def timed(*words, **options):
    begun = time.monotonic()
    said = bench(*words, **options)
    return said, time.monotonic() - begun


def test_five_thousand_cells_are_sent_looked_at_and_called_back(make_cluster, tmp_path):
    cluster = make_cluster(MAX_ARRAY_SIZE=100)
    results, study = (
        str(tmp_path / "results"),
        ["-m", "all", "-d", "digits", "-s", "110", "--evaluate", "none"],
    )
    chosen = profile(tmp_path)
    chosen.write_text(chosen.read_text() + HELD)
    there = ["--slurm", "--profile", str(chosen), "--results", results]

    _, planned = timed(cluster, "run", *study, *there, "--dry-run", "--json")
    assert planned < 5
    said = json.loads(bench(cluster, "run", *study, *there, "--json").stdout)
    cells = [cell for job in said["submitted"] for cell in job["cells"]]
    assert said["cells"] == len(cells) == len(set(cells)) > 5_000
    rows = cluster.squeue()
    arrays = {row.id.partition("_")[0] for row in rows}
    assert len(rows) == 110 * 12
    # 1,100 jobs that pretrain, and 220 of the controls, which only probe: arrays are full but for the last of each.
    assert len(arrays) == 11 + 3
    assert max(int(row.id.partition("_")[2] or 0) for row in rows) == 99

    _, looked = timed(cluster, "status", "--results", results)
    assert looked < 2
    cells = status(cluster, tmp_path / "results")["cells"]
    assert [cell["state"] for cell in cells] == ["queued"] * said["cells"]
    again = json.loads(bench(cluster, "run", *study, *there, "--json").stdout)
    assert again["submitted"] == []

    bench(cluster, "cancel", "--results", results, "--yes")
    cluster.wait(lambda: not any(row.state == "PENDING" for row in cluster.squeue()), 60, "nothing queued")
    _, looked = timed(cluster, "status", "--results", results)
    assert looked < 2
    cells = status(cluster, tmp_path / "results")["cells"]
    assert {cell["state"] for cell in cells} == {"stopped"}
