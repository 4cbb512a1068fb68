"""Records: whole or not there, published once, resumed exactly, and one owner at a time."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

from bench import checkpoint, claims, files
from bench.config import config_id, pretrain_config
from bench.errors import Superseded, UsageError
from bench.records import Attempt, check_results, find_run, load_runs, open_results
from tests.fake_trainer import anything, load

CONFIG = pretrain_config("beta-vae", {"name": "digits", "version": 1}, image_size=32, flip=False, seed=0)


@pytest.fixture
def results(tmp_path):
    open_results(tmp_path)
    return tmp_path


def attempt(results, **options):
    notes = []
    one = Attempt(results, CONFIG, on_note=notes.append, **options)
    return one, notes


def test_a_finished_attempt_is_a_done_run(results):
    one, _ = attempt(results, provenance={"device": "cpu"})
    one.log({"epoch": 1, "loss": torch.tensor(2.5), "bad": float("nan")})
    one.save_checkpoint({"x": torch.ones(3)}, {})
    one.save_model({"w": torch.ones(2)})
    one.save_arrays("reconstructions", images=torch.zeros(2, 3, 4, 4, dtype=torch.uint8).numpy())
    one.finish({"metrics": {"loss": 2.5}, "steps": 7})
    (run,) = map(anything, load_runs(results))
    assert run.state == "done"
    assert run.config == CONFIG
    assert run.result == {
        "schema": 1, "id": run.id, "kind": "pretrain", "attempt": "0001", "metrics": {"loss": 2.5}, "steps": 7,
    }  # fmt: skip
    assert run.metrics() == [{"epoch": 1, "loss": 2.5, "bad": None}]
    assert run.reconstructions()["images"].shape == (2, 3, 4, 4)
    assert run.predictions() is None
    assert run.weights.exists()
    assert run.provenance["device"] == "cpu"
    assert run.provenance["peak_memory_bytes"] > 0
    # What only a resume needs is gone.
    assert not list(results.rglob("*checkpoint*"))


def test_a_second_result_is_refused_unless_it_was_forced(results):
    first, second = attempt(results)[0], attempt(results)[0]
    first.finish({"steps": 1})
    with pytest.raises(Superseded, match="another attempt"):
        second.finish({"steps": 2})
    assert load(results, first.id).result["steps"] == 1
    forced, _ = attempt(results, forget=2)
    assert load(results, first.id).result["steps"] == 1
    forced.finish({"steps": 3})
    run = load(results, first.id)
    assert (run.result["steps"], run.result["attempt"]) == (3, "0003")
    assert (run.dir / "attempts" / "0001" / "result.json").exists()


def test_states_of_a_run(results):
    one, _ = attempt(results)
    assert load(results, one.id).state == "interrupted"
    claim = anything(claims.claim(one.run_dir))
    assert load(results, one.id).state == "running"
    claim.release()
    one.fail("loss is not finite from step 3 on", "Diverged", "a trace")
    run = load(results, one.id)
    assert run.state == "failed"
    assert run.status["error"] == "loss is not finite from step 3 on"
    assert "a trace" in one.log_path.read_text()
    attempt(results)[0].interrupt("stopped")
    assert load(results, one.id).state == "interrupted"


TENSORS = {
    "float": torch.randn(3, 4, dtype=torch.float64),
    "half": torch.randn(5).bfloat16(),
    "bool": torch.tensor(True),
    "long": torch.arange(3),
    "empty": torch.zeros(0, 3),
    "view": torch.arange(12.0).reshape(3, 4).t(),
}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    path, meta = tmp_path / "x.safetensors", {"step": 3, "lr": 0.1 + 0.2, "names": ["a"], "none": None}
    tied = torch.ones(2)
    checkpoint.write_tensors(path, {**TENSORS, "a": tied, "b": tied}, meta)
    tensors, back = checkpoint.read_tensors(path)
    assert back == meta
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_broken_checkpoint_is_set_aside_named_and_the_one_before_it_taken(results, damage):
    one, _ = attempt(results)
    for step in (1, 2, 3):
        one.log({"epoch": step})
        one.save_checkpoint({"x": torch.full((4,), step)}, {"step": step})
    path = one.dir / checkpoint.NAME
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
    elif damage == "header":
        data[20] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, bytes(data)))
    two, notes = attempt(results)
    tensors, meta = anything(two.load_checkpoint())
    assert meta["step"] == 2
    assert torch.equal(tensors["x"], torch.full((4,), 2))
    assert [row["epoch"] for row in load(results, one.id).metrics()] == [1, 2]
    assert "checkpoint.safetensors" in notes[0]
    assert "set aside" in notes[0]
    assert (one.dir / "checkpoint.safetensors.broken-1").exists()


def test_metrics_are_as_they_were_when_the_checkpoint_was_taken(results):
    one, _ = attempt(results)
    one.log({"epoch": 1})
    one.save_checkpoint({"x": torch.ones(1)}, {})
    one.log({"epoch": 2})
    with (one.dir / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [row["epoch"] for row in load(results, one.id).metrics()] == [1, 2]
    two, _ = attempt(results)
    assert two.load_checkpoint() is not None
    two.log({"epoch": 2})
    assert [row["epoch"] for row in load(results, one.id).metrics()] == [1, 2]
    # A third goes on from the first's, as the second saved none.
    assert attempt(results)[0].load_checkpoint() is not None


def test_a_kill_between_the_two_renames_loses_nothing(results):
    one, _ = attempt(results)
    one.save_checkpoint({"x": torch.ones(1)}, {"step": 1})
    (one.dir / checkpoint.NAME).rename(one.dir / checkpoint.PREVIOUS)
    assert anything(attempt(results)[0].load_checkpoint())[1]["step"] == 1
    checkpoint.write_tensors(one.dir / "new.checkpoint.safetensors", {}, {"step": 2, "metrics": ""})
    assert anything(attempt(results)[0].load_checkpoint())[1]["step"] == 2


def test_a_forced_attempt_reads_no_earlier_checkpoint_and_later_ones_none_before_it(results):
    one, _ = attempt(results)
    one.save_checkpoint({"x": torch.ones(1)}, {"step": 9})
    forced, _ = attempt(results, forget=1)
    assert forced.load_checkpoint() is None
    assert attempt(results)[0].load_checkpoint() is None
    forced.save_checkpoint({"x": torch.ones(1)}, {"step": 1})
    assert anything(attempt(results)[0].load_checkpoint())[1]["step"] == 1


def test_temporary_files_of_a_kill_are_cleared_by_the_next_attempt(results):
    one, _ = attempt(results)
    files.temporary(one.dir / "x").write_text("half")
    files.temporary(one.run_dir / "x").write_text("half")
    attempt(results)
    assert not list(results.rglob("*.tmp"))


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_publishing_works_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("1")
    assert files.publish(source, target)
    assert not files.publish(source, target)
    assert target.read_text() == "1"


def test_broken_files_are_named_and_the_other_runs_read(results):
    one, _ = attempt(results)
    one.finish({})
    (one.run_dir / "result.json").unlink()
    (one.run_dir / "result.json").write_text('{"id": "')
    other = results / "runs" / "0123456789abcdef"
    other.mkdir()
    (other / "config.json").write_text('{"schema": 1}')
    (results / "runs" / "empty").mkdir()
    (results / "runs" / "cut").mkdir()
    (results / "runs" / "cut" / "config.json").write_text("{")
    problems = []
    (run,) = load_runs(results, problems.append)
    assert run.state == "interrupted"
    assert len(problems) == 4
    assert sum("no cell's folder" in text for text in problems) == 2
    assert any("result.json" in text for text in problems)
    assert any("does not belong" in text for text in problems)


def test_a_results_folder_of_another_version_is_refused(tmp_path):
    (tmp_path / "bench.json").write_text('{"schema": 99}')
    for call in (check_results, open_results, load_runs):
        with pytest.raises(UsageError, match="incompatible version"):
            call(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        check_results(tmp_path / "bench.json")


def test_a_folder_without_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    full = os.statvfs(tmp_path)
    values = list(full)
    values[4] = 10
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    with pytest.raises(UsageError, match="no space left"):
        open_results(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(UsageError, match="cannot be written"):
        open_results(Path("/proc/bench-results"))


def test_looking_writes_nothing(tmp_path):
    open_results(tmp_path / "new", create=False)
    assert load_runs(tmp_path / "new") == []
    assert not list(tmp_path.iterdir())


def test_a_run_is_found_by_the_beginning_of_its_id(results):
    one, _ = attempt(results)
    assert find_run(results, one.id[:4]).id == one.id
    for prefix in ("", "zz"):
        with pytest.raises(UsageError, match="no run"):
            find_run(results, prefix)


def test_ten_thousand_runs_are_read_in_seconds(results):
    one, _ = attempt(results)
    rows = [{"epoch": k, "test_top1": 0.1234567, "test_loss": 1.234567} for k in range(90)]
    one.finish({"epochs": rows})
    count = 1_000
    for seed in range(1, count):
        config = {**CONFIG, "seed": seed}
        folder = results / "runs" / config_id(config)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "result.json").write_text(
            json.dumps({"id": folder.name, "attempt": "0001", "epochs": rows})
        )
    begun = time.process_time()
    assert sum(run.state == "done" for run in load_runs(results)) == count
    assert time.process_time() - begun < 1.5


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_attempt_after_attempt_two_checkpoints_are_kept_and_the_newest_is_gone_on_from(results, saves):
    step = 0
    for _ in range(5):
        one, _ = attempt(results)
        if step:
            assert anything(one.load_checkpoint())[1]["step"] == step
        for _ in range(saves):
            step += 1
            one.log({"epoch": step})
            one.save_checkpoint({"x": torch.full((2,), step)}, {"step": step})
        kept = list(results.rglob("*checkpoint*"))
        assert len(kept) == min(step, 2)
    # What an attempt needs to go on is in its checkpoint alone.
    for path in results.glob("runs/*/attempts/*/metrics.jsonl"):
        path.unlink()
    last, _ = attempt(results)
    assert last.load_checkpoint() is not None
    assert [row["epoch"] for row in load(results, last.id).metrics()] == list(range(1, step + 1))


def test_a_broken_status_never_brings_back_what_was_forgotten(results):
    attempt(results)[0].save_checkpoint({"x": torch.ones(1)}, {"step": 9})
    forced, _ = attempt(results, forget=1)
    (forced.dir / "status.json").write_text('{"forget": ')
    later, notes = attempt(results)
    assert later.load_checkpoint() is None
    assert any("status.json" in note for note in notes)
