"""A page of `todre report` as a browser's parser reads it: tables, plots, scripts, and all that it could fetch."""

from __future__ import annotations

import json
from html.parser import HTMLParser

EMPTY = {"meta", "img", "br", "link", "input", "hr", "base"}
FETCHING = {
    "src",
    "href",
    "srcset",
    "poster",
    "data",
    "action",
    "formaction",
    "background",
    "cite",
    "ping",
    "xlink:href",
}


class Webpage(HTMLParser):
    """Everything of a page that tests look at.

    Attributes:
        tables: by caption, all rows of cells' texts, headings first.
        values: by caption, `data-value` of each cell of the rows below the headings; None where there is none.
        bold: by caption, texts of bold cells.
        groups: by caption, the number of rows of each body.
        scripts: (type, text) of each script.
        attributes: (tag, name, value) of everything.
        text: all text outside of scripts and styles.
    """

    def __init__(self, html):
        super().__init__()
        self.tables, self.values, self.bold, self.groups = {}, {}, {}, {}
        self.scripts, self.attributes, self.text, self.tags = [], [], "", []
        self._open, self._caption, self._rows = [], "", None
        self.feed(html)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in EMPTY:
            self._open.append(tag)
        found = dict(attributes)
        if tag == "script":
            self.scripts.append([found.get("type"), ""])
        elif tag == "caption":
            self._caption = ""
        elif tag == "tbody":
            self.groups[self._caption].append(0)
        elif tag == "tr" and self._caption in self.tables:
            self.tables[self._caption].append([])
            self.values[self._caption].append([])
            if "tbody" in self._open:
                self.groups[self._caption][-1] += 1
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append("")
            self.values[self._caption][-1].append(found.get("data-value"))
        elif tag == "strong" and "td" in self._open:
            self.bold[self._caption].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "caption":
            for kept in (self.tables, self.values, self.bold, self.groups):
                kept[self._caption] = []

    def handle_data(self, data):
        last = self._open[-1] if self._open else ""
        if last == "script":
            self.scripts[-1][1] += data
            return
        if last == "style":
            return
        self.text += data
        if last == "caption":
            self._caption += data
        elif {"td", "th"} & set(self._open):
            self.tables[self._caption][-1][-1] += data
            if last == "strong":
                self.bold[self._caption][-1] += data

    @property
    def specs(self):
        """The documents of the plots."""
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]

    @property
    def programs(self):
        """Texts of the scripts that run."""
        return [text for kind, text in self.scripts if kind != "application/json"]

    def column(self, caption, place):
        """Texts of a column below its heading."""
        return [row[place] for row in self.tables[caption][1:]]


def fetched(page):
    """Whatever a browser would ask for: (tag, attribute, value), places in the page and data left out."""
    return [
        (tag, name, value)
        for tag, name, value in page.attributes
        if name in FETCHING
        and not (value.startswith("#") or (tag == "img" and value.startswith("data:image/webp;base64,")))
    ]


def fields(spec):
    """Every field that stands under the pointer, in any layer."""
    found = set()

    def walk(value):
        if isinstance(value, dict):
            tips = value.get("tooltip", [])
            found.update(tip["field"] for tip in tips if isinstance(tip, dict)) if isinstance(tips, list) else None
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(spec)
    return found


def records(spec):
    """All records of a plot's data."""
    return [record for values in spec["datasets"].values() for record in values]
