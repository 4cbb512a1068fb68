"""Dispatching to a real controller. Most jobs here are held: that a job is in the queue is what is tested."""

import json
import os
import signal
import subprocess
import time

import pytest

from bench.dispatches import load_dispatches
from tests.slurm_study import bench, environment, profile, words

pytestmark = pytest.mark.slurm

STUDY = (
    "-m",
    "patchvae,random",
    "-d",
    "digits",
    "-s",
    "6",
    "--probes",
    "conv1,conv1-5",
    "--evaluate",
    "none",
)


def held(folder, text="", **more):
    """A profile whose jobs never start."""
    path = profile(folder, text, **more)
    path.write_text(path.read_text() + "slurm_additional_parameters = {hold = true}\n")
    return str(path)


@pytest.fixture(scope="module")
def small(make_cluster):
    """A cluster that takes arrays of four tasks, and knows limits of users."""
    return make_cluster(NODES=1, MAX_ARRAY_SIZE=4, EXTRA="AccountingStorageEnforce=associations,limits,qos")


@pytest.fixture(autouse=True)
def _empty_queue(small):
    yield
    limit(small, -1)
    small.run("scancel", "--me", check=False)


def limit(cluster, jobs):
    cluster.run(
        "sacctmgr", "-i", "modify", "qos", "normal", "set", f"MaxSubmitJobsPerUser={jobs}", check=False
    )


def queued(cluster, results):
    """Ids of the tasks that are in the queue for a results folder."""
    mine = {d.id for d in load_dispatches(results)}
    rows = [r for r in cluster.squeue() if r.state == "PENDING" and any(id in r.name for id in mine)]
    return sorted(row.id for row in rows)


def recorded(results):
    """Ids of the jobs that the dispatches hold."""
    return sorted(pack.job for d in load_dispatches(results) for pack in d.packs if pack.job)


def submit(cluster, results, where, *more, code=0):
    return bench(
        cluster, "run", *STUDY, "--slurm", "--profile", where, "--results", str(results), *more, code=code
    )


def test_arrays_are_as_large_as_the_site_takes_them_and_recorded_as_they_are_queued(small, tmp_path):
    results = tmp_path / "results"
    said = json.loads(submit(small, results, held(tmp_path), "--json").stdout)
    assert said["cells"] == 36
    assert sum(len(job["cells"]) for job in said["submitted"]) == 36
    assert queued(small, results) == recorded(results) == sorted(job["job"] for job in said["submitted"])
    sizes = {}
    for job in recorded(results):
        sizes[job.partition("_")[0]] = sizes.get(job.partition("_")[0], 0) + 1
    assert sorted(sizes.values()) == [2, 2, 4, 4]
    (dispatch,) = load_dispatches(results)
    assert dispatch.submitter is None
    assert {pack.name for pack in dispatch.packs} == {
        row.name for row in small.squeue() if dispatch.id in row.name
    }


def test_what_is_queued_is_not_submitted_again_and_what_was_cancelled_is(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path)
    submit(small, results, where)
    before = queued(small, results)
    said = json.loads(submit(small, results, where, "--json").stdout)
    assert (said["submitted"], len(said["queued"]), queued(small, results)) == ([], 36, before)
    small.run("scancel", before[0])
    again = json.loads(submit(small, results, where, "--json").stdout)
    assert len(again["submitted"]) == 1
    assert len(queued(small, results)) == 12


def test_a_submission_whose_answer_was_lost_is_found_by_its_name(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path)
    submit(small, results, where)
    before = recorded(results)
    (dispatch,) = load_dispatches(results)
    for pack in dispatch.packs:
        pack.job = None
    dispatch.write()
    said = json.loads(submit(small, results, where, "--json").stdout)
    assert (said["submitted"], len(said["queued"])) == ([], 36)
    assert recorded(results) == before


