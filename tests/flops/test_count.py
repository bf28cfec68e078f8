"""The true count against torch's own counter on tiny random models, to the last FLOP.

The counter counts 2 per multiply-add, of mm, addmm, bmm and convolutions alone; attention as a full rectangle, grouped
heads repeated. The rotary embedding's outer product has one multiplication per entry and is no matrix product to it.
Eager attention is used, since the counter has no formula for the fused CPU kernel.
"""

import json

import pytest
import torch
import transformers as hf
from tinymodels import batch, build, sample
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, DynamicCache
from upstream import CACHE

import todre
from todre.errors import InvalidValueError, UnsupportedModelError
from todre.flops import PRESETS, ModelShape, PhaseFlops, Stack, count, count_prompt, from_config, selection_flops

SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 97}
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
WIDE = dict(SIZES, **NO_TOKENS, intermediate_size=80)
TEXT_CONFIGS = {
    "llama": hf.LlamaConfig(**WIDE, num_key_value_heads=2, head_dim=10),
    "mistral": hf.MistralConfig(**WIDE, num_key_value_heads=1, head_dim=12),
    "qwen2": hf.Qwen2Config(**WIDE, num_key_value_heads=2),
    "qwen3": hf.Qwen3Config(**WIDE, num_key_value_heads=2, head_dim=16),
    "gemma": hf.GemmaConfig(**WIDE, num_key_value_heads=1, head_dim=16),
    "gemma2": hf.Gemma2Config(**WIDE, num_key_value_heads=2, head_dim=16),
    "phi": hf.PhiConfig(**WIDE),
    "phi3": hf.Phi3Config(**WIDE, num_key_value_heads=2),
    "gpt_neox": hf.GPTNeoXConfig(**WIDE),
    "opt": hf.OPTConfig(**SIZES, **NO_TOKENS, ffn_dim=80, word_embed_proj_dim=48),
    "gpt2": hf.GPT2Config(n_embd=48, n_layer=3, n_head=4, vocab_size=97, bos_token_id=None, eos_token_id=None),
}


