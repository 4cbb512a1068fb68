import gc
import os
import sys

import pytest

# One thread a test process: bits differ between one and two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A dry run measures nothing, and what this user's cache holds tells it nothing, unless a test says so.
os.environ["BENCH_MEASURE"] = "0"

# Their assertions say what differs, as those of tests do.
pytest.register_assert_rewrite("tests.survival")

pytest_plugins = ["tests.slurm_cluster", "tests.browser"]


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """As `bench.importing` has it: none of what is imported and collected is garbage, or walked over again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The same numbers whatever ran before: a bound on rounding is kept each time or never."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where CI says that everything is at hand, a test that skips is a failure; only a missing GPU excuses.

    The authors' code is nobody's to hand on: a test of it that skips fails only where BENCH_REQUIRE_AUTHORS is set.
    """
    outcome = yield
    report = outcome.get_result()
    required = os.environ.get("BENCH_REQUIRE_DATA") or any(
        mark in item.keywords and os.environ.get(f"BENCH_REQUIRE_{mark.upper()}")
        for mark in ("browser", "latex")
    )
    if item.get_closest_marker("authors"):
        required = os.environ.get("BENCH_REQUIRE_AUTHORS")
    if report.skipped and required and "gpu" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped although everything is at hand: {report.longrepr}"


@pytest.fixture
def hide(monkeypatch):
    """Makes a folder unreadable, for root too."""
    read = os.scandir

    def now(folder):
        def scandir(path="."):
            if str(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return now


@pytest.fixture
def compiled():
    """Skips where no C can be compiled."""
    from bench.compiled import NoCompiler, compiler

    try:
        compiler()
    except NoCompiler as error:
        pytest.skip(str(error))


@pytest.fixture
def threads():
    """How many threads torch has is as before when a test has ended."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def weights(tmp_path):
    """What a pretraining leaves, to be probed."""
    from tests.test_probe import save_weights

    return save_weights(tmp_path / "pretrained.safetensors")


@pytest.fixture
def empty_shelf():
    """No features are kept of an earlier probe, nor for a later one."""
    from bench import feature_store

    feature_store.SHELF.items.clear()
    yield
    feature_store.SHELF.items.clear()
