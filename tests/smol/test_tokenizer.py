"""The tokenizer and the chat template: what a prompt becomes, piece by piece."""

import json

import pytest
import torch
from PIL import Image
from smol.toy_decoder import TOKENS, write_gguf
from transformers import AutoTokenizer

from todre.errors import LoadError
from todre.smol import tokenizer as made
from todre.smol import weights

TEXTS = (
    *("the use of a thing", "in us the there", "naïve 東京 <3", "a\n\nb\tc", "What is 34,567.8?", "", " the"),
    "It's the us.",
)


@pytest.fixture
def tokenizer(base):
    return made.build_tokenizer(base.folder)


@pytest.fixture
def processor(tokenizer):
    return made.build_processor(tokenizer)


def user(*pictures, text):
    return {"role": "user", "content": [*({"type": "image", "image": each} for each in pictures),
                                        {"type": "text", "text": text}]}  # fmt: skip


def picture(width=192, height=192):
    return Image.new("RGB", (width, height), (200, 30, 30))


def ids_of(processor, conversation, **options):
    return processor.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True, **options
    )


def test_it_has_the_vocabulary_of_the_file_but_for_the_picture(tokenizer):
    found = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    assert [token for token, _ in found] == ["<image>" if token == "<repo_name>" else token for token in TOKENS]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 2, None)
    assert tokenizer.convert_tokens_to_ids("<image>") == 3
    assert tokenizer.encode("<image>") == [3]
    assert 3 not in tokenizer.encode("<repo_name>")


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_and_get_no_token_in_front(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not set(tokenizer.encode(text)) & {0, 1, 2, 3, 4}


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_that_transformers_reads_from_the_file(toy, tokenizer, text):
    other = AutoTokenizer.from_pretrained(toy.gguf.parent, gguf_file=toy.gguf.name)
    assert tokenizer.encode(text) == other.encode(text)


@pytest.mark.parametrize("text", TEXTS)
def test_transformers_reads_the_same_from_the_decoder_s_folder(base, tokenizer, text):
    assert AutoTokenizer.from_pretrained(base.folder).encode(text) == tokenizer.encode(text)
    assert (base.folder / "tokenizer_config.json").is_file()


def test_merges_and_digits_cut_as_smollm_does(tokenizer):
    def tokens(text):
        return tokenizer.convert_ids_to_tokens(tokenizer.encode(text))

    assert tokens("in the use") == ["in", "Ġthe", "Ġ", "use"]
    assert tokens("a  12") == ["a", "Ġ", "Ġ", "1", "2"]


@pytest.mark.parametrize("question", ["Is there a 3 in the picture?", "the use", "What color is\nit?"])
def test_a_prompt_is_the_sum_of_its_pieces(processor, tokenizer, question):
    found = ids_of(processor, [user(picture(), text=question)])["input_ids"][0].tolist()
    count = 144 + 24 * 25  # the thumbnail; 24 rows of 24 crops' tokens and a newline
    pieces = ["<|im_start|>user\n", "\n", question, "<|im_end|>\n<|im_start|>assistant\n"]
    before, line, asked, after = (tokenizer.encode(piece) for piece in pieces)
    assert found == before + [3] * count + line + asked + after


def test_turns_and_pictures_stand_where_they_were_said(processor, tokenizer):
    conversation = [
        {"role": "system", "content": "the"},
        user(picture(96, 96), picture(192, 96), text="One?"),
        {"role": "assistant", "content": [{"type": "text", "text": "in use"}]},
        user(text="Two?"),
        {"role": "assistant", "content": "us"},
        user(picture(), text="Three?"),
    ]
    text = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nthe<|im_end|>\n"
        "<|im_start|>user\n<image>\n<image>\nOne?<|im_end|>\n<|im_start|>assistant\nin use<|im_end|>\n"
        "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\nus<|im_end|>\n"
        "<|im_start|>user\n<image>\nThree?<|im_end|>\n<|im_start|>assistant\n"
    )
    inputs = ids_of(processor, conversation)
    assert inputs["image_sizes"].tolist() == [[96, 96], [96, 192], [192, 192]]
    pieces = text.split("<image>")
    counts = [int(run.sum()) for run in _runs(inputs["input_ids"][0] == 3)]
    whole = tokenizer.encode(pieces[0])
    for count, piece in zip(counts, pieces[1:], strict=True):
        whole += [3] * count + tokenizer.encode(piece)
    assert inputs["input_ids"][0].tolist() == whole


def _runs(mark):
    edges = torch.diff(torch.nn.functional.pad(mark.int(), (1, 1)))
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    return [mark[start:end] for start, end in zip(starts, ends, strict=True)]


def test_a_conversation_has_no_system_prompt_of_its_own(processor):
    text = processor.apply_chat_template([user(text="Why?")], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_a_batch_is_padded_on_the_left_with_a_token_that_no_prompt_holds(processor):
    texts = ["Is it?", "Is it the use of the thing?"]
    batch = ids_of(processor, [[user(picture(), text=text)] for text in texts], padding=True)
    for row, text in enumerate(texts):
        alone = ids_of(processor, [user(picture(), text=text)])["input_ids"][0]
        mask = batch["attention_mask"][row].bool()
        assert torch.equal(batch["input_ids"][row][mask], alone)
        assert (batch["input_ids"][row][~mask] == 0).all()
        assert mask.sort().values.equal(mask)
        assert 0 not in alone.tolist()


def test_the_folder_says_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    from transformers import AutoProcessor

    again = AutoProcessor.from_pretrained(tmp_path)
    conversation = [user(picture(), text="Is there a 3?")]
    assert torch.equal(ids_of(again, conversation)["input_ids"], ids_of(processor, conversation)["input_ids"])
    assert (again.tokenizer.pad_token_id, again.tokenizer.eos_token_id, again.tokenizer.padding_side) == (0, 2, "left")


def test_another_tokenizer_is_refused(tmp_path, base):
    write_gguf(tmp_path / "other.gguf", pre="llama-bpe")
    with pytest.raises(LoadError, match="llama-bpe"):
        made.tokenizer_of(weights.metadata_of(weights.open_gguf(tmp_path / "other.gguf")))
    file = base.folder / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["model"]["vocab"]["<|im_end|>"], document["model"]["vocab"]["a"] = document["model"]["vocab"]["a"], 2
    document["added_tokens"] = [each for each in document["added_tokens"] if each["content"] != "<|im_end|>"]
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(LoadError, match="special tokens"):
        made.build_tokenizer(base.folder)
    file.unlink()
    with pytest.raises(LoadError, match="no tokenizer"):
        made.build_tokenizer(base.folder)
