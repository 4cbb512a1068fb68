"""PatchVAE: Learning Local Latent Codes for Recognition (Gupta, Singh, Shrivastava, CVPR 2020).

One file a table. The sentences of the paper that sum up or repeat what is claimed of a table ("representations that
perform much better for recognition tasks compared to vanilla VAEs", section 5) are not claims of their own.
"""

from bench.studies.patchvae import table_1, table_2, table_3, table_4, table_5, table_6, table_7
from bench.studies.patchvae.architectures import ARCHITECTURES
from bench.studies.study import Study

STUDY = Study(
    name="patchvae",
    title="PatchVAE: Learning Local Latent Codes for Recognition",
    citation="Kamal Gupta, Saurabh Singh, Abhinav Shrivastava. CVPR 2020",
    url="https://arxiv.org/abs/2004.03623",
    tables=(
        table_1.TABLE,
        table_2.TABLE,
        table_3.TABLE,
        table_4.TABLE,
        table_5.TABLE,
        table_6.TABLE,
        table_7.TABLE,
    ),
    architectures=ARCHITECTURES,
)
