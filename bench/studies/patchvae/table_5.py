"""Table 5: the prior probability of a part's occurrence. Discussed in section 4.3."""

from bench.studies.claim import Claim, Contrast
from bench.studies.study import Column, Row, Table

TABLE = Table(
    name="5",
    title="Effect of the prior probability of a part's occurrence",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 5",
    backbone="resnet9",
    rule="best-test",
    schedule={"cifar100": (90, 90), "indoor67": (90, 90)},
    columns=(Column("cifar100", "conv1-5"), Column("indoor67", "conv1-5")),
    rows=(
        Row("z_occ prior = 0.01", "patchvae", (28.86, 14.33), settings={"prior_occ": 0.01}),
        Row("z_occ prior = 0.05", "patchvae", (28.67, 14.25), settings={"prior_occ": 0.05}),
        Row("z_occ prior = 0.1", "patchvae", (28.31, 14.03), settings={"prior_occ": 0.1}),
    ),
    controls=(Row("Random (untrained)", "random"),),
    claims=(
        Claim(
            "higher-prior-hurts",
            "Each smaller prior is better than each larger one.",
            "Table 5 shows the deterioration of classification performance on increasing z_occ^prior.",
            "4.3",
            (
                Contrast("z_occ prior = 0.01", "z_occ prior = 0.05"),
                Contrast("z_occ prior = 0.05", "z_occ prior = 0.1"),
                Contrast("z_occ prior = 0.01", "z_occ prior = 0.1"),
            ),
        ),
    ),
    notes=(
        "The paper's numbers are of one run each, at the epoch that is best on the test set.",
        "Everywhere else the prior is 1/N = 0.0625, which is not among these.",
    ),
)
