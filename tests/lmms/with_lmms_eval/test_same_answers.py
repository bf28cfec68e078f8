"""lmms-eval's answers are `todre eval`'s, whatever the batches."""

import pytest
from lmms.with_lmms_eval.conftest import METHODS, QUESTIONS, facts_of, named

TASKS = [named(task) for task in QUESTIONS]


@pytest.mark.parametrize(("method", "batch_size"), [("todre", 1), *((method, 5) for method in ("none", *METHODS))])
def test_answers_and_counts_are_the_same(expected, in_process, method, batch_size):
    samples, _ = in_process(method, [*TASKS, "several"], batch_size)
    for task in TASKS:
        assert [facts_of(sample) for sample in samples[task]] == expected[task, method], task
    assert [facts_of(sample) for sample in samples["several"]] == expected["own", method]
    rows = {sample["token_counts"][0]["batch"]["rows"] for sample in samples["scenes_colour"]}
    assert max(rows) == batch_size


@pytest.mark.parametrize("batch_size", [1, 7])
def test_random_draws_are_the_same(expected, in_process, batch_size):
    samples, _ = in_process("random", ["scenes_colour"], batch_size)
    assert [facts_of(sample) for sample in samples["scenes_colour"]] == expected["scenes_colour", "random"]


def test_samples_tell_times(in_process):
    samples, results = in_process("todre", ["several"], 5)
    for sample in samples["several"]:
        (counts,) = sample["token_counts"]
        assert counts["input_tokens"] > counts["visual_tokens"]["before"] > 0
        assert counts["output_tokens"] > 0
        times = counts["batch"]["timings_ms"]
        parts = sum(times[name] for name in ("encode", "select", "prefill", "decode", "other"))
        assert parts == pytest.approx(times["total"], rel=0.01)
    assert results["throughput"]["total_gen_tokens"] == sum(
        sample["token_counts"][0]["output_tokens"] for sample in samples["several"]
    )
