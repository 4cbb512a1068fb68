import json

import pytest

from bench.dispatches import Pack, jobs_of, load_dispatches, make_dispatch
from bench.files import write_json

FACTS = {
    "argv": ["run", "--slurm"],
    "host": "login1",
    "user": "ada",
    "cluster": "dev",
    "profile": {"file": None},
    "root": None,
    "threads": 1,
    "code": "/somewhere/code/0123",
}


def written(results, *packs):
    dispatch = make_dispatch(results, **FACTS, packs=list(packs))
    dispatch.write()
    return dispatch


def test_a_dispatch_is_read_as_it_was_written(tmp_path):
    packs = [
        Pack(0, "pretrain", ("a", "b"), seconds=12.5, job="1200_0", name="bench-x-pretrain-0"),
        Pack(1, "probe", ("c",), needs=("a",), after=("1200_0",)),
    ]
    dispatch = written(tmp_path, *packs)
    assert load_dispatches(tmp_path) == [dispatch]


def test_the_newest_pack_of_a_cell_counts(tmp_path):
    written(tmp_path, Pack(0, "pretrain", ("a", "b"), job="1"))
    written(tmp_path, Pack(0, "pretrain", ("b",), job="2"))
    found = jobs_of(load_dispatches(tmp_path))
    assert {cell: pack.job for cell, (_, pack) in found.items()} == {"a": "1", "b": "2"}


def test_a_clock_that_was_ahead_does_not_keep_an_older_dispatch_the_newest(tmp_path):
    ahead = written(tmp_path, Pack(0, "pretrain", ("a",), job="1"))
    ahead.dir.rename(ahead.dir.with_name("29991231-235959-999999-ffff"))
    later = [written(tmp_path, Pack(0, "pretrain", ("a",), job=str(k))) for k in (2, 3)]
    assert [d.id for d in load_dispatches(tmp_path)][1:] == [d.id for d in later]


@pytest.mark.parametrize("text", ['{"schema": 1, "pac', "[]", "{}", '{"packs": [1]}'])
def test_a_broken_dispatch_is_named_and_the_others_are_read(tmp_path, text):
    broken, whole = written(tmp_path), written(tmp_path)
    (broken.dir / "dispatch.json").write_text(text)
    said = []
    assert [d.id for d in load_dispatches(tmp_path, said.append)] == [whole.id]
    assert len(said) == 1
    assert str(broken.dir / "dispatch.json") in said[0]


def test_neither_the_source_nor_a_folder_killed_before_its_first_line_is_a_dispatch(tmp_path):
    written(tmp_path)
    make_dispatch(tmp_path, **FACTS)
    (tmp_path / "slurm" / "code" / "0123456789abcdef").mkdir(parents=True)
    assert len(load_dispatches(tmp_path, pytest.fail)) == 1


def test_a_folder_without_dispatches_has_none(tmp_path):
    assert load_dispatches(tmp_path / "nowhere", pytest.fail) == []


def test_a_field_of_a_later_version_is_passed_over(tmp_path):
    dispatch = written(tmp_path, Pack(0, "probe", ("a",)))
    row = json.loads((dispatch.dir / "dispatch.json").read_text())
    row["later"] = row["packs"][0]["later"] = 1
    write_json(dispatch.dir / "dispatch.json", row)
    assert load_dispatches(tmp_path, pytest.fail) == [dispatch]


def test_the_logs_of_a_job_are_where_submitit_lets_slurm_write_them(tmp_path):
    dispatch = written(tmp_path, Pack(0, "probe", ("a",)), Pack(1, "probe", ("b",), job="7_1"))
    assert dispatch.log_paths(dispatch.packs[0]) == []
    assert [p.name for p in dispatch.log_paths(dispatch.packs[1])] == ["7_1_0_log.out", "7_1_0_log.err"]
