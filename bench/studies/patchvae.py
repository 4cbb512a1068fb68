"""PatchVAE: Learning Local Latent Codes for Recognition (Gupta, Singh, Shrivastava, CVPR 2020)."""

from bench.studies.study import Column, Row, Study, Table

TABLE_1 = Table(
    name="1",
    title="Top-1 accuracy of a probe on frozen and partly frozen features",
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623), Table 1",
    backbone="resnet9",
    rule="best-test",
    schedule={"cifar100": (90, 90), "indoor67": (90, 90), "places205": (2, 5)},
    columns=tuple(
        Column(dataset, freeze)
        for dataset in ("cifar100", "indoor67", "places205")
        for freeze in ("conv1", "conv1-3", "conv1-5")
    ),
    rows=(
        Row("β-VAE", "beta-vae", (44.12, 39.65, 28.57, 20.08, 17.76, 13.06, 28.29, 24.34, 8.89)),
        Row("β-VAE + L_w", "beta-vae-lw", (44.96, 40.30, 28.33, 21.34, 19.48, 13.96, 29.43, 24.93, 9.41)),
        Row("β-VAE-GAN", "beta-vae-gan", (44.69, 40.13, 29.89, 19.10, 17.84, 13.06, 28.48, 24.51, 9.72)),
        Row(
            "β-VAE-GAN + L_w",
            "beta-vae-gan-lw",
            (45.61, 41.35, 31.53, 20.45, 18.36, 14.33, 29.63, 25.26, 10.66),
        ),
        Row("PatchVAE", "patchvae", (43.07, 38.58, 28.72, 20.97, 19.18, 13.43, 28.63, 24.95, 11.09)),
        Row("PatchVAE + L_w", "patchvae-lw", (43.75, 40.37, 30.55, 23.21, 21.87, 15.45, 29.39, 26.29, 12.07)),
        Row("PatchVAE-GAN", "patchvae-gan", (44.45, 40.57, 31.74, 21.12, 19.63, 14.55, 28.87, 25.25, 12.21)),
        Row(
            "PatchVAE-GAN + L_w",
            "patchvae-gan-lw",
            (45.39, 41.74, 32.65, 22.46, 21.87, 16.42, 29.36, 26.30, 13.39),
        ),
        Row("BiGAN", "bigan", (47.72, 41.89, 31.58, 21.64, 17.09, 9.70, 30.06, 25.11, 10.82)),
        Row(
            "Imagenet Pretrained",
            "supervised",
            (55.99, 54.99, 54.36, 45.90, 45.82, 40.90, 37.08, 36.46, 31.26),
            pretrain_on="imagenet",
        ),
    ),
    notes=(
        "The paper's numbers are of one run each, at the epoch that is best on the test set.",
        "The paper pretrains and probes for 90 epochs on CIFAR100 and Indoor67, for 2 and 5 on Places205.",
    ),
)

STUDY = Study(
    name="patchvae",
    title="PatchVAE: Learning Local Latent Codes for Recognition",
    citation="Kamal Gupta, Saurabh Singh, Abhinav Shrivastava. CVPR 2020",
    url="https://arxiv.org/abs/2004.03623",
    tables=(TABLE_1,),
)
