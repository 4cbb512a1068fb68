"""A synthetic Places205: prepared in bounded memory though killed twice, and read fast from the mapped file."""

import shutil

import pytest

from bench.data import registry
from bench.perf.preparing import make_places, prepare
from bench.perf.reading import BLOCKS, DECODED, MAPPED, MEMORY, measure


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def test_every_way_delivers_the_batches_of_a_round(tmp_path):
    name = make_places(tmp_path / "places", 300)
    data = registry.load(name, tmp_path)
    assert (len(data.train), len(data.test), len(data.classes)) == (300, 205, 205)
    assert data.train.labels.tolist() == sorted(data.train.labels)
    found = measure(name, tmp_path, rounds=1, device="cpu")
    assert {way: done["images"] for way, done in found["rounds"][0].items()} == {
        MEMORY: 256, MAPPED: 256, BLOCKS: 256, DECODED: 256
    }  # fmt: skip
    assert found["ratios"][MEMORY]["to_memory"] == 1
    assert (
        found["ratios"][MAPPED]["to_decoding_processor"] > found["ratios"][DECODED]["to_decoding_processor"]
    )


@pytest.mark.slow
def test_twenty_thousand_images_are_prepared_within_a_gigabyte_though_killed_twice_and_read_fast(tmp_path):
    name = make_places(tmp_path / "places", 20_000)
    whole = prepare(name, tmp_path)
    shutil.rmtree(tmp_path / ".bench")
    killed = prepare(name, tmp_path, (7_000, 14_000))
    assert killed.fingerprint == whole.fingerprint
    assert max(killed.peak_bytes, whole.peak_bytes) < 10**9
    assert len(killed.decoded) == 3
    data = registry.load(name, tmp_path)
    assert (len(data.train), len(data.test)) == (20_000, 2_000)
    ratios = measure(name, tmp_path, rounds=5, device="cpu")["ratios"]
    for way in (MAPPED, BLOCKS):
        # By CPU time, which counts the thread that reads ahead as if it had no core of its own.
        assert ratios[way]["to_memory_processor"] >= 0.5
        assert ratios[way]["to_decoding_processor"] >= 20
    print(ratios)
