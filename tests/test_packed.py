"""Packed records: one file from which the same runs are read, with nothing of the machine in it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench import packed
from bench.config import config_id
from bench.errors import BenchError, UsageError
from bench.packed import predictions
from bench.packed.scrub import command
from bench.records import find_run, load_runs
from bench.report import build
from tests.synthetic_runs import Runs

MACHINE = {
    "argv": ["/home/ada/b.py", "run", "--data", "/home/ada/sets", "--results=/scratch/ada/x", "-d", "folder:~/b"],
    "host": "analytical-engine", "pid": 4321, "platform": "Linux-6.1-x86_64", "source_hash": "aaaa", "device": "cpu",
    "git": {"commit": "0123456789abcdef", "dirty": False}, "versions": {"torch": "2.14.1"},
    "started": "2026-01-02T03:04:05+00:00",
    "scheduler": {"job": "job-4711", "node": "engine-1", "account": "lovelace", "cpus": 4, "gpus": "GPU-5f3a,GPU-77"},
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    runs = Runs(tmp_path / "results")
    runs.cells(["beta-vae", "patchvae", "random"], range(2), points=("conv1", "conv1-5"), n_test=200)
    failed = runs.pretrain("bigan", 0, state="failed", error="/home/ada/x.npz on analytical-engine is broken")
    folder = runs.root / "runs" / config_id(failed)
    (folder / "attempts" / "0001" / "provenance.json").write_text(json.dumps(MACHINE))
    runs.pretrain("bigan", 1, state="interrupted")
    return runs.root


def write(results, path, **options):
    return packed.write_packed(load_runs(results), path, **options)


def facts(run):
    return run.id, run.config, run.result, run.state, run.metrics(), run.owner


def test_every_run_is_read_as_it_was(results, tmp_path):
    whole = [run for run in load_runs(results) if run.config.get("method") != "bigan"]
    write(results, tmp_path / "x.parquet", without=(), predictions="all")
    back = [run for run in load_runs(tmp_path / "x.parquet") if run.config.get("method") != "bigan"]
    assert len(back) == len(whole) == 18
    for before, after in zip(whole, back, strict=True):
        assert facts(after) == facts(before)
        assert after.provenance == before.provenance
        assert after.array_names == before.array_names
        for name in before.array_names:
            ours, theirs = before.arrays(name), after.arrays(name)
            assert ours is not None
            assert theirs is not None
            assert ours.keys() == theirs.keys()
            for key in ours:
                assert theirs[key].dtype == ours[key].dtype
                np.testing.assert_array_equal(theirs[key], ours[key])
    assert find_run(tmp_path / "x.parquet", back[3].id[:8]).config == back[3].config


def test_a_run_that_is_not_done_keeps_its_state_and_has_no_result(results, tmp_path):
    back = load_runs(write(results, tmp_path / "x.parquet"))
    runs = {run.config["seed"]: run for run in back if run.config.get("method") == "bigan"}
    assert (runs[0].state, runs[0].result) == ("failed", None)
    assert (runs[1].state, runs[1].result) == ("interrupted", None)
    assert runs[0].status["error"] == "x.npz on HOST is broken"
    assert (runs[0].attempts, runs[0].weights, runs[0].arrays("reconstructions")) == ([], None, None)


def test_nothing_in_it_names_the_machine_or_its_people(results, tmp_path):
    table = pq.read_table(write(results, tmp_path / "x.parquet"))
    text = json.dumps(table.drop_columns(["arrays"]).to_pylist())
    for word in ("ada", "analytical", "4321", "4711", "engine-1", "lovelace", "scratch", "home", "5f3a"):
        assert word not in text.replace("metadata", ""), word
    (failed,) = [run for run in load_runs(tmp_path / "x.parquet") if run.state == "failed"]
    assert " ".join(failed.provenance["argv"]) == "bench run --data sets --results=x -d folder:b"
    assert failed.provenance["scheduler"] == {"cpus": 4, "gpus": "0,1"}
    for name in ("platform", "git", "versions", "device", "started", "source_hash"):
        assert failed.provenance[name] == MACHINE[name]
    assert packed.scrub(failed.provenance) == failed.provenance, "scrubbing twice changes nothing"


def test_a_page_shows_of_a_folder_what_it_shows_of_its_packed_file(results, tmp_path):
    for path in results.glob("runs/*/attempts/0001/provenance.json"):
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "argv": [*MACHINE["argv"], "ada@engine:/x"]})
        )
    details = build(results).details
    assert details
    for one in details.values():
        assert dict(one.facts)["command"] == "bench run --data sets --results=x -d folder:b USER@HOST:x"
    assert build(write(results, tmp_path / "x.parquet")).details == details


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/data/x.npz cannot be read: broken", "x.npz cannot be read: broken"),
        ("no space left, at '/a/b c.txt'", "no space left, at 'b c.txt'"),
        ("loss is not finite from step 3 on", "loss is not finite from step 3 on"),
        ("12 images/s, 1/3 of them, and/or more; 1 / 2", "12 images/s, 1/3 of them, and/or more; 1 / 2"),
        ("see https://arxiv.org/abs/2004.03623", "see https://arxiv.org/abs/2004.03623"),
        ("results/x/y stays, ./a/b too", "results/x/y stays, ./a/b too"),
        ("(/home/ada/run.py:12)", "(run.py:12)"),
        ("~ada/sets and ~/sets", "sets and sets"),
        ("from file:///home/ada/x.npz, file://engine/home/ada/y.", "from x.npz, y."),
        ("FILE:/home/ada/x", "x"),
        ("scp ada@engine:/scratch/ada/x.npz", "scp USER@HOST:x.npz"),
        ("ask ada.lovelace@engine.example.org.", "ask USER@HOST."),
        ("https://ada:secret@example.org/x, ssh://ada@10.0.0.7/x", "https://USER@HOST/x, ssh://USER@HOST/x"),
        ("cifar100@10%, folder:birds@32 and a @ b stay", "cifar100@10%, folder:birds@32 and a @ b stay"),
        ("https://github.com/ada/x@main", "https://github.com/ada/x@main"),
    ],
)
def test_a_path_keeps_its_last_part(before, after):
    assert packed.scrub_text(before) == after
    assert packed.scrub_text(after) == after, "twice changes nothing"


@pytest.mark.parametrize(
    ("word", "after"),
    [
        ("/home/My Disk/ada/x", "x"),
        ("--data=/home/My Disk/ada/x", "--data=x"),
        ("folder:/home/My Disk/ada/birds@32", "folder:birds@32"),
        ("folder:/home/ada/a,folder:~ada/b@10%", "folder:a,folder:b@10%"),
        ("--to=file:///home/My Disk/ada/x", "--to=x"),
        ("--results=ada@engine:/x y/z", "--results=USER@HOST:x y/z"),
        ("pretrain.lr=0.1", "pretrain.lr=0.1"),
        ("--set=data=cifar100@10%", "--set=data=cifar100@10%"),
        ("https://example.org/a b", "https://example.org/a b"),
    ],
)
def test_a_word_of_a_command_may_be_a_path_with_blanks(word, after):
    assert command(["/usr/bin/bench", word]) == ["bench", after]
    assert command(["bench", after]) == ["bench", after], "twice changes nothing"


def test_the_same_records_give_the_same_bytes(results, tmp_path):
    runs = load_runs(results)
    for options in ({}, {"without": (), "predictions": "all"}):
        data = packed.pack(runs, **options)
        assert packed.pack(reversed(runs), **options) == data
        (tmp_path / "x.parquet").write_bytes(data)
        assert packed.pack(load_runs(tmp_path / "x.parquet"), **options) == data
    # What was cut short stays so when all is to be kept.
    data = packed.pack(runs)
    (tmp_path / "x.parquet").write_bytes(data)
    assert packed.pack(load_runs(tmp_path / "x.parquet"), predictions="all") == data


def test_short_predictions_say_of_every_image_what_a_report_asks(results, tmp_path):
    whole = {run.id: run.predictions() for run in load_runs(results)}
    short = {run.id: run.predictions() for run in load_runs(write(results, tmp_path / "x.parquet"))}
    compared = 0
    for key, before in whole.items():
        after = short[key]
        if before is None or after is None:
            assert before is after
            continue
        labels = before["labels"][:, None]
        np.testing.assert_array_equal(after["labels"], before["labels"])
        for rule in before.keys() - {"labels"}:
            compared += 1
            assert after[rule].shape == before[rule].shape
            np.testing.assert_array_equal(after[rule][:, 0], before[rule][:, 0])
            np.testing.assert_array_equal((after[rule] == labels).any(1), (before[rule] == labels).any(1))
    assert compared > 10


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_predictions_of_few_and_of_many_classes_are_shortened(classes):
    draw = np.random.default_rng(classes)
    best = np.argsort(draw.random((50, classes)), axis=1)[:, :5].astype(np.int16)
    labels = draw.integers(0, classes, 50).astype(np.int16)
    short = predictions.shorten(best, labels)
    assert short is not None
    back = predictions.lengthen(*short, labels, best.shape, best.dtype)
    np.testing.assert_array_equal(back[:, 0], best[:, 0])
    np.testing.assert_array_equal((back == labels[:, None]).any(1), (best == labels[:, None]).any(1))


def test_250_probes_of_10000_images_fit_into_a_few_megabytes(tmp_path):
    class Probe:
        """A probe as bad as a first layer's: 20 % of images right."""

        array_names = ("predictions",)

        def __init__(self, seed):
            self.result = {"rules": {}}
            self.draw = np.random.default_rng(seed)

        def arrays(self, name):
            labels = np.arange(10_000) % 100
            best = (labels[:, None] + self.draw.geometric(0.1, (10_000, 5)) - 1).astype(np.int16) % 100
            return {"labels": labels.astype(np.int16), "top5_last": best}

    from bench.packed.write import _arrays

    sizes = [
        len(pq_bytes([list(_arrays(Probe(seed), frozenset(), "first")) for seed in range(count)]))  # pyright: ignore
        for count in (2, 12)
    ]
    assert (sizes[1] - sizes[0]) / 10 * 250 < 3e6


