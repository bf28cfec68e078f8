"""Methods that change tokens inside the LLM, against a decoder run by hand.

Each paper's rule is written out here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import tinymodels as tm
import torch
from methods import handflow
from upstream import CACHE

import todre
from todre.methods.ficoco_l import FiCoCoL
from todre.methods.sparsevlm import SparseVLM
from todre.methods.swiftvlm import SwiftVLM

STEPS = 4


def order(columns, score):
    """Columns by falling score; ties keep their order."""
    return sorted(columns, key=lambda column: -score[column])


def set_state(flow, column, value):
    flow.states[column] = torch.as_tensor(value).float()


class Swift:
    """SwiftVLM: tokens not chosen wait, and come back with the gain of their proxy."""

    def __init__(self, stages, count, groups):
        self.stages, self.count, self.groups = stages, count, groups
        self.waiting = None

    def before(self, number, flow):
        if self.waiting is None or number not in self.stages[1:]:
            return
        columns, was, proxy, carried = self.waiting
        gain = {anchor: flow.state(anchor) - carried[anchor] for anchor in carried}
        for column in columns:
            if column in proxy:
                set_state(flow, column, was[column] + gain[proxy[column]])
        flow.columns, self.waiting = columns, None

    def after(self, number, flow, look):
        if number not in self.stages:
            return
        pictures = flow.pictures
        ranked = order(pictures, look.attention(flow.length - 1))
        if number == self.stages[-1]:
            flow.go_on_with(set(ranked[: self.count]))
            return
        chosen, others = ranked[: self.count - self.groups], sorted(ranked[self.count - self.groups :])
        was = {column: flow.state(column) for column in pictures}
        unit = {column: was[column] / np.linalg.norm(was[column]) for column in pictures}
        anchors = [others[math.floor(group * len(others) / self.groups)] for group in range(self.groups)]
        proxy = {c: c if c in anchors else max(anchors, key=lambda anchor: unit[c] @ unit[anchor]) for c in others}
        carried = {a: sum(was[c] for c in others if proxy[c] == a) / list(proxy.values()).count(a) for a in anchors}
        self.waiting = (list(flow.columns), was, proxy, carried)
        for anchor in anchors:
            set_state(flow, anchor, carried[anchor])
        flow.go_on_with({*chosen, *anchors})


class Sparse:
    """SparseVLM: raters rank; the best pruned tokens stay merged by density peaks."""

    def __init__(self, counts):
        self.counts = counts

    def before(self, number, flow):
        pass

    def after(self, number, flow, look):
        if number not in self.counts:
            return
        count, pictures = self.counts[number], flow.pictures
        paid = dict.fromkeys(pictures, 0.0)
        for rater in self.raters(flow):
            line = look.attention(rater)
            paid = {column: paid[column] + line.get(column, 0.0) for column in pictures}
        ranked, leaving = order(pictures, paid), len(pictures) - count
        groups = int(int(leaving * 0.3 + 1) / 10) + 1
        rest = ranked[count - groups :]
        pool = sorted(rest[: int(len(rest) * 0.3) + 1])
        states = {column: flow.state(column) for column in pool}
        centres, group = self.peaks(pool, states, groups)
        for centre in centres:
            set_state(flow, centre, np.mean([states[c] for c in pool if group[c] == centre], axis=0))
        flow.go_on_with({*ranked[: count - groups], *centres})

    def raters(self, flow):
        share = np.zeros(len(flow.text))
        for column in flow.pictures:
            logits = np.array([flow.inputs[column] @ flow.inputs[text] for text in flow.text])
            share += np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        return [text for text, value in zip(flow.text, share, strict=True) if value > share.mean()]

    def peaks(self, pool, states, groups):
        far = {(a, b): np.linalg.norm(states[a] - states[b]) / len(states[a]) ** 0.5 for a in pool for b in pool}
        dense = {a: math.exp(-np.mean(sorted(far[a, b] ** 2 for b in pool)[:groups])) for a in pool}
        score = {}
        for a in pool:
            above = [b for b in pool if (dense[b], -b) > (dense[a], -a)]  # two nearest each other are as dense
            gaps = [far[a, b] for b in above] or [max(far.values())]
            score[a] = min(gaps) * dense[a]
        centres = order(pool, score)[:groups]
        return centres, {a: a if a in centres else min(centres, key=lambda c: far[a, c]) for a in pool}


class FiCoCo:
    """FiCoCo-L: redundant tokens are folded into those they correlate with."""

    def __init__(self, counts, direct, quantile):
        self.counts, self.direct, self.quantile = counts, direct, quantile

    def before(self, number, flow):
        pass

    def after(self, number, flow, look):
        if number not in self.counts:
            return
        pictures, text = flow.pictures, flow.text
        everyone = pictures + text
        z = {a: dict(zip(everyone, look.logits(a, everyone).mean(axis=0), strict=True)) for a in everyone}
        redundant = {
            v: 0.6 * np.mean([z[v][j] for j in pictures]) - 0.4 * np.mean([z[v][t] for t in text]) for v in pictures
        }
        gone = order(pictures, redundant)[: len(pictures) - self.counts[number]]
        left = [v for v in pictures if v not in gone]
        several = max(1, math.ceil(round((1 - self.quantile) * (len(left) - 1), 9)))
        total, weight = {j: flow.state(j) for j in left}, dict.fromkeys(left, 1.0)
        for v in gone:
            by_text = {j: sum(z[v][t] * z[t][j] for t in text) for j in left}
            score = {j: self.direct * z[v][j] + (1 - self.direct) * by_text[j] for j in left}
            nearest = order(left, score)[:several]
            shares = np.exp([score[j] - score[nearest[0]] for j in nearest])
            for j, share in zip(nearest, shares / shares.sum(), strict=True):
                total[j] = total[j] + share * flow.state(v)
                weight[j] += share
        for j in left:
            set_state(flow, j, total[j] / weight[j])
        flow.go_on_with(set(left))


def falling(n, left, layers):
    """Tokens left after each layer if all drop the same number."""
    return {layer: n - (n - left) * place // len(layers) for place, layer in enumerate(layers, start=1)}


CASES = {
    "swiftvlm-two-stages": (
        SwiftVLM(retain=0.25, layers=(1, 4)),
        lambda n: Swift((1, 4), round(n / 4), max(1, round(round(n / 4) / 10))),
    ),
    "swiftvlm-three-stages": (
        SwiftVLM(retain=12, layers=(1, 3, 5), proxies=0.4),
        lambda n: Swift((1, 3, 5), 12, 5),
    ),
    "sparsevlm": (SparseVLM(kept=(30, 14), shape=(2, 1), layers=(2, 4)), lambda n: Sparse({2: 30, 4: 14})),
    "ficoco-l": (FiCoCoL(retain=8, start=2), lambda n: FiCoCo(falling(n, 8, (2, 3, 4, 5)), 0.6, 0.998)),
    "ficoco-l-several": (
        FiCoCoL(retain=8, start=3, direct=0.3, quantile=0.9),
        lambda n: FiCoCo(falling(n, 8, (3, 4, 5)), 0.3, 0.9),
    ),
}


@pytest.fixture(scope="module")
def model():
    return tm.build("next-llama", layers=6)


def samples(model):
    return [tm.sample(model, 5, [tm.SIZES[0]], 7, seed=4), tm.sample(model, 3, [tm.SIZES[2]] * 2, 6, seed=8)]


def answers(rows):
    return torch.randint(5, tm.VOCAB, (rows, STEPS), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def logits_of(model, method, inputs, answer):
    """Logits of a prefill and of single steps on the cache, and the report.

    Returns:
        (b, prompt + answer, vocab) and the report.
    """
    mask = inputs["attention_mask"]
    with todre.prune(model, method) as report:
        output = model(**inputs, position_ids=tm.positions(mask), use_cache=True)
        parts = [output.logits]
        for step in range(STEPS):
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            more = {"attention_mask": mask, "position_ids": tm.positions(mask)[:, -1:]}
            parts.append(model(answer[:, step : step + 1], **{CACHE: getattr(output, CACHE)}, **more).logits)
    return torch.cat(parts, dim=1), report


def by_hand(model, inputs, answer, rule):
    """Logits of a batch of one, (text and answer, vocab)."""
    logits = handflow.run(model, inputs, answer, rule)
    visual = set((inputs["input_ids"][0] == model.config.image_token_id).nonzero().flatten().tolist())
    return torch.stack([line for column, line in logits.items() if column not in visual])


def text_of(model, inputs, row):
    """Columns that are neither padding nor visual, (prompt + answer,) bool."""
    real = (inputs["attention_mask"][row] == 1) & (inputs["input_ids"][row] != model.config.image_token_id)
    return torch.cat([real, torch.ones(STEPS, dtype=torch.bool)])


@pytest.mark.parametrize("case", CASES)
def test_prefill_and_decode_equal_the_decoder_run_by_hand(model, case):
    method, rule_for = CASES[case]
    prompts, answer = samples(model), answers(2)
    inputs = tm.batch(model, prompts)
    together, report = logits_of(model, method, inputs, answer)
    for row, one in enumerate(prompts):
        single = tm.batch(model, [one])
        n = int((single["input_ids"] == model.config.image_token_id).sum())
        alone, report_alone = logits_of(model, method, single, answer[row : row + 1])
        expected = by_hand(model, single, answer[row], rule_for(n))
        torch.testing.assert_close(alone[0, text_of(model, single, 0)], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(together[row, text_of(model, inputs, row)], expected, atol=1e-5, rtol=0)
        assert report.kept_from_layer[row] == report_alone.kept_from_layer[0]
        assert min(report.visual_tokens_per_layer[row]) < n


def test_something_bypasses_and_comes_back(model):
    inputs = tm.batch(model, samples(model))
    _, report = logits_of(model, CASES["swiftvlm-three-stages"][0], inputs, answers(2))
    for counts, n in zip(report.visual_tokens_per_layer, report.visual_tokens_before, strict=True):
        assert counts == [n, 12, n, 12, n, 12]


def test_the_rule_matters(model):
    """If proxies carry nothing back, logits move by far more than the tolerance."""
    single, answer = tm.batch(model, samples(model)[:1]), answers(1)[0]
    rule = Swift((1, 4), 22, 2)
    expected = by_hand(model, single, answer, rule)
    silent = Swift((1, 4), 22, 2)
    silent.before = lambda number, flow: Swift.before(silent, number, flow) if silent.waiting is None else None
    assert (by_hand(model, single, answer, silent) - expected).abs().max() > 1e-3
