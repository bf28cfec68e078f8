"""The order of choosing: it leads to what `select` keeps, and each step follows the method's rule."""

import numpy as np
import pytest
import torch
from methods.examples import anyres, placeless

from todre.errors import UnsupportedInputError
from todre.methods import registry
from todre.methods.divprune import DivPrune
from todre.methods.mmr import MMR
from todre.methods.shared.ordered import Ordered, ordered
from todre.methods.todre import ToDRE

MADE = [
    *(ToDRE(retain=k, diversity=rule, newlines=newlines, pivot="center")
      for k in (9, 30, 60, 70, 200) for rule in ("max_sum", "k_center") for newlines in ("rank", "keep", "last")),
    *(DivPrune(retain=k) for k in (1, 20, 69, 70)),
    *(MMR(retain=k, importance="norm") for k in (1, 20, 70)),
]  # fmt: skip


@pytest.mark.parametrize("visual", [anyres(), placeless(n=70)], ids=["anyres", "placeless"])
@pytest.mark.parametrize("method", MADE, ids=lambda method: method.describe())
def test_the_order_leads_to_what_is_kept(method, visual):
    order = method.order(visual)
    assert order.dtype == torch.int64
    assert len(set(order.tolist())) == len(order)
    kept = method.select(visual).nonzero().flatten()
    assert order.sort().values.tolist() == kept.tolist()


@pytest.mark.parametrize(("rule", "fold"), [("max_sum", np.sum), ("k_center", np.max)])
def test_each_token_of_todre_is_the_next_by_its_rule(rule, fold):
    """Among patches alone, with every newline token before them."""
    visual = anyres()
    order = ToDRE(retain=30, diversity=rule, newlines="keep", pivot="center").order(visual).tolist()
    newlines = visual.newline.nonzero().flatten().tolist()
    assert order[: len(newlines)] == newlines
    chosen = order[len(newlines) :]
    x = visual.embeddings.double().numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for count in range(1, len(chosen)):
        values = fold(unit @ unit[chosen[:count]].T, axis=1)
        values[[*newlines, *chosen[:count]]] = np.inf
        assert chosen[count] == values.argmin()


def test_who_has_no_order_is_refused_by_the_name_that_was_typed():
    for name in ("none", "random", "vtw", "todre-stage-2", "cls-top-k", "scope", "fastv"):
        with pytest.raises(UnsupportedInputError, match=f"^{name} does not choose one token"):
            ordered(registry.create(name), name)


def test_who_has_one_is_told_in_the_refusal():
    with pytest.raises(UnsupportedInputError) as refused:
        ordered(registry.create("random"))
    for name in ("todre", "todre-v1", "divprune", "mmr"):
        assert name in str(refused.value)
        assert isinstance(ordered(registry.create(name)), Ordered)
