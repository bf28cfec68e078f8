"""The parts of benchmarks/third_party that need neither package: each against something independent."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel


class Head(nn.Module):
    """A decoder of torch's own layers, run whole at each step."""

    def __init__(self, layers, d, words):
        super().__init__()
        made = [nn.TransformerDecoderLayer(d, 4, 24, batch_first=True, norm_first=True) for _ in range(layers)]
        self.layers = nn.ModuleList(made)
        self.words, self.places, self.out = nn.Embedding(words, d), nn.Embedding(40, d), nn.Linear(d, words)

    def logits(self, ids, states):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        hidden = torch.triu(torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool), diagonal=1)
        for layer in self.layers:
            x = layer(x, states, tgt_mask=hidden)
        return self.out(x)[:, -1]


def decoder_of(reader, model, eos):
    blocks = [
        reader.Block(
            one.norm1, one.self_attn, one.norm2, one.multihead_attn, one.norm3,
            lambda x, one=one: one.linear2(one.activation(one.linear1(x))),
        )
        for one in model.layers
    ]  # fmt: skip
    return reader.Decoder(
        blocks, lambda token, at: model.words(token) + model.places.weight[at], model.out, bos=1, eos=eos, banned=(0, 1)
    )


def test_cached_decoding_in_batches_is_that_of_a_whole_decoder_row_by_row(part):
    reader = part("reader")
    torch.manual_seed(5)
    model = Head(2, 16, 12).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.6)
    states, limits = torch.randn(9, 7, 16), [9, 3, 12, 5, 12, 12, 8, 12, 1]
    expected = []
    with torch.no_grad():
        for row, most in zip(states, limits, strict=True):
            ids = [1]
            while len(ids) <= most and (len(ids) == 1 or ids[-1] != 2):
                logits = model.logits(torch.tensor([ids]), row[None])[0]
                logits[[0, 1]] = -torch.inf
                ids.append(int(logits.argmax()))
            expected.append(ids[1:])
    decoder = decoder_of(reader, model, eos=2)
    assert decoder.greedy(decoder.cross(states), limits) == expected
    assert len({len(ids) for ids in expected}) > 3
    assert any(ids[-1] == 2 for ids in expected)


