"""A reader is shown what each difference varies by, how many seeds would tell, and no interval of width zero."""

import csv
import dataclasses
import io
import re

import pytest

from bench.report import build, compare, latex, markdown, page, tidy, variance
from bench.report.figures import TableRows, differences
from bench.report.findings import findings
from bench.report.layout import lay_out, measured
from bench.report.model import Against, Cell, Column, Forest
from bench.report.opened import open_cells
from bench.report.said import difference_line
from bench.stats import Split, t_interval
from bench.studies import Claim as Said
from bench.studies import Contrast
from tests.synthetic_report import report
from tests.synthetic_runs import Runs
from tests.synthetic_verdicts import claims
from tests.test_report_reasons import fill, judged, said

TOP1 = Column("digits", "conv1", "top1", "Conv1", "Digits", "last")
PSNR = Column("digits", None, "psnr", "PSNR", "Digits")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def crossed(runs, probes=(0,), level=0.03):
    """Two methods, three pretrainings of each, as many probes on each."""
    for seed in range(3):
        for method, own in (("beta-vae", 0.28), ("patchvae", 0.28 + level + 0.004 * seed)):
            pretrain = runs.pretrain(method, seed, pictures=False)
            for probe in probes:
                runs.probe(
                    pretrain, "conv1-5", seed=probe, top1=own + 0.003 * probe * (seed - 1), n_test=1000
                )


def test_the_parts_of_the_variance_stand_in_every_format(runs):
    crossed(runs, probes=(0, 1))
    found = build(runs.root, baseline="beta-vae", with_figures=False)
    text = markdown.render(found)
    assert "**What the differences vary by**" in text
    head = "pretraining seed, % of variance | probe seed, % of variance | test images, % of variance | rest"
    assert text.count(head) == 2  # below the claims and below the table, which has a baseline
    assert variance.TIED not in text
    against = found.tables[0].rows[1].cells[0].against
    assert against is not None
    assert against.split is not None
    own = dataclasses.astuple(against.split)
    assert sum(own) == pytest.approx(1)
    line = next(line for line in text.splitlines() if line.startswith("| PatchVAE − β-VAE |"))
    assert " | ".join(f"{100 * share:.0f}" for share in own) in line
    row = next(row for row in csv.DictReader(io.StringIO(tidy.render(found))) if row["method"] == "patchvae")
    names = ("pretrain_seed_share", "probe_seed_share", "test_image_share", "rest_share")
    assert [float(row[name]) for name in names] == pytest.approx(own, abs=1e-4)
    assert row["seeds_needed"] == variance.seeds_text(against)
    html = page.render(found)
    assert "% of its variance</th>" in html
    assert "What the differences from β-VAE vary by" in html
    assert '<th class="sub first" scope="col">pretraining seed</th>' in html


def test_seeds_that_vary_together_are_said_to_and_no_share_is_invented(runs):
    crossed(runs)
    found = build(runs.root, baseline="beta-vae", with_figures=False)
    text = markdown.render(found)
    assert "| seeds, % of variance | test images, % of variance |" in text
    assert "probe seed, %" not in text
    assert variance.TIED in text
    assert variance.TIED in page.render(found)
    row = next(row for row in csv.DictReader(io.StringIO(tidy.render(found))) if row["method"] == "patchvae")
    assert row["probe_seed_share"] == ""
    assert row["pretrain_seed_share"] != ""


def test_both_kinds_in_one_table_are_told_apart():
    apart, tied = Split(0.4, 0.1, 0.2, 0.3), Split(0.5, None, 0.2, 0.3)
    every = [apart, tied, None]
    assert [variance.shares(split, every) for split in every] == [
        ("40", "10", "20", "30"),
        ("50", "—", "20", "30"),
        ("—", "—", "—", "—"),
    ]
    assert "— below “probe seed”: pretraining and probe seed cannot be told apart" in variance.explained(
        every
    )
    assert "not split" in variance.explained(every)


def test_the_page_says_at_which_level_seeds_are_advised():
    (finding,) = findings(dataclasses.replace(report(), claims=claims()[:1]))[0].findings
    (part,) = finding.parts
    assert part.heads == ("seeds", "test images", "rest")
    assert {line.shares for line in part.lines} == {("50", "30", "20")}
    assert {line.seeds for line in part.lines} == {"7"}
    assert "p < 0.013, the 5 % shared among the table's 4 tested claims" in part.notes[1]
    assert "seeds that<br>would tell" in page.render(report())


def test_advice_beside_a_difference_is_that_of_its_claim(runs):
    for title in "ABC":
        fill(runs, title, 0.285 if title == "A" else 0.28, noise=0.006)
    more = [Said(f"n-{i}", "N.", "n", "1", (Contrast("C", "B"),), freezes=("conv1-5",)) for i in range(9)]
    claim = judged(runs, said(freezes=("conv1-5",)), *more)
    (one,) = claim.comparisons
    assert one.level == pytest.approx(0.005)
    assert claim.reason == f"about {one.seeds_needed} seeds would tell, at the differences seen"
    assert f"about {one.seeds_needed} seeds would separate them" in difference_line(one)
    # Between the two levels a difference is not yet told, and one that is told asks for no more seeds.
    near = dataclasses.replace(one, p=0.02)
    assert "would separate them" in difference_line(near)
    assert "would separate them" not in difference_line(dataclasses.replace(near, level=0.05))


