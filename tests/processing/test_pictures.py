"""Pictures through every family's processor, without torchvision: ids, placeholders, batches, models."""

import importlib.util
from functools import cache

import pytest
import torch
from processing.expected import PICTURES, TOGETHER, ids_of, prompt
from processing.features import count_columns, picture_features
from processing.kits import KITS, LAYOUTS
from processing.media import picture

from todre.processing import apply, apply_batch, has_torchvision, load_processor

TEXT = {"type": "text", "text": "what is this ?"}
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
every_kit = pytest.mark.parametrize("kit", KITS, ids=str)


@cache
def model_of(kit_index):
    return KITS[kit_index].specimen.build("sdpa")


def user(*sizes):
    images = [{"type": "image", "image": picture(*size, seed=sum(size))} for size in sizes]
    return [{"role": "user", "content": [*images, TEXT]}]


@pytest.fixture
def processor(kit, layout, tmp_path):
    return load_processor(kit.write(tmp_path / "checkpoint", layout))


def test_this_environment_has_no_torchvision():
    assert importlib.util.find_spec("torchvision") is None
    assert not has_torchvision()


@both_layouts
@every_kit
def test_it_is_the_stock_class(processor, kit):
    import transformers

    assert isinstance(processor, getattr(transformers, kit.processor["processor_class"]))
    assert type(processor).__name__ == kit.processor["processor_class"]
    assert getattr(processor.image_processor, "backend", "pil") == "pil"
    assert kit.processor["processor_class"] in repr(processor)


@both_layouts
@every_kit
def test_one_picture(processor, kit):
    model = model_of(KITS.index(kit))
    for size, expansion in PICTURES[kit.model_type].items():
        inputs, rendered = apply(processor, user(size))
        assert rendered == prompt(kit, kit.wrap[0])
        assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, expansion))]
        assert inputs["attention_mask"].all()
        assert count_columns(model, inputs["input_ids"]) == len(picture_features(model, inputs))
        with torch.no_grad():
            assert model(**inputs).logits.isfinite().all()


@both_layouts
@every_kit
def test_pictures_of_several_sizes(processor, kit):
    model = model_of(KITS.index(kit))
    expansions = TOGETHER.get(kit.model_type, PICTURES[kit.model_type])
    inputs, rendered = apply(processor, user(*expansions))
    assert rendered == prompt(kit, kit.wrap[0] * len(expansions))
    assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, *expansions.values()))]
    assert count_columns(model, inputs["input_ids"]) == len(picture_features(model, inputs))
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("side", ["left", "right"])
@every_kit
@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_a_batch_is_its_singles(processor, kit, side):
    model = model_of(KITS.index(kit))
    sizes = list(PICTURES[kit.model_type])
    conversations = [user(sizes[0]), user(sizes[2], sizes[1]), user(sizes[1])]
    inputs, rendered = apply_batch(processor, conversations, padding_side=side)
    singles = [apply(processor, one) for one in conversations]
    assert rendered == [one[1] for one in singles]
    pad = processor.tokenizer.pad_token_id
    for row, (single, _) in enumerate(singles):
        mask = inputs["attention_mask"][row].bool()
        assert inputs["input_ids"][row][mask].tolist() == single["input_ids"][0].tolist()
        assert (inputs["input_ids"][row][~mask] == pad).all()
        assert bool(mask[0]) == (side == "right" or mask.all())
    features = torch.cat([picture_features(model, single) for single, _ in singles])
    torch.testing.assert_close(picture_features(model, inputs), features, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


@every_kit
@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_turns(processor, kit):
    sizes = list(PICTURES[kit.model_type])
    conversation = [
        *user(sizes[0]),
        {"role": "assistant", "content": "this is a frame"},
        {"role": "user", "content": "and then ?"},
    ]
    inputs, _ = apply(processor, conversation)
    first = prompt(kit, PICTURES[kit.model_type][sizes[0]]).removesuffix("assistant :")
    text = first + "assistant : this is a frame\nuser : and then ?\nassistant :"
    assert inputs["input_ids"].tolist() == [ids_of(kit, text)]
    inputs, rendered = apply(processor, conversation[:2], add_generation_prompt=False)
    assert rendered.endswith("this is a frame\n")


@every_kit
@pytest.mark.parametrize("layout", LAYOUTS[:1])
def test_text_alone(processor, kit):
    inputs, _ = apply(processor, [{"role": "user", "content": "what is this ?"}])
    text = ("<s>" if kit.bos else "") + "user : what is this ?\nassistant :"
    assert inputs["input_ids"].tolist() == [ids_of(kit, text)]
    assert not any(name.startswith("pixel") for name in inputs)
    with torch.no_grad():
        assert model_of(KITS.index(kit))(**inputs).logits.isfinite().all()


@both_layouts
@every_kit
def test_saved_and_loaded_again(processor, kit, tmp_path):
    processor.save_pretrained(tmp_path / "again")
    again = load_processor(tmp_path / "again")
    size = next(iter(PICTURES[kit.model_type]))
    before, after = (apply(one, user(size)) for one in (processor, again))
    assert before[1] == after[1]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert again.video_processor.settings == processor.video_processor.settings
