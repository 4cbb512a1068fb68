"""Switches of speed: what is chosen for a device, what a cell that goes on keeps, what is recorded."""

from dataclasses import replace

import pytest
import torch

from bench import speed
from bench.errors import UsageError
from bench.launch import cell
from bench.launch.control import RunOptions, Stop
from bench.probe_speed import choose_probe, kept_probe
from bench.records import run_dir
from bench.speed import PLAIN, Speed, choose, from_json, has_bf16, in_c, in_words, kept
from tests.fake_trainer import FakeTrainer
from tests.test_local import PLAN, load, run


@pytest.fixture(params=[False, True], ids=["no bf16 units", "bf16 units"])
def units(request, monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: request.param, raising=False)
    return request.param


def test_bf16_units_are_seen_and_used_only_when_asked_for(units):
    assert has_bf16("cpu") is units
    assert choose("cpu").precision == "fp32"
    assert choose("cpu", precision="fp32").precision == "fp32"
    assert choose("cpu", precision="bf16").precision == "bf16"


def test_plain_is_plain_unless_a_precision_is_named(units):
    assert choose("cpu", "plain") == choose("cuda", "plain") == PLAIN
    assert choose("cpu", "plain", "bf16") == Speed(precision="bf16")


def test_a_processor_is_given_no_captured_graph(units):
    assert choose("cpu").keep_memory
    assert not choose("cpu").graph
    assert not kept({"graph": True}, "cpu").graph


@pytest.mark.parametrize("words", [{"speed": "palin"}, {"precision": "fp16"}])
def test_an_unknown_word_is_refused_with_what_is_allowed(words):
    with pytest.raises(UsageError, match="allowed: auto"):
        choose("cpu", **words)


def test_a_switch_has_only_values_that_mean_something():
    with pytest.raises(ValueError, match="compile is 'maybe'; allowed: never, if-it-pays, always"):
        Speed(compile="maybe")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("row", [None, {}, {"flat_update": False}, {"precision": "fp8"}])
def test_a_provenance_without_switches_is_the_plain_path(row):
    assert from_json(row) == PLAIN


def test_what_is_recorded_is_read_back_and_a_switch_of_a_later_version_is_left_out():
    some = Speed(flat_update=True, precision="bf16", compile="always")
    assert from_json({**some.as_json(), "warp": 9}) == some


def test_in_words():
    assert in_words(None) == ""
    assert in_words(PLAIN.as_json()) == "fp32; plain"
    assert (
        in_words(Speed(flat_update=True, precision="bf16", compile="if-it-pays").as_json())
        == "bf16; flat update, compiled if it pays"
    )


