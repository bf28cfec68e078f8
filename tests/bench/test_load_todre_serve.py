"""A load run against todre's own server, from weights on disk to the document."""

import torch

from todre.bench.load.engines import Launch, subjects_of, transformers_configurations
from todre.bench.load.requests import Requests, words_of
from todre.bench.load.run import run
from todre.bench.load.settings import LoadSettings
from todre.bench.presets import PRESETS
from todre.bench.random_checkpoint import save_random_checkpoint

CONDITIONS = {"model": {"name": "tiny", "dtype": "float32", "visual_tokens": 192}, "machine": {}}


def test_answers_are_whole_and_pruning_is_seen(tmp_path):
    clients = 3
    save_random_checkpoint(PRESETS["tiny"], tmp_path, torch.float32)
    settings = LoadSettings(concurrency=(clients,), requests=4, rounds=1, warm_up=1, new_tokens=5, picture=(168, 168))
    launch = Launch(dtype="float32", environment={"OMP_NUM_THREADS": "1"})
    configurations = transformers_configurations(launch, subjects_of(["todre"], [0.25]))
    document = run(configurations, Requests(settings, words_of(settings)), settings, str(tmp_path), CONDITIONS)
    whole, pruned = document["rows"]
    for row in (whole, pruned):
        assert row["failed"] == 0
        assert row["tokens"] == 5 * row["requests"] == 5 * 2 * clients
        assert 0 < row["tower_share"]["p50"] < 1
        assert row["resident_bytes"]["start"] > 2**27
    layers, keys_and_values, heads, width, itemsize = 8, 2, 2, 16, 4
    token = layers * keys_and_values * heads * width * itemsize
    assert whole["peak_kv"]["bytes"] - pruned["peak_kv"]["bytes"] == (192 - 48) * token
