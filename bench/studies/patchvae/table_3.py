"""Table 3: the number of parts N. Discussed in section 4.3."""

from bench.studies.claim import Claim, Contrast
from bench.studies.study import Column, Row, Table

TABLE = Table(
    name="3",
    title="Effect of the number of parts N",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 3",
    backbone="resnet9",
    rule="best-test",
    schedule={"cifar100": (90, 90), "indoor67": (90, 90)},
    columns=(Column("cifar100", "conv1-5"), Column("indoor67", "conv1-5")),
    rows=(
        Row("N = 4", "patchvae", (27.59, 14.40), settings={"num_parts": 4}),
        Row("N = 8", "patchvae", (28.74, 12.69), settings={"num_parts": 8}),
        Row("N = 16", "patchvae", (28.94, 14.33), settings={"num_parts": 16}),
        Row("N = 32", "patchvae", (27.78, 13.28), settings={"num_parts": 32}),
        Row("N = 64", "patchvae", (29.00, 12.76), settings={"num_parts": 64}),
    ),
    controls=(Row("Random (untrained)", "random"),),
    claims=(
        Claim(
            "parts-help-on-cifar100",
            "On CIFAR100 64 parts are better than 4.",
            "increasing number of patches improves the discriminative power in case of CIFAR100",
            "4.3",
            (Contrast("N = 64", "N = 4"),),
            datasets=("cifar100",),
            note="Of the ends of the range: in between, the paper's own numbers rise and fall.",
        ),
        Claim(
            "parts-do-not-help-on-indoor67",
            "On Indoor67 64 parts are not better than 4 by as much as one point.",
            "it has little or negative effect in case of Indoor67.",
            "4.3",
            (Contrast("N = 64", "N = 4"),),
            expect="not better",
            margin=1.0,
            datasets=("indoor67",),
            note="The paper does not say how much is little: one point is ours.",
        ),
    ),
    notes=(
        "The paper's numbers are of one run each, at the epoch that is best on the test set.",
        "N = 16 is Table 1's PatchVAE, of which the paper prints other numbers there (28.72 and 13.43).",
    ),
)
