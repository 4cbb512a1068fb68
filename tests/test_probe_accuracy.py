"""A probe's accuracy under its fast ways is the plain way's, over seeds; one file for what takes minutes."""

import numpy as np
import pytest

from bench import feature_store
from bench.probe_speed import PLAIN_PROBE, ProbeSpeed, choose_probe
from bench.speed import in_c
from tests.bf16_units import units_for
from tests.learning import MemoryAttempt
from tests.test_data_real import published
from tests.test_probe import probe_config, run, save_weights

WAYS = {
    "fp32": choose_probe("cpu", "auto", "fp32"),
    # On a processor without units for it too, see `tests.bf16_units`.
    "bf16": ProbeSpeed(folded=True, closed_head=True, precision="bf16"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), [("digits", "fp32"), ("digits", "bf16"), ("cifar100@10%", "fp32")])
@pytest.mark.parametrize("freeze", ["conv1-5", "conv1-3", "conv1"])
def test_accuracy_over_five_seeds_is_the_plain_ways(freeze, name, way, tmp_path, request, capsys):
    """The mean difference of pairs lies within the 95 % interval of the plain way's seeds."""
    speed = WAYS[way]
    if in_c(speed):
        request.getfixturevalue("compiled")
    data = published(name)
    weights = save_weights(tmp_path / "pretrained.safetensors")
    tops = {}
    for word, probing in (("plain", PLAIN_PROBE), ("fast", speed)):
        feature_store.SHELF.items.clear()
        with units_for(probing.precision) as units:
            tops[word] = [
                run(
                    probe_config(freeze, seed=seed, epochs=5, batch_size=128, lr_step=5),
                    weights,
                    MemoryAttempt(tmp_path),
                    data,
                    probing=probing,
                )["rules"]["last"]["top1"]
                for seed in range(5)
            ]
        assert units is None or units.count > 0
    plain, fast = (np.array(tops[word]) for word in ("plain", "fast"))
    with capsys.disabled():
        print(
            f"\n{name}, {freeze}, {way}: fast {fast}, plain {plain}, mean difference {(fast - plain).mean():.4f}"
        )
    assert abs((fast - plain).mean()) <= 2.776 * plain.std(ddof=1) / 5**0.5
