"""A trainer that computes nothing, so that the tests of the harness are about the harness."""

from types import SimpleNamespace
from typing import Any

from bench.errors import Diverged, WeightsError
from bench.launch.control import Stop, stopped
from bench.launch.local import LocalRunner
from bench.records import load_run, open_results

DATA = SimpleNamespace(name="digits", fingerprint="f" * 64, corrupt=(), classes=("a", "b"), leaks=None)


def anything(value: object) -> Any:
    """A value whose type a test knows better than the checker."""
    return value


def load(results, cell_id) -> Any:
    """A run that is there."""
    return load_run(results, cell_id)


class FakeTrainer:
    """Counts what it is asked for; fails where told; saves when it is stopped.

    Args:
        faults: label of a cell -> exception to raise.
        steps: asked of `stop` in each cell.
        saves: leave a checkpoint when stopped.
    """

    def __init__(self, faults=None, steps=1, saves=True):
        self.faults, self.steps, self.saves = faults or {}, steps, saves
        self.calls, self.groups, self.measured = [], [], []
        self.speed = SimpleNamespace(times_faster=2.0)
        self.on_step = lambda: None

    def _run(self, config, attempt, stop, progress):
        from bench.plan import label

        name = label(config)
        self.calls.append(name)
        for step in range(1, self.steps + 1):
            self.on_step()
            progress(step, self.steps, 10.0, {"loss": 1.0 / step})
            reason = stop.check()
            if reason:
                if self.saves:
                    attempt.save_checkpoint({}, {})
                raise stopped(reason, "in the middle")
        attempt.log({"epoch": 1, "loss": 0.5})
        if name in self.faults:
            raise self.faults[name]

    def pretrain(self, config, data, attempt, *, device, stop, progress, options):
        self._run(config, attempt, stop, progress)
        (attempt.dir / "model.safetensors").write_bytes(b"weights")
        return {"metrics": {"loss": 0.5}, "steps": self.steps}

    def pretrain_together(self, configs, data, attempts, *, device, stop, progress, options):
        """Step by step, one seed after another in each; yields what `pretrain` would end with."""
        from bench.plan import label

        names = [label(config) for config in configs]
        self.groups.append(names)
        living = list(range(len(configs)))
        for step in range(1, self.steps + 1):
            self.on_step()
            for number in living:
                progress[number](step, self.steps, 10.0, {"loss": 1.0 / step})
            reason = stop.check()
            for number in list(living):
                if names[number] in self.faults:
                    living.remove(number)
                    yield number, self.faults[names[number]]
                elif reason:
                    living.remove(number)
                    attempts[number].save_checkpoint({}, {})
                    yield number, stopped(reason, "in the middle")
        for number in living:
            attempts[number].log({"epoch": 1, "loss": 0.5})
            (attempts[number].dir / "model.safetensors").write_bytes(b"weights")
            yield number, {"metrics": {"loss": 0.5}, "steps": self.steps}

    def together_speed(self, configs, data, *, device, options):
        self.measured.append(len(configs))
        return anything(self.speed)

    def probe(self, config, data, backbone_weights, attempt, *, device, stop, progress, options):
        if backbone_weights.read_bytes() != b"weights":
            raise WeightsError(f"{backbone_weights} is broken")
        self._run(config, attempt, stop, progress)
        return {"epochs": [], "rules": {"last": {"epoch": 1, "top1": 0.5, "top5": None}}}

    def evaluate(self, config, data, weights, pretrained, attempt, *, device, stop, progress, options):
        assert pretrained["steps"] == self.steps
        if weights.read_bytes() != b"weights":
            raise WeightsError(f"{weights} is broken")
        self._run(config, attempt, stop, progress)
        return {"evaluation": config["evaluation"], "metrics": {"psnr": 20.0}, "facts": {}}


class Watcher:
    """A display that remembers."""

    def __init__(self):
        self.notes, self.ended, self.rows = [], [], []

    def cell_started(self, cell, number, total):
        pass

    def cell_ended(self, outcome, number, total):
        self.ended.append((outcome.cell.label, outcome.state))

    def step(self, step, total, images_per_second, values):
        pass

    def row(self, row):
        self.rows.append(row)

    def note(self, text):
        self.notes.append(text)


def run(plan, results, trainer=None, stop=None, load=lambda name: DATA, **options):
    """Run a plan; the summary and who watched it."""
    open_results(results)
    watcher = Watcher()
    from bench.launch.control import RunOptions

    options.setdefault("options", RunOptions(threads=1))
    runner = LocalRunner(results, load, watcher, stop or Stop(), trainer=trainer or FakeTrainer(), **options)
    return runner.run(plan), watcher


__all__ = ["DATA", "Diverged", "FakeTrainer", "Watcher", "anything", "load", "run"]
