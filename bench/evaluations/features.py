"""How much the frozen backbone's features tell of the labels: nearest neighbours and a linear probe.

Beside the paper's probe, an MLP trained for epochs by SGD, these cost seconds, and nothing is chosen on the test set.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bench.data.arrays import Split
from bench.errors import UsageError
from bench.evaluations.linear import choose_l2, fit
from bench.evaluations.neighbours import knn_votes
from bench.evaluations.settings import FeaturesSettings
from bench.evaluations.task import Findings, Task
from bench.probe import TOP, holdout_split
from models.backbones import Backbone

# Of the linear probe's penalty, from strong to weak.
STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


def features(task: Task) -> Findings:
    """KNN top-1; linear top-1 and, of more than five classes, top-5.

    Saves "predictions": labels [n], and the five best classes of each image by either, int16 [n, 5]; -1 stands for
    a class that none of the neighbours has.
    """
    s: FeaturesSettings = task.settings
    backbone, classes = task.backbone(), len(task.data.classes)
    train, test = (_features(task, backbone, split, s) for split in (task.data.train, task.data.test))
    labels, truth = (
        torch.from_numpy(split.labels.astype("int64")).to(task.device)
        for split in (task.data.train, task.data.test)
    )
    between = task.stop.raise_if_asked
    votes = knn_votes(
        train, labels, test, num_classes=classes, k=s.k, temperature=s.temperature, between=between
    )
    options = {"num_classes": classes, "max_iter": s.max_iter, "between": between}
    l2, held_out, start = s.l2, {}, None
    if l2 is None:
        kept, held = (index.to(task.device) for index in holdout_split(len(labels), task.seed))
        choice = choose_l2(train[kept], labels[kept], (train[held], labels[held]), STRENGTHS, **options)
        l2, held_out, start = choice.l2, choice.held_out, choice.best
    linear = fit(train, labels, l2, start=start, **options)
    by_knn, by_linear = best_classes(votes, absent=0.0), best_classes(linear.logits(test))
    task.attempt.save_arrays(
        "predictions",
        labels=truth.to(torch.int16).cpu().numpy(),
        top5_knn=by_knn.cpu().numpy(),
        top5_linear=by_linear.cpu().numpy(),
    )
    metrics = {"knn_top1": hit_rate(by_knn, truth, 1), "linear_top1": hit_rate(by_linear, truth, 1)}
    if classes > TOP:
        metrics["linear_top5"] = hit_rate(by_linear, truth, TOP)
    facts = {
        "features": train.shape[1],
        "n_train": len(labels),
        "k": min(s.k, len(labels)),
        "similarity": "cosine",
        "l2": l2,
        "l2_held_out_loss": {f"{strength:g}": loss for strength, loss in held_out.items()},
        "linear_iterations": linear.iterations,
        "optimiser": "L-BFGS on all images at once",
    }
    return Findings(metrics, facts)


@torch.no_grad()
def _features(task: Task, backbone: Backbone, split: Split, s: FeaturesSettings) -> Float[Tensor, "n d"]:
    """The last stage's map, averaged down to at most grid x grid, flattened: [n, channels * cells]."""
    if not len(split):
        raise UsageError(f"{task.data.name} has no images to compute features of")
    pixels = task.pixels(split, s.scale)
    found: Tensor | None = None
    for index in task.chunks(len(pixels), ahead=pixels):
        part = flatten(backbone(pixels.batch(index)[0]), s.grid)
        if found is None:
            _check_memory(task, part.shape[1] * part.element_size())
            found = part.new_empty(len(pixels), part.shape[1])
        found[index] = part
        task.told(int(index[-1]) + 1, len(pixels))
    assert found is not None
    return found


def _check_memory(task: Task, bytes_each: int) -> None:
    count = len(task.data.train) + len(task.data.test)
    if (wanted := count * bytes_each) > task.options.cache_bytes:
        raise UsageError(
            f"features of {count} images would take {wanted >> 20} MiB, more than the"
            f" {task.options.cache_bytes >> 20} MiB that they may: --set features.grid=1 makes them narrower"
        )


def flatten(features: Float[Tensor, "b c h w"], grid: int) -> Float[Tensor, "b d"]:
    """A feature map as one vector; a map of more than grid x grid cells is averaged down to that."""
    if max(features.shape[-2:]) > grid:
        height, width = (min(grid, side) for side in features.shape[-2:])
        features = F.adaptive_avg_pool2d(features, (height, width))
    return features.flatten(1)


def best_classes(scores: Float[Tensor, "m classes"], absent: float | None = None) -> Int[Tensor, "m top"]:
    """The classes with the highest scores, the best first, int16; -1 where a score is `absent`."""
    top = scores.topk(min(TOP, scores.shape[1]), 1)
    found = top.indices if absent is None else top.indices.masked_fill(top.values == absent, -1)
    return found.to(torch.int16)


def hit_rate(best: Int[Tensor, "m top"], truth: Int[Tensor, " m"], top: int) -> float:
    """Share of images whose class is among the `top` best."""
    return float((best[:, :top] == truth[:, None]).any(1).double().mean())
