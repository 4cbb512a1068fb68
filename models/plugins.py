"""What other installed packages offer by entry points, loaded so that a broken one harms only who asks for it.

The groups are `bench.methods`, `bench.datasets`, `bench.evaluations` (a row, or several) and `bench.backbones` (a
module that registers the network with timm at import; the entry point has the network's name). docs/plugins.md has a
whole package. No torch here.
"""

import contextlib
import functools
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, runtime_checkable

GROUPS = ("bench.methods", "bench.datasets", "bench.evaluations", "bench.backbones")
# What a command line takes apart, or what has a meaning of its own there, is no name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# So `given` is no method of a comparison (`models.registry.GIVEN`), `folder:` and `timm:` are followed by a path.
RESERVED = ("all", "none", "pretrain", "probe", "given", "folder", "timm")


@runtime_checkable
class Row(Protocol):
    """What every registry's rows have."""

    @property
    def name(self) -> str:
        """What the user types."""
        ...


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Package:
    """An installed distribution that offers something.

    Attributes:
        name: as pip has it.
        version: likewise.
        module: top-level module of the entry point.
    """

    name: str
    version: str
    module: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Broken:
    """An entry point that cannot be used, and why."""

    group: str
    name: str
    package: Package
    reason: str

    def __str__(self) -> str:
        return f"{self.group} {self.name!r} of {self.package} cannot be used: {self.reason}"


# (group, name of a row) -> where a row comes from that is not this project's.
PACKAGES: dict[tuple[str, str], Package] = {}
# (group, entry point's name, package's name) -> what went wrong; tried once a process.
BROKEN: dict[tuple[str, str, str], Broken] = {}


@functools.cache
def _every() -> tuple[EntryPoint, ...]:
    # One look at all packages serves every group; it costs a hundredth of a second.
    found = entry_points()
    return tuple(point for group in GROUPS for point in found.select(group=group))


def offered(group: str) -> list[tuple[EntryPoint, Package]]:
    """The entry points of a group and their packages, in the order of the packages' names; nothing is imported."""
    found = []
    for point in _every():
        if point.group == group:
            # A package whose metadata were cut short has neither.
            about = dict(point.dist.metadata.items()) if point.dist else {}  # pyright: ignore[reportAttributeAccessIssue]
            package = Package(
                about.get("Name") or "?", about.get("Version") or "?", point.module.partition(".")[0]
            )
            found.append((point, package))
    return sorted(found, key=lambda one: (one[1].name, one[0].name))


def load(
    group: str, kind: type[RowT], rows: MutableMapping[str, RowT], check: Callable[[RowT], None]
) -> None:
    """Add to a registry what packages offer; what cannot be used is noted in `BROKEN`. Again is a no-op.

    Args:
        group: of the entry points.
        kind: class of a row; a value is a row or a sequence of rows.
        rows: the registry. A name that it has stays what it is.
        check: raises ValueError for a row that cannot be used.
    """
    for point, package in offered(group):
        if (group, point.name, package.name) in BROKEN:
            continue
        with _noting(group, point.name, package):
            for row in _rows_of(_import(point), kind):
                if rows.get(row.name) is row:
                    continue
                if not NAME.fullmatch(row.name) or row.name in RESERVED:
                    raise ValueError(f"{row.name!r} is no name: letters, digits and . _ + - ({NAME.pattern})")
                if row.name in rows:
                    owner = PACKAGES.get((group, row.name), "bench")
                    raise ValueError(f"the name {row.name!r} is taken by {owner}")
                check(row)
                rows[row.name] = row
                PACKAGES[group, row.name] = package


def load_backbone(name: str) -> None:
    """Import the module that registers a backbone with timm, if a package offers one of this name.

    Raises:
        ValueError: it cannot be imported, or the name is one of timm's own; says which package.
    """
    group = "bench.backbones"
    for point, package in offered(group):
        if point.name != name or PACKAGES.get((group, name)) == package:
            continue
        if (group, name, package.name) not in BROKEN:
            with _noting(group, name, package):
                _register(point)
                PACKAGES[group, name] = package
        if broken := BROKEN.get((group, name, package.name)):
            raise ValueError(str(broken))


def registers(name: str) -> tuple[Package, str] | None:
    """The package that a loaded backbone is of, and the module that registers it with timm; None of others."""
    owner = PACKAGES.get(("bench.backbones", name))
    found = [(package, point.module) for point, package in offered("bench.backbones") if point.name == name]
    return next((one for one in found if one[0] == owner), None)


def _register(point: EntryPoint) -> None:
    import timm

    # timm lets the last one have a name, and what "resnet18" means must not depend on what is installed.
    if timm.is_model(point.name):
        module = getattr(timm.model_entrypoint(point.name), "__module__", "")
        if module.partition(".")[0] != point.module.partition(".")[0]:
            raise ValueError(f"the name {point.name!r} is taken by {module}")
    _import(point)
    if not timm.is_model(point.name):
        raise ValueError(f"{point.module} registers no model {point.name!r} with timm")


def _import(point: EntryPoint) -> Any:
    # What a package prints must not come between the lines of --json.
    with contextlib.redirect_stdout(sys.stderr):
        return point.load()


@contextlib.contextmanager
def _noting(group: str, name: str, package: Package) -> Iterator[None]:
    """Whatever a stranger's module raises is put on record; it must not end a command that does not need it."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # Not all that libraries raise is an Exception, such as pytest's Skipped.
        text = _text_of(error)
        reason = text if type(error) is ValueError else f"{type(error).__name__}: {text}".removesuffix(": ")
        BROKEN[group, name, package.name] = Broken(group, name, package, reason)


def _text_of(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception:
        return ""


def _rows_of(value: Any, kind: type[RowT]) -> Iterable[RowT]:
    several = value if isinstance(value, list | tuple) else [value]
    for row in several:
        if not isinstance(row, kind):
            raise ValueError(f"it is a {type(row).__name__}, not a {kind.__name__} or a sequence of them")
    return several


def broken(group: str, name: str) -> Broken | None:
    """Why what packages offer under a name cannot be used; None where nothing is known to be wrong."""
    return next((one for (g, n, _), one in BROKEN.items() if (g, n) == (group, name)), None)


def check_target(text: str) -> None:
    """Refuse what is not "module:name".

    Raises:
        ValueError: names the text.
    """
    module, colon, name = text.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f'{text!r} is not "module:name"')


def modules_of(package: Package, *targets: str) -> list[str]:
    """Top-level modules of a package: its entry point's, and those that its rows name."""
    return sorted({package.module, *(target.partition(":")[0].partition(".")[0] for target in targets)})


def source_files(module: str) -> list[str]:
    """Paths of the files in Python and C of a top-level module, sorted; [] where none can be found."""
    from pathlib import Path

    spec = importlib.util.find_spec(module)
    if spec is None:
        return []
    folders = list(spec.submodule_search_locations or ())
    if not folders:
        return [spec.origin] if spec.origin else []
    return sorted(str(p) for f in folders for p in Path(f).rglob("*") if p.suffix in (".py", ".c"))
