"""`bench doctor --slurm`: what it says of a cluster that is well, and of each thing that can be wrong."""

import json
import os
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.launch.slurm import compare, site, storage
from bench.launch.slurm.trial import Trial, about_this_side
from bench.provenance import source_hash, source_root

PROFILE = "[all]\nmem_gb = 2\ncpus_per_task = 1\n[doctor]\ngpus_per_node = 1\n"
HERE = about_this_side()
FACTS = {
    **HERE,
    "round_trip": 0.1,
    "signal_after": 0.2,
    "requeue": None,
    "gpus": {"given": "1", "names": ["H100"], "cuda": "13.0"},
    "storage": {"mib_per_second": 500.0, "small_ms": 2.0, "promises": {"hard link": None}},
}


@pytest.fixture(autouse=True)
def source_stays(monkeypatch):
    """The source may be edited while its tests run."""
    monkeypatch.setattr(compare, "hash_source", lambda _: HERE["source"])


def checks(apart=0.0, **other):
    """Name -> check, of facts that are as they must be but for some."""
    return {c.name: c for c in compare.job_checks(HERE, source_root(), {**FACTS, **other}, apart)}


def test_a_job_that_finds_all_well_is_all_ok():
    assert {check.ok for check in checks().values()} == {True}


@pytest.mark.parametrize(
    ("name", "ok", "says", "facts"),
    [
        ("versions", False, "torch", {"versions": {**HERE["versions"], "torch": "1.0"}}),
        ("source", False, "not the copy", {"source": "0" * 16}),
        ("source", False, "not the copy", {"from": "/elsewhere"}),
        ("GPUs", None, "SLURM gave 2, torch sees none", {"gpus": {"given": "2", "names": []}}),
        (
            "GPUs",
            False,
            "no kernel image",
            {"gpus": {"given": "1", "names": [], "problem": "no kernel image"}},
        ),
        ("write, job", False, "Read-only", {"storage": {"problem": "Read-only file system"}}),
        (
            "rename over, job",
            False,
            "did not",
            {"storage": {**FACTS["storage"], "promises": {"rename over": "did not"}}},
        ),
        (
            "hard link, job",
            None,
            "not supported",
            {"storage": {**FACTS["storage"], "promises": {"hard link": "not supported"}}},
        ),
        ("shared folder", False, "does not see", {"round_trip": None}),
        ("shared folder", None, "31 s", {"round_trip": 31.0}),
        ("signals", None, "does not reach", {"signal_after": None}),
        ("requeue", None, "bench retry", {"requeue": "scontrol cannot be run on the node"}),
        ("group", False, "rank 1 did not come", {"group": {"problem": "rank 1 did not come"}}),
    ],
)
def test_what_is_wrong_is_named(name, ok, says, facts):
    found = checks(**facts)[name]
    assert found.ok is ok
    assert says in found.text


def test_a_clock_an_hour_off_is_said_and_stops_nothing():
    found = checks(apart=3600.0)["clocks"]
    assert found.ok is None
    assert "3600.0 s" in found.text


def test_a_folder_keeps_its_promises_and_nothing_is_left_in_it(tmp_path):
    assert storage.promises(tmp_path) == {"exclusive create": None, "hard link": None, "rename over": None}
    assert storage.speed(tmp_path, 1 << 20)["mib_per_second"] > 0
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_machine_that_is_not_seen_breaks_the_promise(tmp_path):
    found = storage.promises(tmp_path, taken=tmp_path / "made elsewhere")
    assert found["exclusive create"] == "a file was made exclusively twice"


def test_a_file_system_without_links_is_told_apart_from_one_without_renames(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    found = storage.promises(tmp_path)
    assert found == {"exclusive create": None, "hard link": "Operation not supported", "rename over": None}
    monkeypatch.setattr(Path, "replace", refuse)
    assert storage.promises(tmp_path)["rename over"] == "Operation not supported"


def test_without_slurm_each_missing_program_is_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "--slurm", "--results", str(tmp_path / "new")]) == 1
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["MISSING", name] for name in site.PROGRAMS
    ]
    assert not (tmp_path / "new").exists()


def test_options_of_slurm_alone_are_refused_without_it(capsys):
    assert main(["doctor", "--wait", "5m"]) == 2
    assert "--slurm" in capsys.readouterr().err


def test_the_longest_job_of_a_partition_is_read_as_slurm_writes_it(monkeypatch):
    said = "PartitionName=a\n   Default=YES MaxTime=7-01:30:00\n\nPartitionName=b\n   MaxTime=UNLIMITED"
    monkeypatch.setattr(site, "call", lambda *_: said)
    assert site.time_limits() == site.TimeLimits("a", {"a": 7 * 1440 + 90})