def counted(run):
    """torch's counts by module and operator while `run` runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_flop_counts()


def total(counts, module="Global", operators=None):
    """All FLOPs of a module, or those of the operators named."""
    return sum(flops for operator, flops in counts[module].items() if operators is None or str(operator) in operators)


LINEAR = ("aten.mm", "aten.addmm")
ATTENTION = ("aten.bmm", "aten.baddbmm")


@pytest.mark.parametrize("name", TEXT_CONFIGS)
def test_language_models_prefill_and_decode(name):
    config = TEXT_CONFIGS[name]
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(0, 97, (1, 11))
    counts = counted(lambda: model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False))
    mine = count(config, text_tokens=11, visual_tokens=0, tiles=0, new_tokens=4)
    assert mine.decoder_linear + mine.lm_head == total(counts, operators=LINEAR)
    assert mine.decoder_attention == total(counts, operators=ATTENTION)
    assert mine.total == total(counts)
    scored = counted(lambda: model(ids, labels=ids, use_cache=False))
    assert count(config, text_tokens=11, visual_tokens=0, tiles=0, head_positions=11).total == total(scored)


TEXT = dict(SIZES, intermediate_size=80, num_key_value_heads=2, head_dim=12)
LLAMA = dict(TEXT, model_type="llama")
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 1e4}}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}
SIGLIP = dict(CLIP, model_type="siglip_vision_model", vision_use_head=False)
QWEN = {
    "depth": 3,
    "num_heads": 4,
    "patch_size": 7,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
}
QWEN_WIDE = dict(QWEN, hidden_size=32, out_hidden_size=48, intermediate_size=56)
PINPOINTS = {"image_grid_pinpoints": [[28, 28], [56, 56]]}
ONE = {"pixel_values": torch.randn(1, 3, 28, 28)}
FIVE = {"pixel_values": torch.randn(1, 5, 3, 28, 28), "image_sizes": torch.tensor([[50, 56]])}
GRID = {"pixel_values": torch.randn(128, 2 * 3 * 49), "image_grid_thw": torch.tensor([[1, 8, 16]])}
INTERN = dict(CLIP, model_type="internvl_vision", image_size=[28, 28], patch_size=[7, 7])

VISION_CASES = {
    "llava": ("Llava", {"vision_config": CLIP}, ONE, 1),
    "llava-class-token": (
        "Llava",
        {"vision_config": CLIP, "vision_feature_layer": [-2, -1], "vision_feature_select_strategy": "full"},
        ONE,
        1,
    ),
    "llava-next": ("LlavaNext", dict(vision_config=CLIP, **PINPOINTS), FIVE, 5),
    "llava-onevision": ("LlavaOnevision", dict(vision_config=SIGLIP, **PINPOINTS), FIVE, 5),
    "vip-llava": ("VipLlava", {"vision_config": CLIP, "vision_feature_layers": [-2, -1]}, ONE, 1),
    "paligemma": ("PaliGemma", {"vision_config": SIGLIP, "projection_dim": 48, "text_config": "gemma"}, ONE, 1),
    "gemma3": ("Gemma3", {"vision_config": SIGLIP, "mm_tokens_per_image": 4, "text_config": "gemma3_text"}, ONE, 1),
    "internvl": ("InternVL", {"vision_config": INTERN}, {"pixel_values": torch.randn(2, 3, 28, 28)}, 2),
    "idefics3": (
        "Idefics3",
        {"vision_config": dict(CLIP, model_type="idefics3_vision"), "scale_factor": 2},
        {"pixel_values": torch.randn(1, 1, 3, 28, 28)},
        1,
    ),
    "smolvlm": (
        "SmolVLM",
        {"vision_config": dict(CLIP, model_type="smolvlm_vision"), "scale_factor": 2},
        {"pixel_values": torch.randn(1, 1, 3, 28, 28)},
        1,
    ),
    "mistral3": (
        "Mistral3",
        {"vision_config": dict(CLIP, model_type="pixtral", head_dim=8), "spatial_merge_size": 2},
        dict(ONE, image_sizes=torch.tensor([[28, 28]])),
        [16],
    ),
    "qwen2-vl": (
        "Qwen2VL",
        {"vision_config": dict(QWEN, embed_dim=32, hidden_size=48, mlp_ratio=2), "text_config": "qwen2_vl_text"},
        GRID,
        [128],
    ),
    "qwen2.5-vl": (
        "Qwen2_5_VL",
        {"vision_config": dict(QWEN_WIDE, window_size=28, fullatt_block_indexes=[1]), "text_config": "qwen2_5_vl_text"},
        GRID,
        [128],
    ),
    "qwen3-vl": (
        "Qwen3VL",
        {
            "vision_config": dict(QWEN_WIDE, deepstack_visual_indexes=[0, 1], num_position_embeddings=256),
            "text_config": "qwen3_vl_text",
        },
        GRID,
        [128],
    ),
}


@pytest.mark.parametrize("name", VISION_CASES)
def test_encoders_and_projectors_of_each_family(name):
    family, fields, pictures, tiles = VISION_CASES[name]
    kind = fields.get("text_config", "llama")
    text = dict(TEXT, model_type=kind, **(ROPE if kind.startswith("qwen") else {}))
    config = getattr(hf, f"{family}Config")(**{**fields, "text_config": text})
    config._attn_implementation = "eager"
    model = getattr(hf, f"{family}ForConditionalGeneration")(config).eval()
    counts = counted(lambda: model.model.get_image_features(**pictures))
    mine = count(config, text_tokens=1, visual_tokens=4, tiles=tiles)
    assert mine.encoder > mine.projector > 0
    assert mine.encoder + mine.projector == total(counts)


def test_pictures_that_a_tower_packs_are_counted_as_one_sequence():
    """Pixtral's mask hides other pictures, and masks are not subtracted."""
    family, fields, _, _ = VISION_CASES["mistral3"]
    config = getattr(hf, f"{family}Config")(**{**fields, "text_config": dict(TEXT, model_type="llama")})
    config._attn_implementation = "eager"
    model = getattr(hf, f"{family}ForConditionalGeneration")(config).eval()
    pictures = {"pixel_values": torch.randn(3, 3, 28, 28), "image_sizes": torch.tensor([[28, 28]] * 3)}
    counts = counted(lambda: model.model.get_image_features(**pictures))
    mine = count_prompt(config, pictures, tiles=3, text_tokens=1, visual_tokens=12)
    assert mine.encoder + mine.projector == total(counts)


