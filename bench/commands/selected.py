"""What the options of `bench run` select, names resolved."""

from collections.abc import Mapping
from typing import Any

from bench import plugins
from bench.commands.weights import weights_of
from bench.data import registry as datasets
from bench.evaluations.registry import choose
from bench.evaluations.weights import inception
from bench.given import KEY
from bench.plan import Selection
from bench.selection import parse_seeds, select, split
from bench.settings import parse_settings
from models import registry as methods


def select_cells(given: Mapping[str, Any]) -> Selection:
    """What the options of `bench run` select.

    Raises:
        UsageError: a name that means nothing, a value that is refused.
    """
    for group, texts in (("methods", given["method_names"]), ("evaluations", given["evaluations"])):
        plugins.refuse_broken(f"bench.{group}", texts)
    names = select("method", given["method_names"], methods.METHODS)
    for name in split(given["dataset_names"]):
        # A plain name that is wrong gets the registry's own answer.
        if name != "all" and not set("*?[!") & set(name):
            datasets.spec(name)
    where = select("data set", given["dataset_names"], datasets.DATASETS, datasets.open_prefixes())
    origin = given["pretrain_on"]
    if origin is not None:
        datasets.spec(origin)
    have = ("fid",) if given["fid_weights"] else ()
    evaluations = choose(given["evaluations"], have)
    weights = {}
    if "fid" in evaluations:
        weights["fid"] = inception(given["fid_weights"], given["fid_weights_sha256"])
    if (taken := weights_of(given, names)) is not None:
        weights[KEY] = taken.weights
    return Selection(
        methods=tuple(names),
        datasets=tuple(where),
        seeds=tuple(parse_seeds(given["seeds"])),
        probes=given["probes"],
        pretrain_on=origin,
        probe_seeds=given["probe_seeds"],
        backbone=given["backbone"],
        preset=given["preset"],
        protocol=given["protocol"],
        settings=parse_settings(given["pairs"], names),
        skip_corrupt=given["skip_corrupt"],
        drop_leaks=given["drop_leaks"],
        evaluations=evaluations,
        weights=weights,
        given=taken,
    )