def pq_bytes(arrays):
    import pyarrow as pa

    from bench.packed import layout

    out = pa.BufferOutputStream()
    schema = pa.schema([layout.schema().field("arrays")])
    pq.write_table(pa.Table.from_pylist([{"arrays": a} for a in arrays], schema), out, compression="zstd")
    return out.getvalue().to_pybytes()


def test_what_every_tool_reads_are_plain_columns(results, tmp_path):
    frame = pq.read_table(write(results, tmp_path / "x.parquet")).to_pandas()
    probe = frame[frame.kind == "probe"].iloc[0]
    run = find_run(results, probe.id)
    assert run.result is not None
    assert probe.top1_last == run.result["rules"]["last"]["top1"]
    assert probe.top5_best_test == run.result["rules"]["best-test"]["top5"]
    assert (probe.dataset, probe.freeze) == ("cifar100", run.config["freeze"])
    assert probe.method == run.config["pretrain"]["method"]
    assert json.loads(probe.config) == run.config
    assert frame[frame.kind == "pretrain"].probe_seed.isna().all()


def test_no_damage_goes_unnoticed(tmp_path):
    few = Runs(tmp_path / "few")
    few.cells(["patchvae"], [0], points=("conv1", "conv1-5"), n_test=50)
    path = write(few.root, tmp_path / "x.parquet")
    whole, draw = path.read_bytes(), np.random.default_rng(1)
    places = [*range(8), *draw.choice(len(whole), 300, replace=False), *range(len(whole) - 400, len(whole))]
    for place in map(int, places):
        data = bytearray(whole)
        data[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(data)
        with pytest.raises(BenchError, match=r"^[^\n]*x\.parquet[^\n]*$"):
            load_runs(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_cut_short_is_broken(results, tmp_path, share):
    path = write(results, tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BenchError, match=r"x\.parquet"):
        load_runs(path)


def test_what_is_no_file_of_packed_records_is_refused(tmp_path):
    import pyarrow as pa

    (tmp_path / "words").write_text("words")
    with pytest.raises(UsageError, match="holds no packed records"):
        load_runs(tmp_path / "words")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="holds no packed records"):
        load_runs(tmp_path / "other.parquet")


def test_a_later_version_is_refused(results, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.packed.layout.VERSION", 2)
    path = write(results, tmp_path / "x.parquet")
    monkeypatch.undo()
    with pytest.raises(UsageError, match="of version 2"):
        load_runs(path)


def test_a_folder_that_holds_a_packed_file_is_read_like_one_that_holds_runs(results, tmp_path):
    published = tmp_path / "published"
    write(results, published / "records.parquet")
    assert [run.id for run in load_runs(published)] == [run.id for run in load_runs(results)]
    (published / "runs").mkdir()
    assert load_runs(published) == [], "runs of its own come first"
