"""Table 2: ImageNet with ResNet-18, the last two residual blocks fine-tuned. Discussed in section 4.1."""

from bench.studies.claim import Claim, Contrast
from bench.studies.study import Column, Row, Table

# Conv1 and the first two of the four residual blocks are frozen.
FREEZE = "conv1-5"
PLAIN = Contrast("PatchVAE", "β-VAE")

TABLE = Table(
    name="2",
    title="Top-1 and top-5 accuracy with the last two residual blocks fine-tuned",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 2",
    backbone="resnet18",
    rule="best-test",
    schedule={"imagenet": (30, 30)},
    columns=(Column("imagenet", FREEZE, "top1"), Column("imagenet", FREEZE, "top5")),
    rows=(
        Row("β-VAE", "beta-vae", (44.45, 69.67)),
        Row("PatchVAE", "patchvae", (47.01, 71.71)),
        Row("β-VAE + L_w", "beta-vae-lw", (47.28, 71.78)),
        Row("PatchVAE + L_w", "patchvae-lw", (47.87, 72.49)),
        Row("Imagenet Supervised", "scratch", (61.37, 83.79)),
    ),
    controls=(Row("Random (untrained)", "random"),),
    claims=(
        Claim(
            "patchvae-beats-beta-vae",
            "PatchVAE is better than β-VAE with the same loss.",
            "We notice that PatchVAE framework outperforms β-VAE under all settings",
            "4.1",
            (PLAIN, Contrast("PatchVAE + L_w", "β-VAE + L_w")),
        ),
        Claim(
            "weighted-loss-helps",
            "The weighted loss L_w improves both β-VAE and PatchVAE.",
            "and the proposed weighted loss helps both approaches.",
            "4.1",
            (Contrast("β-VAE + L_w", "β-VAE"), Contrast("PatchVAE + L_w", "PatchVAE")),
        ),
        Claim(
            "recognition-for-reconstruction",
            "PatchVAE, which reconstructs worse (Table 7), is better at recognition.",
            "PatchVAE sacrifices reconstruction quality to learn discriminative parts, resulting in higher"
            " recognition performance (Table 2)",
            "caption of Table 7",
            (PLAIN,),
        ),
    ),
    notes=(
        "The paper's numbers are of one run each, at the epoch that is best on the test set.",
        "The paper pretrains and probes for 30 epochs.",
        "“Imagenet Supervised” is the same network from random weights, trained end to end: `scratch`.",
    ),
)
