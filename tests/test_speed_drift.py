"""Losses of fast runs over many steps and seeds, against those of plain ones."""

import statistics

import pytest

from bench.speed import Speed, choose, in_c
from tests.bf16_units import units_for
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_train import run

# Pairs scatter: of five the mean difference comes to its bound by chance.
SEEDS = range(16)


WAYS = {
    "auto": choose("cpu"),
    "fewer products": Speed(winograd=True, keep_memory=True),
    "direct convolutions": Speed(direct=True, keep_memory=True),
    "fused batch norm": Speed(fused_norm=True),
    "flat update": Speed(flat_update=True),
    "fused Adam": Speed(fused_adam=True),
    # On a processor without units for it too, see `tests.bf16_units`.
    "bf16": Speed(precision="bf16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beta-vae", "patchvae"])
@pytest.mark.parametrize("way", WAYS)
def test_after_a_hundred_steps_the_loss_is_that_of_the_plain_way_within_the_noise_of_seeds(
    name, way, tmp_path, request
):
    """Mean loss of steps 81 to 100: the mean difference is within a fifth of the deviation over seeds."""
    if in_c(WAYS[way]):
        request.getfixturevalue("compiled")
    data = noise_data(train=320)
    found: dict[str, list[float]] = {"plain": [], "fast": []}
    for seed in SEEDS:
        for word, switches in (("plain", Speed()), ("fast", WAYS[way])):
            config = pretrain_config(name, seed=seed, epochs=5, batch_size=16)
            with units_for(switches.precision) as units:
                result = run(config, MemoryAttempt(tmp_path / f"{word}{seed}"), data=data, switches=switches)
            assert units is None or units.count > 0
            found[word].append(result["metrics"]["loss"])
    apart = [a - b for a, b in zip(found["fast"], found["plain"], strict=True)]
    # Other bits, or the fast way was not taken.
    assert any(apart)
    spread = statistics.stdev(found["plain"])
    assert abs(statistics.mean(apart)) <= spread / 5
