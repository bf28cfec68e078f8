"""Choices by likelihood: the one that lmms-eval takes is the one that the model says."""

import pytest
from lmms.with_lmms_eval.conftest import facts_of

from todre.errors import UnsupportedInputError


@pytest.mark.parametrize(("method", "batch_size"), [("none", 4), ("todre", 1), ("todre", 3)])
def test_the_likelier_choice_is_the_answer(in_process, method, batch_size):
    samples, results = in_process(method, ["presence_generated", "presence_chosen"], batch_size)
    for reply, chosen in zip(samples["presence_generated"], samples["presence_chosen"], strict=True):
        losses = [loss for loss, _ in chosen["filtered_resps"]]
        greedy = [is_greedy for _, is_greedy in chosen["filtered_resps"]]
        answer = facts_of(reply)[0]
        assert answer in ("yes", "no")
        assert losses.index(min(losses)) == ("yes", "no").index(answer)
        assert greedy == [answer == "yes", answer == "no"]
        for counts, loss in zip(chosen["token_counts"], losses, strict=True):
            assert counts["log_likelihood"] == pytest.approx(-loss * counts["continuation_tokens"])
            assert counts["visual_tokens"]["after"] == facts_of(reply)[1]
    assert results["results"]["presence_chosen"]["acc,none"] == results["results"]["presence_generated"]["exact,none"]


def test_a_cache_of_answers(in_process, tmp_path):
    first, _ = in_process("todre", ["presence_generated"], 4, use_cache=str(tmp_path / "cache"))
    second, _ = in_process("todre", ["presence_generated"], 4, use_cache=str(tmp_path / "cache"))
    texts = [[sample["filtered_resps"] for sample in samples["presence_generated"]] for samples in (first, second)]
    assert texts[0] == texts[1]
    with pytest.raises(UnsupportedInputError, match="run these tasks without it"):
        in_process("todre", ["presence_chosen"], 4, use_cache=str(tmp_path / "other"))
