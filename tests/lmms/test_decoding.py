"""What tasks ask of generation, as `generate` takes it."""

import pytest
import torch

from todre.errors import InvalidValueError
from todre.lmms.generation import Decoding, IgnoredSettingWarning, StopStrings


def test_greedy_by_default_whatever_the_checkpoint_brings():
    assert Decoding.of({}).arguments() == {
        "max_new_tokens": 1024, "do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "samples"),
    [
        ({"temperature": 0, "do_sample": False}, False),
        ({"temperature": 0.0, "do_sample": True}, False),
        ({"temperature": 0.7}, True),
        ({"temperature": 0.7, "do_sample": False}, False),
        ({"do_sample": True}, True),
        ({"top_p": 0.9}, False),
    ],
)
def test_when_it_samples(given, samples):
    arguments = Decoding.of(given).arguments()
    assert arguments["do_sample"] is samples
    if not samples:
        assert arguments["temperature"] is arguments["top_p"] is None


def test_settings_of_sampling_are_kept():
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "num_beams": 3, "max_new_tokens": 5, "until": ["\n"]}
    decoding = Decoding.of(given)
    assert decoding.arguments() == {
        "max_new_tokens": 5, "do_sample": True, "num_beams": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 7,
    }  # fmt: skip
    assert decoding.until == ("\n",)
    assert hash(decoding) == hash(Decoding.of(dict(reversed(given.items()))))
    assert "top_p" not in Decoding.of({"temperature": 0.5, "top_p": 0}).arguments()


def test_other_names_of_the_length():
    assert Decoding.of({"max_gen_toks": 7}).max_new_tokens == 7
    assert Decoding.of({"max_gen_toks": 7, "max_new_tokens": 8.0}).max_new_tokens == 8


def test_unknown_settings_are_named():
    with pytest.warns(IgnoredSettingWarning, match="image_aspect_ratio"):
        assert Decoding.of({"image_aspect_ratio": "pad"}) == Decoding.of({})


@pytest.mark.parametrize("given", [{"max_new_tokens": 0}, {"max_new_tokens": 1.5}, {"until": [7]}])
def test_bad_settings(given):
    with pytest.raises(InvalidValueError):
        Decoding.of(given)


def test_an_answer_ends_before_the_first_stop_string():
    decoding = Decoding.of({"until": ["\n\n", "USER:", ""]})
    assert decoding.cut(" a dog USER: b\n\nc") == "a dog"
    assert decoding.cut("a dog\n") == "a dog"
    assert Decoding.of({"until": "."}).cut("no. yes") == "no"


class Letters:
    """A tokenizer whose tokens are letters."""

    def batch_decode(self, rows, skip_special_tokens):
        return ["".join(map(chr, row)) for row in rows]


def test_a_row_is_done_by_its_new_tokens_alone():
    rows = torch.tensor([list(map(ord, text)) for text in ("a..b.", "a..bc", "ab..c")])
    criterion = StopStrings(Letters(), ["..", "bc"], 2)
    assert criterion(rows, None).tolist() == [False, True, True]
