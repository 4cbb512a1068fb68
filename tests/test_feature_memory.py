"""--feature-memory: how much frozen features may take, from the command line to the probe; 0 keeps none."""

import pytest

from bench.cli import main
from bench.feature_store import FeatureStore
from bench.records import load_runs

WORDS = [
    *("run", "-m", "random,supervised", "-d", "digits", "-s", "1", "--probes", "conv1-3,conv1-5"),
    *("--evaluate", "none", "--set", "pretrain.epochs=1"),
]
NOTE = "they are computed for every batch"


def probes(results):
    """Probe -> its result, and what its log says."""
    found = {}
    for run in load_runs(results):
        if run.config["kind"] == "probe":
            log = "".join(path.read_text() for path in run.dir.glob("attempts/*/log.txt"))
            found[run.config["pretrain"]["method"], run.config["freeze"]] = (run.result, log)
    assert len(found) == 4
    return found


@pytest.mark.parametrize("way", [["--speed", "plain"], ["--speed", "auto"], ["--speed", "plain", "-j", "2"]])
def test_without_any_features_are_computed_for_every_batch_and_the_probe_is_the_same(way, tmp_path):
    words = [*WORDS, "--set", "probe.epochs=2", *way]
    for size in ("0", "1G"):
        assert main([*words, "--feature-memory", size, "--results", str(tmp_path / size)]) == 0
    anew, kept = (probes(tmp_path / size) for size in ("0", "1G"))
    for probe, (result, log) in anew.items():
        assert log.count(NOTE) == 2
        assert "kept in a file" not in log
        wanted, other = kept[probe]
        assert NOTE not in other
        assert result["weights"] == wanted["weights"]
        for row, like in zip(result["epochs"], wanted["epochs"], strict=True):
            for name in ("train_loss", "test_loss"):
                assert row[name] == pytest.approx(like[name], rel=1e-3), (probe, name)


@pytest.mark.parametrize(
    ("typed", "budget", "file"), [(None, 4 << 30, True), ("500M", 500 << 20, True), ("0", 0, False)]
)
def test_what_was_typed_is_the_probes_budget(typed, budget, file, tmp_path, monkeypatch):
    seen = []
    own = FeatureStore.__init__

    def begun(store, *args, **named):
        seen.append((named["budget"], named["disk"] > 0))
        own(store, *args, **named)

    monkeypatch.setattr(FeatureStore, "__init__", begun)
    words = [*WORDS, "--set", "probe.epochs=1", "--results", str(tmp_path)]
    assert main([*words, *([] if typed is None else ["--feature-memory", typed])]) == 0
    assert seen == [(budget, file)] * 4


def test_other_evaluations_have_their_own_memory(tmp_path):
    words = [
        *("run", "-m", "random", "-d", "digits", "-s", "1", "--probes", "conv1-5", "--evaluate", "features")
    ]
    words += ["--set", "probe.epochs=1", "--feature-memory", "0", "--results", str(tmp_path)]
    assert main(words) == 0


def test_a_size_that_would_be_none_is_refused(tmp_path, capsys):
    assert main([*WORDS, "--feature-memory", "0.4M", "--results", str(tmp_path / "none")]) == 2
    assert "'0.4M' is no size such as 0, 500M or 8G" in capsys.readouterr().err


def test_a_job_is_refused_it(tmp_path, capsys):
    assert main([*WORDS, "--slurm", "--feature-memory", "1G", "--results", str(tmp_path / "none")]) == 2
    assert "--feature-memory is for cells that run here" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
