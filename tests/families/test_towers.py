"""Vision towers: each that a verified family's config accepts is classified, and each with a [CLS] gives the pivot."""

from __future__ import annotations

import pytest
import torch
import transformers
from families.zoo.llava import IMAGE, text_settings
from families.zoo.specimen import finish
from transformers import CONFIG_MAPPING, AutoModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

import todre
from todre.errors import UnsupportedModelError
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.families import FAMILIES
from todre.hf.leading_tokens import NO_PATCHES, NOT_FOLLOWED, TOWERS, Leading, discarded_count, leading_of
from todre.methods.evit import EViT
from todre.methods.ficoco_v import FiCoCoV
from todre.methods.tome import ToMe
from todre.tensors.attention import received_attention
from todre.tensors.token_facts import Signal
from todre.tower.capture import SaliencyCapture
from todre.tower.hooks import TowerReduction
from todre.tower.media_facts import FACTS_ATTRIBUTE

SIDE, PATCH = 24, 6
PATCHES = (SIDE // PATCH) ** 2
SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip
# (model_type, fields that its defaults have not, whether token 0 is the [CLS], others before the patches)
KINDS = [
    ("clip_vision_model", {}, True, 0),
    ("chinese_clip_vision_model", {}, True, 0),
    ("mlcd_vision_model", {}, True, 0),
    ("mlcd", {}, True, 0),
    ("vit", {}, True, 0),
    ("vit_msn", {}, True, 0),
    ("dpt", {}, True, 0),
    ("beit", {}, True, 0),
    ("beit", {"use_relative_position_bias": True}, True, 0),
    ("beit", {"use_shared_relative_position_bias": True}, True, 0),
    ("internvl_vision", {"image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}, True, 0),
    ("qianfan_ocr_vision", {"image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH]}, True, 0),
    ("dinov2", {}, True, 0),
    ("deit", {}, True, 1),
    ("dinov2_with_registers", {"num_register_tokens": 4}, True, 4),
    ("dinov2_with_registers", {"num_register_tokens": 1}, True, 1),
    ("dinov3_vit", {"num_register_tokens": 0}, True, 0),
    ("dinov3_vit", {"num_register_tokens": 4}, True, 4),
    ("sapiens2", {"num_register_tokens": 2}, True, 2),
    ("tipsv2_vision_model", {"num_register_tokens": 3}, True, 3),
    ("radio", {"num_cls_tokens": 1, "num_registers": 5, "summary_idxs": [0]}, True, 5),
    ("radio", {"num_cls_tokens": 3, "num_registers": 2}, False, 5),
    ("pixio", {"n_cls_tokens": 8}, False, 8),
    ("pixio", {"n_cls_tokens": 1}, True, 0),
    ("siglip_vision_model", {"vision_use_head": False}, False, 0),
    ("aimv2_vision_model", {}, False, 0),
    ("ijepa", {}, False, 0),
    ("pixtral", {}, False, 0),
]
IDS = [f"{name}-{'-'.join(map(str, more.values()))}" for name, more, _, _ in KINDS]
every_kind = pytest.mark.parametrize(("name", "more", "cls", "others"), KINDS, ids=IDS)
with_cls = pytest.mark.parametrize(
    ("name", "more", "others"), [(name, more, others) for name, more, cls, others in KINDS if cls],
    ids=[one for one, kind in zip(IDS, KINDS, strict=True) if kind[2]],
)  # fmt: skip


def installed(name):
    if name not in CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")


def tower_config(name, more):
    """A small tower; sizes by whatever names the type has."""
    known = CONFIG_MAPPING[name]()
    sizes = {key: value for key, value in SIZES.items() if hasattr(known, key)}
    return CONFIG_MAPPING[name](**{**sizes, **more})


def draw(model):
    """Weights large enough for attention to differ; those that start at 0 (position biases, scales) too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model.eval()


def built(name, more, backend="sdpa", strategy="default"):
    """LLaVA with this tower."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=tower_config(name, more),
        text_config=LlamaConfig(**text_settings(2)),
        image_token_id=IMAGE,
        vision_feature_select_strategy=strategy,
        attn_implementation=backend,
    )
    model = finish(LlavaForConditionalGeneration(config))
    draw(model.base_model.vision_tower)
    return model


def pixels(seed=0, pictures=2):
    return torch.randn(pictures, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def seen_before_patches(tower):
    """How many tokens enter the first layer the same, whatever the picture: found by looking, and at the front."""
    entered = []
    handle = attention_modules(tower)[0].register_forward_pre_hook(
        lambda module, args, kwargs: entered.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        for seed in (1, 2):
            tower(pixels(seed))
    handle.remove()
    flat = [states.reshape(-1, states.shape[-1])[: states.shape[-2]] for states in entered]
    same = (flat[0] - flat[1]).abs().amax(dim=-1) < 1e-6
    count = int(same.sum())
    assert bool(same[:count].all())
    return count


def accepted():
    """Types of vision towers, by verified family, that its config takes."""
    towers = set()
    for model_type, architecture in MODEL_MAPPING_NAMES.items():
        model = getattr(transformers, architecture if isinstance(architecture, str) else architecture[0], None)
        try:
            name = str(getattr(model, "main_input_name", ""))
        except ImportError:  # a stand-in for a model whose own packages are absent; those of pictures need none
            continue
        if name.startswith("pixel_values"):
            towers.add(model_type)
    for family in FAMILIES:
        if family in CONFIG_MAPPING:
            part = CONFIG_MAPPING[family].sub_configs.get("vision_config")
            if part is not None:
                types = towers if part.__name__ == "AutoConfig" else {part.model_type}
                yield from ((family, one) for one in types)


def test_every_tower_that_a_verified_family_takes_is_classified():
    asked = set(accepted())
    assert len(asked) > 1000
    unknown = {tower for _, tower in asked} - set(TOWERS) - NOT_FOLLOWED - NO_PATCHES
    assert not unknown, f"say in leading_tokens.py what stands before the patches of {sorted(unknown)}"


def test_a_tower_stands_in_one_list():
    assert not set(TOWERS) & NOT_FOLLOWED
    assert not set(TOWERS) & NO_PATCHES
    assert not NOT_FOLLOWED & NO_PATCHES


def test_families_whose_tower_is_followed_have_one_that_is_known():
    for name, family in FAMILIES.items():
        if family.saliency and name in CONFIG_MAPPING:
            vision = CONFIG_MAPPING[name]().vision_config
            assert leading_of(vision) is not None, name


def test_every_kind_that_takes_pictures_of_one_size_is_looked_at():
    fixed = {"cosmos3_edge_vision", "siglip2_vision_model", "idefics3_vision", "janus_vision_model", "smolvlm_vision"}
    packs = {name for name in TOWERS if name.startswith(("qwen", "glm", "exaone", "cohere_", "dots", "hy_", "minimax"))}
    assert set(TOWERS) - fixed - packs == {name for name, *_ in KINDS}


@every_kind
def test_what_stands_before_the_patches_is_there(name, more, cls, others):
    installed(name)
    config = tower_config(name, more)
    config._attn_implementation = "eager"
    tower = draw(AutoModel.from_config(config))
    assert leading_of(config) == Leading(cls, others)
    count = seen_before_patches(tower)
    assert count == leading_of(config).count
    with torch.no_grad():
        assert tower(pixels()).last_hidden_state.shape[-2] == count + (PATCHES if name != "pixtral" else 2 * PATCHES)


def attention_maps(name, more, given):
    """Of the last layer of the same tower, by its own eager code, (pictures, heads, q, s)."""
    tower = built(name, more, "eager").base_model.vision_tower
    maps = []
    handle = attention_modules(tower)[-1].register_forward_hook(lambda module, args, output: maps.append(output[1]))
    with torch.no_grad():
        output = tower(given, output_attentions=True)
    handle.remove()
    if output.attentions:  # in some versions some towers make maps and do not return them
        assert torch.equal(output.attentions[-1], maps[-1])
    return maps[-1].double()


def encoded(model, signal, **options):
    """Facts about the visual tokens of two pictures."""
    capture = SaliencyCapture(model, FAMILIES["llava"], [signal])
    try:
        with torch.no_grad():
            output = model.base_model.get_image_features(pixels(), **options)
    finally:
        capture.remove()
    return output, getattr(output, FACTS_ATTRIBUTE)


@with_cls
@pytest.mark.parametrize("strategy", ["default", "full"])
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_cls_attention_is_that_of_the_eager_tower(name, more, others, strategy, backend):
    installed(name)
    before = 1 + others
    row = attention_maps(name, more, pixels())[:, :, 0, before:].mean(dim=1)
    signal = Signal("cls", -1)
    output, facts = encoded(built(name, more, backend, strategy), signal)
    kept = before - (strategy == "default")
    for picture, fact in enumerate(facts):
        reported = fact.signals[signal]
        assert len(output.pooler_output[picture]) == len(reported) == kept + PATCHES
        assert bool(reported[:kept].isnan().all())
        torch.testing.assert_close(reported[kept:].double(), row[picture], atol=1e-6, rtol=1e-5)
        assert fact.place.row.tolist() == [-1] * kept + [place // 4 for place in range(PATCHES)]
    assert row.std(dim=1).min() > 1e-4


@pytest.mark.parametrize(("name", "more"), [kind[:2] for kind in KINDS if kind[0] != "pixtral"])  # which packs
def test_received_attention_is_that_of_the_eager_tower(name, more):
    installed(name)
    maps = attention_maps(name, more, pixels()).mean(dim=(1, 2))
    model, heard = built(name, more), []
    handles = watch(attention_modules(model.base_model.vision_tower)[-1], heard.append, when=lambda: True)
    with torch.no_grad():
        model.base_model.vision_tower(pixels())
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(received_attention(heard[0]).double(), maps, atol=1e-6, rtol=1e-5)


def prompt(model, visual):
    ids = torch.tensor([[1, 9, *[IMAGE] * visual, 11, 12]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels(5, 1)}


@with_cls
def test_the_pivot_is_the_patch_that_the_cls_looks_at_most(name, more, others):
    installed(name)
    model = built(name, more)
    row = attention_maps(name, more, pixels(5, 1))[0, :, 0, 1 + others :].mean(dim=0)
    pivot = others + int(row.argmax())
    with todre.prune(model, todre.ToDRE(retain=2, stages=(1,), pivot="cls")) as report, torch.no_grad():
        model(**prompt(model, others + PATCHES))
    assert report.visual_tokens_after == [2]
    assert pivot in report.kept[0]


@pytest.mark.parametrize(
    ("name", "more", "word"),
    [
        ("siglip_vision_model", {"vision_use_head": False}, "has no [CLS] token"),
        ("aimv2_vision_model", {}, "has no [CLS] token"),
        ("pixio", {"n_cls_tokens": 8}, "8 tokens before its patches, none of which is the one [CLS]"),
    ],
)
def test_a_tower_without_the_one_cls_is_refused_by_what_it_has(name, more, word):
    installed(name)
    model = built(name, more, strategy="full")
    with pytest.raises(UnsupportedModelError) as caught:
        todre.attach(model, todre.ToDRE(pivot="cls"))
    assert word in str(caught.value)


def test_a_tower_that_is_not_known_gives_no_signal(monkeypatch):
    model = built("clip_vision_model", {})
    monkeypatch.delitem(TOWERS, "clip_vision_model")
    with pytest.raises(UnsupportedModelError, match="cannot be followed"):
        todre.attach(model, todre.ToDRE(pivot="cls"))
    with pytest.raises(UnsupportedModelError, match="cannot be followed"):
        todre.attach(model, todre.ToDRE(pivot="received"))
    with todre.prune(model, todre.ToDRE(retain=2, stages=(1,), pivot="auto")) as report, torch.no_grad():
        model(**prompt(model, PATCHES))
    assert report.visual_tokens_after == [2]


@pytest.mark.parametrize("name", ["siglip_vision_model", "aimv2_vision_model"])
def test_where_the_first_patch_is_dropped_the_others_keep_their_places(name):
    installed(name)
    more = {"vision_use_head": False} if name.startswith("siglip") else {}
    signal = Signal("received", -1)
    maps = attention_maps(name, more, pixels()).mean(dim=(1, 2))
    _, facts = encoded(built(name, more, strategy="default"), signal)
    for picture, fact in enumerate(facts):
        torch.testing.assert_close(fact.signals[signal].double(), maps[picture, 1:], atol=1e-6, rtol=1e-5)
        assert fact.place.column.tolist() == [place % 4 for place in range(1, PATCHES)]


def test_attention_of_its_own_is_refused_when_attached():
    model = built("data2vec-vision", {})
    with pytest.raises(UnsupportedModelError, match="Data2VecVisionModel cannot be followed"):
        todre.attach(model, todre.ToDRE(pivot="cls"))


@pytest.mark.parametrize("name", ["dinov2_with_registers", "deit", "clip_vision_model"])
@pytest.mark.parametrize("method", [ToMe, EViT, FiCoCoV])
def test_merging_in_a_tower_leaves_what_stands_before_the_patches(name, method):
    model = built(name, {})
    before = leading_of(model.config.vision_config).count
    reduction = TowerReduction(model, FAMILIES["llava"], method(retain=0.5))
    widths = []
    layer = attention_modules(model.base_model.vision_tower)[-1]
    handle = layer.register_forward_hook(lambda module, args, output: widths.append(output[0].shape[1]))
    given = {"pixel_values": pixels(), "vision_feature_layer": -1}
    with torch.no_grad():
        expected = model.base_model.get_image_features(**given).pooler_output
        with reduction.encoding():
            got = model.base_model.get_image_features(**given).pooler_output
            alive = reduction.alive()
    reduction.remove()
    handle.remove()
    assert [part.shape[1] for part in alive] == [PATCHES]
    assert alive[0].sum(dim=1).tolist() == [PATCHES // 2] * 2
    assert widths == [before + PATCHES, before + PATCHES // 2]
    assert [len(entry) for entry in got] == [len(entry) for entry in expected]


def test_vipllava_always_drops_one():
    assert discarded_count(CONFIG_MAPPING["vipllava"](), {}) == 1
    assert discarded_count(CONFIG_MAPPING["llava"](vision_feature_select_strategy="full"), {}) == 0
    assert discarded_count(CONFIG_MAPPING["llava"](), {"vision_feature_select_strategy": "full"}) == 0
    assert discarded_count(CONFIG_MAPPING["paligemma"](), {}) == 0