def test_a_whole_answer_about_a_picture():
    model = build("next-mistral", backend="eager")
    inputs = batch(model, [sample(model, 4, [(40, 48)], 7)])
    visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
    counts = counted(lambda: model.generate(**inputs, max_new_tokens=5, do_sample=False))
    mine = count(model.config, text_tokens=11, visual_tokens=visual, tiles=5, new_tokens=5)
    assert mine.total == total(counts)


@pytest.mark.parametrize("stages", [(1,), (1, 2)])
def test_a_pruned_answer_costs_what_its_report_says(stages):
    model = build("next-llama", backend="eager", layers=8)
    inputs = batch(model, [sample(model, 4, [(48, 48)], 7)])
    with todre.prune(model, todre.ToDRE(retain=9, stages=stages, threshold=1.0)) as report:
        counts = counted(lambda: model.generate(**inputs, max_new_tokens=4, do_sample=False))
    visual = report.visual_tokens_per_layer[0]
    assert visual == [9] * 8 if stages == (1,) else visual == [9] * 7 + [0]
    mine = count(model.config, text_tokens=11, visual_tokens=visual, tiles=5, new_tokens=4)
    layers = [f"LlavaNextForConditionalGeneration.model.language_model.layers.{i}" for i in range(8)]
    assert mine.decoder_linear == sum(total(counts, layer, LINEAR) for layer in layers)
    if stages == (1,):  # measuring the ratios of stage 2 is attention work of its own
        assert mine.decoder_attention == sum(total(counts, layer, ATTENTION) for layer in layers)
    tower = from_config(model.config).vision
    attention = 5 * tower.stack.layers * tower.stack.attention(17, 17)
    encoded = total(counts, "CLIPVisionModel", (*LINEAR, "aten.convolution"))
    assert encoded == mine.encoder - attention  # and reading the CLS token's attention is attention work of its own


def test_layers_of_different_lengths_with_a_cache():
    """Three layers run by hand on 9, 5 and 2 tokens, then two tokens more through each layer's own cache."""
    config = TEXT_CONFIGS["llama"]
    config._attn_implementation = "eager"
    decoder = AutoModelForCausalLM.from_config(config).eval().model
    cache = DynamicCache(config=config)

    def through(tokens_per_layer):
        for layer, tokens in zip(decoder.layers, tokens_per_layer, strict=True):
            hidden = torch.randn(1, tokens, 48)
            rope = decoder.rotary_emb(hidden, torch.arange(tokens)[None])
            layer(hidden, position_embeddings=rope, **{CACHE: cache}, attention_mask=None)

    first = counted(lambda: through([9, 5, 2]))
    then = counted(lambda: [through([1, 1, 1]) for _ in range(2)])
    mine = count(config, text_tokens=2, visual_tokens=[7, 3, 0], tiles=0, new_tokens=3)
    assert (mine.prefill.linear, mine.prefill.attention) == (
        total(first, operators=LINEAR),
        total(first, operators=ATTENTION),
    )
    assert (mine.decode.linear, mine.decode.attention) == (
        total(then, operators=LINEAR),
        total(then, operators=ATTENTION),
    )


def test_selection_counts_the_products_of_the_plain_loop():
    x = torch.randn(50, 24)
    unit = x / x.norm(dim=-1, keepdim=True)

    def loop():
        value, order = torch.zeros(50), [0]
        while len(order) < 12:
            value = value + (unit @ unit[order[-1]][:, None])[:, 0]
            value[order] = torch.inf
            order.append(int(value.argmin()))

    assert selection_flops(50, 12, 24) - 3 * 50 * 24 == total(counted(loop))
    assert selection_flops(50, 50, 24) == selection_flops(50, 60, 24) == selection_flops(50, 0, 24) == 0
    assert count("llava-next-7b", text_tokens=1, visual_tokens=288, tiles=5, candidates=2880).selection == (
        selection_flops(2880, 288, 4096)
    )


