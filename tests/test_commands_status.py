"""`bench status`, `bench logs` and the selection that all commands share, as a person meets them."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench import asked
from bench.claims import Owner
from bench.cli import main
from bench.commands import logs, status
from bench.dispatches import Pack
from bench.plan import Selection, make_plan
from bench.run_folder import LOG
from tests.synthetic_cells import Cells, dead
from tests.test_status import TASK, Says

SMALL = Selection(("beta-vae", "patchvae", "scratch"), ("digits",), (0, 1), preset="smoke")


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    return Cells(tmp_path / "results", SMALL)


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def found(capsys, made, *words):
    """Labels of the cells that a selection means."""
    code, out, err = call(capsys, "status", "--results", made.results, "--json", *words)
    assert (code, err) == (0, "")
    return [cell["label"] for cell in json.loads(out)["cells"]]


def test_every_flag_means_the_cells_that_run_would_run(made, capsys):
    everything = [cell.label for cell in made.cells]
    assert found(capsys, made) == everything
    assert found(capsys, made, "-m", "all", "-d", "digits", "-s", "2", "--probes", "all") == everything
    for words, selection in (
        (["-m", "beta*,!patchvae"], replace(SMALL, methods=("beta-vae",))),
        (["-s", "1,"], replace(SMALL, seeds=(1,))),
        (["--probes", "conv1"], replace(SMALL, probes=("conv1",))),
        (["-m", "!scratch", "-s", "1", "--probes", "conv1,conv1-3"],
         replace(SMALL, methods=("beta-vae", "patchvae"), seeds=(0,), probes=("conv1", "conv1-3"))),
        (["--preset", "smoke"], SMALL),
        (["--protocol", "paper", "--backbone", "resnet9"], SMALL),
        (["--pretrain-on", "digits", "--probe-seeds", "2"], SMALL),
    ):  # fmt: skip
        wanted = {cell.id for cell in make_plan(selection).cells}
        assert found(capsys, made, *words) == [cell.label for cell in made.cells if cell.id in wanted], words


def test_evaluations_are_selected_with_their_pretrainings_and_probes_by_themselves(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PATH", "/nowhere")
    judged = replace(SMALL, evaluations=("features", "reconstruction"), seeds=(0,), probes=("conv1",))
    made = Cells(tmp_path / "judged", judged)
    assert len(found(capsys, made)) == len(made.cells) == 3 * 2 + 4
    for words, kinds in (
        (["-m", "beta-vae"], ["pretrain", "conv1", "features", "reconstruction"]),
        (["-m", "beta-vae", "--probes", "conv1"], ["pretrain", "conv1"]),
        (["-m", "beta-vae", "--evaluate", "rec*"], ["pretrain", "reconstruction"]),
        (
            ["-m", "beta-vae", "--evaluate", "rec*", "--probes", "all"],
            ["pretrain", "conv1", "reconstruction"],
        ),
        (["-m", "beta-vae", "--evaluate", "none"], ["pretrain", "conv1"]),
        (["-m", "beta-vae", "--probe-seeds", "1"], ["pretrain", "conv1", "features", "reconstruction"]),
        (["-m", "beta-vae", "--set", "features.k=20"], ["pretrain", "conv1", "features", "reconstruction"]),
        (["-m", "beta-vae", "--set", "features.k=3"], ["pretrain", "conv1", "reconstruction"]),
        (["-m", "beta-vae", "--preset", "smoke"], ["pretrain", "conv1", "features", "reconstruction"]),
        (["-m", "beta-vae", "--protocol", "paper"], ["pretrain", "conv1", "features", "reconstruction"]),
    ):
        assert [label.rpartition(" ")[2] for label in found(capsys, made, *words)] == kinds, words
    code, _, err = call(capsys, "status", "--results", made.results, "--evaluate", "feature")
    assert code == 2
    assert "did you mean 'features'" in err


def test_what_status_says_to_type_next_asks_for_the_same_evaluations(tmp_path):
    from bench.commands.status_next import run_words
    from bench.evaluations.registry import choose

    def words(evaluations):
        selection = replace(SMALL, evaluations=evaluations)
        folder = tmp_path / ("_".join(evaluations) or "none")
        made = Cells(folder, selection)
        return run_words(asked.load(folder)[made.cells[0].id])

    assert "--evaluate" not in words(choose(()))
    for evaluations, typed in (((), "none"), (("features",), "features")):
        line = words(evaluations)
        assert line[line.index("--evaluate") + 1] == typed


def test_settings_data_sets_and_presets_tell_studies_apart(made, capsys):
    other = replace(
        SMALL, methods=("patchvae", "beta-vae"), seeds=(0,), settings={"num_parts": 4}, preset="quick"
    )
    plan = make_plan(other)
    asked.record(made.results, plan, other, None)
    four = found(capsys, made, "-m", "patchvae", "--set", "num_parts=4")
    assert len(four) == 4
    # A method without the setting is not told apart by it, as in a run.
    assert len(found(capsys, made, "--set", "num_parts=4")) == 4 + 3 * 4 + 4
    assert len(found(capsys, made, "--preset", "quick")) == len(plan)
    assert len(found(capsys, made, "--preset", "smoke")) == len(made.cells)
    assert found(capsys, made, "--set", "pretrain.epochs=8") == [
        cell.label
        for cell in (*made.cells, *plan.cells)
        if cell.method == "scratch" or cell in list(plan.cells)
    ]


def test_a_pretraining_on_other_data_belongs_to_the_probes_that_need_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("birds", "fish"):
        for part in ("train", "test"):
            (tmp_path / name / part / "a").mkdir(parents=True)
            (tmp_path / name / part / "a" / "1.png").write_bytes(b"x")
    birds, fish = (f"folder:{tmp_path / name}" for name in ("birds", "fish"))
    made = Cells(tmp_path / "r", Selection(("supervised",), (birds,), pretrain_on=fish, probes=("conv1",)))
    assert [cell.kind for cell in made.cells] == ["pretrain", "probe"]
    assert len(found(capsys, made, "-d", birds)) == 2
    assert len(found(capsys, made, "--pretrain-on", fish)) == 2
    code, _, err = call(capsys, "status", "--results", made.results, "-d", "digits")
    assert code == 2
    assert "folder:birds" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "patchva"], "did you mean 'patchvae'"),
        (["-d", "digit"], "did you mean 'digits'"),
        (["-s", "a-b"], "seeds 'a-b'"),
        (["--probes", "conv2"], "did you mean 'conv1'"),
        (["--set", "num_prts=1"], "no selected method"),
        (["--preset", "slow"], "smoke"),
        (["--backbone", "resnet18"], "no cell fits"),
        (["--pretrain-on", "imagenett"], "unknown data set"),
        (["-m", "bigan"], "known in"),
        (["-s", "7-9"], "seeds 0-1"),
        (["zz"], "no cell 'zz'"),
        ([""], "no cell ''"),
    ],
)
@pytest.mark.parametrize("command", ["status", "cancel", "clean"])
def test_a_mistake_is_one_line_and_exit_2(made, capsys, command, words, says):
    before = sorted(made.results.rglob("*"))
    code, _, err = call(capsys, command, "--results", made.results, *words)
    assert code == 2
    assert err.startswith("bench: error: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(made.results.rglob("*")) == before


def fill(made):
    """A cell of every state but retrying."""
    one, *probes = (cell for cell in made.cells if cell.label.startswith("patchvae digits seed 0"))
    made.done(one)
    made.running(probes[0], replace(Owner.me()))
    made.ended(probes[1], "failed", "loss is not finite from step 7 on", "Diverged")
    made.ended(probes[2], "interrupted", "stopped after step 3 of 10")
    two, *_ = (cell for cell in made.cells if cell.label.startswith("beta-vae digits seed 0"))
    made.ended(two, "failed", "no space left on the disk", "OSError")
    three, *_ = (cell for cell in made.cells if cell.label.startswith("beta-vae digits seed 1"))
    made.running(three, dead())
    made.dispatch(
        [Pack(0, "pretrain", (made.cell("scratch digits seed 0 end to end").id,), job="7", name="n")]
    )
    return probes


def test_a_person_sees_counts_then_cells_then_what_to_type(made, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    fill(made)
    code, out, err = call(capsys, "status", "--results", made.results)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith(
        "20 cells: 1 done, 1 running, 1 queued, 10 new, 2 failed, 1 lost, 3 skipped, 1 stopped"
    )
    assert "SLURM is silent" in lines[1]
    assert "patchvae  1/8 1r 4n 1F 1s" in out
    assert "beta-vae  0/8 3n 1F 1L 3k" in out
    assert "all       1/20" in out
    assert "\x1b" not in out
    assert "patchvae digits seed 0 conv1: 25 %, 45 s left" in out
    assert "loss is not finite from step 7 on" in out
    assert "(and 2 more): its pretraining" in out
    assert "1 cell: SLURM is not installed here" in out
    assert lines[-1] == f"next: bench retry --results {made.results}"
    assert max(map(len, lines[2:-1])) <= 80


def test_many_rows_are_cut_and_all_shows_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    made = Cells(tmp_path, Selection(("beta-vae",), ("digits",), tuple(range(12)), preset="smoke"))
    for number, cell in enumerate(made.cells):
        if cell.kind == "probe":
            made.ended(cell, "failed", f"reason {number} " + 200 * "x")
    _, out, _ = call(capsys, "status", "--results", tmp_path)
    assert "and 26 more: --all" in out
    assert max(map(len, out.splitlines()[1:-1])) <= 100
    _, out, _ = call(capsys, "status", "--results", tmp_path, "--all")
    assert "more: --all" not in out
    assert sum(200 * "x" in line for line in out.splitlines()) == 36


def test_the_last_line_is_what_helps(made, capsys):
    def follow(*words):
        return call(capsys, "status", "--results", made.results, *words)[1].splitlines()[-1]

    line = follow()
    assert line == (
        "next: bench run -m beta-vae,patchvae,scratch -d digits -s 2 --evaluate none --preset smoke"
        f" --results {made.results}"
    )
    assert list(make_plan(SMALL).cells) == made.cells
    made.running(made.cells[0], Owner.me())
    assert follow() == f"next: bench status --watch --results {made.results}"
    made.ended(made.cells[1], "failed", "boom")
    assert follow("-m", "all", "-s", "2") == f"next: bench retry -m all -s 2 --results {made.results}"
    label = made.cells[-1]
    made.done(label)
    assert follow(label.id) == f"next: bench report --results {made.results}"


def test_what_is_new_beside_submissions_is_submitted_and_not_begun_on_the_login_node(made, capsys):
    def follow():
        return call(capsys, "status", "--results", made.results)[1].splitlines()[-1]

    for cell in made.cells[:2]:
        made.done(cell)
    pack = Pack(0, "pretrain", (made.cells[0].id,), job="7", name="n")
    run = "next: bench run -m beta-vae,patchvae,scratch -d digits -s 2 --evaluate none --preset smoke"
    made.dispatch([pack], profile={"name": "old", "path": "/old.toml", "tables": {}})
    made.dispatch([pack], profile={"name": "gpu", "path": "/my site/gpu.toml", "tables": {}}, threads=None)
    assert follow() == f"{run} --slurm --profile '/my site/gpu.toml' --results {made.results}"
    made.dispatch([pack], profile={"name": "", "path": None, "tables": {}}, threads=4)
    assert follow() == f"{run} --slurm --threads 4 --results {made.results}"


def test_done_cells_that_are_made_again_are_one_line(made, capsys, monkeypatch):
    for cell in made.cells:
        made.done(cell)
    pack = Pack(5, "pretrain", tuple(cell.id for cell in made.cells[:3]), job="1200_5", name="n")
    dispatch = made.dispatch([pack], argv=["bench", "run", "--slurm", "--force"])
    dispatch.pack_path(pack).write_text(json.dumps({"forget": dict.fromkeys(pack.cells, 1)}))
    monkeypatch.setattr(status, "Word", lambda: Says(TASK))
    lines = call(capsys, "status", "--results", made.results)[1].splitlines()
    assert lines[0].endswith("20 cells: 20 done")
    assert lines[1] == "3 of the done are made again by jobs (--force)"
    facts = json.loads(call(capsys, "status", "--results", made.results, "--json")[1])
    assert [cell["again"] for cell in facts["cells"]] == 3 * [True] + 17 * [False]


def test_submissions_that_cannot_be_read_are_told_and_nothing_is_begun_anew(made, capsys, hide):
    fill(made)
    hide(made.results / "slurm")
    code, out, err = call(capsys, "status", "--results", made.results)
    assert (code, err.count("\n")) == (0, 1)
    assert "what was handed to SLURM is not known, so cells are as last known" in out.splitlines()[1]
    assert "lost (1, as last known)" in out
    assert out.splitlines()[-1] == f"next: bench status --results {made.results}"
    facts = json.loads(call(capsys, "status", "--results", made.results, "--json")[1])
    assert "Permission denied" in facts["slurm_unread"]


def test_check_is_3_until_all_is_done(made, capsys):
    assert call(capsys, "status", "--results", made.results, "--check")[0] == 3
    for cell in made.cells[:-1]:
        made.done(cell)
    assert call(capsys, "status", "--results", made.results, "--check")[0] == 3
    assert call(capsys, "status", "--results", made.results, "--check", "-m", "beta-vae")[0] == 0
    made.done(made.cells[-1])
    assert call(capsys, "status", "--results", made.results, "--check")[0] == 0
    # A folder in which nothing was asked for is not one where all is done.
    assert call(capsys, "status", "--results", made.results / "none", "--check")[0] == 2
    code, out, _ = call(capsys, "status", "--results", made.results / "none")
    assert (code, out.endswith(f"next: bench run --results {made.results / 'none'}\n")) == (0, True)
    said = json.loads(call(capsys, "status", "--results", made.results / "none", "--json")[1])
    assert (said["done"], said["cells"]) == (False, [])


def test_colours_are_for_terminals_whose_person_wants_them(made, capsys, monkeypatch):
    fill(made)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\033[31m" in call(capsys, "status", "--results", made.results)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in call(capsys, "status", "--results", made.results)[1]


def test_a_program_gets_facts_of_every_cell(made, capsys):
    fill(made)
    _, out, _ = call(capsys, "status", "--results", made.results, "--json")
    facts = json.loads(out)
    assert facts["counts"]["failed"] == 2
    assert "not installed" in facts["slurm_silent"]
    cell = next(cell for cell in facts["cells"] if cell["state"] == "running")
    assert (cell["step"], cell["steps"], cell["seconds_left"], cell["attempt"]) == (30, 120, 45.0, "0001")
    assert (cell["method"], cell["seed"], cell["freeze"]) == ("patchvae", 0, "conv1")
    queued = next(cell for cell in facts["cells"] if cell["state"] == "queued")
    assert (queued["job"], queued["sure"]) == ("7", False)


def test_watching_ends_when_nothing_is_under_way(made, capsys, monkeypatch):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        for cell in made.cells[len(slept) * 10 - 10 : len(slept) * 10]:
            made.done(cell)

    monkeypatch.setattr(status.time, "sleep", sleep)
    code, out, _ = call(capsys, "status", "--results", made.results, "--watch", "1m", "--check")
    assert code == 0
    assert slept == [60.0, 60.0]
    assert out.count("cells:") == 3
    assert call(capsys, "status", "--results", made.results, "--watch", "soon")[0] == 2
    assert call(capsys, "status", "--results", made.results, "--watch", "--json")[0] == 2


def log(made, cell, *lines, number=1):
    attempt = made.ended(cell, "failed", "boom", number=number)
    (attempt / LOG).write_text("".join(line + "\n" for line in lines))
    return attempt


def test_logs_are_those_of_the_newest_attempt_and_its_job(made, capsys):
    one = made.cells[0]
    log(made, one, "old")
    log(made, one, *(f"line {n}" for n in range(100)), number=2)
    dispatch = made.dispatch([Pack(0, "pretrain", (one.id,), job="1200_5", name="n")])
    dispatch.submitit_dir.mkdir()
    (dispatch.submitit_dir / "1200_5_0_log.err").write_text("a warning\nhalf a li")
    code, out, _ = call(capsys, "logs", one.id[:8], "--results", made.results)
    assert code == 0
    assert out.startswith(f"{one.id} beta-vae digits seed 0 pretrain: failed: boom\n")
    assert "old" not in out
    assert "line 99" in out
    assert "line 59" not in out
    assert "... (--all shows the beginning of log.txt)" in out
    assert "1200_5_0_log.err\na warning\nhalf a li\n" in out
    _, out, _ = call(capsys, "logs", one.id, "--all", "--results", made.results)
    assert out.index("old") < out.index("line 0") < out.index("line 59") < out.index("a warning")
    _, out, _ = call(capsys, "logs", made.cells[1].id, "--results", made.results)
    assert "nothing was written" in out
    for words in (["zz"], [""], [made.cells[0].id + "0"]):
        code, _, err = call(capsys, "logs", *words, "--results", made.results)
        assert (code, err.count("\n")) == (2, 1)


def test_logs_are_followed_over_attempts_until_the_cell_ends(made, capsys, monkeypatch):
    one = made.cells[0]
    attempt = made.running(one, Owner.me())
    (attempt / LOG).write_text("first\nhal")
    rounds = []

    def sleep(_):
        rounds.append(None)
        if len(rounds) == 1:
            (attempt / LOG).write_text("first\nhalf\nünd")
        elif len(rounds) == 2:
            (attempt / LOG).write_text("first\nhalf\nünd so\n")
        else:
            (made.results / "runs" / one.id / "claim.json").unlink()
            log(made, one, "last words", number=2)

    monkeypatch.setattr(logs.time, "sleep", sleep)
    monkeypatch.setattr(logs, "STATE_SECONDS", 0.0)
    code, out, _ = call(capsys, "logs", one.id, "-f", "--results", made.results)
    assert code == 0
    assert [line for line in out.splitlines() if line and not line.startswith("==")] == [
        f"{one.id} {one.label}: running",
        *("first", "hal", "f", "ünd so", "last words"),
        f"{one.id} {one.label}: failed: boom",
    ]


def test_ctrl_c_ends_following_and_not_the_cell(made):
    one = made.cells[0]
    made.running(one, Owner.me())
    code = "import sys; from bench.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "logs", one.id, "-f", "--results", str(made.results)]
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline().endswith(": running\n")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "bench: error: interrupted"
