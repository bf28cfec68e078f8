"""Questions about receipts and forms: items with prices, labels with values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from todre.pages.entries import Entry
from todre.pages.phrasing import Asked, Asker, number, once, pick, with_role, word
from todre.scenes.vocabulary import DIGITS, WORDS


def _values(entries: Sequence[Entry], name: str, value: str) -> dict[str, Entry]:
    """Item or label → its price or value; names do not recur on a page."""
    values = {entry.row: entry for entry in with_role(entries, value)}
    return {entry.text: values[entry.row] for entry in sorted(with_role(entries, name), key=lambda entry: entry.row)}


def _prices(entries: Sequence[Entry]) -> dict[str, int]:
    return {item: int(price.text) for item, price in _values(entries, "item", "price").items()}


def ask_price(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The price of an item."""
    prices = _prices(entries)
    item = pick(rng, list(prices))
    texts = (f"What is the price of the {item}?", f"How much does the {item} cost?")
    return Asked(pick(rng, texts), str(prices[item]), DIGITS)


def ask_item_at(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The item that has a price."""
    single = once(with_role(entries, "price"))
    if not single:
        return None
    price = pick(rng, single)
    item = next(entry.text for entry in with_role(entries, "item") if entry.row == price.row)
    return word(rng, (f"Which item costs {price.text}?", f"What costs {price.text}?"), item)


def ask_extreme(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The item with the highest or the lowest price, where one item alone has it."""
    prices = _prices(entries)
    highest = bool(rng.integers(2))
    best = (max if highest else min)(prices.values())
    items = [item for item, price in prices.items() if price == best]
    if len(items) > 1:
        return None
    texts = ("Which item is the most expensive?", "Which item costs the most?")
    return word(rng, texts if highest else ("Which item is the cheapest?", "Which item costs the least?"), items[0])


def ask_total(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The sum of all prices."""
    return number(rng, ("What is the total?", "How much is everything together?"), sum(_prices(entries).values()))


def ask_two_prices(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The sum of two prices."""
    prices = _prices(entries)
    a, b = (str(item) for item in rng.permutation(list(prices))[:2])
    texts = (f"What do the {a} and the {b} cost together?", f"What is the price of the {a} plus the {b}?")
    return number(rng, texts, prices[a] + prices[b])


def ask_items(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of items."""
    texts = ("How many items are on the receipt?", "How many items were bought?")
    return number(rng, texts, len(_prices(entries)))


def ask_dearer(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of items above a price."""
    least = int(rng.integers(1, 9))
    count = sum(price > least for price in _prices(entries).values())
    return number(rng, (f"How many items cost more than {least}?", f"How many prices are above {least}?"), count)


def ask_value(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The value of a field: a digit or a word."""
    values = _values(entries, "label", "value")
    label = pick(rng, list(values))
    texts = (f"What is the value of {label}?", f"What is entered for {label}?")
    return Asked(pick(rng, texts), values[label].text, (*WORDS, *DIGITS))


def ask_label_of(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked | None:
    """The label of the field that has a value."""
    single = once(with_role(entries, "value"))
    if not single:
        return None
    value = pick(rng, single)
    label = next(entry.text for entry in with_role(entries, "label") if entry.row == value.row)
    return word(rng, (f"Which field has the value {value.text}?", f"For which field is {value.text} entered?"), label)


def ask_two_values(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The sum of the numbers in two fields; every form has two."""
    numbers = {label: int(value.text) for label, value in _values(entries, "label", "value").items() if value.is_number}
    a, b = (str(label) for label in rng.permutation(list(numbers))[:2])
    return number(rng, (f"What is the sum of {a} and {b}?", f"How much is {a} plus {b}?"), numbers[a] + numbers[b])


def ask_fields(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of fields."""
    return number(
        rng, ("How many fields does the form have?", "How many fields are there?"), len(with_role(entries, "label"))
    )


def ask_numeric_fields(rng: np.random.Generator, entries: Sequence[Entry]) -> Asked:
    """The number of fields whose value is a number."""
    count = sum(entry.is_number for entry in with_role(entries, "value"))
    return number(rng, ("How many fields hold a number?", "How many values are numbers?"), count)


RECEIPT: dict[str, tuple[Asker, ...]] = {
    "reading": (ask_price,),
    "locating": (ask_item_at, ask_extreme),
    "sum": (ask_total, ask_two_prices),
    "count": (ask_items, ask_dearer),
}
FORM: dict[str, tuple[Asker, ...]] = {
    "reading": (ask_value,),
    "locating": (ask_label_of,),
    "sum": (ask_two_values,),
    "count": (ask_fields, ask_numeric_fields),
}
"""Task → functions that ask."""
