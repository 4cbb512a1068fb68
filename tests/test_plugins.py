"""What other packages offer is found, said where from, put on record; a broken one harms only who asks for it."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from bench import plugins as bench_plugins
from bench.cli import main
from bench.config import pretrain_config, probe_config
from bench.data import registry as datasets
from bench.errors import DataError, UsageError
from bench.evaluations import registry as evaluations
from bench.protocols import PRESETS, preset_epochs
from bench.selection import _facts, freeze_points
from bench.settings import GROUPS
from models import backbones, plugins
from models import registry as methods

ROWS = """
from dataclasses import dataclass
from bench.data.source import DatasetSpec
from bench.evaluations.registry import EvaluationSpec, Metric
from models.registry import MethodSpec

@dataclass(frozen=True)
class Settings:
    num_parts: int = 5
    depth: int = 2

METHOD = MethodSpec("mine", "Mine", "mine_rows:Mine", Settings, version=7, dataset_settings={"specks": {"depth": 4}})
MORE = [MethodSpec(name, "More", "mine_rows:Mine", Settings) for name in ("mine-2", "mine-3")]
TAKEN = MethodSpec("patchvae", "Another", "mine_rows:Mine", Settings)
NAMELESS = MethodSpec("my method", "Mine", "mine_rows:Mine", Settings)
UNTYPED = {"name": "mine"}
DATA = DatasetSpec(
    name="specks", title="Specks", image_size=16, num_classes=2, version=3, flip=False, paper=None,
    source="unpack it so that {root}/specks exists", loader="mine_rows:specks", epochs={"quick": (3, 4)},
)
WRONG_DATA = DatasetSpec(
    name="specks-2", title="Specks", image_size=16, num_classes=2, version=3, flip=False, paper=None,
    source="unpack it so that {root}/specks exists", loader="mine_rows",
)
JUDGE = EvaluationSpec("judge", "Judge", 1, "mine_rows:judge", Settings, lambda _: True, (Metric("score", "score"),))
def specks(spec, root):
    raise RuntimeError("a reader that fails")

print("a package that is loud when it is imported")
"""
NETWORK = """
from timm.models import register_model
from models.backbones import resnet9

@register_model
def tinynet(pretrained=False, **kwargs):
    return resnet9(pretrained, **{"channels": (8, 16, 16, 16), **kwargs})
