"""`bench perf probe`: peaks, and what features that are kept from one freeze point to the next save (`--shared`)."""

from typing import Any

import pytest

from bench import feature_store
from bench.cli import main
from bench.commands import perf
from bench.data import registry
from bench.errors import BenchError
from bench.feature_store import SHELF
from bench.launch.control import RunOptions
from bench.perf import facts, probe, probe_time, shown
from bench.perf.peak import probe_peak
from bench.perf.probe_time import Taken

POINTS = ("conv1-5", "conv1", "conv1-3")
IN_TURN = ("conv1", "conv1-3", "conv1-5")
MACHINE = {
    **{"name": "a machine", "threads": 1, "versions": {"torch": "2"}, "bf16_units": False, "cores": 2},
    **{"load": 0.0, "device": "cpu"},
}
SMALL: Any = {"backbone": "resnet9", "size": 32, "num_classes": 10, "device": "cpu"}


@pytest.fixture(scope="module")
def digits():
    return registry.load("digits", None)


def measured(digits, monkeypatch, **given):
    """The facts, and how often features were computed from images by each run of the points in turn."""
    counts, run, shared, compute = [], probe_time.probe, probe._shared, feature_store.compute

    def counted(config, *args, options, **kwargs):
        counts.append([config["freeze"], options.probing.shared, 0])
        return run(config, *args, options=options, **kwargs)

    def computed(*args):
        if counts:
            counts[-1][-1] += 1
        return compute(*args)

    monkeypatch.setattr(feature_store, "compute", computed)

    def watched(*args):
        monkeypatch.setattr(probe_time, "probe", counted)
        return shared(*args)

    monkeypatch.setattr(probe, "_shared", watched)
    # The ways without one of these are of no interest here.
    monkeypatch.setattr(probe, "SWITCHES", ())
    wish = probe.Wish(digits, pairs=2, images=32, tested=8, epochs=1, **{"memory": False, **given})
    return probe.measure(wish, lambda text: None), counts


def test_points_are_probed_in_turn_with_features_kept_and_without(digits, monkeypatch):
    found, counts = measured(digits, monkeypatch, freezes=POINTS, shared=True)
    # Of training images and of test images; those of later points are made of the first one's.
    kept = [[point, True, 0 if k else 2] for k, point in enumerate(IN_TURN)]
    anew = [[point, False, 2] for point in IN_TURN]
    assert counts == [*anew, *kept, *kept, *anew] or counts == [*kept, *anew, *anew, *kept]
    assert not SHELF.items
    shared = found["shared"]
    assert shared["freezes"] == list(IN_TURN)
    assert all(len(shared[part]["each"]) == 2 for part in ("before", "whole"))
    assert shared["before"]["median"] > 0


def test_each_way_has_its_peak_and_the_table_a_column(digits, monkeypatch):
    asked = []

    def peak(freeze, options, **shape):
        asked.append((freeze, options.cache_bytes > 0, options.probing.folded))
        assert shape == {**SMALL, "images": 32, "tested": 8}
        return {"peak_bytes": 900_000_000, "before_bytes": 7}

    monkeypatch.setattr(probe, "probe_peak", peak)
    found, _ = measured(digits, monkeypatch, freezes=("conv1",), memory=True)
    assert asked == [("conv1", False, False), ("conv1", True, False), ("conv1", True, True)]
    text = shown.text({"probe": found, "machine": MACHINE})
    assert " MB " in text
    assert text.count(" 900 ") == 3
    assert max(map(len, text.splitlines())) <= 100
    for way in found["rows"][0]["ways"].values():
        del way["peak_bytes"]
    assert " MB " not in shown.text({"probe": found, "machine": MACHINE})


@pytest.mark.parametrize("budget", [pytest.param(0, marks=pytest.mark.slow), RunOptions.cache_bytes])
def test_features_that_are_kept_and_nothing_else_grow_with_the_images(budget):
    options = RunOptions(threads=1, cache_bytes=budget)
    # What the allocator keeps between the batches of a test differs from run to run, always to the high side: by
    # 20 MB as a rule, by 100 now and then.
    few, again, many = (
        probe_peak("conv1", options, images=64, tested=tested, **SMALL)["peak_bytes"]
        for tested in (1000, 1000, 16_000)
    )
    # 64 channels of 8 x 8 pixels of each image: 246 MB.
    features = 15_000 * 64 * 8 * 8 * 4
    grown = (many - min(few, again)) / features
    if budget:
        assert 0.7 < grown < 1.7
    else:
        assert grown < 0.5


def test_a_process_that_dies_is_told_in_a_line():
    with pytest.raises(BenchError, match=r"peak memory of a probe at conv9 could not be measured: .*conv9"):
        probe_peak("conv9", RunOptions(threads=1), images=8, tested=4, **SMALL)


def test_a_peak_that_is_missing_loses_no_time(digits, monkeypatch):
    def dies(*_, **__):
        raise BenchError("the peak memory of a probe at conv1 could not be measured: signal 9")

    monkeypatch.setattr(probe, "probe_peak", dies)
    found, _ = measured(digits, monkeypatch, freezes=("conv1",), memory=True)
    assert found["rows"][0]["ways"]["fast"]["times_faster"] > 0
    assert " MB " not in shown.text({"probe": found, "machine": MACHINE})


@pytest.mark.parametrize(("words", "memory"), [([], True), (["--no-memory"], False)])
def test_peaks_are_measured_unless_they_are_not_wanted(words, memory, monkeypatch):
    wishes = []
    monkeypatch.setattr(probe, "measure", lambda wish, tell: wishes.append(wish) or {})
    parts = []
    monkeypatch.setattr(perf, "_measured", lambda given, found: parts.append(found["probe"]) or 0)
    assert main(["perf", "probe", "-d", "digits", *words]) == 0
    parts[0].measure(None, "cpu", print)
    assert wishes[0].memory == memory


def test_unasked_there_is_nothing_to_tell(digits, monkeypatch):
    found, counts = measured(digits, monkeypatch, freezes=POINTS, each=True)
    assert "shared" not in found
    assert not counts


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--shared --probes conv1", "--shared is for freeze points in turn: --probes conv1 names one"),
        ("--shared --precision bf16", "--shared is for fp32: no features are made of what is kept in bf16"),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_line(words, said, capsys):
    assert main(["perf", "probe", "-d", "digits", *words.split()]) == 2
    assert capsys.readouterr().err.strip().endswith(said)


def test_its_ratios_are_the_anew_ones_seconds_by_those_of_the_kept(digits, monkeypatch, tmp_path):
    def timed(config, data, weights, device, options, kept=False):
        del config, data, weights, device, kept
        return Taken(2.0, 3.0, 1.0) if options.probing.shared else Taken(6.0, 7.0, 1.0)

    monkeypatch.setattr(probe, "time_probe", timed)
    found, _ = measured(digits, monkeypatch, freezes=POINTS, shared=True, of_epochs=6)
    assert found["shared"]["before"]["each"] == [3.0, 3.0]
    # 7 + 5 and 3 + 5 seconds of six epochs.
    assert found["shared"]["whole"]["each"] == [1.5, 1.5]
    # Both sides of it may get faster: nothing that `--compare` could call slower.
    assert {what for (what, _), _ in facts.ratios({"probe": found})} == {
        f"{point} {way}" for point in POINTS for way in ("cached", "fast")
    }
    for words in (shown.text, shown.markdown):
        text = words({"probe": found, "machine": MACHINE})
        assert "seconds before training" in text
        assert "3.00 (3.00–3.00)" in text
        assert "1.50 (1.50–1.50)" in text
