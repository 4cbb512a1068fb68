"""`--devices`, `--nodes`, `--batch-norm` and torchrun: what is refused in one line, and what a cell then is."""

from types import SimpleNamespace

import pytest

from bench.cli import main
from bench.config import config_id
from bench.devices import follow
from bench.devices.calls import Call, failure, read_call
from bench.devices.team import Images, Team
from bench.launch.control import RunOptions
from bench.launch.distributed import Place, torchrun_place
from bench.launch.slurm.jobs import Request, parameters
from bench.launch.slurm.profile import load_profile
from bench.speed import Speed
from tests.fake_trainer import anything

RUN = ["run", "-m", "beta-vae", "-d", "digits", "-s", "1"]
TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--devices", "4", "-j", "2"], "--devices 4 has several processes train one cell, -j one cell each"),
        (["--devices", "4", "--jobs-per-gpu", "2"], "--jobs-per-gpu one cell each: leave one out"),
        (["--devices", "4", "--seeds-together", "2"], "--seeds-together one process several: leave one out"),
        (["--nodes", "2"], "--nodes 2 is for --slurm"),
        (["--devices", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_one_line(words, says, tmp_path, capsys):
    assert main([*RUN, *words, "--results", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert not (tmp_path / "results").exists()


def test_more_devices_than_there_are_gpus_are_refused_with_the_number_found(monkeypatch, tmp_path, capsys):
    import torch

    from bench.commands import computing

    monkeypatch.setattr(computing, "resolve_device", lambda _: ("cuda", "H100"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main([*RUN, "--devices", "4", "--results", str(tmp_path / "results")]) == 2
    assert "--devices 4: torch sees 1 GPU here" in capsys.readouterr().err
    assert not list(tmp_path.glob("results/runs/*/attempts"))


def test_under_torchrun_devices_are_torchruns(monkeypatch, tmp_path, capsys):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    for words, says in (
        (["--devices", "2"], "torchrun says how many processes there are: leave --devices out"),
        (["--slurm"], "torchrun starts processes here, and --slurm jobs: leave one out"),
        (["-j", "2"], "torchrun has several processes train one cell, -j one cell each"),
    ):
        assert main([*RUN, *words, "--results", str(tmp_path)]) == 2
        assert says in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main([*RUN, "--dry-run", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "", "the first process says it"


def test_a_process_alone_has_no_place_among_others():
    assert torchrun_place({}) is None
    assert torchrun_place({**TORCHRUN, "WORLD_SIZE": "1"}) is None
    here = torchrun_place({**TORCHRUN, "RANK": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert here is not None
    assert (here.rank, here.world_size, here.agent) == (1, 2, True)


def pretraining(capsys, *words):
    import json

    assert main([*RUN, *words, "--dry-run", "--no-measure", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    return next(cell["id"] for cell in cells if cell["kind"] == "pretrain")


def test_the_number_of_devices_is_part_of_a_cell_where_it_changes_numbers_and_nowhere_else(capsys):
    alone = pretraining(capsys)
    assert pretraining(capsys, "--devices", "4", "--device", "cpu") == alone
    assert pretraining(capsys, "--batch-norm", "per-device") == alone, "of one device"
    four = pretraining(capsys, "--devices", "4", "--device", "cpu", "--batch-norm", "per-device")
    two = pretraining(capsys, "--devices", "2", "--device", "cpu", "--batch-norm", "per-device")
    assert len({alone, two, four}) == 3
    assert pretraining(capsys, "--set", "pretrain.batch_norm_devices=4") == four


def test_a_job_has_a_task_a_device_where_it_pretrains(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text("[all]\ngpus_per_node = 1\n[pretrain]\ntasks_per_node = 2\n")
    profile = load_profile(str(path))

    def asked(kind, **more):
        given = parameters(profile, kind, Request(tmp_path, None, **more))
        return given["nodes"], given["tasks_per_node"], given["gpus_per_node"]

    assert asked("pretrain") == (1, 2, 1), "as the profile has it"
    assert asked("pretrain", devices=4, nodes=2) == (2, 4, 4)
    assert asked("probe", devices=4, nodes=2) == (1, 1, 1)


def test_a_configuration_says_nothing_of_the_batch_norm_of_one_device():
    from bench.config import pretrain_config

    config = pretrain_config("beta-vae", {"name": "digits", "version": 1}, image_size=32, flip=False, seed=0)
    assert "batch_norm_devices" not in config["train"]
    assert config_id(config) == config_id({**config, "train": dict(config["train"])})


def call(**options):
    switches = Speed(winograd=True, keep_memory=True)
    return Call(
        {"seed": 1}, "digits", "f" * 64, 8, None, False, "gloo", RunOptions(switches=switches, **options)
    )


def test_every_rank_is_told_all_that_a_cell_is_run_by():
    mine = call(threads=2, data_bytes=1 << 30, checkpoint_every_steps=5)
    assert read_call(mine.text()) == mine


def test_a_rank_that_reads_other_images_than_rank_0_says_so_and_trains_none():
    from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

    other = SimpleNamespace(load=lambda _: SimpleNamespace(fingerprint="0" * 64))
    store = HashStore()
    follow._train(store, Place(1, 1, 2, "127.0.0.1", 0), 3, call(), anything(other))
    said = failure(store, 3)
    assert said is not None
    assert (said["rank"], said["error"]) == (1, "digits: this rank reads other images than rank 0")
    assert not store.check(["came 3 1"])


def test_processes_of_one_machine_divide_its_threads_and_memory_and_those_of_a_scheduler_have_their_own(
    monkeypatch,
):
    monkeypatch.setattr("bench.memory.available_memory", lambda: 10 << 30)
    images = Images(None, False, {})
    here = Team(images, "cpu", size=4).in_force(RunOptions(), 8)
    assert (here.threads, here.data_bytes) == (2, 1 << 30)
    there = Team(images, "cpu", here=Place(0, 0, 4, "node1", 1)).in_force(RunOptions(), 8)
    assert (there.threads, there.data_bytes) == (8, None)
    assert Team(images, "cpu", size=4, threads=3).in_force(RunOptions(), 8).threads == 3
