"""The downsampled picture in `todre bench`: the untouched model on a smaller picture, and what that costs."""

from types import SimpleNamespace

import pytest

from todre.bench.cell import measure
from todre.bench.method_specs import specs_of
from todre.bench.presets import PRESETS
from todre.bench.run import Source, preset_source, run
from todre.bench.settings import Cell, Rounds
from todre.bench.smaller_preset import smaller_preset
from todre.errors import UnsupportedInputError, UnsupportedModelError
from todre.loading.model import load
from todre.methods.downsample import Downsample

CELL = Cell(batch=2, text_tokens=20, new_tokens=2)
ONCE = Rounds(warm_up=0, rounds=1)


def rows_of(source, specs):
    document = run(source, specs, [CELL], ONCE)
    return {row["subject"]: row for row in document["rows"]}, document["left_out"]


@pytest.mark.parametrize("name", ["tiny", "checkpoint"])
def test_tokens_flops_and_cache_are_those_of_the_smaller_picture(name):
    if name == "tiny":
        source, whole, small, tiles = preset_source(PRESETS["tiny"], "cpu", "float32"), 192, 78, (5, 2)
    else:
        loaded = load(None, device="cpu", dtype="float32")
        source, whole, small, tiles = Source(loaded.model, loaded), 744, 300, (5, 3)
    specs = specs_of(["downsample", "todre:stages=1"], [0.5])
    rows, left_out = rows_of(source, specs)
    assert left_out == {}
    none, found = rows["none"], rows["downsample@0.5"]
    assert (found["kind"], found["of"], found["bound"]) == ("method", None, None)
    assert "smaller picture" in found["no_oracle"]
    assert "downsample@0.5 oracle" not in rows
    assert found["visual_tokens"]["before"] == none["visual_tokens"]["entered"] == whole
    assert set(found["visual_tokens"]["per_layer"]) == {small}
    assert found["kv_bytes"]["measured"] == found["kv_bytes"]["predicted"]
    assert found["flops"]["encoder"] * tiles[0] == none["flops"]["encoder"] * tiles[1]
    assert found["flops"]["total"] < none["flops"]["total"]
    assert found["ms"]["select"]["p50"] == found["ms"]["attach"]["p50"] == 0.0
    text = {row["subject"]: source.prompt(CELL).text_tokens for row in rows.values()}
    assert source.smaller(CELL, Downsample(retain=0.5)).text_tokens == text["none"]


def test_a_budget_below_the_floor_is_left_out_with_its_sentence():
    rows, left_out = rows_of(preset_source(PRESETS["tiny"], "cpu", "float32"), specs_of(["downsample"], [0.5, 0.1]))
    assert set(rows) == {"none", "downsample@0.5"}
    assert "at most 19 of its 192 visual tokens: the fewest at any smaller size are 78" in left_out["downsample@0.1"]


def test_whoever_makes_no_smaller_prompts_is_refused():
    source = preset_source(PRESETS["tiny"], "cpu", "float32")
    with pytest.raises(UnsupportedInputError, match=r"todre\.downsample\("):
        measure(source.model, source.prompt(CELL), specs_of(["downsample"], [0.5]), CELL, ONCE)


@pytest.mark.parametrize(
    ("name", "retain", "picture"),
    [("tiny", 0.5, (84, 84)), ("qwen2.5-vl-small", 0.5, None), ("qwen2.5-vl-7b", 288, None)],
)
def test_presets_get_the_picture_that_their_processor_would_take(name, retain, picture):
    preset = PRESETS[name]
    model = SimpleNamespace(config=preset.make_config())
    small = smaller_preset(model, preset, Downsample(retain=retain))
    assert picture is None or small.picture == picture
    if name.startswith("qwen"):
        whole = preset.picture[0] // 28 * (preset.picture[1] // 28)
        cells = small.picture[0] // 28 * (small.picture[1] // 28)
        most = retain if isinstance(retain, int) else round(retain * whole)
        assert 0.9 * most < cells <= most
        assert small.picture[0] % 28 == small.picture[1] % 28 == 0


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("llava-1.5-7b", UnsupportedModelError, "makes 576 of a picture of 336 × 336 pixels and no fewer"),
        ("internvl2-8b", UnsupportedInputError, "measure a checkpoint with --model"),
    ],
)
def test_presets_whose_tokens_cannot_fall_are_refused(name, error, words):
    preset = PRESETS[name]
    with pytest.raises(error, match=words):
        smaller_preset(SimpleNamespace(config=preset.make_config()), preset, Downsample(retain=0.5))
