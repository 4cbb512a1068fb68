"""Which of the faster ways of computing a pretraining are in force: switches, the plain path, a device's choice.

What they change are bits, not what a cell means: they are recorded with an attempt and are no part of its id. A cell
that goes on after a stop keeps those with which it began. No torch is imported before a device is looked at.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from bench.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Wish = Literal["auto", "plain"]
Precision = Literal["fp32", "bf16"]
PrecisionWish = Literal["auto", "fp32", "bf16"]
Compile = Literal["never", "if-it-pays", "always"]
WISHES: tuple[str, ...] = get_args(Wish)
PRECISIONS: tuple[str, ...] = get_args(PrecisionWish)

# Switches that call C of our own: fp32 on a processor, where there is a compiler; here and in `bench.probe_speed`. In
# the order in which they replace: where a map does not suit `winograd`, it leaves a layer as `direct` has it.
IN_C = ("direct", "winograd", "fused_norm", "twister", "head_panels")
Switches = TypeVar("Switches", bound="DataclassInstance")
# Switches, here and there, on which no bit depends.
BITLESS = ("keep_memory", "shared", "twister")

# Of NVIDIA's devices, those from this one on multiply bf16 in tensor cores.
BF16_CAPABILITY = (8, 0)


def in_c(switches: Any) -> list[str]:
    """Those switches that are on and call C of our own."""
    return [name for name in IN_C if getattr(switches, name, False)]


def without_c(switches: Switches) -> Switches:
    """The same with those off that call C of our own."""
    return replace(switches, **dict.fromkeys(in_c(switches), False))


def changing_bits(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a provenance says of switches, those on which bits depend and that are on.

    What an earlier version did not have it did not do.
    """
    return {name: value for name, value in row.items() if name not in BITLESS and value is not False}


@dataclass(frozen=True)
class Speed:
    """Switches, each off on the plain path.

    Attributes:
        flat_update: one fused Adam over parameters that lie in one piece of memory, in place of a loop over them.
        fused_adam: torch's fused Adam over each parameter in one pass, in place of a loop of single operations; on a
            processor. See `bench.fused_adam`.
        winograd: convolutions with fewer products, in fp32 on a processor; those of an image's few channels where
            `direct` is on too. See `bench.winograd`.
        direct: the other convolutions, in fp32 on a processor; see `bench.direct`.
        fused_norm: batch norm at once with what follows it, likewise; see `bench.fused_norm`.
        once: what adversaries and BiGAN would compute again, once; on a processor. See `bench.once`.
        keep_memory: what a step frees stays with the process; see `bench.memory`. No bit depends on it.
        precision: of convolutions and matrix products; weights, their updates and the losses stay fp32.
        compile: compile each phase's loss with its gradient: never, when the steps to go pay for it, or at once.
        graph: capture the whole step into a CUDA graph.
    """

    flat_update: bool = False
    fused_adam: bool = False
    winograd: bool = False
    direct: bool = False
    fused_norm: bool = False
    once: bool = False
    keep_memory: bool = False
    precision: Precision = "fp32"
    compile: Compile = "never"
    graph: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("precision", get_args(Precision)), ("compile", get_args(Compile))):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        calls = in_c(self)
        if calls and self.compile != "never":
            raise ValueError(
                f"{calls[0]} calls C, which no compiler of torch sees through: compile must be never"
            )
        if self.once and self.compile != "never":
            raise ValueError("once keeps what it computed from one loss to the next: compile must be never")

    @property
    def plain(self) -> bool:
        """Whether this is the plain path."""
        return self == PLAIN

    def as_json(self) -> dict[str, Any]:
        """For the provenance."""
        return asdict(self)


PLAIN = Speed()


def from_json(row: Mapping[str, Any] | None) -> Speed:
    """What a provenance says; an attempt of before there were switches took the plain path.

    A switch that this version does not know is left out: it cannot be kept.
    """
    known = {f.name for f in fields(Speed)}
    try:
        return Speed(**{key: value for key, value in (row or {}).items() if key in known})
    except (TypeError, ValueError):
        return PLAIN


