"""Claims of all four verdicts, with invented numbers."""

import numpy as np

from bench.report.model import Claim, Comparison
from bench.stats import Split
from bench.studies import STUDIES

DATASETS = ("CIFAR-100", "MiniPlaces")


def comparison(a, b, column, centre, *, n=3, published=None, metric="top1", low=0.0):
    sign = -1 if metric == "fid" else 1
    inside = None if published is None else sign * published > low
    if n == 0:
        return Comparison(a, b, column, metric, 0, published=published, published_as_expected=inside)
    spread = np.random.default_rng([len(a), len(column), n]).normal(0, 0.006, n)
    by_seed = {seed: float(centre + x - spread.mean()) for seed, x in enumerate(spread)}
    return Comparison(
        a, b, column, metric, n,
        difference=centre,
        half=None if n == 1 else 0.014,
        p=None if n == 1 else 0.0004 if centre > 0.014 else 0.23,
        as_expected=centre > low,
        by_image=n > 1,
        split=None if n == 1 else Split(0.5, None, 0.3, 0.2),
        seeds_needed=None if n == 1 else 7,
        level=0.0125,
        by_seed=by_seed,
        published=published,
        published_as_expected=inside,
    )  # fmt: skip


def claims():
    """Of Table 1 one of each verdict and one of means; of Table 7 one of another metric."""
    declared = {c.name: c for t in STUDIES["patchvae"].tables for c in t.claims}

    def claim(name, table, verdict, p, reason, comparisons, **more):
        c = declared[name]
        return Claim(
            name,
            table,
            c.text,
            c.quote,
            c.where,
            c.note,
            "a above b",
            verdict,
            p,
            reason,
            tuple(comparisons),
            **more,
        )

    def of(name, centres, columns, **more):
        pairs = [(pair.a, pair.b) for pair in declared[name].contrasts]
        cells = [(a, b, column) for column in columns for a, b in pairs]
        return [
            comparison(a, b, column, centres[k % len(centres)], published=None if k % 3 else 0.011, **more)
            for k, (a, b, column) in enumerate(cells)
        ]

    frozen = [f"{name}, Conv[1-5]" for name in DATASETS]
    last = [f"{name}, Conv[1-3]" for name in DATASETS]
    mean = comparison("with L_w", "without", "mean of 8 differences", 0.0061, n=3)
    return (
        claim(
            "patchvae-beats-beta-vae-frozen", "table-1", "supported", 0.0021,
            "All 8 intervals lie above zero.", of("patchvae-beats-beta-vae-frozen", [0.021, 0.034, 0.018], frozen),
        ),
        claim(
            "weighted-loss-helps", "table-1", "undecided", 0.31,
            "The interval of the mean, −0.79 to 2.01 points, holds zero.",
            of("weighted-loss-helps", [0.004, 0.011, -0.003], frozen), average=True, overall=mean,
        ),
        claim(
            "patchvae-beats-beta-vae-last-block", "table-1", "contradicted", 0.012,
            "At MiniPlaces, Conv[1-3], PatchVAE lies below β-VAE by more than its interval.",
            of("patchvae-beats-beta-vae-last-block", [-0.022, 0.004, -0.031], last),
        ),
        claim(
            "adversary-helps", "table-1", "not run", None,
            "β-VAE-GAN was not run.", [comparison("β-VAE-GAN", "β-VAE", frozen[0], 0, n=0, published=0.0132)],
        ),
        claim(
            "beta-vae-reconstructs-better", "table-7", "undecided", None, "One seed gives no interval.",
            [
                comparison("β-VAE", "PatchVAE", "Digits, PSNR", 0.9, n=1, metric="psnr", published=0.515),
                comparison("β-VAE", "PatchVAE", "Digits, SSIM", 0.02, n=1, metric="ssim", published=0.054),
                comparison("β-VAE", "PatchVAE", "Digits, FID", 0, n=0, metric="fid", published=-4.951),
            ],
        ),
    )  # fmt: skip
