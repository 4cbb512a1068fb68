"""`bench perf --compare`: what got slower is told by ratios, and what is unlike is not compared."""

import copy
import json

import pytest

from bench.cli import main
from bench.errors import UsageError
from bench.perf import compare
from bench.perf.facts import SCHEMA
from tests.test_perf import facts


@pytest.mark.parametrize(
    ("now", "verdicts"),
    [
        ({}, ["as before"] * 3),
        ({"ratio": 1.0}, ["as before", "slower", "slower"]),
        ({"ratio": 1.5}, ["as before", "faster", "faster"]),
        # The plain path itself: ways keep their ratio to it.
        ({"share": 0.6}, ["slower", "as before", "slower"]),
        # Rounds that scatter so widely tell nothing of the same change.
        ({"ratio": 1.0, "noise": 0.9}, ["as before"] * 3),
    ],
)
def test_what_got_slower_is_told_by_ratios_beyond_their_spread(now, verdicts):
    changes = compare.compare(facts(), facts(**now))
    assert [change.verdict for change in changes] == verdicts
    assert compare.slower(changes) is ("slower" in verdicts)
    assert "taken 2026-01-01" in compare.text(changes, facts(), facts(**now))


def test_a_machine_twice_as_fast_is_as_before():
    now = copy.deepcopy(facts())
    for way in now["pretrain"]["rows"][0]["ways"]:
        way["ms"] /= 2
        way["images_per_second"] *= 2
        way["flops"] *= 2
    assert {change.verdict for change in compare.compare(facts(), now)} == {"as before"}


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("pretrain", "batch", 64, "has batch 128, this one 64"),
        ("machine", "threads", 2, "has threads 1, this one 2"),
        ("machine", "device", "cuda", "has device cpu, this one cuda"),
    ],
)
def test_unlike_circumstances_are_not_compared(part, key, value, words):
    now = facts()
    now[part][key] = value
    with pytest.raises(UsageError, match=words):
        compare.compare(facts(), now)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--test", "20"], "has tested 10, this one 20"),
        # No more than there are; nor does another number of images compare.
        (["--test", "99999"], "has tested 10, this one 360"),
        (["--test", "10", "--images", "40"], "has images 50, this one 40"),
    ],
)
def test_a_probe_that_tests_on_more_images_is_not_compared_and_not_measured(words, error, tmp_path, capsys):
    row = {"freeze": "conv1", "ways": {"cached": {"each_round": [2.0, 2.0, 2.0]}}}
    part = {"images": 50, "tested": 10, "epochs": 30, "epochs_run": 3, "rows": [row]}
    file = tmp_path / "perf.json"
    before = {"schema": SCHEMA, "dataset": "digits", "machine": facts()["machine"], "probe": part}
    file.write_text(json.dumps(before))
    flags = ["-d", "digits", "--device", "cpu", "--images", "50", *words, "--compare", str(file)]
    assert main(["perf", "probe", *flags]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "has dataset cifar100, this one digits"),
        (["--backbone", "resnet18"], "has backbone resnet9, this one resnet18"),
        (["--precision", "bf16"], "has precision auto, this one bf16"),
        ([], "takes 3 rounds or more, and the earlier measurement has 2"),
    ],
)
def test_a_probe_of_another_kind_is_not_compared_and_not_measured(words, error, tmp_path, capsys):
    row = {"freeze": "conv1", "ways": {"cached": {"each_round": [2.0] * (2 if "rounds" in error else 3)}}}
    # As it was written before it said of what network and precision.
    part = {"images": 50, "tested": 10, "epochs": 30, "epochs_run": 3, "rows": [row]}
    name = "cifar100" if "dataset" in error else "digits"
    before = {"schema": SCHEMA, "dataset": name, "machine": facts()["machine"], "probe": part}
    file = tmp_path / "perf.json"
    file.write_text(json.dumps(before))
    flags = ["-d", "digits", "--device", "cpu", "--images", "50", *words, "--compare", str(file)]
    assert main(["perf", "probe", *flags]) == 2
    assert error in capsys.readouterr().err


def test_without_a_spread_nothing_is_compared():
    with pytest.raises(UsageError, match="takes 3 rounds or more, and this measurement has 2"):
        compare.compare(facts(), facts(rounds=2))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "nothing",
        '{"schema": "bench perf 1"}',
        json.dumps({**facts(), "schema": "bench perf 0"}),
        json.dumps({**facts(), "pretrain": {"rows": []}}),
        '{"schema": "bench perf 1", "pretrain": {"rows": 3}}',
    ],
    ids=["empty", "a list", "words", "nothing in it", "another schema", "no rows", "rows that are none"],
)
def test_a_file_that_is_no_measurement_is_refused_in_one_line(tmp_path, capsys, content):
    file = tmp_path / "perf.json"
    file.write_text(content)
    assert main(["perf", "pretrain", "--compare", str(file), "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file} is no measurement" in error


def test_what_took_minutes_is_told_although_it_does_not_compare(monkeypatch, tmp_path, capsys):
    other = facts()
    other["pretrain"]["rows"][0]["method"] = "bigan"
    other |= {"dataset": "digits", "machine": {**other["machine"], "device": "cpu", "threads": 1}}
    file = tmp_path / "perf.json"
    file.write_text(json.dumps(other))
    monkeypatch.setattr("bench.perf.pretrain.measure", lambda wish, tell: facts()["pretrain"])
    words = ["perf", "pretrain", "--device", "cpu", "--threads", "1", "--compare", str(file)]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "no method and no way in common" in said.err
    assert "patchvae-gan" in said.out
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["pretrain"] == facts()["pretrain"]