def length_field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value):
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def as_onnx(model):
    """A file as torch's exporter writes it: matrices of linear layers transposed and without names of their own."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    inner = {
        "attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    }  # fmt: skip
    tensors, nodes = {}, b""
    for name, value in state.items():
        linear = next((ours for ours in inner if f".{ours}." in name), None)
        if name == "embeddings.position_embeddings":
            tensors["onnx::Concat_1"], tensors["onnx::Reshape_2"] = value[:, :1], value[:, 1:]
        elif linear and name.endswith("weight"):
            key = f"onnx::MatMul_{len(tensors)}"
            tensors[key] = np.ascontiguousarray(value.T)
            path = name.removesuffix(".weight").replace(f".{linear}", "/" + inner[linear].replace(".", "/"))
            output = f"/backbone/{path.replace('encoder.layer', 'encoder/layer')}/MatMul_output_0"
            node = [length_field(1, b"x"), length_field(1, key.encode()), length_field(2, output.encode())]
            nodes += length_field(1, b"".join([*node, length_field(4, b"MatMul")]))
        else:
            tensors["backbone." + (name.replace(linear, inner[linear]) if linear else name)] = value
    written = b"".join(
        length_field(5, b"".join([
            *(bytes([1 << 3]) + varint(size) for size in value.shape), bytes([2 << 3, 1]),
            length_field(8, name.encode()), length_field(9, struct.pack(f"<{value.size}f", *value.flatten())),
        ]))
        for name, value in tensors.items()
    )  # fmt: skip
    return bytes([1 << 3, 8]) + length_field(7, nodes + written)


def tiny_vit():
    torch.manual_seed(1)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, image_size=28, patch_size=7,
        use_mask_token=False,
    )  # fmt: skip
    model = Dinov2Model(config).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


def test_an_exported_vit_is_read_into_the_model_that_it_was(part):
    onnx, model = part("onnx_weights"), tiny_vit()
    found = onnx.model_of(*onnx.graph_of(as_onnx(model)), heads=4)
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(found(pixels).last_hidden_state, model(pixels).last_hidden_state)


@pytest.mark.parametrize(("cut", "words"), [(100, "cut off"), (0, "kind")])
def test_a_file_that_is_no_onnx_is_refused(part, cut, words):
    onnx, file = part("onnx_weights"), as_onnx(tiny_vit())
    with pytest.raises(ValueError, match=words):
        list(onnx.fields(file[:-cut] if cut else b"\x03" + file))


def plain_distance(a, b):
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            changed = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, changed)
    return table[len(a), len(b)]


def test_edit_distances_of_many_texts_are_those_of_each(part):
    summary, rng = part("latex_summary"), random.Random(2)
    first = ["".join(rng.choices("ab\\{", k=rng.randint(0, 9))) for _ in range(60)]
    second = ["".join(rng.choices("ab\\{", k=rng.randint(0, 9))) for _ in range(60)]
    expected = [plain_distance(a, b) for a, b in zip(first, second, strict=True)]
    assert summary.distances(first, second).tolist() == expected
    assert summary.similarity(["", "ab"], ["", "a"]).tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\begin{equation*}\tfrac{a}{b}\,+x_i^2\end{equation*}", r"\frac{a}{b} + x_{i}^{2}", True),
        (r"\underset{j=\,0}{\overset{N}{\sum }}f_{j}", r"\sum_{j=0}^{N} f_{j}", True),
        (r"\[\phi \mathop{\rightarrow}\limits \left(x\right)\]", r"\varphi \to (x)", True),
        (r"x_{0}", r"x_{1}", False),
        (r"\leq", r"\lambda", False),
        (r"\frac{a}{b}", r"\frac{b}{a}", False),
    ],
)
def test_what_a_formula_says_does_not_depend_on_its_look(part, one, other, same):
    read_as = part("formulas").read_as
    assert (read_as(one) == read_as(other)) is same


def test_formulas_and_their_pictures_follow_from_the_seed(part):
    made = part("formulas")
    texts = made.formulas(3, 30)
    assert texts[:10] == made.formulas(3, 10)
    assert texts != made.formulas(4, 30)
    assert len(set(texts)) == 30
    picture = made.picture(texts[0])
    assert picture.shape == (128, 512)
    assert picture.min() == 0 < picture.max() <= 1
    assert np.array_equal(picture, made.picture(texts[0]))
    assert not np.array_equal(picture, made.picture(texts[1]))


def picture_tokens(rules, n=(8, 16), d=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = n[0] * n[1]
    salient = [torch.rand(count, generator=generator) for _ in range(4)]
    keys = [torch.randn(count, 6, generator=generator) for _ in range(4)]
    states = torch.randn(count, d, generator=generator) + 1
    return rules.PictureTokens(states, n, salient, keys, cls=False, seed=seed)


def test_rules_keep_what_the_registered_methods_keep(part):
    rules = part("rules")
    assert all(rules.agrees_with_methods(picture_tokens(rules, seed=seed), k) for seed in (0, 1) for k in (3, 20))


def test_every_rule_keeps_its_budget_and_says_whether_it_merges(part):
    rules = part("rules")
    tokens, budgets = picture_tokens(rules), [32, 12, 6, 3]
    for name, rule in rules.RULES.items():
        kept = rule(tokens, budgets)
        assert [len(each.index) for each in kept] == budgets, name
        assert all(bool((each.index.diff() > 0).all()) for each in kept), name
        assert all((each.states is not None) is (name in rules.MERGING) for each in kept), name
        assert all(each.states is None or each.states.shape == (len(each.index), 12) for each in kept), name


def test_every_method_before_the_llm_has_a_row_or_a_reason(part):
    from todre.methods import registry

    rules = part("rules")
    said = set(rules.RULES) | {word for names in rules.LEFT_OUT for word in names.replace(",", " ").split()}
    before = {name for name in registry.names() if "reduce" not in registry.entry(name).card.acts} - {"none"}
    assert before <= said, f"say in rules.py why it has no row: {sorted(before - said)}"


def test_errors_of_reconstruction_are_those_of_a_brute_force(part):
    features = part("features")
    states = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)) + 0.5
    chosen = states[[1, 4, 11]]
    spread = sum(float((row - states.mean(dim=0)).square().sum()) for row in states)
    near = sum(min(float((row - other).square().sum()) for other in chosen) for row in states)
    fitted = torch.linalg.lstsq(chosen.T.double(), states.T.double()).solution
    left = float((states.T.double() - chosen.T.double() @ fitted).square().sum())
    assert features.nearest_error(states, chosen) == pytest.approx(near / spread, rel=1e-5)
    assert features.linear_error(states, chosen) == pytest.approx(left / spread, rel=1e-5)
    assert features.effective_rank(torch.cat([torch.eye(4), -torch.eye(4)])) == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("registers", [0, 3])
def test_what_is_read_of_a_vit_is_what_its_eager_attention_makes(part, registers):
    features, sizes = part("features"), {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"mlp_ratio": 2, "image_size": 28, "patch_size": 7}
    kinds = Dinov2WithRegistersModel, Dinov2WithRegistersConfig
    model_class, config_class = kinds if registers else (Dinov2Model, Dinov2Config)
    more = {"num_register_tokens": registers} if registers else {}
    torch.manual_seed(2)
    model = model_class(config_class(**sizes, **more)).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    pixels = torch.randn(2, 3, 28, 28)
    seen = features.seen_by(model, pixels)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(pixels, output_attentions=True, output_hidden_states=True)
    for layer in range(2):
        row = output.attentions[layer][:, :, 0, 1 + registers :].mean(dim=1)
        torch.testing.assert_close(seen.salient[layer], row, atol=1e-6, rtol=1e-5)
        states = output.hidden_states[layer + 1][:, 1 + registers :]
        torch.testing.assert_close(seen.states[layer], states, atol=1e-5, rtol=1e-5)
        assert seen.keys[layer].shape == (2, 16, 6)
        assert row.std(dim=1).min() > 1e-4


def test_scenes_know_the_tokens_of_their_objects(part, tmp_path):
    cutouts = part("cutouts")
    rng = np.random.default_rng(0)
    for name, noise in (("photo", (110, 110, 55)), ("flat", (1, 1, 1))):
        image = np.zeros((100, 100, 4), dtype=np.uint8)
        image[10:90, 10:90, :3] = rng.integers(0, noise, size=(80, 80, 3))
        image[10:90, 10:90, 2] += 200  # blue
        image[10:90, 10:90, 3] = 255
        for number in range(6):
            Image.fromarray(image).save(tmp_path / f"{name}-{number}.png")
    stamps = cutouts.photographic(tmp_path)
    assert [path.stem for path in stamps] == [f"photo-{number}" for number in range(6)]
    first, second = cutouts.scenes(stamps, 0, 3), cutouts.scenes(stamps, 0, 2)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first[:2], second, strict=True))
    for scene in first:
        assert 1 <= len(scene.objects) <= 5
        assert all(mask.shape == (576,) and mask.any() for mask in scene.objects)
        blue = scene.pixels[..., 2].astype(int) - scene.pixels[..., 0]
        blue = blue.reshape(24, 14, 24, 14).mean(axis=(1, 3)).reshape(-1)
        assert all(blue[mask].mean() > 60 for mask in scene.objects)
