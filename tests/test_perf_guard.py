"""What must not get slower or larger without a word, by ratios: a time would tell of the machine alone."""

import pytest

from bench.data import registry
from bench.feature_store import SHELF
from bench.perf import pretrain, probe
from bench.perf.peak import peak
from bench.perf.steps import random_images
from bench.speed import PLAIN, choose

# Half a gigabyte of this is torch's own code.
MOST_BYTES = 2e9
TRIES = 3


def best_of(measure):
    """The best of a few tries, the first that passes ends them: others share the processor, and only slow it down."""

    def tried(bound):
        best = 0.0
        for _ in range(TRIES):
            best = max(best, measure())
            if best >= bound:
                break
        return best

    return tried


def test_the_fast_way_of_a_step_is_not_slower_than_the_plain_one():
    wish = pretrain.Wish(("beta-vae",), random_images(16, 32, 10), 10, batch=16, rounds=3, memory=False)

    def ratio():
        fast = pretrain.measure(wish, print)["rows"][0]["ways"][1]
        return fast["times_faster"]["median"]

    # Measured are 1.9 to 2.1 at a batch of 128 (docs/performance.md), and rounds of a shared machine scatter by a
    # fifth. What this is to see is a way gone wrong: memory faulted in at every step, gradients computed twice.
    assert best_of(ratio)(0.8) >= 0.8


def test_features_that_are_computed_once_save_a_probe_most_of_its_time():
    SHELF.items.clear()
    wish = probe.Wish(
        registry.load("digits", None), ("conv1-5",), pairs=1, images=256, epochs=2, memory=False
    )

    def ratio():
        ways = probe.measure(wish, print)["rows"][0]["ways"]
        return min(ways["cached"]["times_faster"], ways["fast"]["times_faster"])

    # Measured are 4.7 to 6.3; features that are computed anew in each epoch give 1.
    assert best_of(ratio)(2.0) >= 2.0


@pytest.mark.parametrize(
    "speed", [choose("cpu"), pytest.param(PLAIN, marks=pytest.mark.slow)], ids=["fast", "plain"]
)
def test_the_largest_method_trains_within_two_gigabytes(speed):
    shape = {"batch": 128, "size": 32, "num_classes": 100}
    # Two steps: from the second on Adam has its moments.
    found = peak("patchvae-gan", speed, **shape, device="cpu", threads=1, steps=2)
    assert found["before_bytes"] < found["peak_bytes"] < MOST_BYTES