def test_no_number_of_seeds_is_told_from_nothing_known():
    known = Against(0.01, 0.02, 0.5, True, 3, None, None, 0.05)
    assert variance.seeds_text(known) == "no number"
    assert variance.seeds_text(dataclasses.replace(known, p=None)) == ""
    assert variance.seeds_text(dataclasses.replace(known, seeds_needed=3000)) == "3,000"


def test_an_opened_cell_says_what_its_difference_varies_by():
    text = open_cells(report(), 10**7).cells["table-1"]
    assert '["Its variance","40 % pretraining seed, 20 % probe seed, 30 % test images, 10 % rest"]' in text
    assert "12 (p \\u003c 0.005, the 5 % shared among 10 differences)" in text


def test_seeds_that_agree_are_said_to_and_get_no_interval_of_zero(runs):
    for method in ("beta-vae", "patchvae"):
        for seed in range(3):
            pretrain = runs.pretrain(method, seed, pictures=False)
            top1 = 0.3 if method == "beta-vae" else 0.3 + 0.01 * seed
            runs.probe(pretrain, "conv1-5", top1=top1, n_test=1000, predictions=False)
    found = build(runs.root, with_figures=False)
    (table,) = found.tables
    cell = table.rows[0].cells[0]
    assert cell.estimate is not None
    assert cell.estimate.agree
    # Other test images would still give another number.
    assert cell.wilson is not None
    for text in (markdown.render(found), latex.render(found), page.render(found)):
        assert "(seeds agree)" in text
        assert "all seeds gave this number" in text
        assert "± 0.00" not in text.replace("$\\pm$\\,", "± ")
    opened = open_cells(found, 10**7).cells[table.name]
    assert '"value":"30.00 % (seeds agree)"' in opened
    assert "Wilson's interval" in opened
    assert "one seed has none" not in opened


def test_an_interval_that_is_not_zero_is_not_printed_as_zero():
    cell = Cell("done", t_interval([20.0, 20.0004, 20.0002]))
    assert measured(cell, PSNR, 3).spread == "0.0005"
    assert measured(Cell("done", t_interval([0.3, 0.31, 0.3])), TOP1, 3).spread == "1.43"


def test_differences_without_spread_say_that_seeds_agree():
    assert variance.difference_text(0.01, None, 2, TOP1.unit, " points") == "+1.00 (seeds agree) points"
    assert variance.difference_text(0.01, None, 1, TOP1.unit) == "+1.00"
    table = report().tables[0]
    against = Against(0.01, None, None, False, 2)
    cells = tuple(dataclasses.replace(cell, against=against) for cell in table.rows[1].cells)
    rows = (table.rows[0], dataclasses.replace(table.rows[1], cells=cells))
    grid = lay_out(dataclasses.replace(table, rows=rows))[0]
    assert grid.lines[1].groups[0][1].remark == "seeds agree"
    assert ">+1.00 (seeds agree)</td>" in page.render(
        dataclasses.replace(report(), tables=(dataclasses.replace(table, rows=rows),))
    )


def test_two_samples_that_both_agree_are_not_certain_to_differ(tmp_path):
    both = [Runs(tmp_path / name) for name in "ab"]
    for own, seeds, top1 in zip(both, ((0, 1), (2, 3)), (0.3, 0.4), strict=True):
        for seed in seeds:
            own.probe(own.pretrain("patchvae", seed, pictures=False), "conv1-5", top1=top1, predictions=False)
    a, b = (build(own.root, with_figures=False) for own in both)
    (one,) = compare.compare(a, b).cells
    assert (one.half, one.p, one.state) == (None, None, "cannot be told")


def test_a_figure_calls_a_verdict_what_its_badge_calls_it():
    found = report()
    figure = differences.claims(TableRows(found.tables[0], found.claims, ()))
    assert figure is not None
    titles = [panel.title for panel in figure.panels if isinstance(panel, Forest)]
    assert any(title.endswith("(cannot tell yet)") for title in titles)
    assert not any("undecided" in title for title in titles)


@pytest.mark.parametrize(("note", "shown"), [("", 0), ("as we like", 1)])
def test_a_claim_without_a_quote_opens_no_quotation(note, shown):
    bare = dataclasses.replace(claims()[0], quote="", note=note)
    html = page.render(dataclasses.replace(report(), claims=(bare,)))
    assert "In the paper’s words" not in html
    assert html.count("<blockquote>") == 0
    assert html.count("<summary>How we read it") == shown


def test_a_table_of_runs_pretrained_elsewhere_gets_one_notice(runs):
    for method in ("patchvae", "beta-vae"):
        runs.probe(
            runs.pretrain(method, 0, dataset="miniplaces", pictures=False), "conv1-5", dataset="cifar100"
        )
    (notice,) = build(runs.root, with_figures=False).notices
    assert "which is not the paper's setting" in notice


def test_a_long_remark_makes_room_in_its_own_column_alone():
    table = report().tables[0]
    first = table.rows[0]
    agree = dataclasses.replace(first.cells[1], estimate=t_interval([0.3, 0.3, 0.3]))
    row = dataclasses.replace(first, cells=(first.cells[0], agree, *first.cells[2:]))
    html = page.render(
        dataclasses.replace(report(), tables=(dataclasses.replace(table, rows=(row, *table.rows[1:])),))
    )
    rooms = re.findall(r'--beside:(\d+)ch"><a href="#cell=table-1:\d+:(\d+)"', html)
    assert {column for _, column in rooms} == {"1"}
    assert {int(width) for width, _ in rooms} == {len("(seeds agree)")}
    (whole,) = {
        int(width)
        for width in re.findall(r'<table class="results" style="--beside:(\d+)ch', html)
        if width != "0"
    }
    assert whole < len("(seeds agree)")
