"""What the page says, in which order, and that nothing in it comes from elsewhere or gets out of its place."""

import dataclasses
import functools
import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from bench.report import page
from bench.report.model import Report
from tests.synthetic_report import large, report

VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "</script><script>window.pwned=1</script><!--<img src=x onerror='window.pwned=1'>\"&"


class Outline(HTMLParser):
    """Elements, addresses and texts of a page; fails where a tag closes what is not open."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.addresses, self.open, self.scripts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.addresses += [
            v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "poster", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data

    def data(self, **attributes):
        wanted = {k.replace("_", "-"): v for k, v in attributes.items()}
        return json.loads(next(text for attrs, text in self.scripts if wanted.items() <= attrs.items()))


@functools.cache
def rendered():
    return page.render(report())


@functools.cache
def outline():
    return Outline(rendered())


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_verdicts_are_counted_none_left_out():
    counts = re.findall(r'<li data-verdict="([a-z ]+)"><b>(\d+)</b>', rendered())
    assert counts == [("supported", "1"), ("contradicted", "1"), ("undecided", "2"), ("not run", "1")]
    assert "p\u00a0=\u00a00.002" in rendered()


def test_everything_is_in_the_page():
    assert outline().addresses
    assert all(address.startswith(("#", "data:")) for address in outline().addresses)
    policy = next(a["content"] for tag, a in outline().elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "connect-src" not in policy


def test_claims_come_first_then_tables_then_figures_then_the_rest():
    ids = [a["id"] for tag, a in outline().elements if tag == "section" and "id" in a]
    wanted = ["claims", "tables", "t-table-1", "t-table-7", "figures", "plain", "missing", "sources", "marks"]
    assert [i for i in ids if i in wanted] == wanted


def test_every_link_within_the_page_has_its_goal():
    ids = [a["id"] for _, a in outline().elements if "id" in a]
    assert len(ids) == len(set(ids))
    goals = {address[1:] for address in outline().addresses if address.startswith("#")}
    assert {goal for goal in goals if not goal.startswith("cell=")} <= set(ids)


def test_what_must_be_read_first_stands_above_all_numbers():
    text = text_of(rendered()[rendered().index("<body") :])
    notice = report().notices[0].replace("'", "&#39;")
    assert text.index(notice) < text.index("Supported")
    assert text.index("234 of 241 runs done.") < text.index("Supported")


def test_a_cell_without_a_number_says_why_and_opens_nothing():
    cells = outline().data(data_cells="table-7")
    assert set(cells) == {"0:0", "0:2", "1:0", "1:2"}
    assert rendered().count('—<span class="why">no Inception weights were given</span>') == 2


def test_every_number_of_ours_opens_its_runs():
    found, runs = report(), outline().data(id="runs")
    for table in found.tables:
        cells = outline().data(data_cells=table.name)
        for i, row in enumerate(table.rows):
            for j, cell in enumerate(row.cells):
                if cell.estimate is not None:
                    assert f'href="#cell={table.name}:{i}:{j}"' in rendered()
                    assert [seed[2] for seed in cells[f"{i}:{j}"]["seeds"]] == list(cell.runs)
                    assert set(cell.runs) <= set(runs)
    values, facts = runs[found.tables[0].rows[0].cells[0].runs[0]]
    assert values[0][0] == "top-1"
    assert dict(facts)["command"].startswith("bench run -m beta-vae ")


def test_a_cell_tells_interval_standing_baseline_and_paper():
    facts = dict(outline().data(data_cells="table-1")["5:0"]["facts"])
    assert re.fullmatch(r"\d+\.\d\d to \d+\.\d\d, n = 3 seeds", facts["95 % interval"])
    assert facts["Standing"] == "cannot be told from the best (p = 0.410)"
    assert facts["Against β-VAE"] == "+0.60 ± 1.10 (p = 0.150, other seeds and test images)"
    assert facts["Paper"].startswith("43.75; ours minus it −")
    alone = dict(outline().data(data_cells="table-1")["6:1"]["facts"])
    assert alone["Interval"] == "n = 1: one seed has none"
    assert "for other test images alone" in alone["Wilson's interval"]


def test_a_number_that_the_paper_makes_incomparable_is_not_held_against_ours():
    facts = dict(outline().data(data_cells="table-7")["0:0"]["facts"])
    assert facts["Paper"] == "4.86"
    assert facts["Not comparable"] == "4.857 dB is not of images in [0, 1]"
    assert "paper" not in outline().data(data_cells="table-7")["0:0"]


def hostile():
    """The report with every text that comes from records or studies replaced by an attack."""

    def spoil(value, field=""):
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changes = {
                f.name: spoil(getattr(value, f.name), f.name) for f in dataclasses.fields(value) if f.init
            }
            return dataclasses.replace(value, **changes)
        if isinstance(value, str):
            keep = ("metric", "verdict", "standing", "state", "group", "freeze", "dataset", "name", "table")
            return value if field in keep else value + HOSTILE
        if isinstance(value, tuple):
            return tuple(spoil(one, field) for one in value)
        return value

    found = report()
    spoiled = spoil(found)
    assert isinstance(spoiled, Report)
    details = {id_: spoil(run) for id_, run in found.details.items()}
    confusions = {place: spoil(one) for place, one in found.confusions.items()}
    legends = [
        dataclasses.replace(new, legend=old.legend, rows=tuple(
            dataclasses.replace(b, group=a.group, cells=tuple(
                dataclasses.replace(y, runs=x.runs) for x, y in zip(a.cells, b.cells, strict=True)
            )) for a, b in zip(old.rows, new.rows, strict=True)
        ))
        for old, new in zip(found.tables, spoiled.tables, strict=True)
    ]  # fmt: skip
    return dataclasses.replace(spoiled, tables=tuple(legends), details=details, confusions=confusions)


def test_a_hostile_text_stays_text():
    text = page.render(hostile())
    spoiled = Outline(text)
    kinds = [tag for tag, _ in spoiled.elements]
    assert kinds.count("script") == [tag for tag, _ in outline().elements].count("script")
    assert kinds.count("img") == [tag for tag, _ in outline().elements].count("img")
    assert not [a for _, a in spoiled.elements if any(name.startswith("on") for name in a)]
    assert "<!--" not in text
    runs = spoiled.data(id="runs")
    assert all(HOSTILE in value for _, facts in runs.values() for _, value in facts)
    assert HOSTILE in spoiled.data(id="confusions")["table-1:0:0"][1][0][0]


def test_beyond_its_budget_a_page_leaves_out_pictures_and_curves_and_says_so(monkeypatch):
    assert "left-out" not in rendered()
    without = len(rendered()) - len(json.dumps(outline().data(id="pictures")))
    monkeypatch.setattr(page, "MOST_BYTES", without)
    smaller = page.render(report())
    assert "the confusion matrices of" in text_of(smaller)
    assert Outline(smaller).data(id="confusions") == outline().data(id="confusions")
    monkeypatch.setattr(page, "MOST_BYTES", 1)
    bare = Outline(page.render(report()))
    assert bare.data(id="curves") == bare.data(id="pictures") == {}
    assert bare.data(id="runs") == outline().data(id="runs")


def test_the_same_report_gives_the_same_bytes():
    assert page.render(report()) == rendered()


def test_an_empty_report_is_a_page_too():
    text = page.render(Report("Nothing yet", (), (), (), (), 0, 0))
    assert "No probe has been run yet." in text_of(text)
    assert not {"claims", "tables", "figures"} & {a.get("id") for _, a in Outline(text).elements}


def test_only_a_served_page_asks_for_newer_ones():
    assert "fetch(" not in rendered()
    served = page.render(report(), refresh="version", version="abc")
    assert "fetch(" in served
    assert 'data-refresh="version" data-version="abc"' in served
    policy = next(a["content"] for _, a in Outline(served).elements if a.get("http-equiv"))
    assert "connect-src 'self';" in policy


def test_jinja_is_loaded_when_a_page_is_rendered():
    code = "import sys, bench.report.page; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_ten_thousand_records_render_in_two_seconds_of_a_processor():
    # Which takes a quarter of a second for five million squares; other tests run beside this one.
    found = large(tables=43)
    assert len(found.details) > 10_000
    page.render(report())
    begun = time.process_time()
    sum(i * i for i in range(5_000_000))
    squares, begun = time.process_time() - begun, time.process_time()
    text = page.render(found)
    assert time.process_time() - begun < 8 * squares
    assert len(text.encode()) < page.MOST_BYTES + 10_000


@pytest.mark.parametrize("place", ["claims", "tables", "figures"])
def test_sections_are_reached_from_the_contents(place):
    assert f'<a href="#{place}">' in rendered()