class Switches(FakeTrainer):
    """Keeps what each pretraining was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def pretrain(self, *args, options, **more):
        self.seen.append(options.switches)
        return super().pretrain(*args, options=options, **more)


@pytest.mark.parametrize(("first", "then"), [("plain", "auto"), ("auto", "auto")])
def test_a_cell_that_goes_on_keeps_the_switches_with_which_it_began(first, then, units, tmp_path):
    stop, stopping, goes_on = Stop(), Switches(), Switches()
    stopping.on_step = stop.request
    run(PLAN, tmp_path, stopping, stop, options=RunOptions(speed=first))
    run(PLAN, tmp_path, goes_on, options=RunOptions(speed=then))
    began = choose("cpu", first)
    assert (stopping.seen[0], goes_on.seen[0]) == (began, began)
    assert from_json(load(tmp_path, next(PLAN.cells).id).provenance["speed"]) == began


def test_an_attempt_of_before_there_were_switches_goes_on_plainly(tmp_path):
    stop, stopping, goes_on = Stop(), Switches(), Switches()
    stopping.on_step = stop.request
    run(PLAN, tmp_path, stopping, stop, options=RunOptions())
    folder = run_dir(tmp_path, next(PLAN.cells).id)
    path = next(folder.glob("attempts/*/provenance.json"))
    path.write_text(path.read_text().replace('"speed"', '"no such word"'))
    run(PLAN, tmp_path, goes_on, options=RunOptions(speed="auto"))
    assert goes_on.seen[0] == PLAIN


def test_bf16_is_given_up_where_the_next_machine_has_no_units(monkeypatch):
    monkeypatch.setattr(speed, "has_bf16", lambda device: False)
    for go_on in (kept, kept_probe):
        began = {"precision": "bf16", "folded": True, "winograd": True}
        assert go_on(began, "cpu").precision == "fp32"
        assert go_on(began, "cpu", "bf16").precision == "bf16"


def test_a_probe_that_is_told_to_go_on_in_bf16_has_only_ways_that_bf16_has():
    began = choose_probe("cpu", "auto", "fp32").as_json()
    half = choose_probe("cpu", "auto", "bf16")
    assert kept_probe(began, "cpu", "bf16") == half
    assert kept_probe(half.as_json(), "cpu", "fp32") == replace(half, precision="fp32")
    # The plain way computes in fp32 whatever is asked for, and a provenance says what was computed.
    assert kept_probe({}, "cpu", "bf16").precision == "fp32"


def test_a_probe_that_goes_on_has_the_precision_that_is_asked_for(tmp_path, monkeypatch):
    # On a processor without units, where it would not keep bf16 by itself: the same line, typed again, says it again.
    monkeypatch.setattr(speed, "has_bf16", lambda device: False)
    stop, seen = Stop(), []

    class Probing(FakeTrainer):
        def probe(self, *args, options, **more):
            seen.append(options.probing.precision)
            stop.request()
            return super().probe(*args, options=options, **more)

    run(PLAN, tmp_path, Probing(), stop, options=RunOptions(speed="auto", precision="bf16"))
    run(PLAN, tmp_path, Probing(), options=RunOptions(speed="auto", precision="bf16"))
    assert seen[:2] == ["bf16", "bf16"]


def test_plain_asked_for_wins_over_how_a_cell_began(tmp_path):
    stop, stopping, goes_on = Stop(), Switches(), Switches()
    stopping.on_step = stop.request
    run(PLAN, tmp_path, stopping, stop, options=RunOptions(speed="auto"))
    run(PLAN, tmp_path, goes_on, options=RunOptions(speed="plain"))
    assert goes_on.seen[0] == PLAIN


def test_an_attempt_of_before_a_switch_goes_on_without_it_and_a_gpu_without_c():
    began = {"direct": True, "winograd": True, "fused_norm": True}
    for go_on in (kept, kept_probe):
        assert in_c(go_on({"winograd": True}, "cpu")) == ["winograd"]
        assert in_c(go_on(began, "cpu")) == list(began)
        assert in_c(go_on(began, "cuda")) == []


def test_without_a_compiler_a_cell_is_plain_says_so_and_goes_on_plainly_where_there_is_one(
    tmp_path, monkeypatch
):
    stop, stopping, goes_on = Stop(), Switches(), Switches()
    stopping.on_step = stop.request
    monkeypatch.setattr(cell, "why_missing", lambda: "no C compiler")
    run(PLAN, tmp_path, stopping, stop, options=RunOptions(speed="auto"))
    id = next(PLAN.cells).id
    assert from_json(load(tmp_path, id).provenance["speed"]).winograd is False
    (log,) = run_dir(tmp_path, id).glob("attempts/*/log.txt")
    assert "convolutions stay plain: no C compiler" in log.read_text()
    monkeypatch.setattr(cell, "why_missing", lambda: "")
    run(PLAN, tmp_path, goes_on, options=RunOptions(speed="auto"))
    assert choose("cpu").winograd
    assert [seen.winograd for seen in (*stopping.seen, goes_on.seen[0])] == [False, False]
    # Those begun now have it.
    assert goes_on.seen[-1].winograd
