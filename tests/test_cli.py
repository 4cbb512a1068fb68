"""The command line, as a person meets it: one line an error, an exit code, what to type next."""

import json
import re
import subprocess
import sys
import time

import pytest

from bench.cli import COMMANDS, main
from bench.errors import Diverged
from bench.launch import local
from bench.time_left import duration
from tests.fake_trainer import FakeTrainer

STUDY = ["-m", "beta-vae,random", "-d", "digits", "-s", "1", "--probes", "conv1", "--preset", "smoke"]
SMALL = ["run", *STUDY, "--evaluate", "none"]


@pytest.fixture
def trainer(monkeypatch):
    one = FakeTrainer()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    return one


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def tree(folder):
    return sorted(folder.rglob("*")) if folder.exists() else None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "patchva"], "did you mean 'patchvae'"),
        (["-d", "digit"], "did you mean 'digits'"),
        (["-d", "cifar100"], "download"),
        (["-d", "folder:/nowhere"], "/nowhere"),
        (["-s", "a-b"], "seeds 'a-b'"),
        (["-s", "-1"], "seeds '-1'"),
        (["-s", "0"], "seeds '0'"),
        (["--probes", "conv2"], "did you mean 'conv1'"),
        (["--set", "num_prts=1"], "no selected method"),
        (["--evaluate", "feature"], "did you mean 'features'"),
        (["--evaluate", "!all"], "no evaluation is left"),
        (["--evaluate", "none,features"], "'none' goes with no other evaluation"),
        (["--set", "features.k=0"], "k is 0"),
        (["--set", "features.kk=0"], "did you mean 'features.k'"),
        (["--preset", "slow"], "smoke"),
        (["--protocol", "dirty"], "paper"),
        (["--probe-seeds", "0"], "range"),
        (["--time-budget", "soon"], "9m"),
        (["--pretrain-on", "imagenett"], "unknown data set"),
        (["--nonsense"], "--nonsense"),
        (["--device", "tpu"], "cuda"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_mistake_is_one_line_and_exit_2_and_nothing_is_written(
    tmp_path, capsys, monkeypatch, words, says, dry
):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    results = tmp_path / "results"
    code, out, err = call(capsys, "run", *STUDY, *words, *dry, "--results", results)
    assert (code, out) == (2, "")
    assert err.startswith("bench: error: ")
    assert err.count("\n") == 1
    assert says in err
    assert tree(results) is None


@pytest.mark.parametrize("words", [["rnu"], ["show"], ["show", "zz"], ["list", "methds"], ["report"], []])
def test_mistakes_of_other_commands_too(tmp_path, capsys, monkeypatch, words):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "none"))
    code, _, err = call(capsys, *words)
    assert code == 2
    assert not words or (err.startswith("bench: error: ") and err.count("\n") == 1)
    assert not list(tmp_path.iterdir())


def test_broken_data_are_named_before_anything_is_written(tmp_path, capsys):
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "birds" / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(folder / "0.png")
    (tmp_path / "birds" / "train" / "a" / "1.jpg").write_bytes(b"no image")
    results = tmp_path / "results"
    code, _, err = call(capsys, *SMALL, "-d", f"folder:{tmp_path / 'birds'}", "--results", results)
    assert code == 2
    assert err.count("bench: error") == 1
    assert "1.jpg" in err
    assert tree(results) is None


def test_a_results_folder_of_another_version_is_exit_2(tmp_path, capsys):
    (tmp_path / "bench.json").write_text('{"schema": 99}')
    before = tree(tmp_path)
    for words in (SMALL, [*SMALL, "--dry-run"], ["list", "runs"], ["show", "a"]):
        code, _, err = call(capsys, *words, "--results", tmp_path)
        assert code == 2
        assert "incompatible version" in err
        assert err.count("\n") == 1
    assert tree(tmp_path) == before


def test_a_dry_run_shows_the_cells_and_writes_nothing(tmp_path, capsys):
    results = tmp_path / "results"
    code, out, _ = call(capsys, *SMALL, "--dry-run", "--results", results)
    assert code == 0
    assert "beta-vae digits seed 0 conv1" in out
    assert "4 cells: 4 new" in out
    code, out, err = call(capsys, *SMALL, "--dry-run", "--results", results, "--json")
    assert [cell["state"] for cell in json.loads(out)["cells"]] == ["new"] * 4
    assert "4 new" in err
    assert tree(results) is None


def test_evaluations_come_with_a_run_unless_they_are_declined(tmp_path, capsys, trainer):
    line = ["run", *STUDY, "--results", tmp_path]
    code, out, _ = call(capsys, *line, "--dry-run", "--json")
    kinds = [cell["kind"] for cell in json.loads(out)["cells"]]
    assert code == 0
    assert kinds[:3] == ["pretrain", "probe", "evaluate"]
    _, out, _ = call(capsys, *line, "--evaluate", "f*", "--dry-run", "--json")
    labels = [cell["label"] for cell in json.loads(out)["cells"] if cell["kind"] == "evaluate"]
    assert labels == ["beta-vae digits seed 0 features", "random digits seed 0 features"]
    code, out, _ = call(capsys, *line, "--evaluate", "reconstruction")
    assert code == 0
    assert re.search(r"beta-vae digits seed 0 reconstruction: done in .* s, PSNR 20 dB\n", out)
    _, out, _ = call(capsys, "list", "runs", "--results", tmp_path)
    assert "PSNR 20 dB" in out


