"""The main job through the command line, on real digits: methods learn, controls stand where they should."""

import json
import math

import pytest

from bench.cli import main
from bench.records import load_runs
from models.registry import METHODS

CHANCE = 0.1


def study(results, *arguments):
    line = ["run", "-d", "digits", "--probes", "conv1-5", "--preset", "smoke", "--threads", "1", "--json"]
    assert main([*line, "--results", str(results), *arguments]) == 0
    return load_runs(results)


def accuracies(runs, method):
    probes = [r for r in runs if r.config["kind"] == "probe" and r.config["pretrain"]["method"] == method]
    return [r.result["rules"]["last"]["top1"] for r in probes if r.result is not None]


def check(runs, methods, seeds):
    assert all(run.result is not None for run in runs)
    for run in runs:
        if run.config["kind"] == "pretrain":
            for row in run.metrics():
                assert all(math.isfinite(v) for v in row.values()), (run.config["method"], row)
    found = {name: accuracies(runs, name) for name in methods}
    assert all(len(values) == seeds for values in found.values())
    means = {name: sum(values) / seeds for name, values in found.items()}
    assert means["random"] > 3 * CHANCE
    assert means["supervised"] > means["random"]
    assert all(value > 3 * CHANCE for value in means.values()), means


@pytest.mark.slow
def test_a_small_study_of_every_kind_of_method(tmp_path, capsys):
    methods = ["beta-vae", "patchvae", "bigan", "supervised", "random", "scratch"]
    runs = study(tmp_path, "-m", ",".join(methods), "-s", "1")
    check(runs, methods, 1)
    judged = {(r.config["pretrain"]["method"], r.config["evaluation"]): r.result["metrics"]
              for r in runs if r.config["kind"] == "evaluate" and r.result is not None}  # fmt: skip
    assert {name for name, what in judged if what == "features"} == {*methods} - {"scratch"}
    assert {name for name, what in judged if what == "reconstruction"} == {
        "beta-vae",
        "patchvae",
        "bigan",
    }
    assert all(judged[name, "features"]["linear_top1"] > 3 * CHANCE for name in {*methods} - {"scratch"})
    losses = {
        run.config["method"]: [row["loss"] for row in run.metrics()]
        for run in runs
        if run.config["kind"] == "pretrain" and run.metrics()
    }
    for name in ("beta-vae", "patchvae", "supervised"):
        assert losses[name][-1] < losses[name][0], name

    capsys.readouterr()
    assert main(["report", "--results", str(tmp_path), "--json"]) == 0
    assert "patchvae" in json.dumps(json.loads(capsys.readouterr().out))


@pytest.mark.slow
def test_every_method_with_three_seeds(tmp_path):
    check(study(tmp_path, "-m", "all", "-s", "3"), METHODS, 3)
