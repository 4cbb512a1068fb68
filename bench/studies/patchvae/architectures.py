"""Tables 8 to 12: encoders, decoders and the classifier. Appendix C.

The layers are those of the live modules, kept so that they can be printed without torch. After a change of a network:

    bench list architectures --json > bench/studies/patchvae/architectures.json
"""

from pathlib import Path

from bench.studies.architecture import read_architectures

ARCHITECTURES = read_architectures(
    Path(__file__).with_name("architectures.json"),
    source="Gupta et al., CVPR 2020 (arXiv 2004.03623)",
    published=(
        (888_192, 789_792, 922_896),
        (1_478_016, 1_084_704, 922_896),
        (774_144, 774_144, 683_904),
        (1_069_056, 1_069_056, 683_904),
        (1_783_460, 4_912_259, 4_983_053),
    ),
)
