"""Saliency is carried to the right visual tokens: those that gradients say a tower token goes into.

The tower's attention is made to report each token's own number. A visual token must then report the mean number of the
tower tokens it is made of, and which those are is found without the layouts: by what it has a gradient from.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from families.specimens import all_specimens, refused_variants

import todre.tower.signals
from todre.hf.attention_tap import attention_modules
from todre.hf.families import FAMILIES
from todre.tensors.token_facts import Signal
from todre.tower.capture import SaliencyCapture
from todre.tower.media_facts import FACTS_ATTRIBUTE

SPECIMENS = [
    one
    for one in all_specimens()
    if one.model_type in FAMILIES and FAMILIES[one.model_type].saliency and one.name not in refused_variants()
]
CASES = [(one, kind) for one in SPECIMENS for kind in (("image", "video") if one.video else ("image",))]


class Probe:
    """Adds zeros with a gradient to what an attention module gives out."""

    def __init__(self, module):
        self.zeros = []
        self.handle = module.register_forward_hook(self._add)

    def _add(self, module, args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        self.zeros.append(torch.zeros_like(hidden, requires_grad=True))
        hidden = hidden + self.zeros[-1]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def numbered(monkeypatch):
    """Let every watched attention report the numbers of its tokens, counted through all calls."""
    count = [0]

    def number(seen, even=False):
        tiles, tokens = seen.key.shape[0], seen.key.shape[2]
        numbers = torch.arange(count[0], count[0] + tiles * tokens, dtype=torch.float32).view(tiles, tokens)
        count[0] += tiles * tokens
        return numbers

    monkeypatch.setattr(todre.tower.signals, "received_attention", number)
    monkeypatch.setattr(todre.tower.signals, "cls_attention", lambda inputs, leading=1: number(inputs)[:, leading:])


def encode(specimen, model, kind):
    """Two media through the wrapped method of the base model, and what it was given."""
    media = [specimen.media(model, kind, variant) for variant in (1, 0)]
    if kind == "video" and len({one.ids.shape for one in media}) == 1:
        media = media[:1]
    names = specimen.collate(model, media)
    method = "get_video_features" if kind == "video" and FAMILIES[specimen.model_type].video else "get_image_features"
    encoder = getattr(model.base_model, method)
    accepted = inspect.signature(encoder).parameters
    return encoder(**{key: value for key, value in names.items() if key in accepted}, return_dict=True)


@pytest.mark.parametrize(("specimen", "kind"), CASES, ids=[f"{one.name}-{kind}" for one, kind in CASES])
def test_saliency_follows_the_gradients(specimen, kind, monkeypatch):
    model = specimen.build("sdpa")
    family = FAMILIES[specimen.model_type]
    for layer in (-1, -2, -3):
        capture = SaliencyCapture(model, family, [Signal("auto", layer)])
        numbered(monkeypatch)
        probes = [Probe(attention_modules(tower)[layer]) for tower in capture._towers()]
        try:
            output = encode(specimen, model, kind)
        finally:
            capture.remove()
            for probe in probes:
                probe.handle.remove()
        facts = getattr(output, FACTS_ATTRIBUTE)
        zeros = [zero for probe in probes for zero in probe.zeros]
        entries = getattr(output, family.features)
        features = torch.cat([entry.reshape(-1, entry.shape[-1]) for entry in entries])
        sources = [sources_of(token, zeros) for token in features]
        if any(len(source) for source in sources):
            break
    reported = torch.cat([fact.saliency for fact in facts])
    assert len(reported) == len(features)
    assert any(len(source) for source in sources)
    first = capture.before()
    tokens = zeros[0].shape[-2]
    for saliency, source in zip(reported, sources, strict=True):
        real = source[(source % tokens) >= first] if first else source
        if len(real) == 0:
            assert saliency.isnan()
        elif specimen.model_type == "llava_onevision":  # crops are shrunk bilinearly: a mean with other weights
            assert real.min() <= saliency <= real.max()
        else:
            assert saliency == pytest.approx(real.float().mean().item(), abs=1e-3)


def sources_of(token, zeros):
    """Numbers of the tower tokens that `token` has a gradient from."""
    weights = torch.linspace(0.5, 1.5, token.shape[-1])
    gradients = torch.autograd.grad((token * weights).sum(), zeros, retain_graph=True, allow_unused=True)
    flat = [
        (torch.zeros(zero.shape[:-1]) if gradient is None else gradient.abs().amax(-1)).flatten()
        for zero, gradient in zip(zeros, gradients, strict=True)
    ]
    return (torch.cat(flat) > 0).nonzero().flatten()
