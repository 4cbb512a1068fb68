"""The same table in every format: escaped, complete, self-contained, the same bytes twice."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from bench.errors import UsageError
from bench.report import build, layout, render_terminal, write
from bench.report.latex import PREAMBLE
from bench.report.latex import escape as tex
from bench.report.markdown import escape as md
from bench.report.model import Chart, Picture
from bench.studies import METRICS
from tests.synthetic_runs import Runs

POINTS = ("conv1", "conv1-3", "conv1-5")
METHODS = ["beta-vae", "patchvae", "patchvae-gan-lw", "supervised", "random", "scratch"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("formats") / "results")
    runs.cells(METHODS, [0, 1, 2], POINTS)
    runs.probe(runs.pretrain("bigan", 0), "conv1-5")
    runs.pretrain("bigan", 1, state="failed", error="50 % of <b>x_y</b> & more")
    return build(runs.root)


@pytest.fixture(scope="module")
def files(report, tmp_path_factory):
    return {name: path.read_text() for name, path in write(report, tmp_path_factory.mktemp("out")).items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", r"a\_b"),
        ("50 %", r"50 \%"),
        ("R&D", r"R\&D"),
        ("β-VAE + L_w", r"$\beta$-VAE + $\mathcal{L}_w$"),
        ("L_wide", r"L\_wide"),
        (r"{\x}$#", r"\{\textbackslash{}x\}\$\#"),
        ("a^b~c<d>", r"a\textasciicircum{}b\textasciitilde{}c\textless{}d\textgreater{}"),
        ("−1 ± 2 — †", r"$-$1 $\pm$ 2 --- $^\dagger$"),
    ],
)
def test_latex_is_escaped(text, expected):
    assert tex(text) == expected


def test_markdown_is_escaped():
    assert md("PatchVAE + L_w [a|b] *x*") == r"PatchVAE + L\_w \[a\|b\] \*x\*"


def test_numbers_are_percent_with_a_true_minus():
    top1 = METRICS["top1"]
    assert layout.number(0.28574, top1) == "28.57"
    assert layout.signed(-0.0025, top1) == "−0.25"
    assert layout.signed(0.0123, top1) == "+1.23"
    assert layout.signed(-0.00001, top1) == "0.00"
    assert layout.number(21.456, METRICS["psnr"]) == "21.46"
    assert layout.number(0.2894, METRICS["ssim"]) == "0.289"
    assert (layout.seconds(0.5), layout.seconds(59.96), layout.seconds(150), layout.seconds(7200)) == (
        "0.5 s", "60 s", "2.5 min", "2 h",
    )  # fmt: skip


def test_latex_headers_escape_what_pandas_would_not(files):
    latex = files["latex"]
    assert r"$\beta$-VAE" in latex
    assert "β" not in latex
    tables = latex.removeprefix(PREAMBLE)
    assert not re.search(r"(?<!\\)%", tables)
    body = re.sub(r"\$[^$]*\$", "", tables)
    assert not re.search(r"(?<!\\)_", body)
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == latex.count(r"\begin{tabular}")
    for block in re.findall(r"\\begin\{tabular\}\{@\{\}(l r*|lr*)@\{\}\}(.*?)\\end\{tabular\}", latex, re.S):
        for line in block[1].splitlines():
            if line.endswith(r"\\") and "multicolumn" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == len(block[0]) - 1


def test_markdown_tables_are_rectangular(files):
    lines = files["markdown"].splitlines()
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| ")}
    # Table 1 in two grids, then Tables 8 to 12 with three and four methods.
    assert len(widths) <= 4
    assert "| PatchVAE-GAN + L\\_w |" in files["markdown"]
    assert "44.12" in files["markdown"]
    assert "failed (pretraining: 50 % of \\<b\\>x\\_y\\</b\\> & more)" in files["markdown"]


def test_csv_has_a_line_for_every_cell(files, report):
    lines = list(csv.DictReader(io.StringIO(files["csv"])))
    assert len(lines) == sum(1 if r.method == "scratch" else 3 for r in report.tables[0].rows)
    beta = next(line for line in lines if line["method"] == "beta-vae" and line["freeze"] == "conv1-5")
    assert float(beta["difference"]) == pytest.approx(float(beta["value"]) - float(beta["paper"]), abs=1e-3)
    assert (beta["n"], beta["rule"], beta["paper"], beta["seeds"]) == ("3", "last", "28.5700", "0/0 1/1 2/2")
    bigan = next(line for line in lines if line["method"] == "bigan" and line["freeze"] == "conv1-5")
    assert (bigan["state"], bigan["half_width"], bigan["standing"]) == ("partial", "", "unknown")


class Page(HTMLParser):
    """Collects what a page would fetch and whether its tags close."""

    VOID = ("meta", "img", "br", "path", "circle", "link")

    def __init__(self):
        super().__init__()
        self.fetched, self.open, self.seen = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        # A link is followed by a reader and fetches nothing.
        names = (
            ("src", "data", "action", "srcset") if tag == "a" else ("src", "href", "data", "action", "srcset")
        )
        self.fetched += [v for k, v in attrs if k in names]
        if tag not in self.VOID or (tag in ("path", "circle") and any(k == "data-row" for k, _ in attrs)):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_well_formed(files):
    page = Page()
    page.feed(files["html"])
    assert page.open == []
    assert {"table", "svg", "img", "style", "script"} <= page.seen
    assert all(v.startswith(("data:", "#")) for v in page.fetched)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", files["html"])
    assert "&lt;b&gt;x_y" in files["html"]
    assert "<b>x_y" not in files["html"]


def test_the_page_shows_curves_of_every_row_and_pictures_of_those_that_decode(report):
    table = report.tables[0]
    charts = {
        figure.name: [panel for panel in figure.panels if isinstance(panel, Chart)]
        for figure in table.figures
    }
    losses = next(found for name, found in charts.items() if "loss" in name)
    accuracies = next(found for name, found in charts.items() if "accurac" in name)
    assert [chart.title for chart in accuracies] == ["Conv1", "Conv[1-3]", "Conv[1-5]"]
    assert [chart.title for chart in losses] == [r.label for r in table.rows if r.group != "controls"]
    pictures = [panel for figure in table.figures for panel in figure.panels if isinstance(panel, Picture)]
    assert pictures
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
    lines = accuracies[0].lines
    assert len([line for line in lines if line.mean]) == 6
    assert len([line for line in lines if not line.mean]) == 6 * 3


def test_the_same_records_give_the_same_bytes(report, files, tmp_path):
    again = {name: path.read_text() for name, path in write(report, tmp_path).items()}
    assert again == files


def test_formats_can_be_chosen(report, tmp_path):
    assert set(write(report, tmp_path / "a", ("csv",))) == {"csv"}
    with pytest.raises(UsageError, match="markdown"):
        write(report, tmp_path / "a", ("markdow",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write(report, tmp_path / "file")


@pytest.mark.parametrize("width", [60, 80, 100, 240])
def test_the_terminal_shows_every_number_whole_at_any_width(report, width):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        render_terminal(report, console)
    text = capture.get()
    assert all(len(line) <= width for line in text.splitlines())
    for line in (line for grid in layout.lay_out(report.tables[0]) for line in grid.lines):
        for texts in line.groups:
            for cell in texts:
                assert cell.value in text
                assert not cell.spread or f"{cell.value} ± {cell.spread}" in text
    assert "…" not in text


def test_an_empty_report_is_written_in_every_format(tmp_path):
    empty = build(tmp_path / "none")
    paths = write(empty, tmp_path / "out")
    assert "No probe has been run yet" in paths["html"].read_text()
    assert "No probe has been run yet" in paths["markdown"].read_text()
    assert paths["csv"].read_text().count("\n") == 1
    console = Console(width=80, file=io.StringIO())
    render_terminal(empty, console)
