"""Names and texts that the formats cannot hold as they are, and tables of another setting than the paper's."""

import types

import pytest

from bench.report import build
from bench.report.build import _named
from bench.report.latex import escape as tex
from bench.report.markdown import escape as md
from tests.synthetic_runs import Runs


def test_names_without_latin_letters_stay_apart_and_are_ascii():
    names = ("folder:日本", "folder:中国", "cifar100", "cifar100")
    found = [
        types.SimpleNamespace(table=None, panels=[types.SimpleNamespace(name=n, protocol="paper")])
        for n in names
    ]
    stems = list(_named(found))  # pyright: ignore[reportArgumentType]
    assert len(stems) == 4
    assert all(stem.isascii() and stem.replace("-", "").isalnum() for stem in stems)
    assert stems[2:] == ["cifar100-paper", "cifar100-paper-2"]


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        ("日本", r"\texttt{U+65E5}\allowbreak{}\texttt{U+672C}\allowbreak{}"),
        ("é", "é"),
        ("e\u0301", "é"),
        ("β", r"$\beta$"),
        ("a\tb", "a b"),
        ("…", r"\ldots{}"),
        ("\x00", r"\texttt{U+0000}\allowbreak{}"),
        ("“≤”", r"``$\leq$''"),
        ("--x ---", "-{}-x -{}-{}-"),
        ("d_p, z_occ, β_occ", r"$d_p$, $z_{\mathrm{occ}}$, $\beta_{\mathrm{occ}}$"),
        ("d_pq xd_p β_occ_x", r"d\_pq xd\_p $\beta$\_occ\_x"),
    ],
)
def test_latex_never_gets_a_letter_that_it_refuses(text, set_as):
    assert tex(text) == set_as


def test_markdown_stays_on_its_line_and_sets_no_formula():
    assert md("a\r\nb\x00c $x$") == r"a b c \$x\$"


def test_what_was_pretrained_elsewhere_is_not_judged_by_the_papers_claims(tmp_path):
    runs = Runs(tmp_path / "results")
    for method in ("patchvae", "beta-vae"):
        for seed in range(2):
            pretrain = runs.pretrain(method, seed, dataset="miniplaces", pictures=False)
            runs.probe(pretrain, "conv1-5", dataset="cifar100")
    report = build(runs.root, with_figures=False)
    assert report.tables
    assert report.claims == ()
    assert sum("which is not the paper's setting" in line for line in report.notices) == 1
