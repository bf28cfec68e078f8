"""Answers of a chat: those of `generate` on the whole conversation, of `todre ask` on the first turn; and its state."""

import pytest
import torch
from PIL import Image

import todre
from todre.chat.answering import Length, reply
from todre.chat.conversation import Exchange, Picture, Turn
from todre.chat.lines import Command
from todre.errors import ImageError, InvalidValueError, LoadError, UnknownMethodError
from todre.methods.registry import create
from todre.running import Settings, answer
from todre.tiny.tokenizer import SYSTEM_PROMPT

FIRST, SECOND, THIRD = "Is there a blue triangle in the picture?", "what color is it?", "how many circles are there?"
METHODS = [("todre", 0.25), ("none", None), ("divprune", 0.1), ("vtw", None), ("random", 20)]


def by_hand(loaded, prompt, pictures, method, tokens=8):
    """Text and report of `generate` on a prompt that is written out here."""
    inputs = loaded.processor(images=pictures, text=prompt, return_tensors="pt")
    with torch.random.fork_rng(), torch.inference_mode(), todre.prune(loaded.model, method) as report:
        torch.manual_seed(0)
        ids = loaded.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    new = ids[0, inputs["input_ids"].shape[1] :]
    return loaded.processor.tokenizer.decode(new, skip_special_tokens=True).strip(), report


@pytest.mark.parametrize(("name", "retain"), METHODS)
def test_each_turn_is_generate_on_the_whole_conversation(toy, session, scenes, name, retain):
    chat = session(method=name, retain=retain)
    method = create(name, **({} if retain is None else {"retain": retain}))
    pictures, said = [], f"{SYSTEM_PROMPT} "
    for text, paths in ((FIRST, scenes[:1]), (SECOND, []), (THIRD, scenes[1:])):
        chat.add_pictures(paths) if paths else None
        pictures += [Image.open(path) for path in paths]
        said += f"USER: {'<image> ' * len(paths)}{text} "
        wanted, report = by_hand(toy, said + "ASSISTANT:", pictures, method)
        found = chat.answer(text)
        assert found.text == wanted
        assert found.report.kept == report.kept
        assert found.report.visual_tokens_per_layer == report.visual_tokens_per_layer
        assert found.report.kv_bytes == report.kv_bytes
        said += f"ASSISTANT: {wanted} </s> "
    assert not chat.pictures
    assert [len(each.turn.pictures) for each in chat.earlier] == [1, 0, 1]


@pytest.mark.parametrize(("name", "retain"), METHODS)
def test_first_turn_is_that_of_ask(toy, session, scenes, name, retain):
    chat = session(method=name, retain=retain)
    chat.add_pictures(scenes)
    method = create(name, **({} if retain is None else {"retain": retain}))
    pictures = [Image.open(path) for path in scenes]
    wanted = answer(toy, pictures, FIRST, method, Settings(8))
    found = chat.answer(FIRST)
    assert found.text == wanted.text
    assert found.report.kept == wanted.report.kept
    assert found.new_tokens == wanted.new_tokens


def test_text_without_any_picture_is_answered(toy, session):
    found = session().answer("hello")
    assert found.text == by_hand(toy, f"{SYSTEM_PROMPT} USER: hello ASSISTANT:", None, todre.ToDRE())[0]
    assert found.report.visual_tokens_before == [0]
    assert found.unknown == ("hello",)


def test_pieces_come_one_by_one_and_make_up_the_text(endless, session, scenes):
    chat, pieces = session(endless, tokens=12), []
    chat.add_pictures(scenes[:1])
    found = chat.answer("w9 w10", pieces.append)
    assert "".join(pieces) == found.text
    assert len(pieces) > 6
    assert (found.new_tokens, found.cut, found.stopped) == (12, True, False)
    assert 0 < found.first_token <= found.seconds
    assert found.timings.total <= 1000 * found.seconds


def test_stopped_answer_stays_as_far_as_it_came(endless, session, scenes):
    chat, pieces = session(endless, tokens=50), []
    chat.add_pictures(scenes[:1])
    found = chat.answer("w9 w10", pieces.append, lambda: len(pieces) >= 3)
    assert found.stopped
    assert found.new_tokens < 10
    assert "".join(pieces) == found.text == chat.earlier[0].answer
    whole = session(endless, tokens=50)
    whole.add_pictures(scenes[:1])
    assert whole.answer("w9 w10").text.startswith(found.text)
    assert chat.answer("w11").new_tokens == 50


def test_answer_stopped_before_its_first_word_is_taken_back(toy, session, scenes):
    chat = session()
    chat.add_pictures(scenes[:1])
    found = reply(toy, (), Turn(chat.pictures, FIRST), create("todre"), Length(8), stopped=lambda: True)
    assert found.stopped
    quiet = session(method="none")
    quiet.add_pictures(scenes[:1])
    quiet.loaded = SilentStart(toy)
    assert quiet.answer(FIRST, stopped=lambda: True).text == ""
    assert quiet.earlier == ()
    assert len(quiet.pictures) == 1
    assert quiet.last is None


