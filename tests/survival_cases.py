"""What may be broken in a study on disk, and what is then said and done: the table of `test_survival`."""

from dataclasses import dataclass

DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "garbage": lambda data: bytes((k * 37 + 11) % 256 for k in range(len(data))),
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
}


@dataclass(frozen=True)
class Case:
    """One thing that is broken.

    Attributes:
        study: which is copied.
        pattern: of the file, in the results folder.
        says: what the next `bench run` says, a pattern.
        aside: whether it is set aside.
        code: exit code of the next `bench run`.
        looks: the commands that name the file; the others need it not.
        same: whether the study is then the same as the one that nothing happened to: not where what is broken is
            of a cell that is done, and is not made again.
    """

    study: str
    pattern: str
    says: str = ""
    aside: bool = False
    code: int = 0
    looks: tuple[str, ...] = ()
    same: bool = True


PRETRAIN, PROBE = "runs/{pretrain}", "runs/{probe}"
ATTEMPT = "attempts/0001"
BROKEN = r"{path} cannot be read"
LOOKS = ("list", "show", "report")
CHECKPOINT = (
    "checkpoint.safetensors is broken: .*; set aside as checkpoint.safetensors.broken-1, going on from"
)
CASES = {
    "result of a pretraining": Case(
        "done", f"{PRETRAIN}/result.json", "a broken result.json was set aside as", True, looks=LOOKS
    ),
    "result of a probe": Case(
        "done", f"{PROBE}/result.json", "a broken result.json was set aside as", True, looks=LOOKS
    ),
    "configuration": Case(
        "done",
        f"{PROBE}/config.json",
        "broken: set aside as .* written again",
        True,
        looks=("list", "report"),
    ),
    "configuration of a stopped cell": Case(
        "pretraining",
        f"{PRETRAIN}/config.json",
        "broken: set aside as .* written again",
        True,
        looks=("list",),
    ),
    "weights": Case(
        "probing",
        f"{PRETRAIN}/{ATTEMPT}/model.safetensors",
        "set aside as model.safetensors.broken-1, .* made again",
        True,
    ),
    "checkpoint": Case("pretraining", f"{PRETRAIN}/{ATTEMPT}/checkpoint.safetensors", CHECKPOINT, True),
    "checkpoint of a probe": Case("probing", f"{PROBE}/{ATTEMPT}/checkpoint.safetensors", CHECKPOINT, True),
    "mark of the folder": Case(
        "pretraining",
        "bench.json",
        "bench.json was broken: set aside as bench.json.broken-1",
        True,
        looks=LOOKS,
    ),
    "status": Case("pretraining", f"{PRETRAIN}/{ATTEMPT}/status.json", BROKEN, looks=("show", "status")),
    "status of what is done": Case("done", f"{PRETRAIN}/{ATTEMPT}/status.json"),
    "provenance": Case("pretraining", f"{PRETRAIN}/{ATTEMPT}/provenance.json", looks=("show",)),
    "provenance of what is done": Case(
        "done", f"{PRETRAIN}/{ATTEMPT}/provenance.json", looks=("show", "report")
    ),
    "progress": Case("pretraining", f"{PRETRAIN}/{ATTEMPT}/progress.json", looks=("status",)),
    "metrics": Case("probing", f"{PROBE}/{ATTEMPT}/metrics.jsonl"),
    "metrics of what is done": Case("done", f"{PROBE}/{ATTEMPT}/metrics.jsonl", same=False),
    "predictions": Case("done", f"{PROBE}/{ATTEMPT}/predictions.npz", same=False),
    "what was asked for": Case(
        "pretraining", "asked/*.json", "broken: set aside as .* written again", True, looks=("status",)
    ),
    "claim": Case(
        "pretraining",
        f"{PRETRAIN}/claim.json",
        "failed: .*claim.json cannot be read; `bench retry --steal` takes the cell",
        code=1,
        looks=("status",),
    ),
    "claim on what is done": Case(
        "done", f"{PROBE}/claim.json", "is done; what a killed process left stays: .*claim.json", same=False
    ),
}
