"""Of which other code the steps are that an attempt goes on from."""

import torch

from bench import files
from bench.records import open_results
from tests.test_records import attempt


def test_other_code_that_goes_on_from_a_checkpoint_is_written_down(tmp_path):
    """It may round otherwise under the same switches, and nobody else would say so."""
    open_results(tmp_path)

    def goes_on(source, **more):
        one, notes = attempt(tmp_path, provenance={"source_hash": source, **more})
        one.load_checkpoint()
        one.save_checkpoint({"x": torch.ones(3)}, {})
        assert notes == []
        others = files.read_json(one.dir / "provenance.json").get("other_sources", [])
        said = one.log_path.read_text() if one.log_path.exists() else ""
        assert ("of other code" in said) is bool(others)
        return one, others

    assert goes_on("aaaa")[1] == []
    assert goes_on("aaaa")[1] == []
    assert goes_on("bbbb")[1] == [{"bench": "aaaa"}]
    # Its steps are still among those of the next.
    assert goes_on("bbbb")[1] == [{"bench": "aaaa"}]
    plugins = {"denoising": {"version": "1", "source_hash": "cccc"}}
    one, others = goes_on("bbbb", plugins=plugins)
    assert others == [{"bench": "aaaa"}, {"bench": "bbbb"}]
    said = (
        "earlier steps are of other code (bench aaaa; bench bbbb; now bench bbbb, denoising cccc): bits may"
    )
    assert said in one.log_path.read_text()
    (one.dir / "provenance.json").unlink()
    assert goes_on("dddd")[1] == []
