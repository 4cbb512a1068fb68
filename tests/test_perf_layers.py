"""`python -m bench.perf.layers`: what it measures is what the switches replace, and its tables."""

import sys

import pytest
import torch

from bench.compiled import NoCompiler
from bench.perf import layers
from bench.perf.layers import LAYERS, PARTS, both_ways, compare, has_team, main

pytestmark = pytest.mark.usefixtures("compiled")

NAMED = [(switch, name) for switch, of_it in LAYERS.items() for name in of_it]
# Nodes of autograd's graph that are torch's, of what is replaced.
PLAIN = ("Convolution", "BatchNorm", "Relu", "MaxPool")


def graph(node, found):
    if node is not None and node not in found:
        found.add(node)
        for other, _ in node.next_functions:
            graph(other, found)
    return found


@pytest.mark.parametrize(("switch", "name"), NAMED)
def test_every_layer_is_computed_in_c_and_nothing_of_it_by_torch(switch, name):
    layer = LAYERS[switch][name]
    plain, fast = both_ways(switch, layer)
    image = torch.randn(4, layer.channels, layer.side, layer.side).to(memory_format=torch.channels_last)
    ours, theirs = (
        [type(node).__name__ for node in graph(net(image.requires_grad_()).grad_fn, set())]
        for net in (fast, plain)
    )
    assert any(word in node for node in theirs for word in PLAIN), theirs
    assert not any(word in node for node in ours for word in PLAIN), ours


@pytest.mark.parametrize("threads", [1, 2])
def test_each_way_has_the_time_of_each_part_and_leaves_torchs_threads_as_they_were(threads):
    before = torch.get_num_threads()
    found = compare("direct", LAYERS["direct"]["1x1 of stride 2, 64→128"], 4, 2, threads)
    assert [len(ms) for ms in found] == [len(PARTS)] * (3 if threads > 1 and has_team() else 2)
    assert all(part > 0 for ms in found for part in ms)
    assert torch.get_num_threads() == before


def test_a_layer_that_a_switch_leaves_to_torch_is_refused():
    with pytest.raises(ValueError, match="none of those that winograd replaces"):
        compare("winograd", LAYERS["fused_norm"]["BN, 128"], 4, 2, 1)


@pytest.mark.parametrize(("threads", "team"), [(1, True), (2, True), (2, False)])
def test_a_table_has_a_row_a_layer_and_where_there_are_both_kinds_of_threads_a_column_of_theirs(
    threads, team, monkeypatch, capsys
):
    few = dict(list(LAYERS["direct"].items())[:2])
    monkeypatch.setattr(layers, "LAYERS", {"direct": few})
    monkeypatch.setattr(layers, "BATCH", 2)
    if not team:
        monkeypatch.setattr(layers, "has_team", lambda: False)
    monkeypatch.setattr(sys, "argv", ["layers", "2", "--threads", str(threads)])
    main()
    head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert ("own threads" in head) == (threads == 2 and layers.has_team())
    assert [row.split(", ")[0].removeprefix("| ") for row in rows] == [name.split(", ")[0] for name in few]
    assert {row.count("|") for row in rows} == {head.count("|")}


@pytest.mark.parametrize("words", [["1"], ["5", "--threads", "0"], ["--switch", "none"]])
def test_what_cannot_be_measured_is_exit_2(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["layers", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert words[-1] in capsys.readouterr().err.splitlines()[-1]


def test_a_machine_that_cannot_compile_is_one_line_and_exit_2(monkeypatch, capsys):
    def missing():
        raise NoCompiler("no C compiler")

    monkeypatch.setattr(layers.products, "library", missing)
    monkeypatch.setattr(sys, "argv", ["layers", "--threads", "2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("no C compiler")
