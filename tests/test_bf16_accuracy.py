"""What is learned in bf16 is as good as what is learned in fp32: whole runs, pretrained and probed."""

import numpy as np
import pytest

from bench.cli import main
from bench.records import load_runs
from tests.bf16_units import Bf16Units
from tests.test_data_real import published

SEEDS = 5
# Of Student's t at 97.5 % with four degrees of freedom.
T = 2.776
DATA = {
    "digits": ["pretrain.epochs=10", "probe.epochs=10"],
    "cifar100@10%": ["pretrain.epochs=5", "probe.epochs=5"],
}


def accuracies(words, results):
    """Top-1 of the probe of each seed, and how many products were computed in bf16."""
    with Bf16Units() as units:
        assert main([*words, "--results", str(results)]) == 0
    probes = {run.config["seed"]: run.result or {} for run in load_runs(results) if "pretrain" in run.config}
    return np.array([probes[seed]["rules"]["last"]["top1"] for seed in range(SEEDS)]), units.count


@pytest.mark.slow
@pytest.mark.parametrize("method", ["beta-vae", "patchvae", "supervised"])
@pytest.mark.parametrize("data", DATA)
def test_accuracy_over_five_seeds_is_that_of_fp32(data, method, tmp_path, capsys):
    """Zero is in the 95 % interval of the mean difference of pairs, or that is below a point; never above five."""
    if data != "digits":
        published("cifar100")
    words = ["run", "-m", method, "-d", data, "-s", str(SEEDS), "--probes", "conv1-5", "--evaluate", "none"]
    words += [word for setting in DATA[data] for word in ("--set", setting)] + ["--threads", "1"]
    full, none = accuracies(words, tmp_path / "fp32")
    half, some = accuracies([*words, "--precision", "bf16"], tmp_path / "bf16")
    assert none == 0
    assert some > 0
    apart = half - full
    with capsys.disabled():
        print(f"\n{data}, {method}: bf16 {half}, fp32 {full}, mean difference {apart.mean():.4f}")
    within = T * apart.std(ddof=1) / SEEDS**0.5
    assert abs(apart.mean()) <= min(max(within, 0.01), 0.05)
