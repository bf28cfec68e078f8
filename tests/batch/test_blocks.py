"""Blocks of rows on Ray, without Ray: each row comes back once."""

import pickle
from types import SimpleNamespace

from batch.stubs import answer, rows, write_rows

from todre.batch.model_answers import Answering
from todre.batch.on_ray import _answered
from todre.batch.sources import JsonLines


class Twice:
    """Stands for Ray Data, and gives the first block twice, as after a try that was taken for lost."""

    ActorPoolStrategy = SimpleNamespace

    def __init__(self, outcomes):
        self.rows = [{"outcome": pickle.dumps(each)} for each in (*outcomes[:3], *outcomes)]

    def from_items(self, items, override_num_blocks):
        return self

    def map_batches(self, actor, **options):
        return self

    def iter_rows(self):
        return iter(self.rows)


def test_a_block_that_comes_twice_counts_once(tmp_path):
    source = JsonLines(write_rows(tmp_path / "rows.jsonl", rows(6)))
    records = list(source.records())
    expected = [answer(record) for record in records]
    ray = SimpleNamespace(data=Twice(list(enumerate(expected))))
    places = [pickle.dumps(record.place) for record in records]
    assert list(_answered(ray, source, Answering(folder=tmp_path), places, 1, False)) == expected
