"""`bench stats check` prints what the simulations found, and fails where a promise is not kept."""

import json

import pytest

from bench.cli import main
from bench.stats.simulation import check, coverage, findings


@pytest.fixture
def few(monkeypatch):
    """Two experiments instead of all."""
    chosen = [
        task for task in check.tasks() if task.name.startswith(("same_images(seeds=3", "marking(rows=2"))
    ]
    monkeypatch.setattr(check, "tasks", lambda: chosen)
    return chosen


def test_it_prints_markdown_with_its_own_command(few, capsys):
    assert main(["stats", "check", "--studies", "200"]) == 0
    out, err = capsys.readouterr()
    assert "    bench stats check --studies 200\n" in out
    assert "All 3 promises are kept." in out
    assert "| 3 | other seeds, the same images |" in out
    assert [line.split(maxsplit=1)[1] for line in err.splitlines()] == [task.name for task in few]


def test_it_writes_the_same_page_every_time(few, tmp_path, capsys):
    page = tmp_path / "a page.md"
    line = ["stats", "check", "--studies", "100", "--seed", "3", "--out", str(page)]
    assert main(line) == 0
    first = page.read_bytes()
    assert f"bench stats check --studies 100 --seed 3 --out '{page}'" in first.decode()
    assert main([*line, "-j", "2"]) == 0
    assert page.read_bytes() == first
    assert capsys.readouterr().out.splitlines()[-1] == f"3 findings, 0 broken: {page}"


def test_it_prints_facts_for_a_program(few, capsys):
    assert main(["stats", "check", "--studies", "100", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["studies"], facts["seed"], facts["broken"]) == (100, 0, 0)
    assert [f["measure"] for f in facts["findings"]] == [
        "t interval of a mean",
        "paired difference",
        "some row below the best",
    ]


def test_a_broken_promise_is_exit_code_1(few, monkeypatch, capsys):
    liar = findings.share("coverage", {"seeds": "3"}, "t interval", 800, 1000, "at least", 0.95)
    monkeypatch.setattr(coverage, "same_images", lambda *_, **__: [liar])
    monkeypatch.setattr(check, "tasks", lambda: [check.Task("liar", lambda *_: [liar])])
    assert main(["stats", "check", "--studies", "20"]) == 1
    assert "80.00 **BROKEN**" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--studies", "3"], "--studies"), (["--out", "/nowhere/x.md"], "no folder /nowhere for --out x.md")],
)
def test_a_mistake_is_one_line(words, said, capsys):
    assert main(["stats", "check", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
