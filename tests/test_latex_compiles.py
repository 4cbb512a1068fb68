"""tables.tex goes through a real LaTeX, and nothing sticks out of the page by more than a little."""

import re
import shutil
import subprocess

import pytest

from bench.report import build, write
from tests.synthetic_runs import Runs

MOST_POINTS = 30.0
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs,amsmath}
\begin{document}
\input{tables.tex}
\end{document}
"""


@pytest.mark.latex
def test_the_tables_compile(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not here (Debian: texlive-latex-recommended)")
    runs = Runs(tmp_path / "results")
    points = ("conv1", "conv1-3", "conv1-5")
    for dataset in ("cifar100", "digits"):
        runs.cells(
            ["beta-vae", "beta-vae-lw", "patchvae", "random", "scratch"], [0, 1], points, dataset=dataset
        )
    for seed in (0, 1):
        for method in ("beta-vae", "patchvae"):
            runs.evaluation(runs.pretrain(method, seed), "reconstruction", {"psnr": 20.0 + seed, "ssim": 0.5})
        runs.probe(runs.pretrain("patchvae", seed, settings={"num_parts": 24}), "conv1-5")
    runs.pretrain("bigan", 0, state="failed", error="50 % of <b>x_y</b> & {more} $ # ~ ^ \\ “ü”")
    write(build(runs.root, baseline="beta-vae"), tmp_path, ["latex"])
    (tmp_path / "all.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, "\n".join(line for line in log.splitlines() if line.startswith("!"))
    wide = [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert max(wide, default=0) < MOST_POINTS
    assert (tmp_path / "all.pdf").stat().st_size > 10_000
