"""The file of weights: written whole, read back, tied to its model, or refused."""

import pytest
import torch
from glimpse.making import SMALL, lively

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.evaluate.runner import model_sha256
from todre.methods.glimpse.weights import Trained, load_trained, save_trained, shipped_weights, sketch_of
from todre.methods.glimpseprune import GlimpsePrune
from todre.tiny import load

WORDS = torch.randn(20, SMALL.width, generator=torch.Generator().manual_seed(5))


def trained():
    return Trained(lively(), "ab" * 32, sketch_of(WORDS))


def test_round_trip(tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_trained(first, trained())
    back = load_trained(str(first))
    save_trained(second, back)
    assert first.read_bytes() == second.read_bytes()
    assert back.model == "ab" * 32
    assert back.glimpse.shape == SMALL
    assert torch.equal(back.sketch, sketch_of(WORDS))
    assert not any(parameter.requires_grad for parameter in back.glimpse.parameters())
    save_trained(first, Trained(lively(seed=7), "cd" * 32, sketch_of(WORDS)))
    assert load_trained(str(first)).model == "cd" * 32


def test_shipped_weights_belong_to_the_shipped_model():
    shipped = load_trained()
    assert shipped.model == model_sha256(None)
    table = load()[0].get_input_embeddings().weight.detach()
    assert torch.equal(shipped.sketch, sketch_of(table))
    shipped.check_embeddings(table)
    shipped.check_embeddings(table.bfloat16())
    assert GlimpsePrune().reduce_after(shipped.glimpse.shape.n_layers) == (shipped.glimpse.shape.layer,)
    assert shipped_weights().stat().st_size < 200_000


def test_other_models_are_refused():
    with pytest.raises(UnsupportedModelError, match="has 32 decoder layers instead of 8"):
        GlimpsePrune().reduce_after(32)
    with pytest.raises(UnsupportedModelError, match=r"abababababab….*channels.*weights=PATH"):
        trained().check_embeddings(torch.zeros(3, 16))
    trained().check_embeddings(WORDS[[3, 3, 9]])
    with pytest.raises(UnsupportedModelError, match="embeds its words otherwise"):
        trained().check_embeddings(torch.cat([WORDS[:3], torch.randn(1, SMALL.width) + 9]))


@pytest.mark.parametrize("what", ["absent", "empty", "text", "folder", "foreign", "cut", "shape", "nan"])
def test_a_bad_file_gives_one_sentence(tmp_path, what):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_trained(path, trained())
    whole = path.read_bytes()
    tensors = {**lively().state_dict(), "sketch": sketch_of(WORDS)}
    if what == "absent":
        path.unlink()
    elif what == "folder":
        path.unlink()
        path.mkdir()
    elif what in ("empty", "text", "cut"):
        path.write_bytes({"empty": b"", "text": b"hello there", "cut": whole[: len(whole) // 2]}[what])
    elif what == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    elif what == "shape":
        save_file(tensors, path, {"facts": '{"model": "m", "shape": {"layer": 1}}'})
    else:
        path.write_bytes(whole)
        bad = lively()
        bad.offset[0, 0, 0] = float("nan")
        save_trained(path, Trained(bad, "m", sketch_of(WORDS)))
    method = GlimpsePrune(weights=str(path))
    with pytest.raises(InvalidValueError) as error:
        method.reduce_after(4)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert "todre.glimpse.train" in message
