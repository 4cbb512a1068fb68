"""Kills a small run at every one of its file operations; `python -m tests.kill_points FOLDER FORM` is a process.

The cells are computed by a trainer that counts, so that a run takes milliseconds; all that is kept of it goes the
way that everything goes. Run apart from pytest, because it forks.
"""

import io
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from bench.checkpoint import read_tensors, read_with_digest
from bench.launch.control import RunOptions, Stop
from bench.loop import EpochMeans, Pace
from bench.plan import Selection, make_plan
from bench.records import load_runs, run_dir
from tests.fake_trainer import FakeTrainer, anything, run

STEPS, EVERY = 5, 2
PLAN = make_plan(Selection(("beta-vae",), ("digits",), (0,), probes=("conv1",), preset="smoke"))


class Counting(FakeTrainer):
    """Adds up the numbers of its steps, and keeps it as a training is kept.

    Args:
        trace: file to which each step that is taken adds a line.
    """

    def __init__(self, trace: Path) -> None:
        super().__init__()
        self.trace = trace

    def _train(self, start, attempt, stop, progress):
        total, done = torch.tensor([start], dtype=torch.float64), 0
        means = EpochMeans("cpu")

        def save():
            attempt.save_checkpoint({"total": total}, {"step": done})

        pace = Pace(STEPS, stop, progress, RunOptions(checkpoint_every_steps=EVERY), save, means)
        if (found := attempt.load_checkpoint()) is not None:
            total, done = found[0]["total"], found[1]["step"]
        while done < STEPS:
            total, done = total + done + 1, done + 1
            with self.trace.open("a") as file:
                file.write(f"{attempt.id} {done}\n")
            means.add({"loss": total[0]}, 1, done)
            attempt.log({"epoch": done, "total": total[0]})
            pace.after_step(done, 1, last=done == STEPS)
        attempt.save_arrays("predictions", total=total.numpy())
        return total

    def pretrain(self, config, data, attempt, *, device, stop, progress, options):
        total = self._train(0.0, attempt, stop, progress)
        attempt.save_model({"total": total})
        return {"metrics": {"total": total[0]}, "steps": STEPS}

    def probe(self, config, data, backbone_weights, attempt, *, device, stop, progress, options):
        start = read_with_digest(backbone_weights)[0]["total"]
        total = self._train(float(start), attempt, stop, progress)
        return {"epochs": [], "rules": {"last": {"epoch": 1, "top1": total[0] / 1000, "top5": None}}}


class Killer:
    """Kills this process before its k-th operation that changes something below a folder, or half through a write."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.left = str(folder), at

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self._ours(path):
                self.count()
        elif event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir") and self._ours(args[0]):
            self.count()

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)

    def install(self) -> None:
        sys.addaudithook(self._audit)
        fsync, opened, killer = os.fsync, io.open, self

        def counted_fsync(handle: int) -> None:
            killer.count()
            fsync(handle)

        def open_half(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            file = opened(path, mode, *more, **options)
            if killer._ours(path) and set(mode) & set("wax"):
                write = file.write

                class Half:
                    """What a kill in the middle of a write leaves."""

                    def write(self, data: Any) -> int:
                        if killer.left == 1:
                            write(data[: len(data) // 2])
                            file.flush()
                        killer.count()
                        return write(data)

                    def __getattr__(self, name: str) -> Any:
                        return getattr(file, name)

                    def __enter__(self) -> "Half":
                        return self

                    def __exit__(self, *_: object) -> None:
                        file.close()

                return Half()
            return file

        anything(os).fsync = counted_fsync
        anything(io).open = open_half


def start(results: Path, trace: Path, at: int = 0) -> bool:
    """Run the plan in a process of its own, killed at its `at`-th operation; whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Killer(results, at).install()
            code = run(PLAN, results, Counting(trace), Stop())[0].exit_code
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "a run that nobody killed failed"
    return True


def content(results: Path) -> dict[str, Any]:
    """What counts of a results folder."""
    found = {}
    for one in load_runs(results, lambda text: (_ for _ in ()).throw(AssertionError(text))):
        assert one.result is not None
        weights = {k: v.tolist() for k, v in read_tensors(one.weights)[0].items()} if one.weights else None
        result = {k: v for k, v in one.result.items() if k != "attempt"}
        found[one.id] = (result, one.metrics(), weights, anything(one.predictions())["total"].tolist())
    return found


SAYS = {"status.json", "provenance.json", "progress.json", "metrics.jsonl", "log.txt"}


def check_remains(results: Path, most_attempts: int) -> None:
    """Nothing is left that a run which was not killed would not leave, but what ended attempts say of themselves."""
    for cell in PLAN.cells:
        folder = run_dir(results, cell.id)
        assert {p.name for p in folder.iterdir()} == {"config.json", "result.json", "attempts"}, folder
        attempts = sorted((folder / "attempts").iterdir())
        assert len(attempts) <= most_attempts, attempts
        for attempt in attempts:
            names = {p.name for p in attempt.iterdir()}
            if "result.json" not in names:
                assert names <= SAYS, (attempt, names)
            else:
                assert names <= SAYS | {"result.json", "model.safetensors", "predictions.npz"}, names
    assert {p.name for p in results.iterdir()} == {"bench.json", "runs"}


def check_during(results: Path) -> None:
    """After a kill: whatever has its final name is whole, and there are not more checkpoints than it takes."""
    for one in load_runs(results, lambda text: (_ for _ in ()).throw(AssertionError(text))):
        checkpoints = [p for p in one.dir.glob("attempts/*/*checkpoint*.safetensors") if p.name[0] != "."]
        assert len(checkpoints) <= 4, checkpoints
        for path in checkpoints:
            read_tensors(path)


def every(folder: Path, expected: dict[str, Any]) -> int:
    """Kill at the first operation, at the second, ..., each time over a new folder; how many there are."""
    at = 0
    while True:
        at += 1
        results, trace = folder / "killed", folder / "trace"
        if start(results, trace, at):
            shutil.rmtree(results)
            return at - 1
        check_during(results)
        assert start(results, trace)
        assert content(results) == expected, at
        check_remains(results, 2)
        # A kill costs the steps since the last checkpoint, and no cell that was done.
        steps = len(trace.read_text().splitlines())
        assert steps <= STEPS * len(PLAN) + EVERY + STEPS % EVERY, (at, steps)
        shutil.rmtree(results)
        trace.unlink()


def again_and_again(folder: Path, expected: dict[str, Any], operations: int, seed: int) -> int:
    """Kill one study at random operations until it is done; how often that was."""
    moments, kills = random.Random(seed), 0
    results, trace = folder / "killed", folder / "trace"
    while not start(results, trace, moments.randint(1, operations // 2)):
        kills += 1
        check_during(results)
        assert kills < 500
    assert content(results) == expected
    # The end may have been reached by the run that was to be killed later; whatever it left is tidied now.
    assert start(results, trace)
    check_remains(results, kills + 1)
    shutil.rmtree(results)
    return kills


def main(folder: Path, rounds: int) -> None:
    """Both, and say how many operations and kills there were."""
    torch.set_num_threads(1)
    # What is loaded or asked once a process is here before the first fork.
    run(PLAN, folder / "warm", Counting(folder / "warm.trace"), Stop())
    whole = folder / "whole"
    assert start(whole, folder / "trace")
    (folder / "trace").unlink()
    expected = content(whole)
    operations = every(folder, expected)
    kills = sum(again_and_again(folder, expected, operations, seed) for seed in range(rounds))
    print(f"{operations} operations, {kills} kills over {rounds} studies")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
