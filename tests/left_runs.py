"""Single runs left on disk with chosen metrics and arrays, and the rows made of them: what tests of figures read."""

import json
from pathlib import Path

import numpy as np

from bench.records import Run
from bench.report.figures import DatasetRows
from bench.report.panel import RowRuns


class Left:
    """Runs below one folder; ids are counted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def run(self, config, result=None, *, rows=(), arrays=None, provenance=None) -> Run:
        """A run that is done if `result` is given; `arrays`: name of the file -> its arrays."""
        self.count += 1
        folder = self.root / "runs" / f"{self.count:016x}"
        attempt = folder / "attempts" / "0001"
        attempt.mkdir(parents=True)
        (attempt / "provenance.json").write_text(json.dumps(provenance or {}))
        (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name, values in (arrays or {}).items():
            np.savez(attempt / f"{name}.npz", **values)
        if result is not None:
            (folder / "result.json").write_text(json.dumps({"id": folder.name, "attempt": "0001", **result}))
        return Run(folder, config, on_broken=self._refuse)

    def _refuse(self, line):
        raise AssertionError(line)

    def pretrain(
        self,
        seed=0,
        *,
        losses=(3.0, 2.0),
        device="cpu",
        threads=1,
        pictures=None,
        done=True,
        workers=None,
        **config,
    ):
        result = {"kind": "pretrain", "steps": 10, "seconds": 60.0} if done else None
        return self.run(
            {"kind": "pretrain", "seed": seed, **config},
            result,
            rows=[{"epoch": i + 1, "loss": loss} for i, loss in enumerate(losses)],
            arrays={} if pictures is None else {"reconstructions": pictures},
            provenance={
                "device": device,
                "threads": threads,
                **({} if workers is None else {"jobs": {"workers": workers, "gpu": None, "mps": False}}),
            },
        )

    def probe(self, top1s=(0.1, 0.2)):
        return self.run(
            {"kind": "probe"},
            {
                "kind": "probe",
                "epochs": [{"epoch": i + 1, "test_top1": value} for i, value in enumerate(top1s)],
            },
        )

    def evaluation(self, name, metrics=None, arrays=None, facts=None):
        result = {"kind": "evaluate", "evaluation": name, "metrics": metrics or {}, "facts": facts or {}}
        return self.run({"kind": "evaluate", "evaluation": name}, result, arrays=arrays)

    def spoil(self, run, name):
        """Leave an array file that whoever opens it complains about."""
        (run.dir / "attempts" / "0001" / f"{name}.npz").write_bytes(b"not to be opened")


def row_runs(label, method="patchvae", *, weighted=False, **runs) -> RowRuns:
    return RowRuns(
        method, label, "", "methods", {"method": method, "method_config": {"weighted": weighted}}, **runs
    )


def on_dataset(*rows, name="table-1-digits") -> DatasetRows:
    return DatasetRows(
        name, "digits", "Digits", "2 epochs of pretraining, 3 of probing", dict(enumerate(rows))
    )
