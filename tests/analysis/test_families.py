"""Families that lay their prompts, positions and masks out in other ways: M-RoPE, windows, pictures that look ahead."""

from pathlib import Path

import numpy as np
import pytest
import torch
from families import checks
from families.oracle import mask_oracle
from families.prompts import batch, prompt
from families.specimens import all_specimens

from todre.analysis.layer_attention import attending_layers, watching
from todre.analysis.migration import AttentionLog
from todre.analysis.prompts import Prompts
from todre.analysis.retention_probe import Prober
from todre.hf.decoder import decoder_of
from todre.hf.greedy_decoding import greedy_settings
from todre.loading.model import Loaded
from todre.tensors.columns import SYSTEM, TEXT, VISUAL, token_kinds

FAMILIES = ["llava_next-llama", "qwen2_5_vl", "internvl-qwen2", "gemma3", "paligemma", "qwen3_vl"]
DEEP = {"qwen3_vl": 3}
"""Layers whose hidden states still get features of the pictures."""


def prompts_of(name, questions):
    specimen = next(one for one in all_specimens() if one.name == name)
    model, eager = specimen.build("sdpa"), specimen.build("eager")
    texts = [
        prompt(5, [specimen.media(model, "image", place)], 4 + 3 * place, seed=place) for place in range(questions)
    ]
    inputs = batch(specimen, model, texts)
    visual = checks.visual_columns(specimen, model, inputs["input_ids"])
    valid = inputs["attention_mask"].bool()
    kinds = token_kinds(visual, valid, torch.zeros(len(valid), dtype=torch.bool), 0)
    return model, eager, Prompts(inputs, kinds, valid)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_what_is_left_after_a_layer(name):
    model, eager, prompts = prompts_of(name, 1)
    depth, first = decoder_of(model).n_layers, DEEP.get(name, 1)
    visual = (prompts.kinds[0] == VISUAL).nonzero().flatten()
    kept = [(), (0,), (1, 3, len(visual) - 1), tuple(range(len(visual) // 2))]
    prober = Prober(Loaded(model, None, name, Path(), None), prompts, 11, rows=3)
    layers = list(range(first, depth))[:3]
    assert layers
    for layer in layers:
        found = prober.after(layer, layers[0], kept)
        for probability, tokens in zip(found, kept, strict=True):
            gone = torch.zeros(1, depth, prompts.kinds.shape[1], dtype=torch.bool)
            lost = prompts.kinds[0] == VISUAL
            lost[visual[list(tokens)]] = False
            gone[0, layer:, lost] = True
            with mask_oracle(eager, gone):
                reply = eager.generate(
                    **prompts.inputs, **greedy_settings(1), output_logits=True, return_dict_in_generate=True
                )
            expected = float(reply.logits[0][0].float().softmax(dim=-1)[11])
            assert probability == pytest.approx(expected, abs=1e-6, rel=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_attention_by_direction(name):
    model, eager, prompts = prompts_of(name, 2)
    log = AttentionLog(prompts.kinds)
    with watching(model, log):
        model.generate(**prompts.inputs, **greedy_settings(3))
    out = eager.generate(**prompts.inputs, **greedy_settings(3), output_attentions=True, return_dict_in_generate=True)
    assert sorted(log.prefill) == attending_layers(model)
    for layer, found in log.prefill.items():
        for row, kinds in enumerate(prompts.kinds):
            maps = [step[layer - 1][row].double().mean(dim=0).numpy() for step in out.attentions]
            for i, asking in enumerate((SYSTEM, VISUAL, TEXT)):
                for j, asked in enumerate((SYSTEM, VISUAL, TEXT)):
                    block = maps[0][np.ix_(kinds == asking, kinds == asked)]
                    assert float(found[row, i, j]) == pytest.approx(block.sum(axis=1).mean(), abs=1e-5)
            for number, (step, mass) in enumerate(zip(maps[1:], log.decode[layer], strict=True), start=1):
                known = np.array([*kinds.tolist(), *[-1] * number])[-step.shape[-1] :]  # a window holds the last
                expected = [step[-1][known == kind].sum() for kind in (SYSTEM, VISUAL, TEXT, -1)]
                np.testing.assert_allclose(mass[row].numpy(), expected, atol=1e-5)
