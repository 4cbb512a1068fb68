"""What a person sees while cells run."""

import io
import re
import sys

import pytest

from bench.launch.outcome import Outcome
from bench.plan import Selection, make_plan
from bench.progress import PlainDisplay, RichDisplay, make_display, show_result
from bench.time_left import TimeLeft


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def cells(*methods, seeds=(0,), probes=("conv1-5",)):
    return list(make_plan(Selection(methods, ("digits",), seeds, probes)).cells)


def finish(left, clock, cell, seconds):
    left.started(cell)
    clock.now += seconds
    left.ended(Outcome(cell, "done", seconds=seconds))


def test_time_left_is_unknown_until_a_cell_of_the_kind_is_done(clock):
    pretrain, probe, *rest = cells("beta-vae", seeds=(0, 1))
    left = TimeLeft([pretrain, probe, *rest], clock)
    assert (left.left(), str(left)) == (None, "")
    finish(left, clock, pretrain, 10.0)
    assert left.left() is None
    finish(left, clock, probe, 1.0)
    assert (left.left(), str(left)) == (11.0, "about 11 s left")
    left.ended(Outcome(rest[0], "failed"))
    assert left.left() == 1.0


def test_time_left_of_a_pretraining_is_not_told_by_one_without_steps(clock):
    random, random_probe, trained, trained_probe, other, other_probe = cells("random", "beta-vae", "patchvae")
    left = TimeLeft([random, random_probe, trained, trained_probe, other, other_probe], clock)
    finish(left, clock, random, 0.1)
    finish(left, clock, random_probe, 2.0)
    assert left.left() is None
    finish(left, clock, trained, 100.0)
    assert left.left() == 2.0 + 100.0 + 2.0
    # Nor is one without steps told by one with steps.
    late = TimeLeft([trained, random], clock)
    finish(late, clock, trained, 100.0)
    assert late.left() == 0.0


def test_time_left_of_a_cell_is_what_cells_like_it_took(clock):
    first = cells("beta-vae", "patchvae", probes=("conv1", "conv1-5"))
    second = cells("beta-vae", "patchvae", seeds=(1,), probes=("conv1", "conv1-5"))
    left = TimeLeft([*first, *second], clock)
    for cell, seconds in zip(first, (10.0, 1.0, 2.0, 30.0, 3.0, 4.0), strict=True):
        finish(left, clock, cell, seconds)
    assert left.left() == 50.0
    finish(left, clock, second[0], 20.0)
    assert left.left() == 40.0


def test_time_left_goes_down_with_the_steps_of_the_running_cell_and_with_time(clock):
    (cell,) = cells("beta-vae")[:1]
    left = TimeLeft([cell], clock)
    left.started(cell)
    # The first steps come late, and it goes on from step 500.
    clock.now = 60.0
    left.step(500, 1000)
    assert left.left() is None
    clock.now = 70.0
    left.step(600, 1000)
    assert left.left() == 40.0
    clock.now = 75.0
    assert left.left() == 35.0
    clock.now = 80.0
    left.step(650, 1000)
    assert left.left() == pytest.approx(350 / 7.5)


def test_time_left_of_a_cell_before_its_pace_is_known_is_the_mean_less_its_age(clock):
    one, two = cells("beta-vae")[0], cells("beta-vae", seeds=(1,))[0]
    left = TimeLeft([one, two], clock)
    finish(left, clock, one, 10.0)
    left.started(two)
    clock.now += 4.0
    assert left.left() == 6.0
    clock.now += 40.0
    assert left.left() == 0.0


def test_a_resumed_cell_took_what_its_result_says(clock):
    one, two = cells("beta-vae")[0], cells("beta-vae", seeds=(1,))[0]
    left = TimeLeft([one, two], clock)
    left.ended(Outcome(one, "done", seconds=1.0, result={"seconds": 50.0}))
    assert left.left() == 50.0


def test_plain_lines_come_now_and_then(capsys, clock):
    (cell, *_) = cells("random")
    display = PlainDisplay([cell], sys.stdout, clock)
    with display:
        display.cell_started(cell, 1, 9)
        for step in range(100):
            clock.now = step
            display.step(step, 100, 50.0, {"loss": 2.0, "top1": 0.5, "temperature": 1.0})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3
    start = "[1/9] random digits seed 0 pretrain: step 30/100, loss 2, top1 50.0 %, 50 images/s"
    assert lines[1] == f"{start}, about 1 min 10 s left"


