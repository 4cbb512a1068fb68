"""A probe's accuracy under its fast ways is the plain way's, over seeds; one file for what takes minutes."""

import numpy as np
import pytest

from bench import feature_store
from bench.probe_speed import PLAIN_PROBE, ProbeSpeed, choose_probe
from bench.speed import in_c
from tests.bf16_units import units_for
from tests.learning import MemoryAttempt
from tests.test_probe import probe_config, run, save_weights

WAYS = {
    "fp32": choose_probe("cpu", "auto", "fp32"),
    # On a processor without units for it too, see `tests.bf16_units`.
    "bf16": ProbeSpeed(folded=True, closed_head=True, precision="bf16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("speed", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("freeze", ["conv1-5", "conv1-3", "conv1"])
def test_accuracy_over_five_seeds_is_the_plain_ways(freeze, speed, tmp_path, request):
    """The mean difference of pairs lies within the 95 % interval of the plain way's seeds."""
    if in_c(speed):
        request.getfixturevalue("compiled")
    from bench.data import registry

    data = registry.load("digits", None, False)
    weights = save_weights(tmp_path / "pretrained.safetensors")
    tops = {}
    for name, way in (("plain", PLAIN_PROBE), ("fast", speed)):
        feature_store.SHELF.items.clear()
        with units_for(way.precision) as units:
            tops[name] = [
                run(
                    probe_config(freeze, seed=seed, epochs=5, batch_size=128),
                    weights,
                    MemoryAttempt(tmp_path),
                    data,
                    probing=way,
                )["rules"]["last"]["top1"]
                for seed in range(5)
            ]
        assert units is None or units.count > 0
    plain, fast = (np.array(tops[name]) for name in ("plain", "fast"))
    assert abs((fast - plain).mean()) <= 2.776 * plain.std(ddof=1) / 5**0.5
