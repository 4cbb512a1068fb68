"""Losses of fast runs over many steps and seeds, against those of plain ones."""

import itertools
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


# Two players, each of which follows what the other's roundings have led to.
PLAYERS = ["patchvae-gan", "bigan"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "name"),
    [*itertools.product(WAYS, ["beta-vae", "patchvae"]), *itertools.product(["auto"], PLAYERS)],
)
def test_after_a_hundred_steps_the_loss_is_that_of_the_plain_way_within_the_noise_of_seeds(
    way, name, tmp_path, request, capsys
):
    """Mean losses of steps 81 to 100: the mean difference is within a fifth of the deviation over seeds."""
    if in_c(WAYS[way]):
        request.getfixturevalue("compiled")
    data = noise_data(train=320)
    found: dict[str, list[dict[str, float]]] = {"plain": [], "fast": []}
    for seed in SEEDS:
        for word, switches in (("plain", Speed()), ("fast", WAYS[way])):
            config = pretrain_config(name, seed=seed, epochs=5, batch_size=16)
            with units_for(switches.precision) as units:
                result = run(config, MemoryAttempt(tmp_path / f"{word}{seed}"), data=data, switches=switches)
            assert units is None or units.count > 0
            found[word].append(result["metrics"])
    for loss in ("loss", "loss_fool") if name in PLAYERS else ("loss",):
        plain, fast = ([metrics[loss] for metrics in found[word]] for word in ("plain", "fast"))
        apart = [a - b for a, b in zip(fast, plain, strict=True)]
        # Other bits, or the fast way was not taken.
        assert any(apart)
        mean, spread = statistics.mean(apart), statistics.stdev(plain)
        error = statistics.stdev(apart) / len(apart) ** 0.5
        with capsys.disabled():
            print(
                f"\n{way}, {name}, {loss}: {mean / spread:.3f} ± {error / spread:.3f} deviations of seeds apart"
            )
        assert abs(mean) <= spread / 5, loss
