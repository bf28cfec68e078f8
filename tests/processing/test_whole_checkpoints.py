"""Whole checkpoints, weights included: loaded as people load them, asked about a picture and about a clip."""

import pytest
import torch
from processing.kits import KITS
from processing.media import clip, picture

from todre.loading.model import load
from todre.processing import apply

COMPLETE = [kit for kit in KITS if kit.configured]


@pytest.mark.parametrize("kit", COMPLETE, ids=str)
def test_load_and_answer(kit, tmp_path):
    folder = kit.write(tmp_path)
    model = kit.specimen.build("sdpa")
    model.save_pretrained(folder)
    loaded = load(folder, device="cpu")
    for item in ({"type": "image", "image": picture(50, 40)}, {"type": "video", "video": clip(4, 40, 30)}):
        content = [item, {"type": "text", "text": "what is this ?"}]
        inputs, _ = apply(loaded.processor, [{"role": "user", "content": content}])
        before = inputs["input_ids"].shape[1]
        tokens = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False)
        assert tokens.shape == (1, before + 3)
        with torch.no_grad():
            expected, found = (one(**inputs).logits for one in (model, loaded.model))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
