"""`bench perf probe --each`: what features that are kept from one freeze point to the next save."""

import pytest

from bench.data import registry
from bench.feature_store import SHELF
from bench.perf import facts, probe, shown

POINTS = ("conv1-5", "conv1", "conv1-3")
IN_TURN = ("conv1", "conv1-3", "conv1-5")


@pytest.fixture(scope="module")
def digits():
    return registry.load("digits", None)


def measured(digits, monkeypatch, **given):
    """The facts, and how often features were computed from images by each run of the points in turn."""
    counts, compute, shared = [], probe.probe, probe._shared

    def counted(config, *args, options, **kwargs):
        before = set(SHELF.items)
        result = compute(config, *args, options=options, **kwargs)
        counts.append((config["freeze"], options.probing.shared, len(before)))
        return result

    def watched(*args):
        monkeypatch.setattr(probe, "probe", counted)
        return shared(*args)

    monkeypatch.setattr(probe, "_shared", watched)
    # The ways without one of these are of no interest here.
    monkeypatch.setattr(probe, "SWITCHES", ())
    wish = probe.Wish(digits, pairs=2, images=32, tested=8, epochs=1, **given)
    return probe.measure(wish, lambda text: None), counts


def test_points_are_probed_in_turn_with_features_kept_and_without(digits, monkeypatch):
    found, counts = measured(digits, monkeypatch, freezes=POINTS, each=True)
    # On the shelf are those of training and of test images of every point before.
    kept = [(point, True, 2 * k) for k, point in enumerate(IN_TURN)]
    anew = [(point, False, 0) for point in IN_TURN]
    assert counts == [*anew, *kept, *kept, *anew] or counts == [*kept, *anew, *anew, *kept]
    assert not SHELF.items
    shared = found["shared"]
    assert shared["freezes"] == list(IN_TURN)
    assert all(len(shared[part]["each"]) == 2 for part in ("features", "probes"))
    assert shared["features"]["median"] > 0


@pytest.mark.parametrize("given", [{"freezes": POINTS}, {"freezes": ("conv1",), "each": True}])
def test_there_is_nothing_to_tell_of_one_point_or_unasked(digits, monkeypatch, given):
    found, counts = measured(digits, monkeypatch, **given)
    assert "shared" not in found
    assert not counts


def test_its_ratios_are_the_anew_ones_seconds_by_those_of_the_kept(digits, monkeypatch, tmp_path):
    def timed(config, data, weights, folder, options, wish, *, kept=False):
        del config, data, weights, folder, wish, kept
        return probe._Taken(2.0, 3.0, 1.0) if options.probing.shared else probe._Taken(6.0, 7.0, 1.0)

    monkeypatch.setattr(probe, "_time", timed)
    found, _ = measured(digits, monkeypatch, freezes=POINTS, each=True, of_epochs=6)
    assert found["shared"]["features"]["each"] == [3.0, 3.0]
    # 7 + 5 and 3 + 5 seconds of six epochs.
    assert found["shared"]["probes"]["each"] == [1.5, 1.5]
    names = dict(facts.ratios({"probe": found}))
    assert names["conv1, conv1-3, conv1-5", "features anew / kept"] == [3.0, 3.0]
    assert names["conv1, conv1-3, conv1-5", "probes anew / kept"] == [1.5, 1.5]
    machine = {
        **{"name": "a machine", "threads": 1, "versions": {"torch": "2"}, "bf16_units": False, "cores": 2},
        **{"load": 0.0, "device": "cpu"},
    }
    for words in (shown.text, shown.markdown):
        text = words({"probe": found, "machine": machine})
        assert "without and with features kept for the next one" in text
        assert "3.00 (3.00–3.00)" in text
        assert "1.50 (1.50–1.50)" in text
