"""lmms-eval's answers are `todre eval`'s, whatever the batches."""

import pytest
from lmms.with_lmms_eval.conftest import METHODS, QUESTIONS, evaluated, facts_of, named

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


def test_resized_pictures_get_the_same_answers_and_count_the_tokens_of_the_whole(in_process, tmp_path):
    expected = evaluated(("scenes-colour",), 6, ["downsample"], tmp_path / "eval", retain=0.5)
    samples, _ = in_process("downsample", ["scenes_colour"], 4, retain=0.5, limit=6)
    assert [facts_of(sample) for sample in samples["scenes_colour"]] == expected["scenes_colour", "downsample"]
    counts = [sample["token_counts"][0]["visual_tokens"] for sample in samples["scenes_colour"]]
    assert {each["before"] for each in counts} == {744}
    assert all(300 <= each["after"] <= 372 for each in counts)


def test_choices_about_resized_pictures_are_judged(in_process):
    samples, _ = in_process("downsample", ["presence_chosen"], 4, retain=0.5, limit=3)
    counts = [each["visual_tokens"] for sample in samples["presence_chosen"] for each in sample["token_counts"]]
    assert counts
    assert all(each["before"] == 744 and each["after"] <= 372 for each in counts)


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
