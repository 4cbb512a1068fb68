"""Pretrainings that were done and whose weights are gone, on data that nothing else of a run needs."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.launch import local
from bench.launch.workers import crew
from bench.records import load_runs
from tests.fake_trainer import FakeTrainer
from tests.fake_worker import COMMAND

PRETRAIN = "beta-vae digits seed 0 pretrain"


class Threads(FakeTrainer):
    """Remembers on how many each pretraining was computed."""

    def __init__(self):
        super().__init__(steps=2)
        self.threads = []

    def pretrain(self, *args, options, **more):
        self.threads.append(options.threads)
        return super().pretrain(*args, options=options, **more)


@pytest.fixture
def trainer(monkeypatch):
    one = Threads()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    return one


@pytest.fixture
def birds(tmp_path):
    """A folder of images of two classes."""
    values = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "birds" / part / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = values.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'birds'}@32"


def call(birds, results, probes, *more):
    words = ["run", "-m", "beta-vae", "-s", "1", "--preset", "smoke", "--evaluate", "none", "--device", "cpu"]
    return main(
        [*words, "--pretrain-on", "digits", "-d", birds, "--probes", probes, *more, "--results", str(results)]
    )


def lose_weights(results):
    """Removes the pretraining's weights, and takes its number of attempts."""
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    assert run.weights is not None
    run.weights.unlink()
    return len(run.attempts)


def test_they_are_made_again_from_images_that_are_read_then(birds, tmp_path, trainer, capsys):
    results = tmp_path / "results"
    assert call(birds, results, "conv1", "--threads", "3") == 0
    lose_weights(results)
    trainer.calls.clear()
    assert call(birds, results, "conv1,conv1-5") == 0, capsys.readouterr()
    assert PRETRAIN in trainer.calls
    # Those that were judged on the lost weights are of weights with the same bits.
    assert trainer.threads == [3, 3]
    assert "weights" in capsys.readouterr().out


def test_each_worker_knows_of_their_images(birds, tmp_path, monkeypatch, capsys):
    sides = []

    class Crew(crew.Crew):
        def begin(self, setup):
            sides.append(setup["sides"])
            super().begin(setup)

    monkeypatch.setattr(crew, "Crew", partial(Crew, command=COMMAND))
    results = tmp_path / "results"
    assert call(birds, results, "conv1", "-j", "2") == 0, capsys.readouterr()
    before = lose_weights(results)
    assert call(birds, results, "conv1,conv1-5", "-j", "2") == 0, capsys.readouterr()
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    assert len(run.attempts) == before + 1
    assert set(sides[1]) == {"digits", birds}