def test_a_limit_of_the_site_leaves_the_rest_for_the_same_line(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path, '[bench]\npack_minutes = 0\nsubmit_wait = "3s"\n')
    limit(small, 5)
    done = submit(small, results, where, code=3)
    assert len(queued(small, results)) == len(recorded(results)) == 5
    assert (
        done.stdout.count(
            "not submitted: 21 cells: SLURM takes no more jobs for now (QOSMaxSubmitJobPerUserLimit)"
        )
        == 1
    )
    assert f"next: bench run {' '.join(STUDY)} --slurm --profile {where}" in done.stdout
    limit(small, -1)
    submit(small, results, where)
    assert len(queued(small, results)) == len(recorded(results)) == 12


def test_a_profile_may_throttle(small, tmp_path):
    results = tmp_path / "results"
    where = held(tmp_path, '[bench]\npack_minutes = 0\nmax_queued = 7\nsubmit_wait = "0"\n')
    done = submit(small, results, where, code=3)
    assert len(queued(small, results)) == 7
    assert "the profile lets no more than 7 jobs be queued" in done.stdout


def test_a_limit_that_goes_away_in_time_is_waited_for(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path, '[bench]\npack_minutes = 0\nsubmit_wait = "60s"\n')
    limit(small, 5)
    line = words("run", *STUDY, "--slurm", "--profile", where, "--results", str(results))
    with subprocess.Popen(line, env=environment(small), stdout=subprocess.PIPE, text=True) as process:
        small.wait(lambda: len(small.squeue()) and len(queued(small, results)) == 5, 30)
        limit(small, -1)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "trying again for 60 s" in out
    assert len(queued(small, results)) == 12


def test_what_slurm_refuses_is_one_line_and_leaves_no_dispatch(small, tmp_path):
    results = tmp_path / "results"
    done = submit(small, results, held(tmp_path, slurm_partition="nowhere"), code=2)
    assert done.stderr.count("\n") == 1
    assert "invalid partition specified: nowhere" in done.stderr
    assert load_dispatches(results) == []
    assert [p.name for p in (results / "slurm").iterdir()] == ["code"]


def test_a_silent_controller_is_exit_3_and_nothing_is_written(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path, '[bench]\nsubmit_wait = "2s"\n')
    small.kill_controller(saved=False)
    try:
        done = submit(small, results, where, code=3)
    finally:
        small.start_controller()
        small.wait(lambda: set(small.sinfo().values()) == {"idle"}, 30)
    assert "nothing was submitted: SLURM's controller does not answer" in done.stdout
    assert not results.exists()


def test_a_dry_run_says_what_slurm_would_and_writes_nothing(small, tmp_path):
    results = tmp_path / "results"
    said = json.loads(submit(small, results, str(profile(tmp_path)), "--dry-run", "--json").stdout)
    assert {kind: row["jobs"] for kind, row in said["classes"].items()} == {"pretrain": 6, "probe": 6}
    assert all(row["accepted"] and "would start at" in row["says"] for row in said["classes"].values())
    assert "rough guess" in said["predicted_from"]
    nowhere = str(profile(tmp_path, slurm_partition="nowhere"))
    refused = submit(small, results, nowhere, "--dry-run", code=2).stdout
    assert refused.count("refused: invalid partition specified: nowhere") == 2
    assert not results.exists()
    assert not small.squeue() or not queued(small, results)


def test_auto_takes_slurm_where_it_answers(small, tmp_path):
    line = [
        "run",
        *STUDY,
        "--executor",
        "auto",
        "--results",
        str(tmp_path / "results"),
        "--dry-run",
        "--json",
    ]
    assert json.loads(bench(small, *line).stdout)["executor"] == "slurm"


