"""`bench retry`: what failed or was lost, once more, as it was run before."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from bench.cli import main
from bench.commands import again
from bench.commands.again import Overrides, Way, plans, run_again
from bench.commands.status_next import run_words
from bench.commands.words import Voice
from bench.dispatches import Pack, make_dispatch
from bench.errors import Diverged, UsageError
from bench.launch import local
from bench.launch.workers import crew
from bench.launch.workers.share import Jobs
from bench.plan import Plan
from bench.records import load_runs
from bench.status import survey
from tests.fake_trainer import FakeTrainer
from tests.fake_worker import COMMAND
from tests.test_dispatches import FACTS

STUDY = ["-m", "beta-vae,random", "-d", "digits", "-s", "2", "--probes", "conv1", "--preset", "smoke"]
SMALL = ["run", *STUDY, "--evaluate", "none"]
BAD = "beta-vae digits seed 0 pretrain"


@pytest.fixture
def trainer(monkeypatch):
    one = FakeTrainer()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    return one


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def broken(tmp_path, trainer, capsys):
    """A study of which one pretraining failed, and so its probe was skipped."""
    trainer.faults[BAD] = Diverged(3)
    assert call(capsys, *SMALL, "--results", tmp_path)[0] == 1
    trainer.calls.clear()
    return tmp_path


def test_what_failed_is_run_again_with_what_was_skipped_for_its_sake_and_nothing_else(
    broken, trainer, capsys
):
    del trainer.faults[BAD]
    code, out, err = call(capsys, "retry", "--results", broken)
    assert (code, err) == (0, "")
    assert "retrying 2 cells: 1 failed, 1 skipped" in out
    assert trainer.calls == [BAD, "beta-vae digits seed 0 conv1"]
    assert "nothing to retry: 8 done" in call(capsys, "retry", "--results", broken)[1]


def test_what_fails_again_is_exit_1_and_the_same_line_is_the_next(broken, capsys):
    code, out, _ = call(capsys, "retry", "--results", broken)
    assert code == 1
    assert f"next: bench retry --results {broken}" in out.splitlines()


def test_a_selection_and_states_restrict_it(broken, trainer, capsys):
    code, out, _ = call(capsys, "retry", "--results", broken, "-s", "1,")
    assert (code, trainer.calls) == (0, [])
    assert "nothing to retry: 4 done" in out
    assert "nothing to retry" in call(capsys, "retry", "--results", broken, "--state", "lost")[1]
    code, _, err = call(capsys, "retry", "--results", broken, "--state", "los")
    assert (code, "did you mean 'lost'" in err) == (2, True)


def test_a_probe_brings_along_its_pretraining(broken, trainer, capsys):
    del trainer.faults[BAD]
    code, _, _ = call(capsys, "retry", "--results", broken, "--state", "skipped")
    assert code == 0
    assert trainer.calls == [BAD, "beta-vae digits seed 0 conv1"]


def test_json_is_one_object(broken, trainer, capsys):
    code, out, _ = call(capsys, "retry", "--results", broken, "--json")
    said = json.loads(out)
    assert code == said["exit_code"] == 1
    assert [run["cells"] for run in said["runs"]] == [2]


@pytest.mark.parametrize("flag", [("--exclude-node", "n1"), ("--profile", "x")])
def test_what_is_for_jobs_is_refused_for_cells_that_ran_here(broken, capsys, flag):
    code, _, err = call(capsys, "retry", "--results", broken, *flag)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{flag[0]} is for jobs" in err


def test_the_help_tells_what_no_executor_means(capsys):
    for command, default in (("retry", "(as before)"), ("run", "local")):
        code, out, _ = call(capsys, command, "--help")
        text = " ".join(out.split())
        assert code == 0
        assert f"auto takes SLURM where sbatch answers. [default: {default}]" in text


def test_a_folder_without_anything_is_exit_2(tmp_path, capsys):
    code, _, err = call(capsys, "retry", "--results", tmp_path / "nothing")
    assert (code, err.count("\n")) == (2, 1)


def handed_to_a_job(results, packed="{}", **more):
    """Makes a study's failed cell one that a job ran; its id, and the profile."""
    (failed,) = (cell for cell in survey(results).cells.values() if cell.state == "failed")
    profile = {"name": "x", "path": None, "tables": {"all": {"mem_gb": 3}}}
    facts = {**FACTS, "profile": profile, **more}
    dispatch = make_dispatch(results, **facts, packs=[Pack(0, "pretrain", (failed.id,), job="7", name="n")])
    dispatch.pack_path(dispatch.packs[0]).write_text(packed)
    dispatch.write()
    return failed.id, profile


def test_each_cell_goes_the_way_it_went_before(broken):
    packed = '{"device": "cuda", "checkpoint_every_steps": 9}'
    failed, profile = handed_to_a_job(broken, packed, threads=5)
    known = survey(broken).cells
    chosen = [known[failed]]
    ((way, plan),) = plans(chosen, known, Overrides()).items()
    assert (way.slurm, way.threads, way.device, way.checkpoint_every) == (True, 5, "cuda", 9)
    assert json.loads(way.profile) == profile
    assert [cell.id for cell in plan.cells] == [failed]
    ((here, _),) = plans(chosen, known, Overrides(executor="local")).items()
    assert not here.slurm
    ((moved, _),) = plans(chosen, known, Overrides(root=Path("/data"))).items()
    assert moved.root == "/data"


