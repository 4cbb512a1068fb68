"""On a real cluster: a study sent there is the study run here, and no two processes do the same work."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from bench.records import load_runs
from tests.slurm_study import (
    LONG,
    assert_same,
    attempts,
    bench,
    done,
    environment,
    lines_of_logs,
    profile,
    status,
    words,
)

pytestmark = pytest.mark.slurm

FEW = [
    "--preset",
    "smoke",
    "--threads",
    "1",
    "--set",
    "pretrain.epochs=1",
    "--set",
    "pretrain.epoch_images=128",
]
FEW += ["--set", "probe.epochs=1"]
COST = {"pretrain_seconds", "images_per_second"}
STATES = ("done", "running", "queued", "retrying", "failed", "skipped", "stopped", "lost", "new")


def states(cluster, results: Path) -> dict[str, int]:
    """State -> number of cells."""
    cells = [cell["state"] for cell in status(cluster, results)["cells"]]
    assert set(cells) <= set(STATES)
    return {state: cells.count(state) for state in STATES if state in cells}


def wait_done(cluster, results: Path, expected: Path, seconds: float = LONG) -> None:
    try:
        cluster.wait(done(results, expected), seconds, "all cells done")
        cluster.wait(lambda: not list(results.glob("runs/*/claim.json")), 30, "claims given back")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(lines_of_logs(results))) from None


def table(results: Path, tmp_path: Path) -> list[dict[str, str]]:
    """Every number of the report but for what the work has cost."""
    out = tmp_path / f"report of {results.name}"
    bench(None, "report", "--results", str(results), "--out", str(out))
    (path,) = out.glob("*.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) > 10
    return [{k: v for k, v in row.items() if k not in COST} for row in rows]


@pytest.mark.parametrize(
    ("data", "seeds", "probes", "judged", "few"),
    [
        ("digits@10%", 1, "conv1-5", "none", FEW),
        pytest.param(
            "digits",
            2,
            "all",
            "features",
            ["--preset", "smoke", "--threads", "1"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a few steps", "whole"],
)
def test_every_method_sent_to_the_cluster_gives_the_report_that_it_gives_here(
    data, seeds, probes, judged, few, cluster, tmp_path
):
    study = ["-m", "all", "-d", data, "-s", str(seeds), "--probes", probes, "--evaluate", judged, *few]
    here, there = tmp_path / "here", tmp_path / "there"
    # Four jobs run at once, one on each node; the others wait.
    chosen = profile(tmp_path, pack_minutes=0.15, cpus_per_task=4)
    bench(cluster, "run", *study, "--slurm", "--profile", str(chosen), "--results", str(there))
    assert states(cluster, there).get("queued", 0) > 4
    bench(None, "run", *study, "--results", str(here), seconds=3600)
    wait_done(cluster, there, here, 3600)
    assert_same(there, here)
    assert table(there, tmp_path) == table(here, tmp_path)
    used = {row["scheduler"]["job"] for rows in attempts(there).values() for row in rows}
    assert 5 <= len(used) <= 12 * seeds
    assert all(len(rows) == 1 for rows in attempts(there).values())
    assert all(row["threads"] == 1 for rows in attempts(there).values() for row in rows)


@pytest.fixture
def birds(tmp_path) -> Path:
    """A data set of one's own, of two classes."""
    folder = tmp_path / "birds"
    for split, count in (("train", 12), ("val", 4)):
        for number, name in enumerate(("jay", "tit")):
            for k in range(count):
                path = folder / split / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (40 + 90 * number, 10 * k, 60)).save(path)
    return folder


