"""`bench perf pretrain --beside`: processes take the same turns, within the cores, under ceilings of as many."""

import xml.etree.ElementTree as ET
from contextlib import ExitStack

import pytest
import torch

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.perf import compare
from bench.perf.pretrain import compared, measure
from bench.perf.roofline import roofline
from bench.perf.steps import some_images
from bench.perf.turns import Beside, Turns, rounds
from tests.test_perf import CPU, facts
from tests.test_perf_authors import beside_authors, wish


def test_processes_beside_add_up_and_their_times_are_averaged():
    class Other:
        def __init__(self):
            self.begun = []

        def begin(self, name):
            self.begun.append(name)

        def taken(self):
            return [7.0, 9.0]

    class One:
        runs = dict.fromkeys(("plain", "fast"))

        def take(self, name):
            return 2.0 if name == "plain" else 5.0

    other = Other()
    times = rounds(One(), other, 3, CPU)  # type: ignore[arg-type]
    assert times == {"plain": [6.0] * 3, "fast": [7.0] * 3}
    assert len(other.begun) == 2 * (3 + 2)


@pytest.mark.slow
def test_two_processes_take_the_same_turns():
    found = measure(wish(beside=2), lambda _: None)
    (row,) = found["rows"]
    assert "copied_bytes_per_second" not in found
    for way in row["ways"]:
        assert way["images_per_second"] == pytest.approx(2 * 4 / way["ms"] * 1e3)
        assert len(way["of_convolutions"]["each"]) == 3


@pytest.mark.slow
def test_a_process_that_dies_beside_is_said():
    asked = wish()
    split, speeds = some_images(asked.split, 4, 16), compared(asked)
    turns = Turns("beta-vae", speeds, split, asked)
    with ExitStack() as ended:
        beside = Beside(1, ended, "beta-vae", speeds, split, asked, ("contiguous", torch.float32))
        beside.begin("no such way")
        with pytest.raises(BenchError, match="a process that was measured beside this one died"):
            beside.taken()
    assert turns.ways == ("plain", "fast")


def test_as_many_processes_compare_and_an_earlier_measurement_had_one():
    with pytest.raises(UsageError, match="has beside 1, this one 2"):
        compare.compare(facts(), beside_authors())
    assert compare.compare(facts(), beside_authors(beside=1))


@pytest.mark.parametrize(
    ("words", "cores", "error"),
    [
        (["--beside", "8"], 2, "--beside 8 with --threads 1 takes 8 cores of 2: at most 2 here"),
        (["--beside", "2", "--threads", "2"], 2, "--beside 2 with --threads 2 takes 4 cores of 2: not here"),
        (
            ["--beside", "4", "--threads", "2"],
            6,
            "--beside 4 with --threads 2 takes 8 cores of 6: at most 3 here",
        ),
    ],
)
def test_more_than_the_cores_can_do_at_a_time_is_refused_in_one_line(
    words, cores, error, monkeypatch, capsys
):
    monkeypatch.setattr("bench.commands.perf_options.num_cores", lambda: cores)
    assert main(["perf", "pretrain", *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1


def test_a_copy_of_one_process_is_no_ceiling_of_several():
    found = facts()
    found["pretrain"]["beside"] = 2
    del found["pretrain"]["copied_bytes_per_second"]
    texts = [
        e.text or "" for e in ET.fromstring(roofline(found)["svg"]).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert not any("copy:" in text for text in texts)
    assert any("a large product" in text for text in texts)
    assert any("2 processes of 1 thread, batch 128" in text for text in texts)
