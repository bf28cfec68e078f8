"""Settings and links: every request survives its link, and every bad link gets one sentence."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from todre.errors import InvalidValueError, UnknownMethodError
from todre.methods import registry
from todre.page.examples import EXAMPLES, example
from todre.page.wish import MOST_METHODS, MOST_QUESTION, Wish, asks, share_of

NAMES = registry.names()
WISHES = st.builds(
    Wish,
    question=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(lambda text: text.strip()),
    methods=st.lists(st.sampled_from(NAMES), min_size=1, max_size=MOST_METHODS, unique=True).map(tuple),
    share=st.integers(1, 100).map(share_of),
    picture=st.sampled_from(["", *(each.name for each in EXAMPLES)]),
)


@settings(max_examples=60, deadline=None)
@given(WISHES)
def test_a_link_brings_back_what_was_asked(wish):
    parameters = dict(parse_qsl(wish.query(), keep_blank_values=True, strict_parsing=True))
    found = Wish.of_query(parameters)
    expected = wish if wish.picture else Wish(question=wish.question, methods=wish.methods, share=wish.share)
    assert found == expected
    assert asks(parameters)


def test_a_page_without_a_link_shows_the_first_example_and_asks_nothing():
    assert Wish.of_query({}) == Wish()
    assert Wish.of_query({"__theme": "dark"}) == Wish()
    assert not asks({"keep": "0.5"})
    assert Wish.of_query({"picture": "coffee"}).question == example("coffee").question


@pytest.mark.parametrize(("parameters", "said"), [
    ({"keep": "lots"}, "keep='lots' is no number"),
    ({"keep": "nan"}, "The share kept is nan"),
    ({"keep": "0"}, "keep between 0.01 and 1"),
    ({"keep": "1.5"}, "keep between 0.01 and 1"),
    ({"keep": "inf"}, "keep between 0.01 and 1"),
    ({"question": "  "}, "The question is empty"),
    ({"question": "x" * (MOST_QUESTION + 1)}, "2,001 characters"),
    ({"methods": ""}, "0 methods are chosen"),
    ({"methods": ",".join(NAMES[:5])}, "5 methods are chosen"),
    ({"methods": "todre,todre"}, "name each once"),
    ({"picture": "../../etc/passwd"}, "no example picture"),
    ({"picture": "<script>\n"}, "no example picture"),
])  # fmt: skip
def test_a_bad_link_gets_one_sentence(parameters, said):
    with pytest.raises(InvalidValueError) as caught:
        Wish.of_query(parameters)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_methods_that_a_page_cannot_name():
    with pytest.raises(UnknownMethodError, match="did you mean"):
        Wish(methods=("todree",))
    with pytest.raises(InvalidValueError, match="made of others"):
        Wish(methods=("compose",))


@pytest.mark.parametrize("percent", range(1, 101))
def test_percent_become_the_share_that_one_would_type(percent):
    assert share_of(percent) == float(f"{percent / 100:.2f}")


@pytest.mark.parametrize("percent", [None, float("nan"), float("inf")])
def test_percent_that_are_no_number(percent):
    with pytest.raises(InvalidValueError, match="percent"):
        share_of(percent)


def test_every_example_is_a_picture_and_its_source_makes_the_same():
    for each in EXAMPLES:
        names = {}
        exec(f"{each.imports}\npicture = {each.source}", names)
        assert names["picture"].mode == "RGB"
        assert names["picture"].tobytes() == each.open().tobytes()
