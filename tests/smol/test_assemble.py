"""The model that is put together: against the tower, the connector and the adapted decoder run one by one."""

import ambient
import pytest
import torch
from PIL import Image
from smol.toy_decoder import LAYERS, WIDTH, random_tensors
from torch.nn.functional import gelu, linear

import todre
from todre import tiny
from todre.errors import InvalidValueError, LoadError
from todre.loading.model import load
from todre.smol.assemble import build_model, save_model
from todre.smol.part import Part, read_part, write_part
from todre.smol.tokenizer import build_processor, build_tokenizer
from todre.smol.weights import load_base

RANK, SCALE = 4, 0.5


@pytest.fixture
def model(part, base):
    return build_model(part.tensors, part.rank, part.scale, base.folder)


@pytest.fixture
def processor(base):
    return build_processor(build_tokenizer(base.folder))


def question(processor, text="Is there a 3?", size=(192, 192)):
    picture = Image.new("RGB", size, (30, 200, 60))
    picture.paste((220, 20, 20), (10, 10, 60, 60))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )


@torch.no_grad()
def features(model, inputs):
    packed = model.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    return packed[0]


@torch.no_grad()
def test_pictures_pass_the_shipped_tower_and_the_connector(model, part, processor):
    inputs = question(processor)
    packed = features(model, inputs)
    tower = tiny.load()[0].model.vision_tower
    seen = tower(inputs["pixel_values"][0], output_hidden_states=True).hidden_states[-2][:, 1:]
    tensors = part.tensors
    inner = gelu(linear(seen, tensors["connector.linear_1.weight"], tensors["connector.linear_1.bias"]))
    wanted = linear(inner, tensors["connector.linear_2.weight"], tensors["connector.linear_2.bias"])
    torch.testing.assert_close(packed[:144], wanted[0], rtol=1e-5, atol=1e-6)
    rows = packed[144:].reshape(24, 25, WIDTH)
    assert torch.equal(rows[:, 24], tensors["image_newline"].expand(24, -1))
    crops = wanted[1:].reshape(2, 2, 12, 12, WIDTH).permute(0, 2, 1, 3, 4).reshape(24, 24, WIDTH)
    torch.testing.assert_close(rows[:, :24], crops, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_answers_are_those_of_the_decoder_with_the_lora_beside_it(model, part, base, processor):
    """The factors run apart from the weights here, so nothing is merged."""
    decoder = load_base(base.folder)
    for layer in range(LAYERS):
        for letter in "qkvo":
            down, up = (part.tensors[f"lora.{layer}.{letter}_proj.{factor}"] for factor in "AB")
            projection = getattr(decoder.model.layers[layer].self_attn, f"{letter}_proj")
            projection.register_forward_hook(
                lambda module, inputs, output, down=down, up=up: output + SCALE * linear(linear(inputs[0], down), up)
            )
    inputs = question(processor)
    ids = inputs["input_ids"]
    embeds = decoder.model.embed_tokens(ids)
    embeds[ids == 3] = features(model, inputs)
    torch.testing.assert_close(model(**inputs).logits, decoder(inputs_embeds=embeds).logits, rtol=1e-4, atol=1e-4)
    plain = load_base(base.folder)(inputs_embeds=embeds).logits
    assert (plain - model(**inputs).logits).abs().max() > 0.1, "the LoRA does something"


def test_a_part_without_a_lora_leaves_the_decoder_as_it_is(part, base):
    tensors = {name: tensor for name, tensor in part.tensors.items() if not name.startswith("lora")}
    decoder = load_base(base.folder)
    model = build_model(tensors, RANK, SCALE, decoder)
    for name, wanted in decoder.model.state_dict().items():
        assert torch.equal(model.model.language_model.state_dict()[name], wanted), name
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, decoder.lm_head.weight)


def test_nothing_of_the_process_gets_in(model, part, base):
    before = torch.get_rng_state()
    with ambient.default_dtype(torch.bfloat16):
        other = build_model(part.tensors, part.rank, part.scale, base.folder)
    assert torch.equal(torch.get_rng_state(), before)
    for name, wanted in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], wanted), name
    assert not any(module.training for module in other.modules())