def test_a_run_says_first_where_results_go_and_last_what_to_type_next(tmp_path, capsys, trainer):
    results = tmp_path / "my results"
    code, out, err = call(capsys, *SMALL, "--results", results)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"results: {results}"
    assert lines[-1] == f"next: bench report --results '{results}'"
    assert len(trainer.calls) == 4
    assert sum("done in" in line for line in lines) == 4
    code, out, _ = call(capsys, *SMALL, "--results", results)
    assert (code, len(trainer.calls)) == (0, 4)
    assert "4 of 4 cells are done (0 now" in out


def test_a_failure_is_one_line_a_log_and_the_command_to_retry(tmp_path, capsys, trainer):
    trainer.faults["beta-vae digits seed 0 pretrain"] = Diverged(7)
    code, out, _ = call(capsys, *SMALL, "--results", tmp_path)
    assert code == 1
    assert "failed: beta-vae digits seed 0 pretrain: loss is not finite from step 7 on (log " in out
    assert out.splitlines()[-1] == f"next: bench {' '.join(SMALL)} --results {tmp_path} --retry-failed"
    trainer.faults.clear()
    assert call(capsys, *SMALL, "--results", tmp_path)[0] == 1
    assert call(capsys, *SMALL, "--results", tmp_path, "--retry-failed")[0] == 0


def test_json_is_one_object_on_standard_output_and_lines_go_to_standard_error(tmp_path, capsys, trainer):
    trainer.faults["random digits seed 0 conv1"] = Diverged(7)
    code, out, err = call(capsys, *SMALL, "--results", tmp_path, "--json")
    facts = json.loads(out)
    assert code == facts["exit_code"] == 1
    assert (facts["cells"], facts["done"], facts["ran"]) == (4, 3, 3)
    assert facts["failed"][0]["label"] == "random digits seed 0 conv1"
    assert err.startswith("results: ")


def test_a_spent_time_budget_is_exit_3_and_the_same_line_goes_on(tmp_path, capsys, trainer):
    trainer.on_step = lambda: time.sleep(0.3)
    code, out, _ = call(capsys, *SMALL, "--results", tmp_path, "--time-budget", "0.25")
    assert code == 3
    words = out.splitlines()[-1].removeprefix("next: bench ").split()
    assert words == [*SMALL, "--results", str(tmp_path), "--time-budget", "0.25"]
    trainer.on_step = lambda: None
    assert call(capsys, *SMALL, "--results", tmp_path)[0] == 0


@pytest.mark.parametrize("what", ["methods", "evaluations", "settings", "datasets", "backbones", "runs"])
def test_lists_are_tables_and_json(tmp_path, capsys, what):
    more = ["--results", tmp_path] if what == "runs" else []
    code, out, _ = call(capsys, "list", what, *more)
    assert code == 0
    assert out
    code, out, _ = call(capsys, "list", what, *more, "--json")
    rows = json.loads(out)
    assert code == 0
    if what == "methods":
        assert len(rows) == 12
    if what == "runs":
        assert rows == []


def test_a_run_is_listed_and_shown(tmp_path, capsys, trainer):
    call(capsys, *SMALL, "--results", tmp_path)
    _, out, _ = call(capsys, "list", "runs", "--results", tmp_path, "--json")
    rows = json.loads(out)
    assert {row["state"] for row in rows} == {"done"}
    code, out, _ = call(capsys, "show", rows[0]["id"][:8], "--results", tmp_path)
    assert code == 0
    assert "provenance" in out
    _, out, _ = call(capsys, "show", rows[0]["id"], "--results", tmp_path, "--json")
    assert json.loads(out)["id"] == rows[0]["id"]


def test_architectures_are_printed_from_the_live_modules(capsys):
    code, out, _ = call(capsys, "list", "architectures")
    assert code == 0
    assert [f"Table {n}:" in out for n in range(8, 13)] == [True] * 5


def test_the_doctor_looks_at_everything_and_writes_nothing(tmp_path, capsys, monkeypatch):
    code, out, _ = call(capsys, "doctor", "--results", tmp_path / "new", "--json")
    facts = json.loads(out)
    assert code == 0
    names = {check["name"] for check in facts["checks"]}
    assert {"torch", "device", "threads", "compiler", "results", "data digits", "scheduler"} <= names
    assert not list(tmp_path.iterdir())
    code, out, _ = call(capsys, "doctor", "--results", "/proc/bench")
    assert code in (0, 1)
    assert "scheduler" in out
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    checks = json.loads(call(capsys, "doctor", "--results", tmp_path / "new", "--json")[1])["checks"]
    (found,) = (check for check in checks if check["name"] == "compiler")
    assert found["ok"] is None
    assert found["text"].startswith("no C compiler")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.52, "0.5 s"), (12, "12 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text


def test_help_of_every_command(capsys):
    assert call(capsys, "--help")[0] == 0
    for name in COMMANDS:
        code, out, _ = call(capsys, name, "--help")
        assert code == 0
        assert "Usage: bench" in out
    code, out, _ = call(capsys, "--version")
    assert (code, out.startswith("bench")) == (0, True)


def test_the_whole_thing_once_with_the_real_trainer(tmp_path):
    words = ["-m", "random", "-d", "digits", "-s", "1", "--probes", "conv1-5", "--set", "probe.epochs=1"]
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "bench",
        "run",
        *words,
        "--results",
        tmp_path,
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    report = [sys.executable, "-m", "bench", "report", "--results", tmp_path]
    text = subprocess.run(report, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Random (untrained)" in text
    assert (tmp_path / "report" / "index.html").exists()
