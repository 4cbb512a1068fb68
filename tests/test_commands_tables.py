"""`bench run --table` from the command line. The bar of the design: a new table takes its declaration alone."""

import json
from pathlib import Path

import pytest

from bench import asked, forecast
from bench.cli import main
from bench.commands.status_next import run_words
from bench.plan import Selection, make_plan
from bench.records import load_runs

# Everything that a table takes: no other file knows of it.
OWN = """
from bench.studies import Claim, Column, Contrast, Row, Study, Table

STUDY = Study(
    "latents", "Latents of β-VAE", "ours", "",
    (
        Table(
            name="1",
            title="Does a larger latent help?",
            source="our own question",
            backbone="resnet9",
            rule="last",
            schedule={},
            columns=(Column("digits", "conv1-5"),),
            rows=tuple(Row(f"{n} latents", "beta-vae", settings={"latent_dim": n}) for n in (8, 96)),
            claims=(Claim("more-help", "96 are better than 8.", "", "", (Contrast("96 latents", "8 latents"),)),),
        ),
    ),
)
"""
SMOKE = ("--preset", "smoke", "-s", "1", "--threads", "1")
SHORT = ("--set", "pretrain.epochs=1", "--set", "pretrain.epoch_images=128", "--set", "probe.epochs=1")


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


@pytest.fixture
def bench(tmp_path, capsys, monkeypatch):
    """Runs a command line on a results folder; gives its exit code and what it printed."""
    monkeypatch.delenv("BENCH_DATA", raising=False)

    def now(*words):
        capsys.readouterr()
        code = main([*words, "--results", str(tmp_path / "results")])
        return code, capsys.readouterr()

    return now


def facts(answer):
    code, printed = answer
    assert code == 0, printed.err
    return json.loads(printed.out)


def test_a_table_of_ones_own_takes_its_declaration_and_nothing_else(own, bench, tmp_path):
    line = ("run", "--table", "1", "--study", own, *SMOKE, *SHORT)
    before = facts(bench(*line, "--dry-run", "--json"))
    assert before["study"] == "latents"
    assert [fact["state"] for fact in before["cells"]] == ["new"] * len(before["cells"])
    rows = [(one["row"], one["column"]) for one in before["tables"][0]["lines"]]
    assert {("8 latents", "pretrain"), ("8 latents", "conv1-5"), ("96 latents", "conv1-5")} <= set(rows)
    assert not (tmp_path / "results").exists()

    code, _ = bench(*line)
    assert code == 0
    runs = load_runs(tmp_path / "results")
    assert {run.id for run in runs} == {fact["id"] for fact in before["cells"]}
    sizes = {run.config["method_config"]["latent_dim"] for run in runs if run.config["kind"] == "pretrain"}
    assert sizes == {8, 96}

    after = facts(bench(*line, "--dry-run", "--json"))
    assert after["to_run"] == after["predicted_seconds"] == 0
    assert all(one["states"] == {"done": 1} for one in after["tables"][0]["lines"])


def test_a_dry_run_is_a_line_a_row_and_column_and_says_what_they_cost(bench):
    code, printed = bench("run", "--table", "1,3", "-d", "digits", "-m", "patchvae", *SMOKE, "--dry-run")
    assert code == 0
    lines = printed.out.splitlines()
    assert lines[0].startswith("Table 1: Top-1 accuracy")
    assert any(line.split()[:4] == ["PatchVAE", "digits", "conv1-3", "1"] for line in lines)
    shared = [line for line in lines if line.startswith("N = 16")]
    assert shared
    assert all(line.endswith("1 new  (in table 1)") for line in shared)
    assert lines[-1].startswith("predicted: ")
    assert "of work on" in lines[-1]
    assert "a rough guess" in lines[-1]


def test_what_is_predicted_is_counted_once(bench):
    line = ("run", "-d", "digits", "-m", "patchvae", *SMOKE, "--dry-run", "--json", "--table")
    first, third, both = (facts(bench(*line, name))["predicted_seconds"] for name in ("1", "3", "1,3"))
    assert max(first, third) < both < first + third


def test_a_predicted_time_follows_what_is_done_and_what_has_failed(bench, monkeypatch):
    line = ("run", "--table", "3", "-d", "digits", "-m", "random", *SMOKE)
    assert facts(bench(*line, "--dry-run", "--json"))["predicted_on"] in ("cpu", "gpu")
    monkeypatch.setattr(forecast, "GPUS", (Path("/"),))
    assert facts(bench(*line, "--dry-run", "--json"))["predicted_on"] == "gpu"
    monkeypatch.setattr(forecast, "GPUS", ())
    here = facts(bench(*line, "--dry-run", "--json"))
    assert here["predicted_on"] == "cpu"
    assert here["to_run"] == len(here["cells"])
    assert facts(bench(*line, "--dry-run", "--json", "--device", "cuda"))["predicted_on"] == "gpu"


