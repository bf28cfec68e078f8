"""A word-level tokenizer that knows the words of `todre.scenes` and of the prompt."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from todre.scenes.vocabulary import COLOURS, COUNTS, DIGITS, SHAPES, SIZES, WORDS, plural

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
SYSTEM_PROMPT = (
    "A chat between a curious user and an artificial assistant . "
    "The assistant gives short and true answers to questions about the picture ."
)
CHAT_TEMPLATE = (
    "{{ '" + SYSTEM_PROMPT + " ' }}"
    "{% for message in messages %}"
    "{{ message['role'] | upper + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] + ' ' }}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image> ' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '</s> ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_QUESTION_WORDS = (
    "is there a an in the picture what color shape object shapes how many are of left right above below where "
    "digit shown word written describe small large top bottom yes no user assistant number colour it and with"
)


def words() -> list[str]:
    """Every word of the tokenizer except special tokens, in a fixed order."""
    listed = [
        *SYSTEM_PROMPT.lower().split(),
        *_QUESTION_WORDS.split(),
        *COLOURS,
        *SHAPES,
        *(plural(shape) for shape in SHAPES),
        *SIZES,
        *COUNTS,
        *DIGITS,
        *WORDS,
        *("?", ".", ",", ":"),
    ]
    return list(dict.fromkeys(listed))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer: lower case, split at spaces and punctuation, one token per word.

    The start token `<s>` goes in front of each text.
    """
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *words()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
