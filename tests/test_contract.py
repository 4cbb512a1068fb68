"""Each promise of the contract is one that a method can break: small methods that break one, and are told so."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bench.contract import ContractBroken, Verdict, check_method, judge_method, promises
from bench.errors import UsageError
from models.method import Method, Noise, PartMaps, Phase
from models.registry import MethodSpec


@dataclass(frozen=True)
class Settings:
    weight: float = 1.0


class Rebuild(Method[Settings]):
    """Mean squared error of an image rebuilt from its features and one declared draw: keeps every promise."""

    phases = (Phase("rebuild", ("backbone", "head")),)

    def __init__(self, config, backbone, image_size, num_classes=None):
        super().__init__(config, backbone, image_size, num_classes)
        if image_size % backbone.stride:
            raise ValueError("image size is no multiple of the stride")
        self.head = nn.Conv2d(backbone.num_features, 3, 1)

    def noise(self):
        return {"z": Noise("normal", (3, 1, 1))}

    def schedule(self, step):
        return {"temperature": 1.0 / (1 + step)}

    def decode(self, image):
        small = self.head(self.backbone(image))
        return nn.functional.interpolate(small, scale_factor=float(self.backbone.stride))

    def reconstruct(self, image):
        return self.decode(image)

    def error(self, batch, noise, schedule):
        return (self.decode(batch.image) + noise["z"] * schedule["temperature"] - batch.image).square()

    def rebuild(self, batch, noise, schedule):
        loss = self.error(batch, noise, schedule).mean()
        return {"loss": loss, "mse": loss.detach()}


def broken(**attributes):
    """A method that differs from a good one in this."""
    return type("Broken", (Rebuild,), attributes)


def row_of(cls, monkeypatch, **changes):
    cls.__name__ = cls.__qualname__ = "Broken"
    monkeypatch.setitem(globals(), "Broken", cls)
    base = MethodSpec("mine", "Mine", f"{__name__}:Broken", Settings, decoder=True)
    return dataclasses.replace(base, **changes)


def verdict(cls, promise, monkeypatch, **changes) -> Verdict:
    (one,) = judge_method(row_of(cls, monkeypatch, **changes), [promise], image_size=16)
    return one


def plus(more):
    """A loss that is the good one and something else."""

    def rebuild(self, batch, noise, schedule):
        loss = self.error(batch, noise, schedule).mean()
        return {"loss": more(self, loss, batch, noise, schedule)}

    return rebuild


def test_a_good_method_keeps_every_promise(monkeypatch):
    row = row_of(broken(), monkeypatch)
    verdicts = list(judge_method(row, image_size=16))
    assert [one.promise for one in verdicts] == list(promises("method"))
    assert [one for one in verdicts if one.kept is not True] == []


def with_parameter(self, *args):
    Rebuild.__init__(self, *args)
    self.scale = nn.Parameter(torch.ones(1))


def with_spare_head(self, *args):
    Rebuild.__init__(self, *args)
    self.spare = nn.Linear(2, 2)


def with_loose_tensor(self, *args):
    Rebuild.__init__(self, *args)
    self.scale = torch.rand(1) + 1


def with_draws_of_its_own(self, *args):
    Rebuild.__init__(self, *args)
    self.scale = (torch.rand(1) + 1).item()


def that_zeroes_the_backbone(self, *args):
    Rebuild.__init__(self, *args)
    nn.init.zeros_(next(self.backbone.parameters()))


def without_backbone(self, *args):
    Rebuild.__init__(self, *args)
    del self._modules["backbone"]


def of_any_size(self, config, backbone, image_size, num_classes=None):
    Rebuild.__init__(self, config, backbone, image_size // 8 * 8, num_classes)


def counting(self, loss, *_):
    self.calls = getattr(self, "calls", 0) + 1
    return loss * self.calls


def drawing(self, loss, *_):
    generator = self.__dict__.setdefault("generator", torch.Generator())
    return loss + torch.rand((), generator=generator)


def stepping(self, loss, *_):
    with torch.no_grad():
        self.head.bias.add_(1)
    return loss


def resting(self, loss, *_):
    self.backbone.eval()
    return loss


def labelled(self, loss, batch, *_):
    return loss + batch.label.to(loss.dtype).mean()


def indexed(self, loss, batch, *_):
    return loss + nn.functional.one_hot(batch.label, 10).to(loss.dtype).mean()


def backwards(self, loss, *_):
    loss.backward(retain_graph=True)
    return loss


def branching(self, loss, *_):
    return loss if loss > 0 else -loss


def climbing(self, loss, *_):
    return 2 * loss.detach() - loss


def with_own_tensor(self, loss, *_):
    return loss + torch.ones(3).sum(0, True)


def in_fp32(self, loss, *_):
    return loss.float()


def among_the_others(self, loss, batch, *_):
    flat = batch.image.flatten(1)
    return loss + (flat @ flat.mT).softmax(1).diagonal().sum() / len(flat) ** 2


TWICE = (Phase("rebuild", ("backbone", "head")), Phase("rebuild", ("head",)))

# Promise, what breaks it, what its line says.
BREAKS = {
    "a row that names no method": ("row", {}, {"target": "torch.nn:Linear"}, "is not a models.method.Method"),
    "a row whose class is nowhere": ("row", {}, {"target": f"{__name__}:Nobody"}, 'not "module:Class"'),
    "settings without a default": ("row", {}, {"options": {"other": 1}}, "unexpected keyword"),
    "no backbone": ("builds", {"__init__": without_backbone}, {}, 'no child "backbone"'),
    "a backbone that it initialises": ("builds", {"__init__": that_zeroes_the_backbone}, {}, "same weights"),
    "a size that it cannot rebuild": ("builds", {"__init__": of_any_size}, {}, "does not refuse images of"),
    "a loss that is not there": ("phases", {"phases": (Phase("other", ("head",)),)}, {}, "'other' is no method"),
    "a child that is not there": ("phases", {"phases": (Phase("rebuild", ("neck",)),)}, {}, "'neck', which"),
    "a child that is never trained": ("phases", {"__init__": with_spare_head}, {}, "no phase updates spare"),
    "a parameter of no child": ("phases", {"__init__": with_parameter}, {}, "'scale' belongs to no child"),
    "one loss in two phases": ("phases", {"phases": TWICE}, {}, "same loss"),
    "a schedule of a tensor": ("schedule", {"schedule": lambda s, n: {"t": torch.ones(1)}}, {}, "finite number"),
    "a schedule that changes names": ("schedule", {"schedule": lambda s, n: {f"t{n}": 1.0}}, {}, "other names"),
    "a loss that is no dict": ("losses", {"rebuild": lambda s, *a: s.error(*a).mean()}, {}, "not a dict"),
    "a loss an example": ("losses", {"rebuild": plus(lambda s, loss, b, *_: loss.expand(4))}, {}, "not as a scalar"),
    "a loss that is not finite": ("losses", {"rebuild": plus(lambda s, loss, *_: loss / 0)}, {}, "loss=inf"),
    "a loss without a gradient": ("losses", {"rebuild": plus(lambda s, loss, *_: loss.detach())}, {}, "gradient"),
    "a sum over the batch": ("batch-mean", {"rebuild": plus(lambda s, loss, b, *_: loss * len(b[0]))}, {}, "2 times"),
    "coupled images, unsaid": ("batch-mean", {"rebuild": plus(among_the_others)}, {}, "says couples_examples=True"),
    "examples that push one another": ("independence", {"rebuild": plus(among_the_others)}, {}, "couples_examples"),
    "the wrong parameters": (
        "gradients",
        {"rebuild": plus(lambda s, loss, b, *_: s.backbone(b.image).square().mean())},
        {},
        "head.weight, which it does not depend on",
    ),
    "a gradient of zero": ("gradients", {"rebuild": plus(lambda s, loss, *_: 0 * loss)}, {}, "zero everywhere"),
    "a step of its own": ("gradients", {"rebuild": plus(stepping)}, {}, "changed head.bias by itself"),
    "a backward of its own": ("gradients", {"rebuild": plus(backwards)}, {}, "must not call backward"),
    "batch norm put to rest": ("gradients", {"rebuild": plus(resting)}, {}, "left backbone in another mode"),
    "labels that are not declared": ("labels", {"rebuild": plus(labelled)}, {}, "labels=False, and its loss depends"),
    "labels as an index": ("labels", {"rebuild": plus(indexed)}, {}, "labels=False, and its loss depends"),
    "torch.randn": ("no-randomness", {"rebuild": plus(lambda s, loss, *_: loss + torch.randn(()))}, {}, "of torch"),
    "a generator of its own": ("no-randomness", {"rebuild": plus(drawing)}, {}, "when it is computed again"),
    ".item()": ("no-values", {"rebuild": plus(lambda s, loss, *_: loss + loss.item())}, {}, "looks at a value"),
    "a branch on a value": ("no-values", {"rebuild": plus(branching)}, {}, "looks at a value"),
    "a tensor on the CPU": ("any-device", {"rebuild": plus(with_own_tensor)}, {}, "GPU"),
    ".item() under vmap": ("seeds-together", {"rebuild": plus(lambda s, loss, *_: loss + loss.item())}, {}, "item"),
    "a number of one seed's own": (
        "seeds-together",
        {"__init__": with_draws_of_its_own, "rebuild": plus(lambda s, loss, *_: s.scale * loss)},
        {},
        "differs by",
    ),
    "a graph that breaks": ("one-graph", {"rebuild": plus(branching)}, {}, "Unsupported"),
    "fp32 whatever comes": ("precision", {"rebuild": plus(in_fp32)}, {}, "torch.float32 of fp64"),
    "a counter that is not saved": ("state", {"rebuild": plus(counting)}, {}, "after a resume"),
    "a tensor that is not saved": ("state", {"__init__": with_loose_tensor}, {}, "scale is a tensor"),
    "a number drawn when built": (
        "state",
        {"__init__": with_draws_of_its_own, "rebuild": plus(lambda s, loss, *_: s.scale * loss)},
        {},
        "after a resume",
    ),
    "images of another size": ("images", {"reconstruct": lambda s, x: x[..., ::2]}, {}, "not the images'"),
    "a decoder that is not declared": ("images", {}, {"decoder": False}, "decoder=False"),
    "parts that are declared only": ("images", {}, {"parts": True}, "parts=True"),
    "parts that are no probabilities": (
        "images",
        {"parts": lambda s, x: PartMaps(torch.full((3, 2, 4, 4), 2.0), torch.zeros(3, 2, 5))},
        {"parts": True},
        "not a probability",
    ),
    "a loss that does not fall": ("learns", {"rebuild": plus(climbing)}, {}, "went from"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_a_method_that_breaks_a_promise_is_told_so(what, monkeypatch):
    promise, attributes, changes, said = BREAKS[what]
    one = verdict(broken(**attributes), promise, monkeypatch, **changes)
    assert one.kept is False, one
    assert said in one.text
    assert "\n" not in one.text


@pytest.mark.parametrize("promise", ["batch-mean", "independence"])
def test_a_method_that_says_that_it_compares_examples_may(promise, monkeypatch):
    cls = broken(rebuild=plus(among_the_others))
    one = verdict(cls, promise, monkeypatch, couples_examples=True)
    assert one.kept is None, "not asked of it"
    assert "trained on one device" in one.text


def test_every_promise_is_broken_by_something():
    assert {promise for promise, *_ in BREAKS.values()} == set(promises("method"))


def test_a_check_names_all_that_is_broken_and_the_line_of_the_author_s_code(monkeypatch):
    def rebuild(self, batch, noise, schedule):
        raise RuntimeError("my own mistake")

    row = row_of(broken(rebuild=rebuild), monkeypatch)
    with pytest.raises(ContractBroken) as error:
        check_method(row, ["phases", "losses", "gradients"], image_size=16)
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["losses", "gradients"]
    assert all("my own mistake (test_contract.py, line" in line for line in lines)


def test_what_is_never_built_is_not_looked_at_further(monkeypatch):
    def __init__(self, *args):
        raise TypeError("no")

    verdicts = list(judge_method(row_of(broken(__init__=__init__), monkeypatch), image_size=16))
    assert [one.kept for one in verdicts] == [True, False] + [None] * (len(verdicts) - 2)
    assert verdicts[2].text == "not looked at: it needs 'builds'"


def test_an_unknown_promise_or_method_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'gradients'"):
        check_method("supervised", ["gradient"])
    with pytest.raises(UsageError, match="did you mean 'bigan'"):
        check_method("bigann")


def test_settings_and_backbone_of_a_check_are_those_asked_for():
    assert [v.kept for v in judge_method("beta-vae", ["builds"], settings={"latent_dim": 8})] == [True]
    (one,) = judge_method("beta-vae", ["builds"], settings={"latent_dim": 0})
    assert "latent_dim is 0" in one.text
    assert isinstance(one, Verdict)
    assert not isinstance(one.text, Tensor)
