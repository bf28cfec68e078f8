"""Many questions behind one picture give what each gives alone in the stock model, prompt and all."""

import pytest
import torch
import torch.nn.functional as F

from todre.scenes import make_scene
from todre.tiny.data import collate, training_questions
from todre.tiny.packed_questions import answer_loss, packed_hidden, right_answers
from todre.tiny.stages import build_parts

IGNORE = -100


@pytest.fixture(scope="module")
def parts():
    built = build_parts(3, torch.device("cpu"))
    with torch.no_grad():  # sharper attention than at initialisation, so that a wrong mask shows
        for name, parameter in built.model.model.language_model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(4.0)
    return built


def stock_logits(parts, processor, scene, question):
    """Logits for the answer's tokens from one ordinary call on the chat template's text."""
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    answer = parts.encoder.encode(question.answer)
    batch = processor(images=scene.image, text=prompt, return_tensors="pt")
    length = batch["input_ids"].shape[1]
    batch["input_ids"] = torch.cat([batch["input_ids"], torch.tensor([answer])], dim=1)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    parts.model.set_attn_implementation("eager")
    try:
        return parts.model(**batch).logits[0, length - 1 :]
    finally:
        parts.model.model.language_model.set_attn_implementation("todre-packed")


@pytest.mark.parametrize("size", [192, (192, 96), (144, 192)])
def test_packed_logits_are_those_of_single_questions(parts, size):
    from todre.tiny.model import build_processor

    processor = build_processor(parts.tokenizer)
    scenes = [make_scene(seed, "val", size) for seed in (0, 1)]
    asked = [training_questions(scenes[0], 0)[:5], training_questions(scenes[1], 0)[9:14]]
    text = collate([parts.encoder.pack(questions) for questions in asked])
    pixels = torch.cat([processor.image_processor(s.image, return_tensors="pt")["pixel_values"] for s in scenes])
    sizes = torch.tensor([[s.size[1], s.size[0]] for s in scenes])
    with torch.no_grad():
        visual = torch.stack(parts.model.model.get_image_features(pixels, sizes, return_dict=True).pooler_output)
        hidden = packed_hidden(parts.model, torch.tensor(parts.encoder.prefix), visual, text)
        logits = parts.model.lm_head(hidden)
        losses = []
        for row, (scene, questions) in enumerate(zip(scenes, asked, strict=True)):
            for index, question in enumerate(questions):
                mine = (text.segments[row] == index) & (text.targets[row] != IGNORE)
                expected = stock_logits(parts, processor, scene, question)
                torch.testing.assert_close(logits[row][mine], expected, atol=2e-4, rtol=1e-4)
                weights = text.weights[row][mine]
                losses.append((F.cross_entropy(expected, text.targets[row][mine], reduction="none") * weights, weights))
        expected_loss = sum(a.sum() for a, _ in losses) / sum(w.sum() for _, w in losses)
        torch.testing.assert_close(answer_loss(parts.model, hidden, text), expected_loss, atol=1e-4, rtol=1e-4)


def test_targets_spell_the_answer_and_its_end(parts):
    questions = training_questions(make_scene(4), 9)
    pack = parts.encoder.pack(questions)
    for index, question in enumerate(questions):
        mine = pack.targets[(pack.segments == index) & (pack.targets != IGNORE)]
        assert mine[-1] == parts.tokenizer.eos_token_id
        assert parts.tokenizer.decode(mine[:-1]) == question.answer


def test_tally_counts_a_question_right_only_when_every_token_is(parts):
    scene = make_scene(4)
    text = collate([parts.encoder.pack(training_questions(scene, 1))])
    perfect = torch.zeros(1, text.tokens.shape[1], parts.model.config.text_config.hidden_size)

    class Told(torch.nn.Module):
        def __init__(self, wrong):
            super().__init__()
            self.lm_head = lambda hidden: F.one_hot(
                torch.where(wrong, 0, text.targets.clamp(min=0)), parts.model.config.text_config.vocab_size
            ).float()

    right = right_answers(Told(torch.zeros_like(text.targets, dtype=torch.bool)), perfect, text)
    assert all(good == asked for good, asked in right.values())
    last = (text.targets >= 0) & (text.offsets == text.offsets[text.segments == 0].max()) & (text.segments == 0)
    once = right_answers(Told(last), perfect, text)
    assert sum(good for good, _ in once.values()) == sum(good for good, _ in right.values()) - 1