def test_several_processes_share_what_runs_here(broken, trainer, monkeypatch, capsys):
    monkeypatch.setattr(crew, "Crew", partial(crew.Crew, command=COMMAND))
    before = {run.id: len(run.attempts) for run in load_runs(broken)}
    code, out, err = call(capsys, "retry", "--results", broken, "-j", "2")
    assert (code, err) == (0, "")
    assert "2 workers, each with" in out
    # Computed by the workers, not by this process.
    assert trainer.calls == []
    after = {run.id: len(run.attempts) for run in load_runs(broken)}
    assert Counter(after[id] - before.get(id, 0) for id in after) == {0: 6, 1: 2}
    assert "nothing to retry: 8 done" in call(capsys, "retry", "--results", broken)[1]


def test_jobs_of_slurm_are_not_shared_by_processes_here(broken, monkeypatch, capsys):
    orders = []
    monkeypatch.setattr("bench.commands.again._run", lambda order, profile, say: orders.append(order) or 0)
    handed_to_a_job(broken)
    words = ("retry", "--results", broken, "--state", "failed")
    code, _, err = call(capsys, *words, "-j", "2")
    assert (code, err.count("\n"), orders) == (2, 1, [])
    assert "-j is for cells that run here, and these run as jobs: --executor local has them run here" in err
    assert "--jobs-per-gpu is for" in call(capsys, *words, "--jobs-per-gpu", "2")[2]
    assert call(capsys, *words, "-j", "2", "--executor", "local")[0] == 0
    assert [order.jobs.number for order in orders] == [2]
    # Some as jobs and some here.
    orders.clear()
    ways = {Way(True, "", None, False): Plan(()), Way(False, "", None, False): Plan(())}
    run_again(broken, ways, Overrides(jobs=Jobs(per_gpu=3)), Voice(False))
    assert [order.jobs for order in orders] == [None, Jobs(per_gpu=3)]
    # Cells of batch norm over two devices, which are two processes already.
    with pytest.raises(
        UsageError, match="-j has processes here train a cell each, and these are trained by several"
    ):
        run_again(
            broken, {Way(False, "", None, False, devices=2): Plan(())}, Overrides(jobs=Jobs(2)), Voice(False)
        )
    mixed = {Way(False, "", None, False, devices=2): Plan(()), Way(True, "", None, False): Plan(())}
    with pytest.raises(UsageError, match="or as jobs: leave it out"):
        run_again(broken, mixed, Overrides(jobs=Jobs(2)), Voice(False))
    assert "leave one out" in call(capsys, *words, "-j", "2", "--jobs-per-gpu", "2")[2]


HOW = {
    "--device": "cpu",
    "--speed": "plain",
    "--precision": "bf16",
    "--threads": "2",
    "--checkpoint-every": "7",
    "--data-memory": "500M",
    "--feature-memory": "0M",
}


def test_what_was_typed_beside_the_cells_holds_again(tmp_path, trainer, monkeypatch, capsys):
    trainer.faults[BAD] = Diverged(3)
    typed = [word for pair in HOW.items() for word in pair]
    assert call(capsys, *SMALL, *typed, "--results", tmp_path)[0] == 1
    orders = []
    monkeypatch.setattr(again, "compute", lambda order, say: orders.append(order) or 0)
    assert call(capsys, "retry", "--results", tmp_path)[0] == 0
    assert call(capsys, "retry", "--results", tmp_path, "-j", "2")[0] == 0
    alone, shared = orders
    for order in orders:
        assert (order.device, order.speed, order.precision) == ("cpu", "plain", "bf16")
        assert (order.checkpoint_every, order.data_bytes, order.feature_bytes) == (7, 500 << 20, 0)
    # A number for one process is none for each of two.
    assert (alone.threads, shared.threads) == (2, None)
    for flags, device in ((["--device", "cuda"], "cuda"), (["--jobs-per-gpu", "2"], "auto")):
        assert call(capsys, "retry", "--results", tmp_path, *flags)[0] == 0
        assert orders[-1].device == device
    known = survey(tmp_path).cells
    asked = next(iter(known.values())).asked
    assert asked is not None
    words = run_words(asked)
    assert {flag: words[words.index(flag) + 1] for flag in HOW} == HOW
    # What goes to SLURM leaves out what is of this machine, and what SLURM refuses.
    left = {flag for flag in HOW if flag in run_words(asked, here=False)}
    assert left == {"--speed", "--precision", "--checkpoint-every"}


def test_of_a_job_that_comes_here_the_numbers_hold_but_not_the_place(tmp_path, trainer, capsys):
    trainer.faults[BAD] = Diverged(3)
    call(capsys, *SMALL, "--device", "cpu", "--threads", "2", "--precision", "bf16", "--results", tmp_path)
    failed, _ = handed_to_a_job(tmp_path)
    known = survey(tmp_path).cells
    ((way, _),) = plans([known[failed]], known, Overrides(executor="local")).items()
    assert (way.precision, way.device, way.threads) == ("bf16", "auto", None)


def test_a_signal_ends_all_that_was_to_be_run_again(tmp_path, monkeypatch):
    orders = []
    monkeypatch.setattr(again, "compute", lambda order, say: orders.append(order) or 130)
    ways = {Way(False, "", root, False): Plan(()) for root in ("/data", "/other")}
    assert run_again(tmp_path, ways, Overrides(), Voice(False)) == 130
    assert [str(order.root) for order in orders] == ["/data"]