def test_ctrl_c_in_the_middle_leaves_a_record_of_exactly_what_is_queued(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path)
    study = ["run", "-m", "random", "-d", "digits", "-s", "160", "--slurm", "--profile", where]
    study += ["--evaluate", "none"]
    line = words(*study, "--results", str(results))
    with subprocess.Popen(
        line,
        env=environment(small),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        small.wait(lambda: results.exists() and len(recorded(results)) >= 20, 30)
        # As a terminal does: to the whole group, so to a running sbatch too.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in out + err
    assert 20 <= len(recorded(results)) < 160
    assert queued(small, results) == recorded(results)
    begun = time.monotonic()
    bench(small, *study, "--results", str(results))
    assert time.monotonic() - begun < 60
    assert len(queued(small, results)) == len(set(recorded(results))) == 160


def test_variables_of_a_surrounding_job_do_not_reach_ours(small, tmp_path):
    results, where = tmp_path / "results", held(tmp_path)
    line = words("run", *STUDY, "--slurm", "--profile", where, "--results", str(results))
    around = {
        "SLURM_JOB_ID": "1",
        "SBATCH_PARTITION": "nowhere",
        "SBATCH_NO_REQUEUE": "1",
        "SLURM_CPUS_PER_TASK": "9",
    }
    done = subprocess.run(
        line, env={**environment(small), **around}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    facts = small.run("scontrol", "-o", "show", "job", recorded(results)[0]).stdout
    assert "Requeue=1" in facts
    assert "Partition=main" in facts


FEW = (
    "-m",
    "patchvae",
    "-d",
    "digits",
    "--probes",
    "conv1-5",
    "--evaluate",
    "none",
    "--preset",
    "smoke",
    "--set",
    "probe.epochs=1",
)


def ended(cluster):
    return not any(row.state in ("PENDING", "RUNNING") for row in cluster.squeue())


def test_split_probes_run_after_their_own_pretraining_and_leave_the_queue_where_it_is_lost(cluster, tmp_path):
    results = tmp_path / "results"
    where = held(tmp_path, "[bench]\npack_minutes = 0\nsplit_probes = true\n", mem_gb=2)
    study = [*FEW, "-s", "2", "--set", "pretrain.epochs=1", "--results", str(results)]
    said = json.loads(bench(cluster, "run", *study, "--slurm", "--profile", where, "--json").stdout)
    parents = [job for job in said["submitted"] if job["class"] == "pretrain"]
    children = [job for job in said["submitted"] if job["class"] == "probe"]
    assert [job["after"] for job in children] == [[job["job"]] for job in parents]
    assert [job["needs"] for job in children] == [job["cells"] for job in parents]
    cluster.run("scancel", parents[1]["job"])
    for job in (parents[0], *children):
        cluster.run("scontrol", "release", job["job"], check=job is parents[0])
    cluster.wait(lambda: ended(cluster), 120)
    states = {row.id: row.state for row in cluster.squeue()}
    assert [states[job["job"]] for job in (parents[0], children[0])] == ["COMPLETED", "COMPLETED"]
    # Of a task that never began SLURM may keep nothing.
    assert {states.get(job["job"], "CANCELLED") for job in (parents[1], children[1])} == {"CANCELLED"}
    (dispatch,) = load_dispatches(results)
    done = [pack for pack in dispatch.packs if pack.job in (parents[0]["job"], children[0]["job"])]
    assert all(path.exists() for pack in done for path in dispatch.log_paths(pack))
    again = json.loads(bench(cluster, "run", *study, "--slurm", "--profile", where, "--json").stdout)
    assert (again["done"], len(again["submitted"])) == (2, 2)
    cluster.run("scancel", "--me")


def test_what_failed_in_a_job_is_told_of_and_retried_as_a_job_of_the_same_profile(cluster, tmp_path):
    results = tmp_path / "results"
    where = profile(tmp_path, mem_gb=2)
    study = ["run", *FEW, "-s", "1", "--set", "pretrain.lr=1e30", "--results", str(results), "--slurm"]
    bench(cluster, *study, "--profile", str(where))
    cluster.wait(lambda: ended(cluster), 120)
    said = json.loads(bench(cluster, *study, "--profile", str(where), "--json", code=1).stdout)
    assert (len(said["failed"]), len(said["skipped"]), said["submitted"]) == (1, 1, [])
    assert "--retry-failed" in said["next"]
    where.unlink()
    again = json.loads(
        bench(
            cluster, "retry", "--results", str(results), "--exclude-node", cluster.nodes[0], "--json"
        ).stdout
    )
    (run,) = again["runs"]
    assert run["profile"] == str(where)
    assert [len(job["cells"]) for job in run["submitted"]] == [2]
    facts = cluster.run("scontrol", "-o", "show", "job", run["submitted"][0]["job"]).stdout
    assert f"ExcNodeList={cluster.nodes[0]}" in facts
    cluster.run("scancel", "--me")
