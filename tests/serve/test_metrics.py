"""Metrics: the numbers of the reports, and a registry of the server's own."""

from __future__ import annotations

import openai
import pytest
from prometheus_client import REGISTRY
from serve.conftest import NAME, RETAIN, start
from serve.pictures import questions, scene

import todre
from todre.methods import registry
from todre.running import Settings, answer
from todre.serve.limits import Limits


@pytest.fixture
def fresh(served_model):
    running = start(served_model, Limits(max_new_tokens=16))
    yield running
    running.stop()


def test_metrics_are_the_reports_numbers(fresh, reference):
    methods = {0: todre.ToDRE(retain=RETAIN), 1: todre.ToDRE(retain=0.25), 2: registry.create("vtw")}
    wishes = {0: {}, 1: {"retain": 0.25}, 2: {"method": "vtw"}}
    from serve.pictures import scene_url

    reports = {}
    for seed, method in methods.items():
        content = [{"type": "image_url", "image_url": {"url": scene_url(seed)}},
                   {"type": "text", "text": questions(seed)[1]}]  # fmt: skip
        messages = [{"role": "user", "content": content}]
        fresh.client().chat.completions.create(
            model=NAME, messages=messages, extra_body={"todre": wishes[seed]}, stream=False
        )
        reports[seed] = answer(reference, [scene(seed).image], questions(seed)[1], method, Settings(16))
    with pytest.raises(openai.BadRequestError):
        fresh.client().chat.completions.create(model=NAME, messages=[])
    found = fresh.metrics()
    rows = [answered.report for answered in reports.values()]
    assert found["todre_requests_total", "200"] == 3
    assert found["todre_requests_total", "400"] == 1
    assert found["todre_visual_tokens_before_total",] == sum(row.visual_tokens_before[0] for row in rows)
    assert found["todre_visual_tokens_after_total",] == sum(row.visual_tokens_after[0] for row in rows)
    assert found["todre_kv_bytes_sum",] == sum(row.kv_bytes[0] for row in rows)
    assert found["todre_kv_bytes_count",] == 3
    assert found["todre_kv_bytes_peak",] == max(row.kv_bytes[0] for row in rows)
    assert found["todre_kv_bytes_unpruned_sum",] == sum(row.kv_bytes_unpruned[0] for row in rows)
    assert found["todre_generated_tokens_total",] == sum(answered.new_tokens for answered in reports.values())
    shares = [1 - sum(row.visual_tokens_per_layer[0]) / (row.visual_tokens_after[0] * row.n_layers) for row in rows]
    assert found["todre_dropped_inside_share_sum",] == pytest.approx(sum(shares))
    assert found["todre_time_to_first_token_seconds_count",] == 3
    assert found["todre_time_to_first_token_seconds_sum",] > 0
    stages = ("tower", "select", "prefill", "decode", "other")
    assert all(found["todre_stage_seconds_count", stage] == 3 for stage in stages)
    assert found["todre_stage_seconds_sum", "tower"] > 0
    assert (found["todre_requests_running",], found["todre_requests_waiting",]) == (0, 0)


def test_nothing_is_registered_for_the_whole_process(fresh):
    assert not any(family.name.startswith("todre") for family in REGISTRY.collect())


def test_an_api_key_is_asked_for(served_model):
    running = start(served_model, Limits(max_new_tokens=4), api_key="secret")
    try:
        for key in ("wrong", "secret2", "secre"):
            with pytest.raises(openai.AuthenticationError, match="API key"):
                running.client(api_key=key).models.list()
        assert [model.id for model in running.client(api_key="secret").models.list()] == [NAME]
        assert running.metrics()["todre_requests_total", "401"] == 3
    finally:
        running.stop()


def test_a_name_of_the_users(served_model):
    running = start(served_model, name="my/model")
    try:
        assert running.client().models.retrieve("my/model").id == "my/model"
        with pytest.raises(openai.NotFoundError, match="'my/model' alone"):
            running.client().chat.completions.create(model=NAME, messages=[{"role": "user", "content": "a"}])
    finally:
        running.stop()
