"""Figures of every kind of panel, with invented numbers."""

import numpy as np

from bench.report.model import Chart, Facts, Figure, Forest, ForestLine, Line, Picture, Point, Scatter


def _curve(rng, level, epochs):
    xs = np.arange(1, epochs + 1)
    return tuple(xs.tolist()), tuple((level * (1 - np.exp(-xs / 4)) + rng.normal(0, 0.5, epochs)).tolist())


def curves(table, labels, epochs=20):
    """Accuracies (three charts of means and seeds), losses (a chart a row), accuracy against cost."""
    rng = np.random.default_rng(0)
    keys = dict(enumerate(labels))
    charts = []
    for title, top in (("Conv1", 44.0), ("Conv[1-3]", 40.0), ("Conv[1-5]", 29.0)):
        lines = []
        for i, label in enumerate(labels):
            runs = [Line(label, f"seed {s}", False, i, *_curve(rng, top - i, epochs)) for s in range(3)]
            mean = tuple(np.mean([run.ys for run in runs], axis=0).tolist())
            lines += [*runs, Line(label, "mean of 3", True, i, runs[0].xs, mean)]
        charts.append(Chart(title, "probe epoch", "test top-1, %", tuple(lines)))
    losses = tuple(
        Chart(
            label,
            "epoch",
            "loss",
            tuple(Line(label, f"seed {s}", False, i, *_curve(rng, 900.0, 9)) for s in (0, 1)),
        )
        for i, label in enumerate(labels[:4])
    )
    points = tuple(
        Point(label, i, 30.0 * 1.5**i, 29 + 3 * np.sin(i), None if i == 3 else 0.8)
        for i, label in enumerate(labels)
    )
    cost = tuple(
        Scatter(title, "seconds of pretraining", "Top-1, %", points, True)
        for title in ("CIFAR-100", "MiniPlaces")
    )
    caption = (
        "Top-1 accuracy on the test images after each epoch of the probe; thin: a seed, thick: the mean."
    )
    return (
        Figure(f"{table}-accuracies", "Probe accuracy by epoch", caption, tuple(charts), keys=keys),
        Figure(f"{table}-losses", "Pretraining loss", "A chart a method, a line a seed.", losses, keys=keys),
        Figure(f"{table}-cost", "Accuracy against cost", "Up and to the left is better.", cost, keys=keys),
    )


def differences():
    """A forest plot."""
    rng = np.random.default_rng(1)
    lines = []
    for group in ("CIFAR-100, Conv[1-5]", "MiniPlaces, Conv[1-5]"):
        for label in ("PatchVAE − β-VAE", "PatchVAE + L_w − β-VAE + L_w", "PatchVAE-GAN − β-VAE-GAN"):
            dots = rng.normal(0.6, 0.7, 3)
            half = float(dots.std(ddof=1) * 4.303 / np.sqrt(3))
            paper = 0.15 if group.startswith("CIFAR") else None
            lines.append(ForestLine(label, group, float(dots.mean()), half, tuple(dots.tolist()), paper))
    lines.append(ForestLine("PatchVAE-GAN + L_w − β-VAE-GAN + L_w", lines[-1].group, -0.4, None, (-0.4,)))
    forest = Forest("Differences", "points of top-1 accuracy", tuple(lines))
    return (Figure("differences", "What the patches add", "Every seed is a dot.", (forest,)),)


def occurrence_maps(draw):
    """Pictures with a table of facts beside them."""
    pictures = tuple(
        Picture(label, 0, draw(270, 100, label), 270, 100, f"Occurrence maps of {label}")
        for label in ("PatchVAE", "PatchVAE + L_w")
    )
    facts = Facts(("Part", "Purity", "Alive"), (("1", "0.42", "yes"), ("2", "0.31", "no")))
    return (
        Figure(
            "figure-3-digits", "Figure 3. Occurrence maps", "Bright: the part occurs.", pictures, (facts,)
        ),
    )