"""


class Installed:
    """Packages in a folder of their own, as an installer leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mine_rows.py").write_text(ROWS)
        (folder / "mine_network.py").write_text(NETWORK)

    def add(self, package: str = "mine", version: str = "1.2", **groups: str) -> None:
        """A package whose entry points are "name = module:object; ..." by the group's last word."""
        about = self.folder / f"{package.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"[bench.{group}]\n" + text.replace("; ", "\n") for group, text in groups.items()]
        (about / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A place to install into; whatever is loaded from it is forgotten afterwards."""
    tables = [methods.METHODS, datasets.DATASETS, evaluations.EVALUATIONS, GROUPS, *PRESETS.values()]
    tables += [plugins.PACKAGES, plugins.BROKEN]
    before = [dict(table) for table in tables]
    monkeypatch.setattr(bench_plugins, "_warned", set())
    monkeypatch.syspath_prepend(tmp_path)
    plugins._every.cache_clear()
    yield Installed(tmp_path)
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)
    # But for the network's: timm cannot forget what is registered, and warns of who registers it again.
    for name in {"mine_rows", "mine_exit"} & set(sys.modules):
        del sys.modules[name]
    _facts.cache_clear()
    plugins._every.cache_clear()
    bench_plugins.source_hash.cache_clear()


def bench(capsys, *words):
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_method_is_listed_with_its_package_and_set_like_any_other(installed, capsys):
    installed.add(methods="mine = mine_rows:METHOD; more = mine_rows:MORE")
    code, out, err = bench(capsys, "list", "methods", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert (code, [rows[name]["package"] for name in ("mine", "mine-2", "mine-3", "bigan")]) == (
        0,
        ["mine 1.2"] * 3 + [None],
    )
    assert rows["mine"]["settings"] == {"num_parts": 5, "depth": 2}
    assert "loud" in err, "what it prints belongs to the standard error"
    assert "warning" not in err
    _, out, _ = bench(capsys, "list", "settings")
    assert [line.split() for line in out.splitlines() if line.startswith("depth")] == [
        ["depth", "2", "mine,", "mine-2,", "mine-3"]
    ]
    _, out, _ = bench(capsys, "list", "methods")
    assert "mine 1.2" in out


def test_without_plug_ins_a_list_has_no_column_for_them(installed, capsys):
    assert "package" not in bench(capsys, "list", "methods")[1]


def test_a_data_set_brings_its_epochs_and_its_version_into_the_identity(installed, capsys):
    installed.add(datasets="specks = mine_rows:DATA", methods="mine = mine_rows:METHOD")
    code, out, _ = bench(capsys, "list", "datasets", "--json")
    row = next(row for row in json.loads(out) if row["name"] == "specks")
    assert (code, row["package"], row["found"]) == (0, "mine 1.2", False)
    assert row["problem"] == "specks: its reader in mine 1.2 raises RuntimeError: a reader that fails"
    assert (preset_epochs("quick", "specks"), preset_epochs("full", "specks")) == ((3, 4), (90, 90))
    about = datasets.identity("specks", None)
    config = pretrain_config("mine", about, image_size=16, flip=False, seed=0, preset="quick")
    assert config["dataset"] == {"name": "specks", "version": 3}
    assert (config["method_version"], config["train"]["epochs"]) == (7, 3)
    assert config["method_config"] == {"num_parts": 5, "depth": 4}


def test_what_is_said_of_this_project_s_settings_does_not_change_another_s(installed):
    installed.add(methods="mine = mine_rows:METHOD")
    methods.load_plugins()
    assert methods.resolve_config("patchvae", "imagenet").num_parts == 64
    assert methods.resolve_config("mine", "imagenet").num_parts == 5


def test_an_evaluation_is_listed_and_chosen(installed, capsys):
    installed.add(evaluations="judge = mine_rows:JUDGE")
    _, out, _ = bench(capsys, "list", "evaluations", "--json")
    assert next(r["package"] for r in json.loads(out) if r["name"] == "judge") == "mine 1.2"
    assert evaluations.choose(["judge"]) == ("judge",)
    assert "judge" in GROUPS


def test_a_backbone_is_listed_without_timm_and_has_the_stages_of_its_network(installed, capsys):
    installed.add(backbones="tinynet = mine_network")
    code, out, _ = bench(capsys, "list", "backbones", "--json")
    assert (code, next(r["package"] for r in json.loads(out) if r["name"] == "tinynet")) == (0, "mine 1.2")
    assert "mine_network" not in sys.modules
    assert freeze_points("tinynet") == ("conv1", "conv1-3", "conv1-5")
    assert backbones.Backbone("tinynet").num_features == 16


def test_a_run_records_the_version_and_the_source_of_every_package_that_it_needs(installed):
    installed.add(methods="mine = mine_rows:METHOD", datasets="specks = mine_rows:DATA")
    installed.add("network", "0.3", backbones="tinynet = mine_network")
    bench_plugins.load()
    freeze_points("tinynet")
    about = datasets.identity("specks", None)
    options = {"image_size": 16, "flip": False, "seed": 0}
    pretrain = pretrain_config("mine", about, backbone="tinynet", **options)
    probe = probe_config(pretrain, about, freeze="conv1", **options)
    found = bench_plugins.used(probe)
    assert {name: one["version"] for name, one in found.items()} == {"mine": "1.2", "network": "0.3"}
    first = found["mine"]["source_hash"]
    bench_plugins.source_hash.cache_clear()
    with (installed.folder / "mine_rows.py").open("a") as file:
        file.write("# edited\n")
    again = bench_plugins.used(probe)
    assert again["mine"]["source_hash"] != first
    assert again["network"] == found["network"]
    ours = pretrain_config("bigan", datasets.identity("digits", None), **options)
    assert bench_plugins.used(ours) == {}


BROKEN = {
    "methods": {
        "gone": ("gone = mine_nowhere:ROW", "ModuleNotFoundError: No module named 'mine_nowhere'"),
        "absent": (
            "absent = mine_rows:ABSENT",
            "AttributeError: module 'mine_rows' has no attribute 'ABSENT'",
        ),
        "untyped": ("untyped = mine_rows:UNTYPED", "it is a dict, not a MethodSpec or a sequence of them"),
        "my-method": ("my-method = mine_rows:NAMELESS", "'my method' is no name"),
    },
    "datasets": {"specks-2": ("specks-2 = mine_rows:WRONG_DATA", "'mine_rows' is not \"module:name\"")},
}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, rows in BROKEN.items() for n in rows])
def test_a_broken_plug_in_is_one_line_and_ends_only_what_asks_for_it(installed, capsys, group, name):
    point, reason = BROKEN[group][name]
    installed.add("bench-mine", "0.1", **{group: point})
    code, out, err = bench(capsys, "list", group, "--json")
    assert code == 0
    assert name not in [row["name"] for row in json.loads(out)]
    warnings = [line for line in err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert f"{name!r} of bench-mine 0.1 cannot be used: {reason}" in warnings[0]
    dry = ["run", "-s", "1", "--dry-run", "--no-measure", "--results", str(installed.folder / "results")]
    code, _, err = bench(capsys, *dry, "-m", "random", "-d", "digits")
    assert (code, "warning" in err) == (0, False), "once a process, and a run without it goes on"
    asked = ["-m", name, "-d", "digits"] if group == "methods" else ["-m", "random", "-d", name]
    code, _, err = bench(capsys, *dry, *asked)
    assert code == 2
    assert err.splitlines()[-1].startswith("bench: error: ")
    assert "bench-mine 0.1" in err
    assert reason in err


def test_a_name_that_exists_stays_what_it_is(installed, capsys):
    ours = methods.METHODS["patchvae"]
    installed.add("a-first", "1", methods="mine = mine_rows:METHOD; patchvae = mine_rows:TAKEN")
    installed.add("b-second", "1", methods="mine = mine_rows:METHOD")
    _, _, err = bench(capsys, "list", "methods")
    assert methods.METHODS["patchvae"] is ours
    assert "'patchvae' of a-first 1 cannot be used: the name 'patchvae' is taken by bench" in err
    assert str(plugins.PACKAGES["bench.methods", "mine"]) == "a-first 1"


def test_a_module_that_ends_the_process_does_not(installed, capsys):
    (installed.folder / "mine_exit.py").write_text("import sys; sys.exit(3)")
    installed.add(methods="leaves = mine_exit:ROW")
    code, _, err = bench(capsys, "list", "methods")
    assert (code, "SystemExit: 3" in err) == (0, True)


def test_a_backbone_cannot_take_the_name_of_one_of_timm_s_nor_fail_to_register(installed):
    installed.add(
        "a-first", backbones="resnet34 = mine_network; othernet = mine_network; lost = mine_nowhere"
    )
    for name, said in (
        ("resnet34", "is taken by timm.models.resnet"),
        ("othernet", "registers no model 'othernet'"),
        ("lost", "No module named 'mine_nowhere'"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            freeze_points(name)
        assert "a-first 1.2" in str(error.value)


def test_a_worker_that_has_loaded_nothing_finds_a_row_when_it_is_asked_for(installed):
    installed.add(
        methods="mine = mine_rows:METHOD",
        datasets="specks = mine_rows:DATA",
        evaluations="judge = mine_rows:JUDGE",
    )
    assert methods.spec("mine").title == "Mine"
    assert datasets.spec("specks").version == 3
    assert evaluations.spec("judge").title == "Judge"


def test_the_entry_points_are_looked_for_once(installed, monkeypatch):
    looked = []
    monkeypatch.setattr(plugins, "entry_points", lambda: looked.append(1) or entry_points())
    bench_plugins.load()
    bench_plugins.load()
    assert len(looked) == 1


@pytest.mark.parametrize("name", ["given", "folder", "timm", "all"])
def test_a_name_that_means_something_else_here_is_not_a_package_s(installed, capsys, name):
    with (installed.folder / "mine_rows.py").open("a") as file:
        file.write(f"RESERVED = MethodSpec({name!r}, 'Mine', 'mine_rows:Mine', Settings, labels=True)\n")
    installed.add(methods="mine = mine_rows:RESERVED")
    _, out, err = bench(capsys, "list", "methods")
    assert f"cannot be used: {name!r} is no name" in err
    assert "Mine" not in out


def test_whatever_a_module_raises_is_one_warning(installed, capsys):
    (installed.folder / "mine_exit.py").write_text(
        "class Own(BaseException):\n    def __str__(self): raise RuntimeError('no text')\nraise Own"
    )
    installed.add(methods="leaves = mine_exit:ROW")
    code, _, err = bench(capsys, "list", "methods")
    assert (code, err.count("cannot be used: Own\n")) == (0, 1)


def test_a_data_set_with_a_path_is_known_by_its_package(installed, tmp_path):
    with (installed.folder / "mine_rows.py").open("a") as file:
        file.write("import dataclasses\nWITH_PATH = dataclasses.replace(DATA, takes_path=True)\n")
    installed.add(datasets="specks = mine_rows:WITH_PATH")
    with pytest.raises(DataError, match=r"its reader in mine 1\.2 raises RuntimeError: a reader that fails"):
        datasets.find(f"specks:{tmp_path}", None)
    options = {"image_size": 16, "flip": False, "seed": 0}
    pretrain = pretrain_config("bigan", {"name": "specks:few", "version": 3}, **options)
    assert bench_plugins.used(pretrain)["mine"]["version"] == "1.2"


def test_a_protocol_is_one_for_all_methods(installed):
    with (installed.folder / "mine_rows.py").open("a") as file:
        file.write("@dataclass(frozen=True)\nclass Annealed:\n    annealing: str = 'linear'\n")
        file.write("ANNEALED = MethodSpec('mine', 'Mine', 'mine_rows:Mine', Annealed)\n")
    installed.add(methods="mine = mine_rows:ANNEALED")
    assert methods.resolve_config("mine", protocol="reference").annealing == "compounded"
    assert methods.resolve_config("mine", protocol="paper").annealing == "linear"


@pytest.mark.parametrize("words", [["list", "runs"], ["show", "ab"], ["export", "ab", "--to", "out"]])
def test_whatever_names_a_run_knows_the_defaults_of_a_package_s_method(installed, capsys, tmp_path, words):
    installed.add(methods="mine = mine_rows:METHOD")
    bench(capsys, *words, "--results", str(tmp_path / "results"))
    assert "mine" in methods.METHODS
