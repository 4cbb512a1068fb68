"""What a method promises: how it is built and declared, what it keeps, what it shows. Its losses are in `losses`."""

import copy
import dataclasses
import math
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from bench.build import build_backbone, make_method
from bench.checkpoint import read_tensors, write_tensors
from bench.contract import losses
from bench.contract.method_case import MethodCase
from bench.contract.verdicts import NotKept, Remark
from bench.errors import BenchError
from bench.settings import typed
from models.method import Method, PartMaps, Posterior

STEPS = (0, 1, 1000, 10**6)


def row(case: MethodCase) -> None:
    """The row names a Method, and settings that are frozen, have defaults and fit into JSON."""
    spec = case.row
    if not (dataclasses.is_dataclass(spec.config_cls) and isinstance(spec.config_cls, type)):
        raise NotKept(f"config_cls {spec.config_cls!r} is not a dataclass")
    if not spec.config_cls.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise NotKept(
            f"config_cls {spec.config_cls.__name__} is not frozen: a run's settings must not change"
        )
    config = spec.config_cls(**spec.options)
    if spec.config_cls(**typed(config)) != config:
        raise NotKept("settings that go through JSON come back different")
    module, colon, name = spec.target.partition(":")
    if not colon or not hasattr(import_module(module), name):
        raise NotKept(f'target {spec.target!r} is not "module:Class"')
    cls = getattr(import_module(module), name)
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise NotKept(f"{spec.target} is not a models.method.Method")


def builds(case: MethodCase) -> None:
    """It is built at several image sizes, on the backbone that it is given, whose weights it leaves alone."""
    given = build_backbone(case.backbone, 3)
    for size in (case.size, 2 * case.size):
        method = case.fresh(3, size)
        own = dict(method.named_children()).get("backbone")
        if own is None:
            raise NotKept('it has no child "backbone": nothing could be probed')
        wanted = given.state_dict()
        state = own.state_dict()
        if state.keys() != wanted.keys() or not all(torch.equal(v, wanted[k]) for k, v in state.items()):
            raise NotKept(
                "building it changes the backbone, so that methods do not start from the same weights"
            )
    if not case.row.labels:
        case.fresh(0, num_classes=None)
    if case.row.decoder:
        odd = case.size + given.stride // 2
        try:
            make_method(case.row, case.config(), case.backbone, odd, 0, None if not case.row.labels else 10)
        except BenchError:
            return
        raise NotKept(
            f"it decodes, and does not refuse images of {odd} pixels by a ValueError (bottleneck_side)"
        )


def phases(case: MethodCase) -> None:
    """Phases name losses and children that exist, and every child with parameters is trained by one of them."""
    method = case.method()
    children = {name: list(child.parameters()) for name, child in method.named_children()}
    if case.row.trained is not bool(method.phases):
        raise NotKept(f"the row says trained={case.row.trained}, but it has {len(method.phases)} phases")
    for phase in method.phases:
        if not callable(getattr(method, phase.loss, None)):
            raise NotKept(f"a phase's loss {phase.loss!r} is no method of {type(method).__name__}")
        for child in phase.updates:
            if child not in children:
                raise NotKept(f"{phase.loss} updates {child!r}, which is no child: {', '.join(children)}")
        if not phase.updates:
            raise NotKept(f"{phase.loss} updates nothing")
    names = [phase.loss for phase in method.phases]
    if len(set(names)) < len(names):
        raise NotKept("two phases have the same loss: their noise and their logs could not be told apart")
    trained = {child for phase in method.phases for child in phase.updates}
    idle = [name for name, parameters in children.items() if parameters and name not in trained]
    if method.phases and idle:
        raise NotKept(f"no phase updates {', '.join(idle)}")
    if loose := [name for name, _ in method.named_parameters() if "." not in name]:
        raise NotKept(
            f"parameter {loose[0]!r} belongs to no child, so no phase can update it: wrap it in a module"
        )


def schedule(case: MethodCase) -> None:
    """What changes with the step is finite numbers under the same names, by the step alone."""
    method = case.method()
    first = method.schedule(STEPS[0])
    for step in STEPS:
        values = method.schedule(step)
        if values.keys() != first.keys():
            raise NotKept(f"at step {step} it has other names than at step 0: {', '.join(values) or 'none'}")
        for name, value in values.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise NotKept(f"{name} at step {step} is {value!r}, not a finite number")
    if method.schedule(STEPS[0]) != first:
        raise NotKept("the same step has other values when it is asked for again: a resumed run would differ")


def labels(case: MethodCase) -> None:
    """What a row without labels computes is the same whatever the labels are, and without any (-1)."""
    if case.row.labels:
        raise Remark("labels=True: it may read them, and is pretrained on the labelled images alone")
    method = losses.trained(case)
    batch, noises, scheduled = case.inputs(method)
    blank = batch._replace(label=torch.full_like(batch.label, -1))
    for number, phase in enumerate(method.phases):
        told = f"labels=False, and its loss depends on batch.label ({phase.loss})"
        known = case.losses(copy.deepcopy(method), number, (batch, noises, scheduled))
        try:
            unknown = case.losses(copy.deepcopy(method), number, (blank, noises, scheduled))
        except (RuntimeError, IndexError, ValueError) as error:
            raise NotKept(f"{told}: {' '.join(str(error).split())[:100]}") from None
        if any(not torch.equal(value, unknown[name]) for name, value in known.items()):
            raise NotKept(told)


