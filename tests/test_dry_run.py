"""What a dry run says of time, memory and money, and where it has that from."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bench import forecast
from bench.attempts import Attempt
from bench.cli import main
from bench.estimate import make_estimator
from bench.forecast import Way, makespan, measure
from bench.launch.device import processor_name
from bench.micro.asking import Answer, ask
from bench.micro.kept import keep, kept, place
from bench.micro.measurement import Measurement, Parts
from bench.plan import Selection, make_plan
from bench.price import Price, parse_price
from bench.probe_speed import choose_probe
from bench.records import open_results
from bench.speed import choose, without_c

LINE = ("run", "-m", "beta-vae", "-d", "digits", "-s", "1", "--probes", "conv1", "--evaluate", "features")
STEP = 0.25


def measured(step=STEP, at="2026-11-26T05:00:00+00:00"):
    parts = Parts(1.0, step, 0.0, 0.0, whole=2.0)
    return Measurement(parts, parts, memory=1_500_000_000, images=1797, at=at, start=3.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_MEASURE", "10s")
    return tmp_path / "cache"


@pytest.fixture
def asked(monkeypatch):
    """What miniatures are asked for; they tell a made-up measurement of each cell."""
    requests = []

    def answer(request, seconds, *, threads=None):
        requests.append([row["config"]["kind"] for row in request["cells"]])
        told = {row["key"]: measured() for row in request["cells"]}
        return Answer(told, device="made up", start_seconds=3.0, seconds=seconds)

    monkeypatch.setattr(forecast, "ask", answer)
    return requests


@pytest.fixture
def bench(tmp_path, capsys):
    def now(*words):
        capsys.readouterr()
        code = main([*words, "--results", str(tmp_path / "results")])
        return code, capsys.readouterr()

    return now


def facts(answer):
    code, printed = answer
    assert code == 0, printed.err
    return json.loads(printed.out)


def test_what_nothing_tells_is_measured_once_kept_and_not_measured_again(cache, asked, bench, tmp_path):
    said = facts(bench(*LINE, "--dry-run", "--json", "--preset", "smoke"))
    assert len(asked) == 1
    assert sorted(asked[0]) == ["evaluate", "pretrain", "probe"]
    pretrain, probe, evaluation = said["cells"]
    assert pretrain["predicted_seconds"] == pytest.approx(1 + STEP * 2 * 1437 / 128)
    assert probe["predicted_seconds"] == pytest.approx(1 + STEP * 3 * 1437 / 128)
    assert evaluation["predicted_seconds"] == 3.0
    assert {cell["predicted_from"] for cell in said["cells"]} == {"measured now"}
    assert said["predicted_seconds"] == pytest.approx(sum(c["predicted_seconds"] for c in said["cells"]))
    assert said["device_hours"] == pytest.approx((3.0 + said["predicted_seconds"]) / 3600)
    assert said["cost"] is None
    # Longer cells need no other measurement.
    again = facts(bench(*LINE, "--dry-run", "--json", "--preset", "full"))
    assert len(asked) == 1
    assert {cell["predicted_from"] for cell in again["cells"]} == {"measured at 2026-11-26 05:00"}
    assert not (tmp_path / "results").exists()


def test_no_measure_asks_nothing_and_recalls_nothing(cache, asked, bench):
    bench(*LINE, "--dry-run")
    said = facts(bench(*LINE, "--dry-run", "--no-measure", "--json"))
    assert len(asked) == 1
    assert {cell["predicted_from"] for cell in said["cells"]} == {"rough"}


def test_the_table_and_the_totals_say_time_memory_source_hours_and_money(cache, asked, bench):
    code, printed = bench(*LINE, "--dry-run", "--preset", "smoke", "--price", "1000EUR", "-j", "2")
    assert code == 0
    lines = printed.out.splitlines()
    assert lines[0] == "measuring 3 kinds of cells for 10 s (--no-measure leaves that out)"
    assert lines[1].split() == ["id", "state", "cell", "epochs", "predicted", "memory", "from"]
    assert lines[2].split()[-5:] == ["6.6", "s", "1.5", "GB", "measured", "now"][-5:]
    assert lines[-2].startswith("measured 3 of 3 kinds of cells")
    hours = (3 + (1 + STEP * 2 * 1437 / 128) + (1 + STEP * 3 * 1437 / 128)) / 3600
    assert f"{hours:.3g} device-hours; {1000 * hours:.2f} EUR; 1.5 GB of memory at most each" in lines[-1]
    assert "by 2 processes, if they do not slow one another" in lines[-1]


def test_many_cells_are_a_line_a_kind_and_each_one_for_a_program(cache, asked, bench):
    line = (*LINE, "--dry-run", "--preset", "smoke", "-s", "40")
    lines = bench(*line)[1].out.splitlines()
    start, step = 1, STEP * 1437 / 128
    assert lines[2].split()[:5] == ["beta-vae", "digits", "pretrain", "2", "40"]
    assert f"40 new  {start + 2 * step:.1f} s  {40 * (start + 2 * step) / 60:.0f} min" in lines[2].replace(
        "   ", "  "
    )
    assert [row.split()[2] for row in lines[2:5]] == ["pretrain", "conv1", "features"]
    assert lines[5].startswith("120 cells: 120 new")
    assert len(facts(bench(*line, "--json"))["cells"]) == 120


def test_a_cell_that_is_done_costs_nothing_and_tells_what_its_like_takes(cache, asked, bench, tmp_path):
    results = tmp_path / "results"
    open_results(results)
    plan = make_plan(Selection(("beta-vae",), ("digits",), probes=("conv1",), preset="smoke"))
    group = plan.groups[0]
    body = {"seconds": 28.74, "images_per_second": 100.0, "peak_memory_bytes": 700_000_000}
    from bench.launch.device import processor_name

    how = {"device": processor_name(), "threads": 1, "speed": choose("cpu").as_json()}
    Attempt(results, group.pretrain.config, provenance=how).finish(body)
    line = (*LINE, "--dry-run", "--json", "--threads", "1", "--device", "cpu", "--preset", "smoke", "-s", "2")
    said = facts(bench(*line))
    by_label = {cell["label"]: cell for cell in said["cells"]}
    assert by_label["beta-vae digits seed 0 pretrain"]["predicted_seconds"] is None
    other = by_label["beta-vae digits seed 1 pretrain"]
    assert (other["predicted_from"], other["predicted_memory_bytes"]) == ("finished cells", 700_000_000)
    assert other["predicted_seconds"] == pytest.approx(28.74 + 1, rel=0.01)
    assert sorted(asked[0]) == ["evaluate", "probe"]
    # What was computed in another way tells nothing.
    assert "pretrain" in (facts(bench(*line, "--speed", "plain")), asked[-1])[1]


def test_where_measuring_fails_the_table_is_said_and_why(cache, monkeypatch, bench):
    def broken(request, seconds, **more):
        command = [sys.executable, "-c", "import sys; sys.exit('no torch here')"]
        return ask(request, seconds, command=command, **more)

    monkeypatch.setattr(forecast, "ask", broken)
    code, printed = bench(*LINE, "--dry-run")
    assert code == 0
    assert "measuring ended early: no torch here" in printed.out
    assert "a rough guess" in printed.out.splitlines()[-1]


def test_a_measurement_is_kept_for_one_place_and_a_broken_one_is_no_measurement(cache):
    here, others = place("cpu", 1, "auto", "auto"), place("cpu", 2, "auto", "auto")
    keep(here, "key", measured())
    assert kept(here, ["key", "other"]) == {"key": measured()}
    assert kept(others, ["key"]) == {}
    assert kept(place("gpu", 1, "auto", "auto"), ["key"], anywhere=True) == {}
    newer = measured(step=9.0, at="2026-11-27T05:00:00+00:00")
    keep(others, "key", newer)
    assert kept(place("cpu", 3, "auto", "auto"), ["key"], anywhere=True) == {"key": newer}
    for path in cache.rglob("*.json"):
        path.write_text("{")
    assert kept(here, ["key"]) == {}


def test_jobs_of_slurm_are_predicted_from_what_was_measured_on_a_device_like_theirs(
    cache, bench, monkeypatch
):
    monkeypatch.setenv("PATH", "")
    plan = make_plan(Selection(("beta-vae",), ("digits",), probes=("conv1",), evaluations=("features",)))
    cells = list(plan.cells)
    estimator = make_estimator(cache, cells, "cpu")
    for cell in cells:
        keep(place("cpu", 7, "auto", "auto"), estimator.signature_key(cell), measured())
    said = facts(bench(*LINE, "--slurm", "--dry-run", "--json", "--price", "2"))
    assert said["predicted_from"] == "measured earlier"
    assert said["cost"] == {"amount": pytest.approx(2 * said["device_hours"]), "unit": ""}
    assert said["device_hours"] == pytest.approx(said["predicted_seconds"] / 3600)


def test_the_rough_table_follows_what_was_measured_of_the_kind(tmp_path, cache):
    plan = make_plan(Selection(("beta-vae", "bigan"), ("digits",), probes=()))
    first, second = (group.pretrain for group in plan.groups)
    rough = make_estimator(tmp_path, [first, second], "cpu")
    ratio = rough.seconds(second) / rough.seconds(first)

    def half(request, seconds, **_):
        (row,) = [row for row in request["cells"] if row["config"]["method"] == "beta-vae"]
        return Answer({row["key"]: measured(step=30.0)}, device="made up", seconds=seconds)

    found = measure(rough, [first, second], Way("cpu"), 1.0, print, half)
    assert (found.wanted, found.now) == (2, 1)
    assert [rough.predict(cell).source for cell in (first, second)] == ["measured now", "rough"]
    assert rough.seconds(second) / rough.seconds(first) == pytest.approx(ratio)


def test_workers_take_the_longest_chain_first_and_a_probe_after_its_pretraining():
    plan = make_plan(Selection(("beta-vae", "bigan", "patchvae"), ("digits",), probes=("conv1",)))
    seconds = {"beta-vae": (1.0, 1.0), "bigan": (4.0, 1.0), "patchvae": (2.0, 2.0)}

    def of(cell):
        return seconds[cell.method][cell.kind == "probe"]

    todo = list(plan.cells)
    assert makespan(plan, todo, of, 1) == 11.0
    # BiGAN 0-4, then its probe 4-5; meanwhile PatchVAE 0-2 and its probe, and the beta-VAE 4-5 and its probe.
    assert makespan(plan, todo, of, 2) == 6.0
    assert makespan(plan, todo, of, 9) == 5.0
    assert makespan(plan, [c for c in todo if c.kind == "probe"], of, 1) == 4.0
    # Who has done a pretraining goes on with its probe, before others' pretrainings: the beta-VAE's until 11, beside
    # BiGAN's 0-5 and 5-6 and then PatchVAE's 6-11 and 11-12.
    seconds.update({"beta-vae": (1.0, 10.0), "bigan": (5.0, 1.0), "patchvae": (5.0, 1.0)})
    assert makespan(plan, todo, of, 2) == 12.0


@pytest.mark.parametrize("kind", ["pretrain", "probe"])
def test_a_finished_cell_tells_of_those_computed_with_the_same_switches_that_change_bits(kind):
    way = Way("cpu")
    made = (choose if kind == "pretrain" else choose_probe)("cpu")

    def alike(speed):
        provenance = {"speed": speed, "device": processor_name()}
        run: Any = SimpleNamespace(config={"kind": kind}, provenance=provenance)
        return forecast.computed_alike(way, "cpu")(run)

    assert alike(made.as_json())
    assert alike(without_c(made).as_json())
    # Of before there was such a switch, on which no bit depends.
    assert alike({k: v for k, v in made.as_json().items() if k not in ("twister", "keep_memory")})
    assert not alike({k: v for k, v in made.as_json().items() if k != "winograd"})
    assert not alike(None)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("2.5", 2.5, ""), ("2.5EUR", 2.5, "EUR"), ("$0.90", 0.9, "$"), ("0.90 €/h", 0.9, "€"), (".5", 0.5, "")],
)
def test_a_price_is_a_number_with_or_without_a_unit(text, amount, unit):
    assert parse_price(text) == Price(amount, unit)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dry-run", "--price", "cheap"], "'cheap' is no price of a device-hour: write 2.5 or 2.5EUR"),
        (["--dry-run", "--price", "-2"], "'-2' is no price"),
        (["--dry-run", "--price", "inf"], "'inf' is no price"),
        (["--dry-run", "--measure", "soon"], "write 90s, 9m or 1h30m"),
        (["--dry-run", "--measure", "5s", "--no-measure"], "contradict"),
        (["--price", "2"], "--price is for --dry-run"),
        (["--no-measure"], "--no-measure is for --dry-run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(bench, tmp_path, words, says):
    code, printed = bench(*LINE, *words)
    assert (code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert not (tmp_path / "results").exists()


def test_the_real_process_measures_a_cell_and_writes_nothing_but_its_cache(tmp_path):
    """From the command line: no part of it is made up."""
    environment = os.environ | {"BENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    line = ("run", "-m", "random", "-d", "digits", "-s", "1", "--probes", "conv1-5", "--evaluate", "none")
    words = (
        *line,
        "--dry-run",
        "--measure",
        "30s",
        "--json",
        "--speed",
        "plain",
        "--threads",
        "1",
        "--device",
        "cpu",
    )
    command = [sys.executable, "-m", "bench", *words, "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    sources = {cell["kind"]: cell["predicted_from"] for cell in said["cells"]}
    # The costliest is always measured.
    assert sources["probe"] == "measured now"
    (probe,) = (cell for cell in said["cells"] if cell["kind"] == "probe")
    assert 0 < probe["predicted_seconds"] < 600
    assert probe["predicted_memory_bytes"] > 100e6
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "tmp"}
    assert not list((tmp_path / "tmp").glob("bench-*"))


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("os.kill(os.getpid(), 9)", "the process that measures ended by signal 9"),
        ("sys.exit('no room')", "no room"),
        ("sys.exit(0)", ""),
    ],
)
def test_why_the_process_that_measures_ended_is_told_even_when_it_had_begun(ending, why):
    ready = json.dumps({"ready": 1, "device": "x"})
    code = f"import os, sys; sys.stdin.readline(); print({ready!r}, flush=True); {ending}"
    assert ask({}, 5.0, command=[sys.executable, "-c", code]).why == why