class SilentStart:
    """A model whose first token is the closing one."""

    def __init__(self, loaded):
        self.name, self.processor, self.device = loaded.name, Decoding(loaded.processor), loaded.device
        self.model = loaded.model


class Decoding:
    """A processor whose tokenizer decodes nothing."""

    def __init__(self, processor):
        self._processor = processor
        self.tokenizer = Mute(processor.tokenizer)

    def __getattr__(self, name):
        return getattr(self._processor, name)


class Mute:
    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def decode(self, *_, **__):
        return ""


def test_methods_and_budgets_change_between_turns(toy, session, scenes):
    chat = session()
    chat.add_pictures(scenes[:1])
    assert chat.answer(FIRST).report.method["retain"] == 0.1
    assert chat.obey(Command("/retain", "0.25")) == "todre, retain 0.25"
    assert chat.answer(FIRST).report.method["retain"] == 0.25
    assert chat.obey(Command("/method", "divprune")) == "divprune, retain 0.25"
    assert chat.answer(FIRST).report.method["method"] == "divprune"
    assert chat.obey(Command("/method", "none")) == "none; it has no budget, so 0.25 is for another method"
    before = chat.answer(FIRST).report
    assert before.visual_tokens_after == before.visual_tokens_before
    assert chat.obey(Command("/method", "random")) == "random, retain 0.25"
    assert chat.obey(Command("/retain", "7")) == "random, retain 7"
    assert chat.answer(FIRST).report.visual_tokens_after == [7]
    assert chat.obey(Command("/retain", "")) == "random, retain 7"


def test_file_of_a_method_keeps_its_budget(session, tmp_path):
    from todre.methods import registry

    registry.save(todre.ToDRE(retain=0.5), tmp_path / "mine.json")
    chat = session(retain=0.25)
    chat.obey(Command("/method", str(tmp_path / "mine.json")))
    assert chat.describe().endswith("mine.json, retain 0.5")
    with pytest.raises(InvalidValueError, match="no budget that /retain could change"):
        chat.obey(Command("/retain", "0.1"))


@pytest.mark.parametrize(
    ("command", "error", "sentence"),
    [
        (Command("/retain", "much"), InvalidValueError, "much is not a number"),
        (Command("/retain", "1.5"), InvalidValueError, "/retain"),
        (Command("/retain", "0"), InvalidValueError, "/retain"),
        (Command("/retain", "nan"), InvalidValueError, "/retain"),
        (Command("/method", "divprun"), UnknownMethodError, "divprune"),
        (Command("/method", "missing.json"), InvalidValueError, "does not exist"),
        (Command("/picture", ""), InvalidValueError, "needs a path"),
        (Command("/picture", "missing.png"), ImageError, "does not exist"),
        (Command("/picture", "'a"), InvalidValueError, "close what is quoted"),
        (Command("/drop", "all"), InvalidValueError, "leave all out"),
        (Command("/reset", "now"), InvalidValueError, "leave now out"),
    ],
)
def test_bad_command_changes_nothing(session, scenes, command, error, sentence):
    chat = session(retain=0.5)
    chat.add_pictures(scenes[:1])
    with pytest.raises(error, match=sentence):
        chat.obey(command)
    assert chat.describe() == "todre, retain 0.5"
    assert [picture.name for picture in chat.pictures] == scenes[:1]


def test_pictures_wait_are_dropped_and_forgotten(session, scenes, tmp_path):
    chat = session()
    assert chat.add_pictures(scenes[:1]) == f"{scenes[0]} (120 × 100) goes with the next question"
    with pytest.raises(ImageError):
        chat.add_pictures([scenes[1], str(tmp_path)])
    assert len(chat.pictures) == 1
    chat.obey(Command("/picture", f'"{scenes[1]}" {scenes[0]}'))
    assert [picture.name for picture in chat.pictures] == [scenes[0], scenes[1], scenes[0]]
    assert "dropped" in chat.obey(Command("/drop", ""))
    assert chat.obey(Command("/drop", "")) == "no picture waits for the next question"
    chat.add_pictures(scenes)
    chat.answer(FIRST)
    chat.add_pictures(scenes)
    chat.obey(Command("/reset", ""))
    assert (chat.earlier, chat.pictures, chat.last) == ((), (), None)


def test_failed_question_is_not_part_of_the_conversation(toy, session, scenes):
    chat = session()
    chat.add_pictures(scenes[:1])
    with pytest.raises(InvalidValueError, match="<image>"):
        chat.answer("what is <image> here?")
    assert chat.earlier == ()
    assert len(chat.pictures) == 1
    assert chat.answer(FIRST).report.visual_tokens_before[0] > 0
    todre.attach(toy.model, todre.ToDRE())
    todre.detach(toy.model)


