"""Thin strokes: what counts as one, at which token it is told, and what follows for pages of text."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from types import SimpleNamespace

import pytest
import tinymodels as tm
import torch
from methods.examples import anyres, clip, pictures
from towers import built, pixels

import todre
from todre.bench.oracle import visual_tokens_of
from todre.hf.families import family_of
from todre.hf.picture_features import encoded_argument
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.guard import Guard
from todre.pages import make_page
from todre.runtime.selection import choose, signals_of
from todre.scenes import make_scene
from todre.tensors.token_facts import STROKES, Signal
from todre.tiny import load
from todre.tower.capture import SaliencyCapture
from todre.tower.strokes import fitting, stroke_map, tower_strokes

PACKED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
TILED = ("llava", "internvl-qwen2", "gemma3", "paligemma")
PAGES = todre.Guard(action="refuse", radius=None, rank=None)


def by_hand(picture, patch):
    """`stroke_map` of one picture, pixel by pixel in float64."""
    border = max(1, round(patch / 8))
    height, width = picture.shape
    values = picture.double().tolist()

    def around(grid, pick):
        near = lambda at, end: range(max(0, at - border), min(end, at + border + 1))  # noqa: E731
        return [
            [pick(grid[i][j] for i in near(row, height) for j in near(column, width)) for column in range(width)]
            for row in range(height)
        ]

    closed, opened = around(around(values, max), min), around(around(values, min), max)
    least = max(0.5, 0.25 * (max(map(max, values)) - min(map(min, values))))
    found = torch.zeros(height // patch, width // patch, dtype=torch.float64)
    for row, column in itertools.product(range(height // patch * patch), range(width // patch * patch)):
        value = values[row][column]
        on = max(closed[row][column] - value, value - opened[row][column]) > least
        found[row // patch, column // patch] += on / patch**2
    return found


@pytest.mark.parametrize(("patch", "size"), [(6, (25, 31)), (14, (28, 43)), (20, (40, 40))])
def test_the_map_is_that_of_pixels_one_by_one(patch, size):
    drawn = torch.Generator().manual_seed(patch)
    noise = torch.rand(3, *size, generator=drawn)
    noise[1] = torch.where(noise[1] > 0.8, -1.7, 1.9)  # ink on paper
    noise[2] *= 0.4  # below the least contrast
    found = stroke_map(noise, patch)
    for one, picture in zip(found, noise, strict=True):
        torch.testing.assert_close(one.double(), by_hand(picture, patch), atol=1e-6, rtol=0)
    assert float(found[1].min()) > 0.1
    assert float(found[2].max()) == 0.0


def test_letters_are_strokes_and_wide_shapes_blank_paper_and_gradients_are_none():
    page = torch.full((4, 56, 56), 1.5)
    page[0, 10:46:6] = -1.5  # lines of two pixels
    page[0, 11:47:6] = -1.5
    page[1, 14:42, 14:42] = -1.5  # a black square
    page[2] += torch.linspace(-1, 1, 56)
    light, plain, gradient, blank = stroke_map(page, 14)
    assert float(light[1:3, 1:3].min()) > 0.2
    assert float(torch.stack([plain, gradient, blank]).max()) == 0.0
    assert torch.equal(stroke_map(-page, 14)[0], light)


@torch.no_grad()
def strokes_of(name, given):
    """The facts of each picture that a specimen encodes."""
    _, model = built(name)
    capture = SaliencyCapture(model, family_of(model), (Signal("grid"), STROKES))
    try:
        model.base_model.get_image_features(**given)
        return capture.current()["image"]
    finally:
        capture.remove()


@pytest.mark.parametrize("name", PACKED)
def test_packed_towers_tell_strokes_at_the_token_that_shows_them(name):
    specimen, model = built(name)
    given = pixels(specimen, model)
    vision = model.config.vision_config
    patch, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    for number, (_, rows, columns) in enumerate(given["image_grid_thw"].tolist()):
        for row, column in itertools.product(range(rows // merge), range(columns // merge)):
            parts = []
            for other, (_, height, width) in enumerate(given["image_grid_thw"].tolist()):
                canvas = torch.ones(3, frames, height * patch, width * patch)
                if other == number:
                    side = patch * merge
                    canvas[..., row * side + 1 : (row + 1) * side - 1, column * side + 2] = -2.0
                for down, across in itertools.product(range(height // merge), range(width // merge)):
                    for inner, beside in itertools.product(range(merge), repeat=2):
                        top, left = (down * merge + inner) * patch, (across * merge + beside) * patch
                        parts.append(canvas[..., top : top + patch, left : left + patch].flatten())
            facts = strokes_of(name, {**given, "pixel_values": torch.stack(parts)})
            for other, fact in enumerate(facts):
                (shown,) = (fact.signals[STROKES] > 0).nonzero(as_tuple=True)
                places = list(zip(fact.place.row[shown].tolist(), fact.place.column[shown].tolist(), strict=True))
                assert places == ([(row, column)] if other == number else [])


@pytest.mark.parametrize(
    "settings",
    [{"temporal_patch_size": 2}, {"model_type": "cosmos3_edge_vision"}],
    ids=["channels first", "channels last"],
)
def test_plain_colours_are_no_strokes_however_a_patch_is_packed(settings):
    """A flat picture of three unlike channels, and a black square on it, packed as processors do."""
    patch, rows, columns, merge = 8, 4, 6, 2
    canvas = torch.tensor([1.9, -0.4, -1.2])[:, None, None].repeat(1, rows * patch, columns * patch)
    canvas[:, 10:30, 10:40] = -1.8
    rasters = [
        canvas[:, (i * merge + a) * patch : (i * merge + a + 1) * patch, (j * merge + b) * patch :][..., :patch]
        for i, j, a, b in itertools.product(range(rows // merge), range(columns // merge), range(merge), range(merge))
    ]
    if "temporal_patch_size" in settings:
        packed = torch.stack([each[:, None].repeat(1, 2, 1, 1).flatten() for each in rasters])
    else:
        packed = torch.stack([each.permute(1, 2, 0).flatten() for each in rasters])
    config = SimpleNamespace(patch_size=patch, spatial_merge_size=merge, **settings)
    given = {"hidden_states": packed, "grid_thw": torch.tensor([[1, rows, columns]])}
    found = tower_strokes(config, given)
    assert found.shape == (1, rows * columns, 1)
    assert float(found.max()) == 0.0
    assert tower_strokes(config, given | {"hidden_states": packed[:, :-1]}) is None


@pytest.mark.parametrize("name", TILED)
def test_tiles_tell_strokes_at_the_token_that_shows_them(name):
    specimen, model = built(name)
    given = pixels(specimen, model, (0,))
    plain = torch.ones_like(given["pixel_values"])
    side = plain.shape[-1]
    (fact,) = strokes_of(name, {**given, "pixel_values": plain})[:1]
    tokens = len(fact) // len(plain)
    across = round(tokens**0.5)
    wide = side // across
    for tile, row, column in itertools.product(range(len(plain)), range(across), range(across)):
        shown = plain.clone()
        shown[tile, :, row * wide : (row + 1) * wide, column * wide + wide // 2] = -2.0
        values = torch.cat([each.signals[STROKES] for each in strokes_of(name, {**given, "pixel_values": shown})])
        leading = tokens - across**2
        assert (values > 0).nonzero().flatten().tolist() == [tile * tokens + leading + row * across + column]


def test_crops_tell_strokes_at_the_token_that_shows_them():
    model = tm.build("next-llama")
    size = (48, 48)
    plain = torch.ones_like(tm.picture(model, size, torch.Generator().manual_seed(0)))
    across = tm.TILE // tm.PATCH
    for tile, row, column in itertools.product(range(len(plain)), range(across), range(across)):
        shown = plain.clone()
        shown[tile, :, row * tm.PATCH + 1 : (row + 1) * tm.PATCH - 1, column * tm.PATCH + 2] = -2.0
        capture = SaliencyCapture(model, family_of(model), (STROKES,))
        try:
            with torch.no_grad():
                model.base_model.get_image_features(**tm.encode(model, [(shown, size)]))
            (fact,) = capture.current()["image"]
        finally:
            capture.remove()
        values = fact.signals[STROKES]
        assert torch.equal(values.isnan(), fact.newline)
        (place,) = (values.nan_to_num() > 0).nonzero().flatten().tolist()
        down, right = ((tile - 1) // 2 * across, (tile - 1) % 2 * across) if tile else (0, 0)
        assert (int(fact.tile[place]), int(fact.place.row[place]), int(fact.place.column[place])) == (
            tile,
            down + row,
            right + column,
        )


def test_pictures_of_several_sizes_in_one_padded_tensor():
    name = "mistral3-mistral"
    specimen, model = built(name)
    given = pixels(specimen, model)
    cell = model.config.vision_config.patch_size * model.config.spatial_merge_size
    plain = torch.ones_like(given["pixel_values"])
    for number, (height, width) in enumerate(given["image_sizes"].tolist()):
        for row, column in itertools.product(range(height // cell), range(width // cell)):
            shown = plain.clone()
            shown[number, :, row * cell + 1 : (row + 1) * cell - 1, column * cell + 2] = -2.0
            facts = strokes_of(name, {**given, "pixel_values": shown})
            for other, fact in enumerate(facts):
                (found,) = (fact.signals[STROKES] > 0).nonzero(as_tuple=True)
                places = list(zip(fact.place.row[found].tolist(), fact.place.column[found].tolist(), strict=True))
                assert places == ([(row, column)] if other == number else [])


def test_strokes_that_do_not_fit_are_not_known():
    tower = [torch.zeros(2, 9, 1), torch.zeros(1, 9, 1)]
    good = [torch.ones(2, 9, 1), torch.ones(1, 9, 1)]
    assert fitting(good, [tower]) is not tower
    assert all(torch.equal(one, other) for one, other in zip(fitting(good, [tower]), good, strict=True))
    for wrong in ([torch.ones(2, 9, 1), None], [torch.ones(2, 8, 1), torch.ones(1, 9, 1)], good[:1]):
        found = fitting(wrong, [tower])
        assert [tuple(each.shape) for each in found] == [(2, 9, 1), (1, 9, 1)]
        assert all(bool(each.isnan().all()) for each in found)
    parts = [torch.zeros(1, 4, 2), torch.zeros(1, 6, 2)]  # the windows of one packed sequence
    (whole,) = fitting([torch.ones(1, 10, 1)], [parts])
    assert torch.equal(whole, torch.ones(1, 10, 1))
    (unknown,) = fitting([None], [parts])
    assert tuple(unknown.shape) == (1, 10, 1)
    assert bool(unknown.isnan().all())
    assert fitting([None], []) == []
    (moved,) = fitting([torch.ones(1, 9, 1)], [[torch.zeros(1, 9, 1, device="meta")]])
    assert moved.device.type == "meta"


@pytest.fixture(scope="module")
def reader():
    return load()


@torch.no_grad()
def told(reader, images, method, guard="off", question="What is in the picture?"):
    """The report of a batch with one picture, or several, in each row."""
    model, processor = reader
    rows = [image if isinstance(image, list) else [image] for image in images]
    texts = ["<image>" * len(row) + f"USER: {question} ASSISTANT:" for row in rows]
    inputs = processor(images=[one for row in rows for one in row], text=texts, padding=True, return_tensors="pt")
    with todre.prune(model, method, guard=guard) as report:
        model(**inputs)
    return report


def test_a_page_stays_whole_where_a_scene_is_pruned(reader):
    page, scene = make_page(3, "val", kind="table").image, make_scene(3, "val").image
    method = todre.ToDRE(retain="auto", stages=(1,))
    report = told(reader, [page, scene, [scene, page]], method)
    (first,), (second,), third = report.auto_budgets
    assert first == report.visual_tokens_before[0]
    assert second < 0.4 * report.visual_tokens_before[1]
    assert third == [second, first]
    bounded = AutoBudget(ceiling=0.5)
    report = told(reader, [page, scene], todre.ToDRE(retain=bounded, stages=(1,)))
    assert report.auto_budgets == [[round(0.5 * first)], [second]]
    blind = told(reader, [page, scene], todre.ToDRE(retain=AutoBudget(text=None), stages=(1,)))
    assert blind.auto_budgets[0][0] < first
    assert blind.auto_budgets[1] == [second]


def test_what_stays_whole_is_not_chosen_from(reader, monkeypatch):
    page, scene = make_page(3, "val", kind="table").image, make_scene(3, "val").image
    method = todre.DivPrune(retain="auto")
    expected = told(reader, [scene], method).kept
    asked = []
    chosen = todre.DivPrune.select
    monkeypatch.setattr(
        todre.DivPrune, "select", lambda self, visual: asked.append(len(visual)) or chosen(self, visual)
    )
    report = told(reader, [page, [page, scene]], method)
    tokens = report.visual_tokens_before[0]
    assert len(asked) == 1
    assert report.kept[0] == list(range(tokens))
    assert report.kept[1] == [*range(tokens), *(tokens + place for place in expected[0])]


def test_the_guard_sees_a_page(reader):
    page, scene = make_page(3, "val", kind="table").image, make_scene(3, "val").image
    report = told(reader, [page, [scene, page]], todre.ToDRE(retain=0.1, stages=(1,)), PAGES)
    (alone,), (beside, again) = report.guarded
    assert alone.above == again.above == ("text",)
    assert alone.text == again.text > 0.1 > beside.text > 0.0
    assert (alone.left, beside.left) == (alone.tokens, beside.kept)
    floored = told(
        reader, [page], todre.ToDRE(retain=0.1, stages=(1,)), Guard(action="refuse", radius=None, rank=None, floor=0.5)
    )
    assert floored.guarded[0][0].left == round(0.5 * alone.tokens)
    with pytest.warns(todre.errors.GuardWarning, match=r"with text 0\.\d+ above 0\.1"):
        told(reader, [page], todre.ToDRE(retain=0.1, stages=(1,)), "warn")


def test_pictures_that_were_encoded_with_and_without_a_guard():
    """Strokes are known of the one and not of the other, in either order."""
    model = tm.build("next-llama")
    method, sizes = todre.DivPrune(retain=0.3), [(48, 48), (24, 48)]
    drawn = torch.Generator().manual_seed(0)
    shown = [(tm.picture(model, size, drawn), size) for size in sizes]
    encoded = []
    for picture, guard in zip(shown, ("off", "warn"), strict=True):
        with torch.no_grad(), warnings.catch_warnings(), todre.prune(model, method, guard=guard):
            warnings.simplefilter("ignore")
            encoded += model.base_model.get_image_features(**tm.encode(model, [picture])).pooler_output
    for order in ([0, 1], [1, 0]):
        sample = tm.sample(model, 4, [sizes[place] for place in order], 5)
        inputs = tm.batch(model, [sample])
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad(), todre.prune(model, method, guard=Guard(radius=2.0, rank=None, text=1.0)) as report:
            model(**text, **encoded_argument([encoded[place] for place in order]))
        assert [seen.text is None for seen in report.guarded[0]] == [place == 0 for place in order]


def test_an_oracle_has_the_counts_of_the_pruned_run(reader):
    model, processor = reader
    images = [make_page(3, "val", kind="table").image, make_scene(3, "val").image]
    method = todre.DivPrune(retain="auto")
    report = told(reader, images, method)
    texts = ["<image>USER: What is in the picture? ASSISTANT:"] * 2
    inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
    asked = SimpleNamespace(inputs=dict(inputs))
    seen = [choose(method, sample) for sample in visual_tokens_of(model, asked, method)]
    assert [len(one.embeddings) if one.keep is None else len(one.keep) for one in seen] == report.visual_tokens_after


def test_a_compiled_tower_is_read_as_well():
    model = tm.build("llava")
    inputs = tm.batch(model, [tm.sample(model, 4, [tm.SIZES[0]], 5)])
    guard = Guard(radius=None, rank=None, text=1.0)
    shares = []
    for wrap in (lambda tower: tower, lambda tower: torch.compile(tower, backend="eager")):
        model.model.vision_tower = wrap(model.model.vision_tower)
        with torch.no_grad(), todre.prune(model, todre.DivPrune(retain=0.3), guard=guard) as report:
            model(**inputs)
        shares.append(report.guarded[0][0].text)
    assert shares[0] is not None
    assert shares[0] == shares[1]


def test_methods_for_clips_refuse_pictures_whatever_the_budget():
    sample = pictures()
    everything = AutoBudget(threshold=1.0, floor=1.0)
    for name in ("evs", "vidcom2"):
        with pytest.raises(todre.errors.UnsupportedInputError, match="compares the frames of a clip"):
            choose(registry.create(name, retain=everything), sample)


def test_strokes_are_read_only_where_something_looks_at_them():
    method = todre.ToDRE(retain=0.1)
    assert STROKES not in signals_of(method)
    assert signals_of(method, Guard(text=None)) == method.signals()
    for one, guard in (
        (method, Guard()),
        (todre.ToDRE(retain="auto"), None),
        (todre.Compose(todre.ToDRE(retain="auto"), todre.FastV()), None),
    ):
        assert signals_of(one, guard) == (*one.signals(), STROKES)
    assert STROKES not in signals_of(todre.ToDRE(retain=AutoBudget(text=None)))
    assert STROKES in signals_of(todre.ToDRE(retain=AutoBudget(text=0.0)))


def test_without_pixels_no_share_is_known():
    sample = pictures()
    assert sample.text_share is None
    assert AutoBudget().count(sample) == AutoBudget(text=None).count(sample)


@pytest.mark.parametrize("name", [name for name in registry.names() if "select" in registry.entry(name).card.acts])
def test_looking_changes_no_selection(name):
    """A method that is shown strokes besides what it asked for chooses as before."""
    method = registry.create(name)
    make = clip if "frames" in registry.entry(name).card.needs else anyres
    drawn = torch.rand(len(make()), 6, generator=torch.Generator().manual_seed(1))
    signals = {each: drawn if each.kind == "keys" else drawn[:, 0] for each in method.signals() if each.kind != "grid"}
    sample = make(signals=signals, text=5, d=16)
    shown = dataclasses.replace(sample, signals={**sample.signals, STROKES: drawn[:, 1]})
    shown = dataclasses.replace(shown, places=dataclasses.replace(shown.host, known=~shown.newline))
    before, after = choose(method, sample), choose(method, shown)
    assert torch.equal(before.mask, after.mask)
    assert torch.equal(before.embeddings, after.embeddings)
