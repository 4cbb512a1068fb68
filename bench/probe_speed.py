"""Which of the faster ways of probing are in force; `bench.speed` says the same of pretraining. No torch.

They change bits, not what a cell means: they are recorded with an attempt and are no part of its id. A probe that
goes on after a stop keeps those with which it began.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bench.memory import keep_freed_memory
from bench.speed import Precision, choose, kept_precision, without_c


@dataclass(frozen=True)
class ProbeSpeed:
    """Switches, each off on the plain path.

    Attributes:
        folded: run the frozen prefix with its BN folded into its convolutions.
        bilinear: convolve small maps of stages whose BN is folded with fewer products; see `bench.bilinear`.
        winograd: the same in C, of the trained stages, and of the frozen ones where maps are cut into its tiles, and
            of an image's few channels where `direct` is on too; see `bench.winograd`.
        direct: other convolutions of both; see `bench.direct`.
        fused_norm: batch norm of the trained stages at once with its activation and residual sum; see
            `bench.fused_norm`.
        folded_tests: in an evaluation, run the trained stages with their BN folded too, anew after each epoch.
        twister: dropout's bits in C; see `bench.draws`. No bit depends on it.
        closed_head: the head's gradient in closed form into memory that is kept, and one fused update.
        head_panels: with it, the products of the head's wide layer in C; see `bench.head_products`.
        shared: keep features for other probes of the same pretraining in this process: of one freeze point they are
            the same, of a later one they are what the stages between make of them.
        keep_memory: what a step frees stays with the process; see `bench.memory`. No bit depends on it.
        precision: of the frozen prefix and of products; weights, updates and losses stay fp32.
    """

    folded: bool = False
    bilinear: bool = False
    winograd: bool = False
    direct: bool = False
    fused_norm: bool = False
    folded_tests: bool = False
    twister: bool = False
    closed_head: bool = False
    head_panels: bool = False
    shared: bool = False
    keep_memory: bool = False
    precision: Precision = "fp32"

    def prepare(self) -> None:
        """What is set once for the process."""
        if self.keep_memory:
            keep_freed_memory()

    def as_json(self) -> dict[str, Any]:
        """For the provenance."""
        return asdict(self)


PLAIN_PROBE = ProbeSpeed()


def choose_probe(device: str, speed: str = "auto", precision: str = "auto") -> ProbeSpeed:
    """The switches of a probe for a device; the wishes are those of `bench.speed.choose`.

    Raises:
        UsageError: a word is unknown.
    """
    chosen = choose(device, speed, precision).precision
    if speed == "plain":
        # The yardstick is fp32 unless bf16 is asked for, which the plain path of a probe does not have.
        return PLAIN_PROBE
    # Fewer products lose digits that bf16 does not have, and a GPU's own convolutions are faster than many products.
    fewer = chosen == "fp32" and device.partition(":")[0] == "cpu"
    return ProbeSpeed(
        folded=True,
        bilinear=fewer,
        winograd=fewer,
        direct=fewer,
        fused_norm=fewer,
        folded_tests=fewer,
        twister=fewer,
        closed_head=True,
        head_panels=fewer,
        shared=True,
        keep_memory=device.partition(":")[0] == "cpu",
        precision=chosen,
    )


def kept_probe(begun: Mapping[str, Any] | None, device: str, precision: str = "auto") -> ProbeSpeed:
    """The switches of a probe that goes on: those of its provenance, as far as the device has them.

    An attempt of before there were switches took the plain path.

    Args:
        begun: `speed` of its provenance.
        device: on which it goes on.
        precision: as the user wishes it now.
    """
    known = {f.name for f in fields(ProbeSpeed)}
    try:
        found = ProbeSpeed(**{key: value for key, value in (begun or {}).items() if key in known})
    except TypeError:
        return PLAIN_PROBE
    if kept_precision(found.precision, device, precision) == "fp32":
        found = replace(found, precision="fp32")
    elif found.folded or found.closed_head:
        # As `choose_probe` has them; the plain path of a probe stays fp32.
        found = replace(without_c(found), bilinear=False, folded_tests=False, twister=False, precision="bf16")
    return found if device.partition(":")[0] == "cpu" else without_c(found)
