"""`python -m bench.perf.layers`: what it measures is what the switches replace, and its tables."""

import copy
import sys

import pytest
import torch

from bench.perf import layers
from bench.perf.layers import LAYERS, PARTS, compare, main

NAMED = [(switch, name) for switch, of_it in LAYERS.items() for name in of_it]


@pytest.mark.parametrize(("switch", "name"), NAMED)
def test_every_layer_is_one_that_its_switch_replaces_and_runs_in_c(switch, name):
    layer, channels, side = LAYERS[switch][name]
    found = compare(switch, layer, torch.randn(4, channels, side, side), 2, 1)
    assert [len(ms) for ms in found] == [len(PARTS)] * 2
    assert all(part > 0 for ms in found for part in ms)
    plain, fast = (torch.nn.Sequential(copy.deepcopy(layer)) for _ in range(2))
    image = torch.randn(4, channels, side, side).to(memory_format=torch.channels_last)
    theirs = plain(image).grad_fn
    layers.REPLACE[switch](fast)
    assert type(fast(image).grad_fn) is not type(theirs)


def test_a_layer_that_a_switch_leaves_to_torch_is_refused():
    layer, channels, side = LAYERS["fused_norm"]["BN, 128"]
    with pytest.raises(ValueError, match="none of those that winograd replaces"):
        compare("winograd", layer, torch.randn(4, channels, side, side), 2, 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_table_has_a_row_a_layer_and_with_threads_a_column_of_theirs(threads, monkeypatch, capsys):
    before = torch.get_num_threads()
    few = dict(list(LAYERS["direct"].items())[:2])
    monkeypatch.setattr(layers, "LAYERS", {"direct": few})
    monkeypatch.setattr(layers, "BATCH", 2)
    monkeypatch.setattr(sys, "argv", ["layers", "2", "--threads", str(threads)])
    main()
    torch.set_num_threads(before)
    head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert ("own threads" in head) == (threads == 2)
    assert [row.split(", ")[0].removeprefix("| ") for row in rows] == [name.split(", ")[0] for name in few]
    assert {row.count("|") for row in rows} == {head.count("|")}


@pytest.mark.parametrize("words", [["1"], ["5", "--threads", "0"], ["--switch", "none"]])
def test_what_cannot_be_measured_is_exit_2(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["layers", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err