@pytest.mark.parametrize(
    ("apart", "methods"),
    [(True, "beta-vae,random"), (False, "beta-vae")],
    ids=["probes in jobs of their own", "together"],
)
def test_a_pretraining_that_fails_takes_its_probes_with_it_and_retry_brings_all_back(
    apart, methods, cluster, birds, tmp_path
):
    results, away = tmp_path / "results", tmp_path / "away"
    chosen = profile(tmp_path, f"[bench]\npack_minutes = 0\nsplit_probes = {str(apart).lower()}\n")
    study = [
        "-m",
        methods,
        "-d",
        f"folder:{birds}@32",
        "-s",
        "1",
        "--probes",
        "conv1,conv1-5",
        "--evaluate",
        "none",
        *FEW,
    ]
    study += ["--set", "pretrain.batch_size=8", "--set", "probe.batch_size=8"]
    bench(cluster, "run", *study, "--slurm", "--profile", str(chosen), "--results", str(results))
    # The prepared copy goes too: nothing of the data set is left when the jobs begin.
    shutil.move(birds, away)
    for cache in tmp_path.rglob("*.npy"):
        cache.unlink()
    cluster.wait(
        lambda: not any(r.state in ("PENDING", "RUNNING", "COMPLETING") for r in cluster.squeue()), LONG
    )
    num_failed = methods.count(",") + 1
    num_cells = 3 * num_failed
    assert states(cluster, results) == {"failed": num_failed, "skipped": 2 * num_failed}
    skipped = [cell for cell in status(cluster, results)["cells"] if cell["state"] == "skipped"]
    assert all("birds" in cell["reason"] for cell in skipped), skipped
    bench(cluster, "status", "--results", str(results), "--check", code=3)
    shutil.move(away, birds)
    bench(cluster, "retry", "--results", str(results))
    cluster.wait(lambda: len(list(results.glob("runs/*/result.json"))) == num_cells, LONG, "all done")
    cluster.wait(lambda: not list(results.glob("runs/*/claim.json")), 30, "claims given back")
    assert states(cluster, results) == {"done": num_cells}
    bench(cluster, "status", "--results", str(results), "--check", code=0)


def test_of_two_that_start_the_same_study_at_once_each_does_a_part(cluster, tmp_path):
    results, alone = tmp_path / "results", tmp_path / "alone"
    study = ["-m", "beta-vae,patchvae,random", "-d", "digits", "-s", "2", "--probes", "conv1-5", *FEW]
    study += ["--evaluate", "none"]
    # One job: six would import torch at once, and be late.
    chosen = profile(tmp_path, pack_minutes=30)
    here = subprocess.Popen(
        words("run", *study, "--results", str(results)),
        env=environment(cluster),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    there = ["--slurm", "--profile", str(chosen), "--results", str(results)]
    bench(cluster, "run", *study, *there)
    said, _ = here.communicate(timeout=LONG)
    assert here.returncode in (0, 3), said
    bench(None, "run", *study, "--results", str(alone))
    wait_done(cluster, results, alone)
    assert_same(results, alone)
    tried = attempts(results)
    assert {key: len(rows) for key, rows in tried.items()} == dict.fromkeys(tried, 1), (
        "a cell was begun twice"
    )
    by_job = [row.get("scheduler") is not None for rows in tried.values() for row in rows]
    assert set(by_job) == {True, False}, "both took part"


def test_what_is_queued_is_not_sent_again_and_what_is_cancelled_stops(cluster, tmp_path):
    results = tmp_path / "results"
    study = [
        "-m",
        "beta-vae,random",
        "-d",
        "digits",
        "-s",
        "1",
        "--probes",
        "conv1-5",
        "--evaluate",
        "none",
        *FEW,
    ]
    chosen = profile(tmp_path)
    text = chosen.read_text() + "\n[pretrain]\nslurm_additional_parameters = {hold = true}\n"
    chosen.write_text(text + "[probe]\nslurm_additional_parameters = {hold = true}\n")
    there = ["--slurm", "--profile", str(chosen), "--results", str(results)]
    bench(cluster, "run", *study, *there)
    jobs = {row.id for row in cluster.squeue() if row.state == "PENDING"}
    again = bench(cluster, "run", *study, *there, "--json", code=None)
    assert {row.id for row in cluster.squeue() if row.state == "PENDING"} == jobs
    assert json.loads(again.stdout)["submitted"] == [], again.stdout
    assert states(cluster, results) == {"queued": 4}
    bench(cluster, "cancel", "--results", str(results), "--yes")
    cluster.wait(lambda: not any(row.state == "PENDING" for row in cluster.squeue()), 30, "nothing queued")
    assert states(cluster, results) == {"stopped": 4}
    assert all(run.state == "new" for run in load_runs(results))