def state(case: MethodCase) -> None:
    """All that training changes is in the state dict: another object that loads it goes on with the same bits."""
    method = case.method(0)
    for path, module in method.named_modules():
        if loose := [name for name, value in vars(module).items() if isinstance(value, Tensor)]:
            where = f"{path}.{loose[0]}".lstrip(".")
            raise NotKept(
                f"{where} is a tensor that is no parameter and no buffer: it is not saved and not moved"
            )
    case.train(method, range(2))
    with tempfile.TemporaryDirectory(prefix="bench-contract-") as folder:
        write_tensors(Path(folder) / "state.safetensors", method.state_dict())
        saved, _ = read_tensors(Path(folder) / "state.safetensors")
    # Of another seed, so that a number drawn when it was built, and kept elsewhere, is found out.
    other = case.method(7)
    other.load_state_dict(saved, strict=True)
    if not method.phases:
        return
    ours, theirs = case.train(method, range(2, 4)), case.train(other, range(2, 4))
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True), 2):
        for name in a:
            if not torch.equal(a[name], b[name]):
                raise NotKept(
                    f"{name} at step {step} is {b[name].item():.6g} after a resume, not {a[name].item():.6g}"
                )
    for name, value in method.state_dict().items():
        if not torch.equal(value, other.state_dict()[name]):
            raise NotKept(f"{name} has other bits after a resume")


def images(case: MethodCase) -> None:
    """What it shows (reconstruct, infer, parts, decode_parts, pixel_weights) has the declared shape, and stays so."""
    method = case.method().eval()
    inputs = case.inputs(method, count=3)
    (image, _), noises, scheduled = inputs
    recon = method.reconstruct(image)
    if case.row.decoder is not (recon is not None):
        raise NotKept(f"the row says decoder={case.row.decoder}, but reconstruct gives {_shape(recon)}")
    _like("reconstruct", recon, image)
    if recon is not None and not torch.equal(recon, method.reconstruct(image)):  # pyright: ignore[reportArgumentType]
        raise NotKept("reconstruct gives other images when it is called again")
    maps = method.parts(image)
    if case.row.parts is not (maps is not None):
        raise NotKept(f"the row says parts={case.row.parts}, but parts gives {_shape(maps)}")
    if maps is not None:
        _maps(method, maps, image, recon)
    noise = noises[0] if noises else {}
    posterior = method.infer(image, noise, scheduled)
    if posterior is not None:
        if not isinstance(posterior, Posterior) or posterior.kl.shape != ():
            raise NotKept("infer gives no Posterior with a scalar kl")
        _like("infer's recon", posterior.recon, image)
    _like("pixel_weights", method.pixel_weights(image), image)
    if not any(one is not None for one in (recon, maps, posterior)):
        raise Remark("it shows no images: no evaluation but of its features applies")


def _maps(method: Method, maps: PartMaps, image: Tensor, recon: Tensor | None) -> None:
    occurrence, appearance = maps.occurrence, maps.appearance
    if occurrence.ndim != 4 or appearance.ndim != 3 or occurrence.shape[:2] != appearance.shape[:2]:
        raise NotKept(
            f"parts gives {_shape(occurrence)} and {_shape(appearance)}, not [b, n, h, w] and [b, n, d]"
        )
    if not bool(((occurrence >= 0) & (occurrence <= 1)).all()):
        raise NotKept("occurrence is not a probability everywhere")
    decoded = method.decode_parts(maps)
    _like("decode_parts", decoded, image)
    if decoded is not None and recon is not None and not torch.allclose(decoded, recon, atol=1e-5):
        raise NotKept("decode_parts of parts is not what reconstruct gives")


def _like(what: str, value: Tensor | None, image: Tensor) -> None:
    if value is None:
        return
    if value.shape != image.shape:
        raise NotKept(f"{what} gives {_shape(value)}, not the images' {_shape(image)}")
    if not bool(value.isfinite().all()):
        raise NotKept(f"{what} gives numbers that are not finite")


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def learns(case: MethodCase) -> str | None:
    """Twelve steps of Adam on a batch move each trained child, stay finite, and lower the loss of a single phase."""
    method = case.method()
    if not method.phases:
        raise Remark("it is not trained")
    begin = {name: value.clone() for name, value in method.state_dict().items()}
    values = losses.fit(case, method, 12)
    if not all(math.isfinite(value) for value in values):
        raise NotKept(f"the loss is {values[-1]} after {len(values)} steps")
    for child in sorted({child for phase in method.phases for child in phase.updates}):
        parameters = method.get_submodule(child).named_parameters(child)
        if all(torch.equal(begin[name], value) for name, value in parameters):
            raise NotKept(f"{child} has not moved")
    if len(method.phases) > 1:
        # Each phase has its own interest, and one may win at the other's cost.
        return None
    if not values[-1] < values[0]:
        raise NotKept(f"the loss went from {values[0]:.6g} to {values[-1]:.6g}")
    return f"the loss fell from {values[0]:.4g} to {values[-1]:.4g} in {len(values)} steps"


PROMISES: dict[str, Callable[[MethodCase], str | None]] = {
    "row": row,
    "builds": builds,
    "phases": phases,
    "schedule": schedule,
    "labels": labels,
    **losses.PROMISES,
    "state": state,
    "images": images,
    "learns": learns,
}
