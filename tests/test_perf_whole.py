"""`python -m bench.perf.whole`: two results folders of the same cells, by kind of cell and by accuracy."""

import json
import os
import shutil
import sys

import pytest

from bench.cli import main as bench
from bench.perf.whole import main

WORDS = (
    "run -m random,supervised -d digits -s 2 --probes conv1 --evaluate none"
    " --set pretrain.epochs=1 --set probe.epochs=1"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "fast"
    # With probes of another batch size beside them.
    for more in ("", " --set probe.batch_size=200"):
        assert bench([*f"{WORDS}{more}".split(), "--results", str(folder)]) == 0
    return folder


@pytest.fixture
def folders(real, tmp_path):
    """A real run, and a copy of it in which each cell took twice as long."""
    fast, slow = tmp_path / "fast", tmp_path / "slow"
    for copy in (fast, slow):
        shutil.copytree(real, copy)
    for path in results(slow):
        change(path, lambda row: row.update({k: 2 * row[k] for k in TIMES if row.get(k)}))
    return fast, slow


TIMES = ("seconds", "feature_seconds")


def results(folder):
    return sorted(folder.glob("runs/*/result.json"))


def config(path):
    return json.loads((path.parent / "config.json").read_text())


def change(path, how):
    row = json.loads(path.read_text())
    how(row)
    path.write_text(json.dumps(row))


@pytest.fixture
def whole(monkeypatch, capsys):
    """What the command says, and its exit status."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["whole", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as exit:
            status = exit.code
        told = capsys.readouterr()
        return status, told.out.splitlines(), told.err

    return run


def cells_of(line):
    return [word.strip() for word in line.strip("|").split("|")]


def test_seconds_are_told_by_kind_of_cell_and_together(folders, whole):
    status, out, _ = whole(*folders)
    assert status == 0
    rows = {name: row for name, *row in map(cells_of, out[2:-1])}
    assert list(rows) == ["probes, conv1", "random pretrain", "supervised pretrain", "all"]
    assert [row[0] for row in rows.values()] == ["8", "2", "2", "12"]
    true = sum(sum(json.loads(p.read_text()).get(k) or 0 for k in TIMES) for p in results(folders[0]))
    assert float(rows["all"][2]) == pytest.approx(true, abs=0.06)
    assert {rows[name][4] for name in ("probes, conv1", "all")} == {"2.00"}
    shares = [float(row[1].removesuffix(" %")) for row in rows.values()]
    assert sum(shares[:-1]) == pytest.approx(100, abs=0.2)
    assert shares[-1] == 100


def test_of_several_cells_at_once_each_takes_its_share_of_the_wall(folders, whole):
    rows = {name: row for name, *row in map(cells_of, whole(*folders, "--at-once", "2")[1][2:-1])}
    assert rows["all"][4] == "4.00"


def test_accuracies_are_compared_as_means_over_seeds(folders, whole):
    assert "differs by 0.00 points in the median and 0.00 at most" in whole(*folders)[1][-1]
    probes = [p for p in results(folders[1]) if config(p)["kind"] == "probe"]
    # One seed of one method a point more than in the fast run, the other the same.
    of_random = [p for p in probes if config(p)["pretrain"]["method"] == "random"]
    change(of_random[0], lambda row: row["rules"]["last"].update(top1=row["rules"]["last"]["top1"] + 0.01))
    said = whole(*folders)[1][-1]
    assert said.startswith(
        "top-1 of 4 rows, means over seeds, differs by 0.00 points in the median and 0.50 at most"
    )
    assert "(random digits conv1); mean -0.1" in said
    # Other settings are no other seed: of two points more and two points less nothing would be left.
    for path in probes:
        if (row := config(path))["pretrain"]["method"] == "supervised":
            more = 0.02 if row["probe"]["batch_size"] == 200 else -0.02
            change(
                path,
                lambda row, more=more: row["rules"]["last"].update(top1=row["rules"]["last"]["top1"] + more),
            )
    assert "2.00 at most (supervised digits conv1); mean -0.1" in whole(*folders)[1][-1]


def test_a_cell_that_one_has_not_finished_is_named(folders, whole, tmp_path):
    supervised = [p for p in results(folders[1]) if config(p).get("method") == "supervised"]
    for path in supervised:
        path.unlink()
    status, out, error = whole(*folders)
    assert (status, out) == (2, [])
    assert f"{folders[1]} has not finished supervised digits seed 0 pretrain and 1 more" in error
    assert whole(*folders[::-1])[0] == 2
    status, out, error = whole(tmp_path / "none", tmp_path / "neither")
    assert (status, out) == (2, [])
    assert "have no finished cell" in error


@pytest.mark.parametrize("count", ["0", "two"])
def test_so_many_cells_at_once_are_refused(folders, whole, count):
    status, out, error = whole(*folders, "--at-once", count)
    assert (status, out) == (2, [])
    assert count in error


def test_a_result_that_does_not_say_what_is_compared_is_named(folders, whole):
    path = next(p for p in results(folders[1]) if config(p)["kind"] == "probe")
    change(path, lambda row: row.update(rules={}))
    status, out, error = whole(*folders)
    assert (status, out) == (2, [])
    assert path.parent.name in error


def test_a_probe_that_holds_images_out_has_one_test(folders, whole):
    for folder in folders:
        for path in results(folder):
            if config(path)["kind"] == "probe":
                change(path, lambda row: row.update(rules={"val": row["rules"]["last"]}))
    assert whole(*folders)[0] == 0


def test_cells_that_took_no_time_have_no_ratio(folders, whole):
    for path in results(folders[0]):
        change(path, lambda row: row.update(dict.fromkeys(TIMES, 0.0)))
    status, out, _ = whole(*folders)
    assert status == 0
    assert cells_of(out[-2])[-1] == "–"


def test_seconds_in_which_a_run_was_stopped_are_taken_off(folders, whole, tmp_path):
    fast, slow = folders
    end = 2_000_000_000.0
    for k, path in enumerate(results(slow)):
        change(path, lambda row: row.update(seconds=10.0, feature_seconds=0.0))
        os.utime(path, (end + 100 * k, end + 100 * k))
    stops = tmp_path / "stops.json"
    # Four seconds of one cell, two at the end of another and eight behind it, and none of any.
    found = [[end - 7, end - 3], [end + 98, end + 108], [end + 150, end + 160]]
    stops.write_text(json.dumps([[], found]))
    rows = {name: row for name, *row in map(cells_of, whole(fast, slow, "--stops", stops)[1][2:-1])}
    assert float(rows["all"][3]) == pytest.approx(10 * len(results(slow)) - 6)
    stops.write_text("{}")
    status, out, error = whole(fast, slow, "--stops", stops)
    assert (status, out) == (2, [])
    assert "not what `bench.perf.in_turn --stops` writes" in error