def test_a_dry_run_for_slurm_says_the_tables_and_the_jobs_in_one_object(bench, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = facts(bench("run", "--table", "3", "-d", "digits", *SMOKE, "--slurm", "--dry-run", "--json"))
    assert found["executor"] == "slurm"
    assert found["jobs"]
    assert [one["row"] for one in found["tables"][0]["lines"][:2]] == ["N = 4", "N = 4"]


def test_tables_are_on_record_and_asked_for_again_by_the_same_line(own, bench, tmp_path):
    results = tmp_path / "results"
    code, _ = bench("run", "--table", "1", "--study", own, *SMOKE, *SHORT, "--time-budget", "0.01s")
    assert code == 3
    found = asked.load(results)
    assert {one.tables for one in found.values()} == {("latents/1",)}
    words = ["--table", "1", "--study", own, "-s", "1", "--preset", "smoke", *SHORT, "--threads", "1"]
    assert all(run_words(one) == words for one in found.values())
    assert facts(bench("status", "--json"))["cells"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("1",), None),
        (("1", "--set", "num_parts=16", "--set", "pretrain.lr=0.01"), None),
        (
            ("1", "--set", "num_parts=8"),
            "table 1: not run as declared: PatchVAE, PatchVAE + L_w and 2 more: no published numbers and no claims",
        ),
        (("4", "--set", "num_parts=8"), "table 4: not run as declared: d_p = 3, d_p = 6, d_p = 9: "),
        (
            ("1", "--backbone", "resnet18", "--set", "num_parts=8"),
            "its backbone is resnet9, not resnet18: no published",
        ),
        (("1", "--pretrain-on", "digits"), "table 1: not run as declared: Imagenet Pretrained: "),
        (
            ("7", "--backbone", "resnet9"),
            "its backbone is resnet18, not resnet9: no published numbers will stand",
        ),
    ],
)
def test_runs_that_a_report_will_not_show_as_the_table_are_told_beforehand(words, says, bench):
    code, printed = bench("run", "-d", "digits", *SMOKE, "--dry-run", "--json", "--table", *words)
    assert code == 0
    told = [text for text in printed.err.splitlines() if "will stand beside these runs" in text]
    assert len(told) == (says is not None)
    assert says is None or says in told[0]
    assert json.loads(printed.out)["tables"][0]["departures"] == told


def test_a_run_says_so_too_before_it_computes(own, bench):
    line = ("run", "--table", "1", "--study", own, "-d", "digits", "--backbone", "resnet18", *SMOKE)
    code, printed = bench(*line, "--time-budget", "0.01s")
    assert code == 3
    assert printed.out.startswith("table 1: its backbone is resnet9, not resnet18: no published numbers")


@pytest.fixture
def recorded(tmp_path):
    """Two tables on record that share a pretraining and a probe."""
    selection = Selection(("random",), ("digits",), (0,), probes=("conv1", "conv1-5"), preset="smoke")
    plan = make_plan(selection)
    pretrain, conv1, whole = plan.cells
    cells = {"own/1": [pretrain.id, conv1.id, whole.id], "own/3": [pretrain.id, whole.id]}
    asked.record(tmp_path / "results", plan, selection, None, asked.Tables(cells, ()))
    return pretrain, conv1, whole


def test_known_cells_are_chosen_by_the_tables_that_they_are_of(recorded, bench):
    pretrain, _, whole = recorded
    for table, cells in (("1", recorded), ("own/3", (pretrain, whole)), ("all,!1,!own/1", (pretrain, whole))):
        found = facts(bench("status", "--table", table, "--json"))["cells"]
        assert [one["id"] for one in found] == [cell.id for cell in cells], table
    code, printed = bench("status", "--table", "5")
    assert code == 2
    assert "unknown table '5'" in printed.err


def test_where_no_table_was_asked_for_a_table_chooses_nothing(bench, tmp_path):
    selection = Selection(("random",), ("digits",), (0,), probes=("conv1",), preset="smoke")
    asked.record(tmp_path / "results", make_plan(selection), selection, None)
    code, printed = bench("status", "--table", "3")
    assert code == 2
    assert "nothing was asked for as a table here" in printed.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--table", "13"),
            "unknown table '13': patchvae has 1-7 (8-12 are printed by `bench list architectures`)",
        ),
        (("--table", "8"), "`bench list architectures` prints it"),
        (
            ("--table", "2"),
            "imagenet needs a data folder (--data DIR or BENCH_DATA): download ILSVRC2012_img_train.tar",
        ),
        (("--study", "own.py"), "--study says whose tables to run: add --table"),
        (("--table", "1", "--study", "patchva"), "unknown study 'patchva': did you mean 'patchvae'?"),
        (("--table", "3", "-d", "digits", "--set", "num_parts=8"), "contradicts table 3, row 'N = 4'"),
        (
            ("--table", "3", "-d", "digits", "--set", "latent_dim=8"),
            "no selected method has a setting 'latent_dim'",
        ),
        (
            ("--table", "3", "-d", "digits", "-m", "bigan"),
            "table 3 has no row of these methods; it has patchvae",
        ),
    ],
)
def test_what_cannot_be_run_ends_in_one_line(words, says, bench, tmp_path):
    code, printed = bench("run", *words)
    assert code == 2
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_studies_are_listed_with_their_tables_and_claims(own, capsys):
    assert main(["list", "studies"]) == 0
    out = capsys.readouterr().out
    assert "3      Effect of the number of parts N" in out
    assert "parts-do-not-help-on-indoor67" in out
    assert main(["list", "studies", "--study", own, "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert [claim["name"] for claim in study["tables"][0]["claims"]] == ["more-help"]
    assert main(["list", "studies", "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert [table["name"] for table in study["architectures"]] == ["8", "9", "10", "11", "12"]