def test_parts_add_up_and_survive_json():
    result = count(
        "llava-1.5-7b", text_tokens=40, visual_tokens=[64] * 28 + [0] * 4, tiles=1, new_tokens=9, candidates=576
    )
    document = json.loads(json.dumps(result.to_dict()))
    parts = ("encoder", "projector", "selection", "decoder_linear", "decoder_attention", "lm_head")
    assert all(document[part] > 0 for part in parts)
    assert sum(document[part] for part in parts) == document["total"] == result.total
    assert document["first_token"] + document["decode"]["total"] == document["total"]
    assert result.prefill == PhaseFlops(**{k: v for k, v in document["prefill"].items() if k != "total"})


def test_presets_are_what_their_configs_say():
    vocabulary = {"vocab_size": 32064, "model_type": "llama"}
    big = dict(vocabulary, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40)
    for small, large, config in (
        ("llava-1.5-7b", "llava-1.5-13b", hf.LlavaConfig),
        ("llava-next-7b", "llava-next-13b", hf.LlavaNextConfig),
    ):
        for name, text in ((small, vocabulary), (large, dict(big, num_key_value_heads=40))):
            read = from_config(config(text_config=text))
            preset = PRESETS[name]
            assert (read.decoder, read.vocabulary, read.vision, read.projector) == (
                preset.decoder,
                preset.vocabulary,
                preset.vision,
                preset.projector,
            )
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    }
    vision = {"hidden_size": 1280, "out_hidden_size": 3584, "intermediate_size": 3420, "depth": 32, "num_heads": 16}
    read = from_config(hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision))
    preset = PRESETS["qwen2.5-vl-7b"]
    assert (read.decoder, read.vision, read.projector) == (preset.decoder, preset.vision, preset.projector)


GOOD = {"text_tokens": 4, "visual_tokens": 8, "tiles": 1}


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("llava-next-7b", {"visual_tokens": -1}, r"visual_tokens must hold whole numbers of at least 0, got -1"),
        ("llava-next-7b", {"visual_tokens": [1, 2]}, r"visual_tokens holds 2 numbers, but llava-next-7b has 32"),
        ("llava-next-7b", {"visual_tokens": [1.5] * 32}, r"got 1\.5"),
        ("llava-next-7b", {"visual_tokens": True}, r"got True"),
        ("llava-next-7b", {"text_tokens": -2}, r"text_tokens .* got -2"),
        ("llava-next-7b", {"tiles": -1}, r"tiles .* got -1"),
        ("llava-next-7b", {"new_tokens": 0}, r"new_tokens must be a whole number of at least 1, got 0"),
        ("llava-next-7b", {"head_positions": -1}, r"head_positions"),
        ("llava-next-7b", {"candidates": -5}, r"n must be a whole number of at least 0, got -5"),
        ("qwen2.5-vl-7b", {"tiles": 2}, r"takes pictures of any size; give a list"),
        (TEXT_CONFIGS["llama"], {}, r"tiles is 1, but llama has no vision tower; use tiles=0"),
        ("llava-next-7", {}, r"did you mean 'llava-next-7b'\?"),
        ("gpt", {}, r"pass a config instead"),
        ({"hidden_size": 3}, {}, r"a transformers config is needed, got dict"),
    ],
)
def test_bad_numbers_are_one_sentence(model, change, message):
    with pytest.raises(InvalidValueError, match=message) as caught:
        count(model, **{**GOOD, **change})
    assert str(caught.value)[-1] in ".?"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf.MixtralConfig(), "mixes experts"),
        (hf.DeepseekV3Config(n_routed_experts=1), "latent attention"),
        (hf.Qwen3NextConfig(num_experts=0), "layers of type linear_attention"),
        (hf.InstructBlipConfig(text_config=TEXT_CONFIGS["llama"]), "the projector of model type 'instructblip'"),
    ],
)
def test_what_is_not_counted_is_refused(config, message):
    with pytest.raises(UnsupportedModelError, match=message):
        from_config(config)


def test_a_shape_by_hand_is_taken():
    shape = ModelShape("mine", Stack(2, 8, 2, 1, 4, 16, gated=True), vocabulary=10)
    result = count(shape, text_tokens=3, visual_tokens=0, tiles=0)
    assert result.prefill.linear == 2 * 3 * 2 * (8 * 8 * 2 + 8 * 4 * 2 + 3 * 8 * 16)
    assert result.prefill.attention == 2 * 4 * 3 * 3 * 8
    assert result.total == result.prefill.linear + result.prefill.attention + 2 * 8 * 10
