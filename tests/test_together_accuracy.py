"""Seeds trained together give features as good as those trained one after another: whole runs on digits, probed."""

import numpy as np
import pytest

from bench.cli import main
from bench.records import load_runs

SEEDS = 5
# Of Student's t at 97.5 % with four degrees of freedom.
T = 2.776


@pytest.mark.slow
@pytest.mark.parametrize("method", ["patchvae", "supervised"])
def test_accuracy_over_five_seeds_is_that_of_seeds_one_after_another(method, tmp_path, capsys):
    """Zero is in the 95 % interval of the mean difference of pairs, or that is below a point; never above five."""
    words = [
        "run",
        "-m",
        method,
        "-d",
        "digits",
        "-s",
        str(SEEDS),
        "--probes",
        "conv1-5",
        "--evaluate",
        "none",
    ]
    words += ["--set", "pretrain.epochs=10", "--set", "probe.epochs=10", "--threads", "1"]
    top1 = {}
    for way in (str(SEEDS), "off"):
        results = tmp_path / way
        assert main([*words, "--seeds-together", way, "--results", str(results)]) == 0
        runs = load_runs(results)
        pretrains = [run for run in runs if run.config["kind"] == "pretrain"]
        together = [(run.provenance or {}).get("together") for run in pretrains]
        assert len(together) == SEEDS
        assert [len((one or {"seeds": []})["seeds"]) for one in together] == [
            0 if way == "off" else SEEDS
        ] * SEEDS
        probes = {run.config["seed"]: run.result or {} for run in runs if run.config["kind"] == "probe"}
        top1[way] = np.array([probes[seed]["rules"]["last"]["top1"] for seed in range(SEEDS)])
    together, apart = top1.values()
    with capsys.disabled():
        print(f"\n{method}: together {together}, one after another {apart}")
    assert apart.mean() > 0.3
    apart_by = together - apart
    within = T * apart_by.std(ddof=1) / SEEDS**0.5
    assert abs(apart_by.mean()) <= min(max(within, 0.01), 0.05)
