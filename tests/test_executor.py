"""--slurm, --executor and --profile where there is no SLURM, and what they do not go together with."""

import json

import pytest

from bench.cli import main
from bench.estimate import JOB_SECONDS
from bench.launch import local
from tests.fake_trainer import FakeTrainer

STUDY = ["run", "-m", "patchvae,random", "-d", "digits", "-s", "2", "--probes", "conv1"]
STUDY += ["--preset", "smoke", "--evaluate", "none"]


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(local, "TorchTrainer", FakeTrainer)


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--slurm"], "no SLURM here: sbatch is not found"),
        (["--executor", "slurm"], "no SLURM here"),
        (["--slurm", "--executor", "local"], "contradict each other"),
        (["--profile", "gpu"], "--profile is for --slurm"),
        (["--slurm", "--time-budget", "3m"], "a job's time is timeout_min"),
        (["--slurm", "--fail-fast"], "--fail-fast is for cells that run here"),
        (["--slurm", "--profile", "./nowhere.toml"], "nowhere.toml is not there"),
        (["--slurm", "--profile", "gpuu"], "unknown profile 'gpuu': did you mean 'gpu'?"),
        (["--executor", "slrum"], "slrum"),
        (["--dry-run", "--download"], "--dry-run writes nothing"),
        (["--slurm", "--dry-run", "--download"], "--dry-run writes nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_met_is_one_line_and_exit_2_and_nothing_is_written(tmp_path, capsys, words, says):
    results = tmp_path / "results"
    code, out, err = call(capsys, *STUDY, "--results", results, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not results.exists()


@pytest.mark.parametrize("words", [[], ["--executor", "auto"]], ids=" ".join)
def test_cells_run_here_unless_slurm_is_asked_for_and_there(tmp_path, capsys, monkeypatch, words):
    monkeypatch.setenv("BENCH_PROFILE", "anything")
    code, out, _ = call(capsys, *STUDY, "--results", tmp_path / "results", *words)
    assert code == 0
    assert "8 of 8 cells are done" in out


@pytest.mark.parametrize("there", [False, True])
def test_auto_says_so_when_slurm_is_there_and_silent(tmp_path, capsys, monkeypatch, there):
    monkeypatch.setattr("bench.scheduler.available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name, *_, **__: f"/bin/{name}" if there else None)
    line = [*STUDY, "--executor", "auto", "--results", tmp_path / "results", "--dry-run"]
    code, out, err = call(capsys, *line)
    assert (code, "8 new" in out) == (0, True)
    assert err == (
        "bench: warning: SLURM does not answer, so the cells run in this process\n" if there else ""
    )


def test_what_is_asked_for_is_on_record_before_it_is_run(tmp_path, capsys):
    from bench import asked

    call(capsys, *STUDY, "--results", tmp_path / "results", "--dry-run")
    assert not (tmp_path / "results").exists()
    call(capsys, *STUDY, "--results", tmp_path / "results")
    assert len(asked.load(tmp_path / "results")) == 8


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("allocation failure: Requested node configuration is not available", 2),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", 0),
        ("sbatch: error: AssocMaxSubmitJobLimit", 0),
    ],
)
def test_a_dry_run_is_exit_2_where_slurm_refuses_for_good(tmp_path, capsys, monkeypatch, said, code):
    for name, text in (
        ("sbatch", f"echo '{said}' >&2; exit 1"),
        ("srun", ""),
        ("squeue", ""),
        ("scontrol", ""),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    line = [*STUDY, "--results", tmp_path / "results", "--slurm", "--dry-run"]
    got, out, _ = call(capsys, *line)
    assert got == code
    assert said.removeprefix("sbatch: error: ") in out
    assert json.loads(call(capsys, *line, "--json")[1])["exit_code"] == code
    assert not (tmp_path / "results").exists()


def test_a_dry_run_for_slurm_shows_jobs_resources_and_times_even_without_slurm(tmp_path, capsys):
    where = tmp_path / "mine.toml"
    where.write_text("[bench]\npack_minutes = 0\n[all]\nmem_gb = 3\n[pretrain]\ngpus_per_node = 1\n")
    line = [*STUDY, "--results", tmp_path / "results", "--slurm", "--profile", where, "--dry-run"]
    code, out, err = call(capsys, *line)
    assert (code, err) == (0, "")
    assert "pretrain: 2 jobs, 4 cells; about" in out
    assert "4 CPUs, 1 GPU, 3 GB, 4 h 00 min at most" in out
    assert "a rough guess, as nothing like them has finished here" in out
    assert "no SLURM here" in out
    said = json.loads(call(capsys, *line, "--json")[1])
    assert [len(job["cells"]) for job in said["jobs"]] == [2, 2, 2, 2]
    assert (
        said["predicted_seconds"] == sum(job["predicted_seconds"] for job in said["jobs"]) > 4 * JOB_SECONDS
    )
    assert said["classes"]["pretrain"]["accepted"] is None
    assert not (tmp_path / "results").exists()