def in_words(row: Mapping[str, Any] | None) -> str:
    """What a provenance says of the switches: "bf16; flat update, compiled if it pays"; "" where it says nothing."""
    if not row:
        return ""
    names = {
        "flat_update": "flat update",
        "fused_adam": "fused Adam",
        "winograd": "Winograd's convolutions",
        "direct": "direct convolutions",
        "fused_norm": "fused BN",
        "once": "nothing computed again",
        "graph": "captured graph",
        "folded": "folded BN",
        "bilinear": "frozen stages with fewer products",
        "folded_tests": "folded BN in evaluations",
        "closed_head": "closed-form head",
        "head_panels": "head's products in panels",
    }
    words = [text for name, text in names.items() if row.get(name)]
    if row.get("compile") not in (None, "never"):
        words.append("compiled" if row["compile"] == "always" else "compiled if it pays")
    return "; ".join([str(row.get("precision", "fp32")), ", ".join(words) or "plain"])


def has_bf16(device: str) -> bool:
    """Whether a device has units for products of bf16: they are looked for, never assumed."""
    import torch

    where = torch.device(device)
    if where.type == "cuda":
        return torch.version.hip is None and torch.cuda.get_device_capability(where) >= BF16_CAPABILITY
    if where.type == "cpu":
        # A processor without them computes bf16 in fp32 with conversions, which is slower than fp32.
        asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in asked)
    return False


def choose(device: str, speed: str = "auto", precision: str = "auto") -> Speed:
    """The switches for a device.

    Args:
        device: "cpu", "cuda", ...
        speed: "auto" is the fastest way known to be right there; "plain" the yardstick.
        precision: "auto" is fp32, until bf16 is shown to give the same accuracy; or as named.

    Raises:
        UsageError: a word is unknown.
    """
    _check("--speed", speed, WISHES)
    _check("--precision", precision, PRECISIONS)
    if speed == "plain":
        return replace(PLAIN, precision="bf16" if precision == "bf16" else "fp32")
    if precision == "auto":
        precision = "fp32"
    kind = device.partition(":")[0]
    return Speed(
        # On processors its copies take what it saves (docs/performance.md).
        flat_update=kind == "cuda",
        fused_adam=kind == "cpu",
        precision="bf16" if precision == "bf16" else "fp32",
        winograd=kind == "cpu" and precision == "fp32",
        direct=kind == "cpu" and precision == "fp32",
        fused_norm=kind == "cpu" and precision == "fp32",
        once=kind == "cpu",
        keep_memory=kind == "cpu",
        # On processors it gained nothing.
        compile="if-it-pays" if kind == "cuda" else "never",
    )


def stacked(speed: Speed) -> Speed:
    """The switches that can be in force where several seeds are trained at once."""
    return replace(without_c(speed), once=False, compile="never", graph=False)


def uncompiled(speed: Speed) -> Speed:
    """The switches that can be in force where a step is computed by several ranks, which speak in its midst."""
    return replace(speed, once=False, compile="never", graph=False)


def kept(begun: Mapping[str, Any] | None, device: str, precision: str = "auto") -> Speed:
    """The switches of a cell that goes on: those with which it began, as far as the device has them.

    Args:
        begun: `speed` of its provenance; None is an attempt of before there were switches.
        device: on which it goes on.
        precision: as the user wishes it now.
    """
    speed = from_json(begun)
    speed = replace(speed, precision=kept_precision(speed.precision, device, precision))
    if device == "cpu":
        return replace(speed, graph=False)
    return replace(without_c(speed), fused_adam=False, once=False)


def kept_precision(begun: Precision, device: str, wish: str = "auto") -> Precision:
    """The precision of a cell that goes on: as the user wishes it now, else as it began if the device has units."""
    if wish != "auto":
        return "bf16" if wish == "bf16" else "fp32"
    return begun if begun != "bf16" or has_bf16(device) else "fp32"


def _check(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{option} is {value!r}; allowed: {', '.join(allowed)}{hint}")