def test_it_is_saved_and_loaded_as_any_model(model, base, processor, tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    save_model(model, base.folder, folder)
    for file in folder.glob("*.json"):
        assert str(base.folder) not in file.read_text(encoding="utf-8")
    loaded = load(folder, device="cpu")
    for name, wanted in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], wanted), name
    inputs = question(processor)
    again = question(loaded.processor)
    assert torch.equal(inputs["input_ids"], again["input_ids"])
    assert torch.equal(inputs["pixel_values"], again["pixel_values"])
    options = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(model.generate(**inputs, **options), loaded.model.generate(**again, **options))
    generation = loaded.model.generation_config
    assert (generation.eos_token_id, generation.pad_token_id, generation.bos_token_id) == (2, 0, None)


def test_it_is_pruned_as_any_model(model, processor):
    inputs = question(processor)
    with todre.prune(model, todre.ToDRE(retain=0.1)) as report:
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert "744 → 74" in str(report)
    whole = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    with todre.prune(model, todre.ToDRE(retain=1.0, stages=(1,))):
        assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), whole)


def test_a_part_is_written_in_float16_and_read_again(part, tmp_path):
    file = tmp_path / "part.safetensors"
    write_part(part, file)
    again = read_part(file)
    assert (again.rank, again.scale, again.seed) == (RANK, SCALE, 0)
    assert again.base_sha256 == part.base_sha256
    assert again.tensors.keys() == part.tensors.keys()
    for name, tensor in again.tensors.items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, part.tensors[name].to(torch.float16))
    assert len(again.factors()) == 4 * LAYERS


def changed(**changes):
    tensors = random_tensors(RANK)
    for name, change in changes.items():
        name = name.replace("__", ".")
        if change is None:
            del tensors[name]
        else:
            tensors[name] = change
    return tensors


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        (changed(image_newline=None), "image_newline"),
        (changed(connector__linear_2__bias=None), "connector.linear_2.bias"),
        (changed(lora__0__q_proj__B=None), "lora.0.q_proj.A"),
        (changed(lora__0__q_proj__A=torch.zeros(3, WIDTH)), "rank"),
        (changed(lora__0__gate_proj__A=torch.zeros(RANK, WIDTH)), "gate_proj"),
    ],
    ids=["newline", "connector", "one factor", "rank", "projection"],
)
def test_a_part_that_is_not_whole_is_refused(tensors, word):
    with pytest.raises(InvalidValueError, match=word):
        Part(tensors, RANK, SCALE, 0, "")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (changed(lora__1__k_proj__B=torch.zeros(WIDTH, RANK)), ("layer 1", "k_proj")),
        (
            changed(lora__2__q_proj__A=torch.zeros(RANK, WIDTH), lora__2__q_proj__B=torch.zeros(WIDTH, RANK)),
            ("layer 2",),
        ),
        (changed(image_newline=torch.zeros(WIDTH + 1)), ("does not fit",)),
    ],
    ids=["shape", "layer", "width"],
)
def test_a_part_of_another_decoder_is_refused(base, tensors, words):
    with pytest.raises(LoadError) as caught:
        build_model(tensors, RANK, SCALE, base.folder)
    for word in words:
        assert word in str(caught.value)


def test_numbers_that_float16_cannot_hold_are_not_written(part, tmp_path):
    tensors = dict(part.tensors) | {"image_newline": torch.full((WIDTH,), 1e6)}
    with pytest.raises(InvalidValueError, match="image_newline"):
        write_part(Part(tensors, RANK, SCALE, 0, ""), tmp_path / "part.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("raw", [b"", b"no safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_part_is_one_sentence(tmp_path, raw):
    (tmp_path / "seed-0.safetensors").write_bytes(raw)
    with pytest.raises(LoadError, match=r"seed-0\.safetensors is no trained part"):
        read_part(tmp_path / "seed-0.safetensors")
