"""Table 7: how well test images are reconstructed. Discussed in section 4.2."""

from bench.studies.claim import Claim, Contrast
from bench.studies.study import Column, Row, Table

TABLE = Table(
    name="7",
    title="Reconstruction of test images",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 7",
    backbone="resnet18",
    rule="best-test",
    schedule={"imagenet": (30, 30)},
    columns=(
        Column(
            "imagenet",
            None,
            "psnr",
            incomparable="a uniform grey has at least 6.02 dB against any images in [0, 1], so 4.857 dB is not of"
            " such images compared pixel by pixel; ours is",
        ),
        Column("imagenet", None, "fid"),
        Column("imagenet", None, "ssim"),
    ),
    rows=(
        Row("β-VAE", "beta-vae", (4.857, 108.741, 0.289)),
        Row("PatchVAE", "patchvae", (4.342, 113.692, 0.235)),
    ),
    claims=(
        Claim(
            "beta-vae-reconstructs-better",
            "β-VAE reconstructs test images better than PatchVAE, by every metric.",
            "Table 7 shows that β-VAE is better at reconstruction.",
            "4.2",
            (Contrast("β-VAE", "PatchVAE"),),
        ),
    ),
    notes=(
        "The paper's numbers are of one run each. Its authors' code keeps the pretraining epoch with the lowest test"
        " loss; we take the last.",
        "The paper says neither at which size FID is computed nor with which window SSIM is.",
    ),
)
