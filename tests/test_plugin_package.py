"""The package of docs/plugins.md, installed as it is printed there and used by the command in fresh processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contract import promises

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins.md").read_text()


def printed(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[number]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The package, built and installed by pip into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(printed("toml"))
    (source / "bench_denoising.py").write_text(printed("python"))
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, cwd=source)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in target.glob("*.dist-info")) == ["bench_denoising-0.1.dist-info"]
    return target


def bench(place, folder, *words, code=0):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)]),
        "BENCH_CACHE": str(folder / "cache"),
        "BENCH_RESULTS": str(folder / "results"),
    }
    command = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def facts_of(folder, kind):
    """Configuration and provenance of the runs of a kind."""
    found = []
    for path in sorted((folder / "results" / "runs").glob("*/config.json")):
        config = json.loads(path.read_text())
        (provenance,) = path.parent.glob("attempts/*/provenance.json")
        if config["kind"] == kind:
            found.append((config, json.loads(provenance.read_text())))
    return found


def test_the_package_of_the_page_is_installed_and_run(place, tmp_path):
    """One process: its method and its data set are found by name, trained, probed, recorded with their source."""
    study = ["-m", "denoising", "-d", "specks", "-s", "1", "--preset", "smoke", "--probes", "conv1-5"]
    bench(place, tmp_path, "run", *study, "--evaluate", "none", "--set", "sigma=0.25", "--json")
    ((pretrain, provenance),) = facts_of(tmp_path, "pretrain")
    assert pretrain["method_config"] == {"sigma": 0.25}
    assert pretrain["dataset"] == {"name": "specks", "version": 1}
    assert pretrain["train"]["epochs"] == 1
    assert provenance["plugins"]["bench-denoising"]["version"] == "0.1"
    assert re.fullmatch("[0-9a-f]{16}", provenance["plugins"]["bench-denoising"]["source_hash"])
    ((probe, _),) = facts_of(tmp_path, "probe")
    assert probe["probe"]["epochs"] == 2


@pytest.mark.slow
def test_the_lines_of_the_page_do_what_they_say(place, tmp_path):
    lines = printed("sh").splitlines()
    assert lines[0] == "pip install ."
    assert "bench-denoising 0.1" in bench(place, tmp_path, *lines[1].split()[1:])
    said = bench(place, tmp_path, *lines[2].split()[1:])
    assert "method denoising (bench-denoising 0.1)" in said
    assert "BROKEN" not in said
    bench(place, tmp_path, *lines[3].split()[1:], "-j", "2")
    assert len(facts_of(tmp_path, "pretrain")) == 2
    assert "Denoising" in bench(place, tmp_path, *lines[4].split()[1:])


@pytest.mark.slow
def test_the_tests_of_the_page_pass(place, tmp_path):
    (tmp_path / "test_mine.py").write_text(printed("python", 1))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "test_mine.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    # One for each promise of a method, and one for the data set.
    assert f"{len(promises('method')) + 1} passed" in done.stdout
