"""What is learned in bf16 is as good as what is learned in fp32: whole runs, pretrained and probed."""

import numpy as np
import pytest

from bench.cli import main
from bench.records import load_runs
from tests.bf16_units import units_for
from tests.test_data_real import published

SEEDS = 5
# Of Student's t at 97.5 % with four degrees of freedom.
T = 2.776
DATA = {
    "digits": ["pretrain.epochs=10", "probe.epochs=10"],
    "cifar100@10%": ["pretrain.epochs=5", "probe.epochs=5"],
}


def accuracies(words, results, precision):
    """Top-1 of the probe of each seed."""
    with units_for(precision) as units:
        assert main([*words, "--results", str(results), "--precision", precision]) == 0
    assert units is None or units.count > 0
    runs = load_runs(results)
    assert {((run.provenance or {})["speed"])["precision"] for run in runs} == {precision}
    probes = {run.config["seed"]: run.result or {} for run in runs if "pretrain" in run.config}
    return np.array([probes[seed]["rules"]["last"]["top1"] for seed in range(SEEDS)])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["beta-vae", "patchvae", "supervised"])
@pytest.mark.parametrize("data", DATA)
def test_accuracy_over_five_seeds_is_that_of_fp32(data, method, tmp_path, capsys):
    """Zero is in the 95 % interval of the mean difference of pairs, or that is below a point; never above five."""
    if data != "digits":
        published("cifar100")
    words = ["run", "-m", method, "-d", data, "-s", str(SEEDS), "--probes", "conv1-5", "--evaluate", "none"]
    words += [word for setting in DATA[data] for word in ("--set", setting)] + ["--threads", "1"]
    full, half = (accuracies(words, tmp_path / precision, precision) for precision in ("fp32", "bf16"))
    apart = half - full
    with capsys.disabled():
        print(f"\n{data}, {method}: bf16 {half}, fp32 {full}, mean difference {apart.mean():.4f}")
    within = T * apart.std(ddof=1) / SEEDS**0.5
    assert abs(apart.mean()) <= min(max(within, 0.01), 0.05)