def test_bars_on_a_terminal():
    stream = Terminal()
    (cell, *_) = cells("random")
    display = make_display([cell], stream)
    assert isinstance(display, RichDisplay)
    with display:
        display.cell_started(cell, 1, 1)
        display.step(1, 2, 10.0, {"loss": 1.0})
        display.row({"loss": 1.0})
        display.note("[a note]")
        display.cell_ended(Outcome(cell, "done", seconds=1.0, result={"metrics": {"loss": 1.0}}), 1, 1)
    assert "[a note]" in stream.getvalue()
    assert "random digits seed 0 pretrain: done in 1.0 s, loss 1" in stream.getvalue()


def probe_result(**rules):
    return {
        "kind": "probe",
        "rules": {rule.replace("_", "-"): {"top1": value} for rule, value in rules.items()},
    }


def test_a_second_rule_is_shown_where_its_figure_differs():
    assert show_result(probe_result(best_test=0.41944, last=0.41941)) == "top-1 41.94 % (last)"
    assert show_result(probe_result(best_test=0.43, last=0.42)) == "top-1 42.00 % (last), 43.00 % (best-test)"
    assert show_result(probe_result(val=0.4)) == "top-1 40.00 % (val)"
    assert show_result(probe_result()) == ""


def screen(monkeypatch, ended=False):
    """What a terminal of 100 columns shows of a long cell, as lines."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    _, cell = cells("patchvae-gan-lw", seeds=(1234567,))
    display = make_display([cell], stream)
    assert isinstance(display, RichDisplay)
    with display:
        display.cell_started(cell, 1, 1)
        display.step(
            123, 45678, 1234.0, {"loss": 1234.5, "loss_patch": 12.25, "top1": 0.123, "test_top1": 0.1}
        )
        display._bars.refresh()
        shown = stream.getvalue()
        result = probe_result(last=0.12345, best_test=0.23456)
        display.cell_ended(Outcome(cell, "done", seconds=7000.0, result=result), 1, 1)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue() if ended else shown)
    return re.split(r"[\r\n]+", text)


def test_values_give_way_to_the_elapsed_time_on_a_narrow_terminal(monkeypatch):
    line = next(line for line in reversed(screen(monkeypatch)) if "123/45678" in line)
    assert re.search(r"patchvae-gan-lw digits seed 1234567 conv1-5 .* 123/45678 0:00:00 loss", line)
    assert line.rstrip().endswith("…")
    assert len(line) <= 100


def test_the_end_of_a_cell_is_not_broken_inside_a_word(monkeypatch):
    lines = screen(monkeypatch, ended=True)
    at = next(i for i, line in enumerate(lines) if "done in" in line)
    assert max(map(len, lines)) <= 100
    assert f"{lines[at].rstrip()} {lines[at + 1].rstrip()}".endswith("12.35 % (last), 23.46 % (best-test)")


def test_time_left_of_several_workers_is_divided_among_them_and_no_less_than_the_longest_cell(clock):
    cells_ = cells("beta-vae", seeds=(0, 1, 2))
    left = TimeLeft(cells_, clock)
    lanes = [left.lane(), left.lane()]
    finish(lanes[0], clock, cells_[0], 60.0)
    finish(lanes[1], clock, cells_[1], 10.0)
    # Two pretrainings of a minute and two probes of ten seconds are to come.
    assert left.left() == 70.0
    lanes[0].started(cells_[2])
    lanes[1].started(cells_[4])
    assert left.left() == 70.0
    lanes[0].ended(Outcome(cells_[2], "failed"))
    lanes[0].ended(Outcome(cells_[3], "skipped"))
    lanes[0].ended(Outcome(cells_[5], "skipped"))
    assert left.left() == 60.0
    lanes[1].lost()
    assert left.left() == 30.0


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_workers_share_a_display_and_each_has_a_line_of_its_own(kind):
    out = kind()
    first, second = cells("beta-vae")
    with make_display([first, second], out) as display:
        lanes = [display.lane(), display.lane()]
        lanes[0].cell_started(first, 1, 2)
        lanes[1].cell_started(second, 2, 2)
        lanes[0].step(3, 10, 5.0, {"loss": 0.25})
        lanes[1].step(4, 10, 5.0, {"train_loss": 0.5})
        if isinstance(display, RichDisplay):
            assert [task.completed for task in display._bars.tasks] == [0, 3, 4]
            assert [task.description for task in display._bars.tasks][1:] == [
                f"1/2 {first.label}",
                f"2/2 {second.label}",
            ]
        lanes[1].cell_lost()
        lanes[0].cell_ended(Outcome(first, "done", seconds=1.0), 1, 2)
        if isinstance(display, RichDisplay):
            assert [task.completed for task in display._bars.tasks] == [1]
    assert f"[1/2] {first.label}: done in 1.0 s" in out.getvalue()
