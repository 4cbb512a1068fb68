"""What a process imports before its first step costs no walks of the collector, which works again afterwards."""

import ast
import functools
import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

from bench.importing import importing
from tests import conftest
from tests.test_architecture import ROOT


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes an importable module of some lines."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield make
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_the_collector_rests_during_an_import_and_works_after_it_even_where_it_fails(module):
    name = module("made_to_be_imported", "import gc\nworked = gc.isenabled()\n")
    with importing():
        worked = __import__(name).worked
    assert (worked, gc.isenabled()) == (False, True)
    with pytest.raises(ZeroDivisionError), importing():
        __import__(module("made_to_fail", "1 / 0"))
    assert gc.isenabled()


def test_where_it_was_switched_off_it_stays_so():
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_there_already_is_not_frozen_once_more(module, monkeypatch):
    monkeypatch.setattr("bench.importing.MANY", 1)
    before = gc.get_freeze_count()
    with importing():
        __import__(module("made_to_be_kept", "kept = [[] for _ in range(1000)]"))
    after = gc.get_freeze_count()
    assert after > before + 1000
    with importing():
        import made_to_be_kept  # pyright: ignore[reportMissingImports] # noqa: F401
    assert gc.get_freeze_count() == after


def test_a_finished_cells_model_is_freed_although_the_next_cell_imports_a_few_modules(module):
    class Model:
        pass

    model = Model()
    # As a layer whose forward is replaced by one that knows the layer.
    model.forward = functools.partial(print, model)  # pyright: ignore[reportAttributeAccessIssue]
    gone = weakref.ref(model)
    del model
    with importing():
        __import__(module("made_for_the_next_cell", ""))
    gc.collect()
    assert gone() is None


def test_a_process_that_computes_walks_over_little_before_its_first_step():
    code = """
        import gc, sys
        from bench.launch.device import resolve_device
        from bench.launch.workers.worker import warm_up
        walks = []
        gc.callbacks.append(lambda phase, _: walks.append(phase))
        resolve_device("auto")
        warm_up()
        assert "timm" in sys.modules and gc.isenabled()
        print(len(walks), gc.get_freeze_count())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    walks, frozen = map(int, done.stdout.split())
    # Some eight hundred where the collector does not rest.
    assert walks < 100
    assert frozen > 200_000


@pytest.mark.parametrize("path", ["launch/trainer.py", "devices/follow.py", "selection.py"])
def test_whoever_loads_torch_first_does_so_within_it(path):
    tree = ast.parse((ROOT / "bench" / path).read_text())
    first = ("bench.train", "bench.together", "bench.together_speed", "bench.probe", "bench.evaluate", "timm")
    inside = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and ast.unparse(block.items[0]) == "importing()"
        for node in ast.walk(block)
    }
    found = [
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if (isinstance(node, ast.ImportFrom) and node.module in first)
        or (isinstance(node, ast.Import) and node.names[0].name in first)
    ]
    assert found
    assert not [ast.unparse(node) for node in found if node not in inside]


@pytest.mark.parametrize("fails", [False, True])
def test_a_collection_of_tests_leaves_the_collector_at_work_even_where_it_fails(fails):
    collecting = conftest.pytest_collection(None)
    next(collecting)
    assert not gc.isenabled()
    # Whoever answers, the tests' own session or one that hands them out to others.
    with pytest.raises(ZeroDivisionError if fails else StopIteration):
        collecting.throw(ZeroDivisionError()) if fails else collecting.send(True)
    assert gc.isenabled()
