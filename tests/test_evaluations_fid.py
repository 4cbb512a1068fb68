"""FID and KID: the formulas, whose weights are taken, and how they reach the cell. No real Inception is needed.

The network has torch-fidelity's layout and random weights, which the user vouches for; the features compared are
those after its first layers, so that a test takes a second.
"""

import hashlib
import io
import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from bench.cli import main
from bench.errors import RecordError, UsageError
from bench.evaluations import weights as module
from bench.evaluations.fid import frechet_distance, kernel_distance, load_inception
from bench.evaluations.registry import choose
from bench.evaluations.weights import INCEPTION_SHA256, INCEPTION_URL, Weights, inception
from bench.launch import local
from bench.launch.control import RunOptions
from bench.plan import Selection, make_plan
from tests.evaluating import judge, pretrained
from tests.fake_trainer import FakeTrainer

pytest.importorskip("torch_fidelity")
LINE = ["run", "-m", "beta-vae,random", "-d", "digits", "-s", "1", "--probes", "conv1", "--preset", "smoke"]


@pytest.fixture(scope="module")
def blank():
    """Random weights of the right layout, as bytes of a file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):  # pyright: ignore[reportIncompatibleMethodOverride]
            return None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Blank("blank", ["64"], feature_extractor_weights_path=nothing)
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    return content.getvalue()


@pytest.fixture
def file(blank, tmp_path):
    path = tmp_path / "inception.pth"
    path.write_bytes(blank)
    return path


def features(count, dim, seed, shift=0.0):
    g = np.random.default_rng(seed)
    mix = g.normal(size=(dim, dim))
    return torch.tensor(g.normal(size=(count, dim)) @ mix + shift)


def test_fid_is_the_frechet_distance_between_two_normals():
    a, b = features(200, 8, 0), features(150, 8, 1, 0.5)
    m1, m2 = a.numpy().mean(0), b.numpy().mean(0)
    s1, s2 = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = np.real(scipy.linalg.sqrtm(s1 @ s2))  # pyright: ignore[reportArgumentType, reportCallIssue]
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 3.0) == pytest.approx(8 * 9.0)


def test_kid_is_the_unbiased_mmd_with_the_cubic_kernel():
    a, b = features(40, 8, 0), features(40, 8, 1, 0.5)

    def kernel(x, y):
        return (x.numpy() @ y.numpy().T / 8 + 1) ** 3

    off = ~np.eye(40, dtype=bool)
    expected = kernel(a, a)[off].mean() + kernel(b, b)[off].mean() - 2 * kernel(a, b).mean()
    mean, deviation = kernel_distance(a, b, subsets=3, size=40)
    assert mean == pytest.approx(expected)
    assert deviation == pytest.approx(0, abs=1e-9)
    assert kernel_distance(a, b, 5, 20) == kernel_distance(a, b, 5, 20)


def test_the_cell_compares_test_images_with_their_reconstructions(file, tmp_path):
    pretrain, weights, method = pretrained("beta-vae", tmp_path)
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    options = RunOptions(threads=1, weights={"fid": str(file)})
    settings = {"weights_sha256": sha, "layer": "64", "kid_subsets": 2}
    result, attempt = judge("fid", pretrain, weights, tmp_path / "1", options=options, **settings)
    assert set(result["metrics"]) == {"fid", "kid"}
    assert result["facts"]["images"] == 20
    assert result["facts"]["features"] == 64
    assert result["facts"]["weights_sha256"] == sha
    assert attempt.arrays == {}
    again, _ = judge("fid", pretrain, weights, tmp_path / "2", options=options, **settings)
    assert again["metrics"] == result["metrics"]

    from bench.data.batches import Pixels
    from tests.learning import noise_data

    pixels = Pixels(noise_data().test, "cpu", "imagenet")
    network = load_inception(file, "64")
    with torch.no_grad():
        made = pixels.to_bytes(method.reconstruct(pixels.batch(torch.arange(20))[0]))  # pyright: ignore[reportArgumentType]
        expected = frechet_distance(network(pixels.images)[0], network(made)[0])
    assert result["metrics"]["fid"] == pytest.approx(expected, rel=1e-4)

    few, _ = judge("fid", pretrain, weights, tmp_path / "3", options=options, images=8, **settings)
    assert few["facts"]["images"] == few["facts"]["kid_subset_size"] == 8


def test_weights_that_are_not_there_or_have_changed_are_named_in_one_line(file, tmp_path):
    pretrain, weights, _ = pretrained("beta-vae", tmp_path)
    sha = hashlib.sha256(file.read_bytes()).hexdigest()

    def run(**options):
        return judge(
            "fid",
            pretrain,
            weights,
            tmp_path / "1",
            options=RunOptions(threads=1, **options),
            weights_sha256=sha,
        )

    with pytest.raises(UsageError, match="--fid-weights FILE"):
        run()
    file.write_bytes(b"other")
    with pytest.raises(UsageError, match="no longer"):
        run(weights={"fid": str(file)})


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    "content", [pickle.dumps(Bomb()), b"nonsense", None], ids=["bomb", "nonsense", "other"]
)
def test_nothing_but_tensors_is_taken_of_a_file_and_only_of_the_right_layout(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"fc.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(RecordError, match="does not hold torch-fidelity's Inception"):
        load_inception(path, "2048")
    assert not (tmp_path / "exploded").exists()


def test_the_published_file_is_taken_and_another_only_if_the_user_vouches_for_it(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"some weights")
    sha = hashlib.sha256(b"some weights").hexdigest()
    assert INCEPTION_SHA256.startswith("6726825d")
    assert "6726825d" in INCEPTION_URL
    with pytest.raises(UsageError, match=f"is {sha}, not {INCEPTION_SHA256}.*--fid-weights-sha256 {sha}"):
        inception(path, None)
    assert inception(path, sha.upper()) == Weights(str(path), sha)
    with pytest.raises(UsageError, match="vouched for"):
        inception(path, INCEPTION_SHA256)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        inception(path, "abc")
    with pytest.raises(UsageError, match=f"is not a file.*{INCEPTION_URL}"):
        inception(tmp_path / "none", None)
    monkeypatch.setattr(module, "INCEPTION_SHA256", sha)
    assert inception(path, None).sha256 == sha
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'bench-representations\[fid\]'"):
        inception(path, None)


def test_without_weights_there_is_no_cell_and_to_ask_for_it_is_refused():
    assert "fid" not in choose(())
    assert "fid" not in choose(("*",))
    assert choose(("all",), ("fid",))[-1] == "fid"
    with pytest.raises(UsageError, match="needs weights: --fid-weights FILE"):
        choose(("fid",))
    with pytest.raises(UsageError, match="needs a file of weights"):
        make_plan(Selection(("beta-vae",), ("digits",), evaluations=("fid",)))


def test_the_hash_is_part_of_the_cell_and_the_path_is_not():
    small = Selection(("beta-vae",), ("digits",), evaluations=("fid",), probes=("conv1",))

    def cell(path, sha):
        return list(make_plan(replace(small, weights={"fid": Weights(path, sha)})).cells)[-1]

    one = cell("/a/w.pth", INCEPTION_SHA256)
    assert one.label == "beta-vae digits seed 0 fid"
    assert "/a/w.pth" not in json.dumps(one.config)
    assert cell("/b/v.pth", INCEPTION_SHA256).id == one.id
    assert cell("/a/w.pth", "0" * 64).id != one.id


@pytest.fixture
def trainer(monkeypatch):
    class Seeing(FakeTrainer):
        def __init__(self):
            super().__init__()
            self.weights = []

        def evaluate(self, *given, options, **more):
            self.weights.append(dict(options.weights))
            return super().evaluate(*given, options=options, **more)

    one = Seeing()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    monkeypatch.delenv("BENCH_FID_WEIGHTS", raising=False)
    return one


def call(capsys, *words):
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_weights_are_given_by_a_flag_or_the_environment_and_found_again_by_retry(
    file, tmp_path, capsys, trainer, monkeypatch
):
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    line = [*LINE, "--evaluate", "fid", "--results", tmp_path / "r"]
    code, _, err = call(capsys, *line)
    assert (code, err.count("\n")) == (2, 1)
    assert "--fid-weights FILE" in err
    code, _, err = call(capsys, *line, "--fid-weights", file)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--fid-weights-sha256 {sha}" in err
    assert not (tmp_path / "r").exists()

    from bench.errors import Diverged

    trainer.faults["beta-vae digits seed 0 fid"] = Diverged(1)
    monkeypatch.setenv("BENCH_FID_WEIGHTS", str(file))
    assert call(capsys, *line, "--fid-weights-sha256", sha)[0] == 1
    assert trainer.weights == [{"fid": str(file)}]
    monkeypatch.delenv("BENCH_FID_WEIGHTS")
    trainer.faults.clear()
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, _ = call(capsys, "retry", "--results", tmp_path / "r")
    assert code == 0, out
    assert trainer.weights == [{"fid": str(file)}] * 2


def test_what_status_says_to_type_next_names_the_weights(file, tmp_path, capsys, trainer):
    from bench import asked
    from bench.commands.status_next import run_words

    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    line = [*LINE, "--fid-weights", file, "--fid-weights-sha256", sha, "--results", tmp_path / "r"]
    assert call(capsys, *line)[0] == 0
    one = next(iter(asked.load(tmp_path / "r").values()))
    words = run_words(one)
    assert words[words.index("--fid-weights") :][:4] == [
        "--fid-weights", str(file), "--fid-weights-sha256", sha,
    ]  # fmt: skip
    assert "--evaluate" not in words