def test_a_trial_gives_up_on_a_login_node_that_does_not_answer(tmp_path, monkeypatch):
    import signal

    kept = signal.getsignal(signal.SIGUSR2)
    monkeypatch.setattr("bench.launch.slurm.trial.PATIENCE", 0.1)
    try:
        Trial(str(tmp_path), 1 << 20)()
    finally:
        signal.signal(signal.SIGUSR2, kept)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["round_trip"], facts["signal_after"]) == (None, None)
    assert facts["source"] == source_hash()
    assert facts["storage"]["promises"]["exclusive create"] == "a file was made exclusively twice"


# --- On a cluster


def doctor(cluster, folder, *words, profile=PROFILE):
    """`bench doctor --slurm` as a person runs it: exit code, name -> check, what it said on the way."""
    path = folder / "profile.toml"
    path.write_text(profile)
    line = [sys.executable, "-m", "bench", "doctor", "--slurm", "--json", "--profile", str(path)]
    done = cluster.run(*line, "--results", folder / "results", *words, check=False, timeout=200)
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(done.stdout + done.stderr) from None
    return done.returncode, {check["name"]: check for check in facts["checks"]}, done.stderr


@pytest.mark.slurm
def test_two_nodes_join_a_group_and_nothing_is_left(cluster, tmp_path):
    code, found, _ = doctor(cluster, tmp_path, "--nodes", "2")
    wrong = [check for check in found.values() if check["ok"] is not True and check["name"] != "GPUs"]
    assert (code, wrong) == (0, [])
    assert "2 ranks" in found["group"]["text"]
    assert found["GPUs"]["text"].startswith("SLURM gave 1, torch sees none")
    assert {"signals", "requeue", "clocks", "shared folder", "versions", "partition low"} <= set(found)
    assert not (tmp_path / "results").exists()


@pytest.mark.slurm
def test_a_job_that_does_not_start_says_why_and_is_cancelled(cluster, tmp_path):
    cluster.run("scontrol", "update", "partition=main", "state=down")
    try:
        code, found, said = doctor(cluster, tmp_path, "--wait", "2s")
    finally:
        cluster.run("scontrol", "update", "partition=main", "state=up")
    assert code == 1
    assert "did not start in 2.0 s (PartitionDown): cancelled" in found["job"]["text"]
    job = said.split()[1]
    assert cluster.state(job) == "CANCELLED"
    assert found["partition main (default)"]["ok"] is None
    assert not (tmp_path / "results").exists()


@pytest.mark.slurm
def test_what_sbatch_refuses_is_one_line(cluster, tmp_path):
    code, found, _ = doctor(cluster, tmp_path, profile=PROFILE + 'slurm_partition = "nowhere"\n')
    assert code == 1
    assert "invalid partition" in found["job"]["text"]
    assert "invalid partition" in found["class doctor"]["text"]
    assert found["class pretrain"]["ok"] is True


@pytest.mark.slurm
def test_classes_that_can_never_run_are_failed_checks(cluster, tmp_path):
    cluster.run("scontrol", "update", "partition=low", "maxtime=60")
    never = '[pretrain]\ncpus_per_task = 999\n[probe]\nslurm_partition = "low"\ntimeout_min = 240\n'
    try:
        code, found, _ = doctor(cluster, tmp_path, profile=PROFILE + never)
    finally:
        cluster.run("scontrol", "update", "partition=low", "maxtime=7-0")
    assert code == 1
    assert (found["class pretrain"]["ok"], found["class probe"]["ok"]) == (False, False)
    assert "Requested node configuration is not available" in found["class pretrain"]["text"]
    assert (
        "(PartitionTimeLimit): timeout_min = 240, and partition low allows 60" in found["class probe"]["text"]
    )
    assert (found["class doctor"]["ok"], found["job"]["ok"]) == (True, True)
    assert not (tmp_path / "results").exists()


@pytest.mark.slurm
def test_a_job_that_dies_says_of_what(cluster, tmp_path):
    code, found, _ = doctor(cluster, tmp_path, profile=PROFILE.replace("mem_gb = 2", "mem_gb = 0.1"))
    assert code == 1
    assert "mem_gb" in found["job"]["text"]
    assert not (tmp_path / "results").exists()


@pytest.mark.slurm
def test_a_results_folder_that_was_there_is_left_as_it_was(cluster, tmp_path):
    (tmp_path / "results" / "slurm").mkdir(parents=True)
    cluster.run("scontrol", "update", "partition=main", "state=down")
    try:
        doctor(cluster, tmp_path, "--wait", "1s")
    finally:
        cluster.run("scontrol", "update", "partition=main", "state=up")
    assert [p.name for p in (tmp_path / "results").rglob("*")] == ["slurm"]
