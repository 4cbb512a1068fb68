"""tables.tex goes through a real LaTeX in a plain article: nothing runs off the page, and nothing ends the run."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report import build, latex
from bench.report.latex import escape
from bench.report.latex_pages import LEAST_SCALE
from bench.report.latex_text import _ESCAPES, _PRINTED
from tests.synthetic_runs import Runs

pytestmark = pytest.mark.latex

PUBLISHED = Path(__file__).parent.parent / "results" / "published"
# Less than the eye sees.
MOST_POINTS = 1.0
# `\benchfit` as the tables have it, but one that says how wide each is.
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\newcommand{\benchfit}[1]{\leavevmode\sbox0{#1}\typeout{table: \the\wd0 of \the\linewidth}%
  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}
\begin{document}
%s
\end{document}
"""


def compiled(folder, body, document=DOCUMENT):
    """The log of a document."""
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("pdflatex is not here (Debian: texlive-latex-recommended)")
    (folder / "all.tex").write_text(document.replace("%s", body))
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    log = ""
    # Labels are known the second time.
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
        log = (folder / "all.log").read_text(errors="replace")
        assert done.returncode == 0, "\n".join(line for line in log.splitlines() if line.startswith("!"))
    return log.replace("\n", " ")


def check(log, least=0.9 * LEAST_SCALE):
    wide = [float(points) for points in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt", log)]
    assert max(wide, default=0) < MOST_POINTS
    for trouble in ("Float too large", "undefined references", "multiply defined", "Missing character"):
        assert trouble not in log
    sizes = re.findall(r"table: ([\d.]+)pt *of ([\d.]+)pt", log)
    # What is shrunk by more than was meant is too small to read.
    assert all(float(room) / float(size) > least for size, room in sizes)
    return len(sizes)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PUBLISHED.glob("*/tables.tex")))
def test_what_is_published_compiles(name, tmp_path):
    assert check(compiled(tmp_path, (PUBLISHED / name / "tables.tex").read_text())) > 5


def test_the_tables_say_what_they_need_and_need_no_more(tmp_path):
    runs = Runs(tmp_path / "r")
    runs.cells(["beta-vae", "patchvae"], range(2), ("conv1", "conv1-3", "conv1-5"), predictions=False)
    text = latex.render(build(runs.root, with_figures=False))
    needs = re.findall(r"\\usepackage(?:\[\w+\])?\{\w+\}", text.splitlines()[0])
    document = "\n".join([r"\documentclass{article}", *needs, r"\begin{document}%s\end{document}"])
    check(compiled(tmp_path, text, document))


def test_a_report_of_several_data_sets_with_gaps_and_failures_compiles(tmp_path):
    runs = Runs(tmp_path / "r")
    points = ("conv1", "conv1-3", "conv1-5")
    for dataset, size in (("cifar100", 32), ("miniplaces", 64), ("indoor67", 64)):
        for method in (
            "beta-vae",
            "beta-vae-lw",
            "patchvae",
            "patchvae-lw",
            "bigan",
            "supervised",
            "random",
            "scratch",
        ):
            for seed in range(1 if method == "bigan" else 3):
                pretrain = runs.pretrain(method, seed, dataset=dataset, size=size, pictures=False)
                for point in points if method != "scratch" else ("none",):
                    runs.probe(pretrain, point, size=size, predictions=False)
    for seed in range(2):
        runs.evaluation(runs.pretrain("patchvae", seed), "reconstruction", {"psnr": 20.0 + seed, "ssim": 0.5})
    failed = runs.pretrain(
        "patchvae",
        7,
        state="failed",
        error="100% of C:\\x_y & {z} ~ ^ # $ are “lost”: β ≤ 3 → ∞, --fid-weights 日本",
    )
    runs.probe(
        failed, "conv1", state="failed", error=f"no weights: <none> | \\end{{table}} {'/a_long_path' * 40}"
    )
    report = build(runs.root, with_figures=False, baseline="beta-vae")
    assert check(compiled(tmp_path, latex.render(report))) > 5


@pytest.fixture
def plain(tmp_path):
    """A report of one table of two rows."""
    runs = Runs(tmp_path / "r")
    runs.cells(["beta-vae", "patchvae"], range(2), ("conv1-3", "conv1-5"), predictions=False)
    return build(runs.root, with_figures=False)


def changed(report, **changes):
    (table,) = report.tables
    return dataclasses.replace(report, tables=(dataclasses.replace(table, **changes),))


def labelled(report, labels):
    rows = report.tables[0].rows
    return tuple(
        dataclasses.replace(rows[k % len(rows)], label=label, group="learned")
        for k, label in enumerate(labels)
    )


@pytest.mark.parametrize("label", ["[2pt]", "*", "[", "]", "-- ,, '' ?` \\", "日本", " ", "é" * 30])
def test_no_label_is_taken_for_a_command(label, plain, tmp_path):
    assert check(compiled(tmp_path, latex.render(changed(plain, rows=labelled(plain, [label] * 3))))) > 0


def test_a_table_longer_than_a_page_goes_on_under_the_same_number(plain, tmp_path):
    rows = labelled(plain, [f"row {k}" for k in range(150)])
    notes = [f"Note {k} says {'what is worth knowing ' * 12}." for k in range(60)]
    text = latex.render(changed(plain, rows=rows, notes=tuple(notes)))
    assert check(compiled(tmp_path, text)) >= 4
    # Measured columns and costs are two grids; each holds every row once.
    assert [text.count(f"\nrow {k} &") for k in range(150)] == [2] * 150
    assert [text.count(f"Note {k} says") for k in range(60)] == [1] * 60
    assert text.count(r"\label{") == 1
    assert text.count(r"\addtocounter{table}{-1}") == text.count(r"\begin{table}") - 1 > 3


def test_long_labels_captions_and_words_are_broken(plain, tmp_path):
    labels = [
        "PatchVAE [num_parts=32, part_dim=6, prior_occ=0.05, beta_occ=0.3, weighted_loss=yes]",
        "x" * 90,
    ]
    column = dataclasses.replace(
        plain.tables[0].columns[0], title="kNN top-1 of a network not trained at all"
    )
    report = changed(
        plain,
        rows=labelled(plain, labels),
        columns=(column, *plain.tables[0].columns[1:]),
        caption="Top-1 on folder:/" + "a_directory/" * 30,
        notes=("no-break" * 200, "NO-BREAK" * 200 + " WIDE" * 900, "日本" * 400),
    )
    assert check(compiled(tmp_path, latex.render(report))) >= 1


def test_many_tables_are_not_too_many_floats(plain, tmp_path):
    (table,) = plain.tables
    many = tuple(dataclasses.replace(table, name=f"table-{k}") for k in range(80))
    assert check(compiled(tmp_path, latex.render(dataclasses.replace(plain, tables=many)))) >= 80


def test_an_empty_report_compiles(tmp_path):
    check(compiled(tmp_path, "Nothing." + latex.render(build(tmp_path, with_figures=False))))


def test_every_letter_that_is_printed_as_it_is_compiles(tmp_path):
    letters = sorted({*_PRINTED, *_ESCAPES, *"ŁőœŽĦŧ☃中👍\t\x07\x00\u202e²"})
    check(compiled(tmp_path, "\\noindent " + "\\par\n".join(f"x{escape(letter)}y" for letter in letters)))
