"""An independent reader of pages: answers questions from the places of the plates and what they say, nothing else."""

import re

CELL_WIDTH, CELL_HEIGHT = 48, 32
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def placed(page):
    """{(line, place): text} of the plates' centres, empty lines and places on the left included."""
    return {
        (int((top + bottom) / 2 // CELL_HEIGHT), int((left + right) / 2 // CELL_WIDTH)): entry.text
        for entry in page.entries
        for left, top, right, bottom in [entry.box]
    }


def lines(page):
    """The texts of each line that has any, from left to right."""
    cells = placed(page)
    return [[cells[cell] for cell in sorted(cells) if cell[0] == line] for line in sorted({line for line, _ in cells})]


def table(page):
    """{(row name, column name): number} of a table, wherever its names stand."""
    cells = placed(page)
    digits = {cell for cell, text in cells.items() if text.isdigit()}
    rows, columns = {line for line, _ in digits}, {place for _, place in digits}
    (header,) = {line for line, _ in cells} - rows
    (label,) = {place for _, place in cells} - columns
    return {
        (cells[line, label], cells[header, place]): int(cells[line, place])
        for line in sorted(rows)
        for place in columns
    }


def pairs(page):
    """{item or label: price or value}, by how the page's layout puts them side by side."""
    if page.layout == "below":
        cells = placed(page)
        top = min(line for line, _ in cells)
        return {cells[cell]: cells[cell[0] + 1, cell[1]] for cell in cells if (cell[0] - top) % 2 == 0}
    found = {}
    for line in lines(page):
        for a, b in zip(line[::2], line[1::2], strict=True):
            name, value = (b, a) if page.layout == "prices-first" else (a, b)
            found[name] = value
    return found


def answer(page, text):
    """The answer to a question; an AssertionError where the question is not understood or has two answers."""
    for pattern, reply in READERS[page.kind]:
        found = re.fullmatch(pattern, text)
        if found:
            return reply(page, *found.groups())
    raise AssertionError(f"not understood: {text}")


def only(values):
    """The one value; a question must not have two answers."""
    (value,) = values
    return value


def _line(page, ordinal):
    return lines(page)[ORDINALS.index(ordinal)]


def _alone(page, ordinal):
    return only(_line(page, ordinal))


def _follower(page, word):
    assert sum(line.count(word) for line in lines(page)) == 1
    return only(line[line.index(word) + 1] for line in lines(page) if word in line)


def _line_of(page, word):
    return ORDINALS[only(number for number, line in enumerate(lines(page)) for each in line if each == word)]


def _best(page, choose):
    prices = {item: int(price) for item, price in pairs(page).items()}
    return only(item for item, price in prices.items() if price == choose(prices.values()))


def _sum(page, *names):
    values = pairs(page)
    return str(sum(int(values[name]) for name in names or values))


ANY_WORD = "([a-z]+)"
READERS = {
    "paragraph": (
        (rf"(?:What|Which) word (?:is|stands) on the {ANY_WORD} line\?", _alone),
        (rf"What is the {ANY_WORD} word on the {ANY_WORD} line\?", lambda p, w, o: _line(p, o)[ORDINALS.index(w)]),
        (rf"Which word comes {ANY_WORD} on the {ANY_WORD} line\?", lambda p, w, o: _line(p, o)[ORDINALS.index(w)]),
        (rf"Which word follows {ANY_WORD} on its line\?", _follower),
        (rf"What word is right after {ANY_WORD}\?", _follower),
        (rf"On which line is the word {ANY_WORD}\?", _line_of),
        (rf"Which line holds the word {ANY_WORD}\?", _line_of),
        (r"How many lines (?:are there|does the page have)\?", lambda p: str(len(lines(p)))),
        (rf"How many words (?:are on|does) the {ANY_WORD} line(?: have)?\?", lambda p, o: str(len(_line(p, o)))),
        (
            rf"How (?:many times does the word {ANY_WORD} occur|often is the word {ANY_WORD} on the page)\?",
            lambda p, a, b: str(sum(line.count(a or b) for line in lines(p))),
        ),
    ),
    "table": (
        (rf"What number is in row {ANY_WORD}, column {ANY_WORD}\?", lambda p, r, c: str(table(p)[r, c])),
        (rf"Which number does {ANY_WORD} have under {ANY_WORD}\?", lambda p, r, c: str(table(p)[r, c])),
        (
            rf"(?:Which row has|In which row is) (\d) (?:in column|under) {ANY_WORD}\?",
            lambda p, d, c: only(row for (row, column), n in table(p).items() if (column, n) == (c, int(d))),
        ),
        (
            rf"Which column has (\d) in row {ANY_WORD}\?",
            lambda p, d, r: only(column for (row, column), n in table(p).items() if (row, n) == (r, int(d))),
        ),
        (
            rf"In which column of row {ANY_WORD} is (\d)\?",
            lambda p, r, d: only(column for (row, column), n in table(p).items() if (row, n) == (r, int(d))),
        ),
        (
            rf"What (?:is the sum of|do the numbers in) row {ANY_WORD}(?: add up to)?\?",
            lambda p, r: str(sum(n for (row, _), n in table(p).items() if row == r)),
        ),
        (
            rf"What (?:is the sum of column|do the numbers under) {ANY_WORD}(?: add up to)?\?",
            lambda p, c: str(sum(n for (_, column), n in table(p).items() if column == c)),
        ),
        (
            r"How (?:many times does the number (\d) occur|often is the number (\d) in the table)\?",
            lambda p, a, b: str(list(table(p).values()).count(int(a or b))),
        ),
        (r"How many rows (?:of numbers are there|have numbers)\?", lambda p: str(len({row for row, _ in table(p)}))),
    ),
    "receipt": (
        (rf"What is the price of the {ANY_WORD}\?", lambda p, item: pairs(p)[item]),
        (rf"How much does the {ANY_WORD} cost\?", lambda p, item: pairs(p)[item]),
        (r"(?:Which item|What) costs (\d)\?", lambda p, d: only(item for item, n in pairs(p).items() if n == d)),
        (r"Which item (?:is the most expensive|costs the most)\?", lambda p: _best(p, max)),
        (r"Which item (?:is the cheapest|costs the least)\?", lambda p: _best(p, min)),
        (r"(?:What is the total|How much is everything together)\?", lambda p: _sum(p)),
        (rf"What do the {ANY_WORD} and the {ANY_WORD} cost together\?", _sum),
        (rf"What is the price of the {ANY_WORD} plus the {ANY_WORD}\?", _sum),
        (r"How many items (?:are on the receipt|were bought)\?", lambda p: str(len(pairs(p)))),
        (
            r"How many (?:items cost more than|prices are above) (\d)\?",
            lambda p, d: str(sum(n > d for n in pairs(p).values())),
        ),
    ),
    "form": (
        (rf"What is (?:the value of|entered for) {ANY_WORD}\?", lambda p, label: pairs(p)[label]),
        (
            r"(?:Which field has the value|For which field is) (\w+?)(?: entered)?\?",
            lambda p, value: only(label for label, v in pairs(p).items() if v == value),
        ),
        (rf"(?:What is the sum of|How much is) {ANY_WORD} (?:and|plus) {ANY_WORD}\?", _sum),
        (r"How many fields (?:does the form have|are there)\?", lambda p: str(len(pairs(p)))),
        (
            r"How many (?:fields hold a number|values are numbers)\?",
            lambda p: str(sum(v.isdigit() for v in pairs(p).values())),
        ),
    ),
}
