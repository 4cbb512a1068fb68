"""The arrows of the architecture: who imports whom, and what stays cheap."""

import ast
import functools
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "models").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = (
    "torch",
    "timm",
    "pandas",
    "scipy",
    "statsmodels",
    "seaborn",
    "sklearn",
    "torchvision",
    "torchmetrics",
    "pyarrow",
    "torch_fidelity",
    "matplotlib",
)
# Modules that compute; all others answer without torch.
COMPUTE = {
    "build",
    "engines",
    "features",
    "flat",
    "fuse",
    "head_products",
    "heads",
    "loop",
    "metrics",
    "probe",
    "streams",
    "train",
}
COMPUTE |= {"accelerated", "direct", "evaluate", "fused_adam", "fused_norm", "normalised", "plain_tensors"}
COMPUTE |= {"few_channels", "once", "prepared", "winograd"}
COMPUTE |= {f"data.{name}" for name in ("batches", "prefetch", "readahead", "shuffling", "streaming")}
# Backbones from elsewhere, and features for elsewhere.
COMPUTE |= {"embed", "taking"}
COMPUTE |= {"micro.budget", "micro.check", "micro.miniatures"}
# Of several seeds at once.
COMPUTE |= {"inputs", "perf.together", "stacked", "together", "together_speed"}
# Of several devices.
COMPUTE |= {"devices.batch_norm", "devices.share"}
# Of a probe.
COMPUTE |= {
    "bilinear",
    "dense_sgd",
    "draws",
    "feature_store",
    "folded",
    "frozen",
    "perf.ceiling",
    "perf.probe",
    "perf.probe_time",
    "positions",
    "probe_steps",
}
# Of the public contract.
COMPUTE |= {f"contract.{name}" for name in ("backbones", "losses", "method_case", "methods")}
# Of what is measured of a pretraining.
COMPUTE |= {
    f"perf.{name}"
    for name in (
        "authors",
        "breakdown",
        "layers",
        "loading",
        "peak",
        "pretrain",
        "reading",
        "steps",
        "turns",
        "work",
    )
}
_EVALUATIONS = (
    "features",
    "linear",
    "neighbours",
    "parts",
    "fid",
    "purity",
    "reconstruction",
    "swaps",
    "task",
)
COMPUTE |= {f"evaluations.{name}" for name in _EVALUATIONS}
FORBIDDEN = {"utils", "misc", "helpers", "common", "manager"}


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path, top_only=False):
    """Names of the modules that a file imports; only those at its top level if so wanted."""
    found = set()
    nodes = ast.parse(path.read_text()).body if top_only else ast.walk(ast.parse(path.read_text()))
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def reaches(names, package):
    return {name for name in names if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("path", [p for p in SOURCES if module(p).startswith("models")], ids=module)
def test_models_never_imports_bench(path):
    assert not reaches(imports(path), "bench")


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_nothing_shipped_imports_the_tests(path):
    assert not reaches(imports(path), "tests")


@pytest.mark.parametrize("name", ["models.registry", "models.configs"])
def test_the_registry_knows_no_torch(name):
    assert not any(reaches(imports(ROOT / (name.replace(".", "/") + ".py")), heavy) for heavy in HEAVY)


@pytest.mark.parametrize(
    "part", ["report", "studies", "records", "attempts", "claims", "stats", "plan", "config"]
)
def test_the_arm_of_records_and_reports_never_imports_what_computes(part):
    place = ROOT / "bench" / part
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        for name in COMPUTE:
            assert not reaches(imports(path), f"bench.{name}"), path
        assert not reaches(imports(path), "bench.cli"), path
        assert not reaches(imports(path), "bench.commands"), path
        assert not reaches(imports(path), "bench.launch"), path


def test_no_module_but_those_that_compute_loads_anything_heavy():
    names = [module(p) for p in SOURCES if module(p).startswith("bench")]
    light = [n for n in names if n.removeprefix("bench.") not in COMPUTE and n != "bench.__main__"]
    assert len(light) > 30
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    assert not loaded, (name, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def processor_seconds(*words, **options):
    """Of a Python in a process of its own, with what became of it."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime, done


@pytest.fixture(scope="module")
def seconds_of_torch():
    found = [processor_seconds("-c", "import torch", env={"PATH": ""}) for _ in range(3)]
    assert not any(done.returncode for _, done in found)
    return min(seconds for seconds, _ in found)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["list", "methods"],
        ["list", "runs"],
        ["show", "nothing"],
        ["status"],
        ["logs", "nothing"],
        ["cancel"],
        ["clean"],
        ["run", "-m", "nothing"],
        ["run", "-m", "patchvae", "-d", "digits", "--dry-run", "--no-measure"],
        ["run", "--table", "3", "-d", "digits", "--dry-run", "--no-measure"],
        ["list", "studies"],
    ],
    ids=" ".join,
)
def test_what_needs_no_torch_answers_at_once(tmp_path, words, seconds_of_torch):
    code = (
        "import sys; from bench.cli import main; code = main(sys.argv[1:]);"
        f"print([h for h in {HEAVY!r} if h in sys.modules], file=sys.stderr)"
    )
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "BENCH_RESULTS": str(tmp_path)}
    # Half a second where importing torch takes three.
    bound, best, errors = seconds_of_torch / 6, 9.0, ""
    # The best of ten: other tests share the processor.
    for _ in range(10):
        spent, done = processor_seconds("-c", code, *words, env=environment)
        best, errors = min(best, spent), done.stderr
        if best < bound:
            break
    assert errors.splitlines()[-1] == "[]"
    assert best < bound


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_does_one_thing(path):
    if not path.is_relative_to(ROOT / "tests"):
        assert len(path.read_text().splitlines()) <= 300
    assert not FORBIDDEN & {*path.relative_to(ROOT).with_suffix("").parts}


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_nothing_is_pickled(path):
    # CIFAR's official Python layout is pickled by its authors; its reader lets nothing but arrays out.
    assert not reaches(imports(path), "pickle") or module(path) == "bench.data.cifar"
    text = path.read_text()
    # The published weights of the Inception are a pickle, of which tensors alone are taken.
    allowed = (
        "torch.load(io.BytesIO(content), weights_only=True"
        if module(path) == "bench.evaluations.fid"
        else "\0"
    )
    assert "torch.load(" not in text.replace(allowed, "")
    assert "allow_pickle=True" not in text