def test_conversation_that_is_too_long_is_refused_and_can_go_on(toy, session):
    chat = session(tokens=16)
    big = Picture("big.png", Image.new("RGB", (300, 300), "teal"))
    chat.pictures = (big,) * 5
    chat.answer("is there a circle?")
    used = sum(chat.last.report.visual_tokens_before) + chat.last.report.text_tokens[0]
    room = toy.model.config.text_config.max_position_embeddings - used
    chat.pictures = (big,)
    with pytest.raises(
        InvalidValueError, match=r"tokens before pruning, and the model has positions for 4,096.*/reset"
    ):
        chat.answer("is there a circle?")
    chat.obey(Command("/drop", ""))
    assert chat.answer("is there a circle?").text
    assert len(chat.earlier) == 2
    with pytest.raises(InvalidValueError, match="positions for 4,096"):
        chat.answer("is " * room)


def test_answer_ends_where_the_positions_do(endless, session, scenes, monkeypatch):
    chat = session(endless, tokens=40)
    chat.add_pictures(scenes[:1])
    found = chat.answer("w9")
    prompt = found.report.visual_tokens_before[0] + found.report.text_tokens[0]
    monkeypatch.setattr("todre.chat.answering.context_length", lambda model: prompt + 5)
    again = session(endless, tokens=40)
    again.add_pictures(scenes[:1])
    short = again.answer("w9")
    assert (short.new_tokens, short.cut) == (5, True)
    assert found.text.startswith(short.text)


def test_template_that_leaves_earlier_turns_out_is_refused(toy, scenes):
    class Forgetful:
        def __getattr__(self, name):
            return getattr(toy.processor, name)

        def apply_chat_template(self, conversation, **options):
            return toy.processor.apply_chat_template([each[-1:] for each in conversation], **options)

    loaded = todre.loading.model.Loaded(toy.model, Forgetful(), "forgetful", toy.path, None)
    picture = Picture("one", Image.open(scenes[0]))
    earlier = (Exchange(Turn((picture,), FIRST), "yes"),)
    with pytest.raises(LoadError, match="forgetful leaves out what was said earlier"):
        reply(loaded, earlier, Turn((), SECOND), todre.ToDRE(), Length())


def test_an_answer_that_was_thought_over_is_followed_by_others(toy, scenes, monkeypatch):
    """Templates of models that think leave the thinking of earlier turns out, and no more than that."""
    template = toy.processor.chat_template
    shorter = template.replace("part['text'] + ' '", "part['text'].split('</think>')[-1] + ' '")
    assert shorter != template
    picture = Picture("one", Image.open(scenes[0]))
    plain = reply(toy, (Exchange(Turn((picture,), FIRST), "yes"),), Turn((), SECOND), todre.ToDRE(), Length(8))
    monkeypatch.setattr(toy.processor, "chat_template", shorter)
    earlier = (Exchange(Turn((picture,), FIRST), "<think>a ring?</think> yes"),)
    found = reply(toy, earlier, Turn((), SECOND), todre.ToDRE(), Length(8))
    assert found.new_tokens
    assert abs(len(found.text) - len(plain.text)) < 100


def test_a_guard_looks_at_the_pictures_of_every_turn(toy, session, scenes, recwarn):
    """Refused pictures answer as they do without pruning; a warning changes nothing but the report."""
    refusing = todre.Guard(action="refuse", radius=0.01, rank=None, text=None)
    warning = todre.Guard(action="warn", radius=0.01, rank=None, text=None)
    whole, pruned = session(method="none"), session(retain=0.05)
    refused, warned = session(retain=0.05, guard=refusing), session(retain=0.05, guard=warning)
    for text, paths in ((FIRST, scenes[:1]), (SECOND, scenes[1:])):
        for chat in (whole, pruned, refused, warned):
            chat.add_pictures(paths)
            chat.answer(text)
        assert refused.last.report.visual_tokens_after == whole.last.report.visual_tokens_before
        assert warned.last.text == pruned.last.text
        assert warned.last.report.kept == pruned.last.report.kept
        for chat in (refused, warned):
            assert len(chat.last.report.notes) == len(chat.last.report.guarded[0]) == len(chat.earlier)
    assert not pruned.last.report.guarded[0]
    assert not recwarn.list  # the chat shows the report's sentences


def test_a_method_that_a_guard_cannot_watch_is_refused_and_the_chat_goes_on(session, scenes):
    chat = session(guard="warn")
    chat.add_pictures(scenes[:1])
    with pytest.raises(InvalidValueError, match="fastv does not choose before the LLM, where the guard looks"):
        chat.obey(Command("/method", "fastv"))
    assert chat.describe().startswith("todre")
    assert chat.answer(FIRST).text
    with pytest.raises(InvalidValueError, match="fastv does not choose"):
        session(method="fastv", guard="warn")
