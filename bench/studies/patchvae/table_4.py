"""Table 4: the size d_p of a part's appearance vector. Discussed in section 4.3."""

from bench.studies.claim import Claim, Contrast
from bench.studies.study import Column, Row, Table

TABLE = Table(
    name="4",
    title="Effect of the size d_p of a part's appearance vector",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 4",
    backbone="resnet9",
    rule="best-test",
    schedule={"cifar100": (90, 90), "indoor67": (90, 90)},
    columns=(Column("cifar100", "conv1-5"), Column("indoor67", "conv1-5")),
    rows=(
        Row("d_p = 3", "patchvae", (28.63, 14.25), settings={"part_dim": 3}),
        Row("d_p = 6", "patchvae", (28.97, 14.55), settings={"part_dim": 6}),
        Row("d_p = 9", "patchvae", (28.21, 14.55), settings={"part_dim": 9}),
    ),
    controls=(Row("Random (untrained)", "random"),),
    claims=(
        Claim(
            "size-has-little-impact",
            "No two sizes differ by as much as one point.",
            "Increasing the number of hidden units for a patch has very little impact on classification performance",
            "caption of Table 4, and 4.3",
            (
                Contrast("d_p = 6", "d_p = 3"),
                Contrast("d_p = 9", "d_p = 6"),
                Contrast("d_p = 9", "d_p = 3"),
            ),
            expect="similar",
            margin=1.0,
            note="The paper does not say how much is little: one point is ours.",
        ),
    ),
    notes=(
        "The paper's numbers are of one run each, at the epoch that is best on the test set.",
        "d_p = 6 is Table 1's PatchVAE, of which the paper prints other numbers there (28.72 and 13.43).",
    ),
)
