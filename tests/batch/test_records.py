"""Digests of rows, and ids in a small space."""

import datetime
import decimal
import random
import sys
import tracemalloc

import pytest
from batch.stubs import rows

from todre.batch.records import digest_of
from todre.batch.seen import Ids


def test_a_digest_goes_by_the_fields_and_not_by_their_order():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})
    assert digest_of({"a": b"bytes"}) == digest_of({"a": b"bytes"})
    assert digest_of({"a": b"bytes"}) != digest_of({"a": b"other"})
    assert len(digest_of({})) == 16


def test_dates_and_decimals_of_a_table_have_digests():
    day, price = datetime.date(2025, 5, 24), decimal.Decimal("1.50")
    assert digest_of({"a": day, "b": price}) == digest_of({"b": price, "a": day})
    assert digest_of({"a": day}) != digest_of({"a": day + datetime.timedelta(days=1)})
    assert digest_of({"a": price}) != digest_of({"a": decimal.Decimal("1.51")})


def test_many_digests_differ():
    assert len({digest_of(each) for each in rows(2000)}) == 2000


def test_ids_are_found_with_their_numbers():
    known = {f"id {n}" * (n % 3 + 1): random.Random(n).getrandbits(64) for n in range(2000)}
    ids = Ids()
    for id_, number in known.items():
        ids.add(id_, number)
    ids.freeze()
    assert {id_: ids.find(id_) for id_ in known} == known
    assert ids.find("another") is None
    assert not ids.twice()
    ids.add("id 6")
    ids.freeze()
    assert ids.twice()
    assert len(ids) == 2001


def test_no_ids():
    ids = Ids()
    assert ids.find("a") is None
    ids.freeze()
    assert (ids.find("a"), ids.twice(), len(ids)) == (None, False, 0)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts bytes of CPython's objects")
def test_ids_take_little_memory_however_long_they_are():
    tracemalloc.start()
    ids = Ids()
    for number in range(20_000):
        ids.add(f"{number}/{'x' * 500}")
    ids.freeze()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 60 * 20_000
    assert most < 150 * 20_000
