"""The paper's ImageNet tables run from one command on a part of ImageNet; 224 px are decoded fast enough."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import main
from bench.records import Run, load_runs
from tests.official_trees import six_classes

SMOKE = ("--preset", "smoke", "-s", "1", "--threads", "1")
TABLES = ("run", "--table", "2,7", *SMOKE)
Bench = Callable[..., str]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return six_classes(tmp_path_factory.mktemp("data") / "few")


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs a command line that must succeed on a results folder; gives what it printed."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    def now(*words: str) -> str:
        capsys.readouterr()
        code = main([*words, "--results", str(tmp_path / "results")])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return now


def runs(tmp_path: Path) -> list[Run]:
    return load_runs(tmp_path / "results")


def values(report: str, label: str) -> dict[str, float | None]:
    """metric -> a row's number in Tables 2 and 7 of a report."""
    tables = [table for table in json.loads(report)["tables"] if table["number"] in ("2", "7")]
    assert [table["number"] for table in tables] == ["2", "7"]
    return {
        column["metric"]: cell["values"][0] if cell["values"] else None
        for table in tables
        for row in table["rows"]
        if row["label"] == label
        for column, cell in zip(table["columns"], row["cells"], strict=True)
    }


def test_tables_2_and_7_run_on_a_part_of_imagenet_from_one_command(bench, few, tmp_path):
    bench(*TABLES, "-d", f"imagenet:{few}@32", "-m", "patchvae", "--evaluate", "reconstruction")
    found = runs(tmp_path)
    pretrained = {run.config["method"]: run.config for run in found if run.config["kind"] == "pretrain"}
    config = pretrained.pop("patchvae")
    assert not pretrained
    assert (config["backbone"], config["image_size"], config["train"]["epochs"]) == ("resnet18", 32, 1)
    settings = config["method_config"]
    assert (settings["num_parts"], settings["part_dim"]) == (64, 16)
    results = {run.config["kind"]: run.result or {} for run in found}
    (epoch,) = results["probe"]["epochs"]
    rebuilt = results["evaluate"]["metrics"]
    for number in (epoch["test_top1"], epoch["test_top5"], rebuilt["psnr"], rebuilt["ssim"]):
        assert isinstance(number, float)


def test_supervised_on_a_part_of_imagenet_is_probed_elsewhere(bench, few, tmp_path):
    bench(
        *("run", "-m", "supervised", "--pretrain-on", f"imagenet:{few}@32", "-d", "digits@5%", *SMOKE),
        *("--probes", "conv1-5", "--evaluate", "none"),
    )
    (pretrain,) = (run for run in runs(tmp_path) if run.config["kind"] == "pretrain")
    assert pretrain.config["dataset"]["name"] == "imagenet:few"


def test_decoding_is_measured_beside_timms_loader(capsys):
    assert main(["perf", "loading", "--images", "6", "--rounds", "1", "--size", "32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["size"], len(found["times_faster"])) == (6, 32, 1)
    assert all(value > 0 for value in found["images_per_second"].values())


@pytest.mark.slow
def test_224_pixels_are_decoded_at_least_as_fast_as_by_timms_loader():
    from bench.perf.loading import Wish, measure

    found = measure(Wish(images=256, rounds=5))
    assert sorted(found["times_faster"])[2] >= 1
    assert sorted(found["times_less_cpu"])[2] >= 1


@pytest.mark.slow
def test_tables_2_and_7_run_at_224_pixels_from_compressed_images(bench, few, tmp_path):
    bench(*TABLES, "-d", f"imagenet:{few}")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("images.npy"))
    assert {run.config["image_size"] for run in runs(tmp_path) if run.config["kind"] == "pretrain"} == {224}
    for label in ("β-VAE", "PatchVAE"):
        found = values(bench("report", "--json"), label)
        assert None not in (found["top1"], found["top5"], found["psnr"], found["ssim"])
