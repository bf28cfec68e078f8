"""Both commands from end to end on a few questions, and the files they write."""

import json

import pytest
from PIL import Image

from todre.evaluate import card, card_page, heldout
from todre.evaluate.card import majority
from todre.evaluate.runner import model_sha256
from todre.reading import result_pages as results_page


@pytest.fixture
def common(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--pictures", "2", "--group-size", "2", "--size", "96", "--split", "val", "--random-seeds", "1"]
    return ["--model", str(checkpoint), "--processes", "1", *small]


def test_heldout_writes_result_answers_and_page(common, checkpoint, tmp_path, capsys):
    assert heldout.main([*common, "--retain", "0.2"]) == 0
    document = json.loads((tmp_path / "results/heldout.json").read_text())
    run = document["conditions"]
    assert document["command"].startswith("python -m todre.evaluate.heldout --model")
    assert run["model"]["sha256"] == model_sha256(str(checkpoint))
    assert run["model"]["attn_implementation"] == "sdpa"
    assert run["model"]["image_processor_backend"] == "pil"
    assert run["questions"] == run["questions_per_task"] * len(document["rows"][0]["tasks"]) > 0
    kept = {(row["method"], row["stages"]): row["visual_tokens"] for row in document["rows"]}
    (before,) = kept["none", ""]
    assert all(tokens == [round(0.2 * before)] for key, tokens in kept.items() if key[0] != "none")
    assert (tmp_path / "docs/results.md").read_text() == results_page.page(
        document, "heldout.json", "heldout-answers.jsonl"
    )
    lines = (tmp_path / "results/heldout-answers.jsonl").read_text().splitlines()
    assert len(lines) == 1 + run["questions"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "wrote" in captured.err


def test_card_writes_result_page_and_figure(common, tmp_path):
    assert card.main([*common, "--curve-pictures", "2", "--attention-pictures", "2"]) == 0
    document = json.loads((tmp_path / "results/model-card.json").read_text())
    assert document["decoder_layers"] == 4
    assert [point["layer"] for point in document["attention"]["layers"]] == [1, 2, 3, 4]
    assert all(0 < point["text_to_visual"] < 1 for point in document["attention"]["layers"])
    depth = document["depth"]["layers"]
    assert depth[-1]["drop"]["score"] == depth[-1]["delete"]["score"]
    assert depth[-1]["drop"]["against_none"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert [each["retain"] for each in document["random"]] == [0.5, 0.25, 0.1, 0.05]
    sizes = {tuple(each["size"]): each["tokens"] for each in document["visual_tokens"]}
    assert sizes[192, 192] == 144 + 24 * 25
    assert (tmp_path / "docs/model-card.md").read_text() == card_page.page(
        document, "model-card.json", "model-card.png"
    )
    with Image.open(tmp_path / "docs/images/model-card.png") as figure:
        assert figure.size[0] > 800


def test_a_wrong_value_is_one_sentence_and_nothing_is_written(common, tmp_path, capsys):
    assert heldout.main([*common, "--pictures", "3"]) == 1
    assert "whole groups of 2" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "results").exists()


def record(task, answer):
    return {"task": task, "question": task, "answer": answer}


def test_the_best_constant_answer():
    found = majority([record("count", answer) for answer in ("2", "1", "2", "0")])
    assert found == {"answer": "2", "score": 0.5}
    captions = [record("caption", text) for text in ("red star, blue ring", "red star", "red star, cyan cross")]
    assert majority(captions) == {"answer": "red star", "score": round((2 / 3 + 1 + 2 / 3) / 3, 6)}


def test_knowledge_is_sorted_by_what_the_intervals_show():
    def task(low, chance):
        return {"score": low + 0.05, "low": low, "majority": {"score": chance}, "blind": {"score": 0.1}}

    tasks = {"colour": task(0.9, 0.2), "count": task(0.3, 0.25), "relation": task(0.45, 0.5)}
    document = {"tasks": tasks, "conditions": {"model": {"id": "todre-tiny"}}}
    far, above, near, world = card_page.knowledge(document)
    assert far.startswith("Far above chance")
    assert "colour" in far
    assert above.startswith("Above chance, but weak: count")
    assert near.startswith("**Not shown to be above chance: relation")
    assert "unknown to its tokenizer" in world
    document["conditions"]["model"]["id"] = "smol"
    assert "understands English" in card_page.knowledge(document)[-1]


def test_depth_findings_name_the_last_layer_that_is_shown_to_matter():
    def point(layer, drop, delete):
        return {"layer": layer, "drop": {"against_none": {"high": drop}}, "delete": {"against_none": {"high": delete}}}

    document = {"depth": {"layers": [point(1, -0.2, -0.3), point(2, 0.01, -0.1), point(3, 0.0, 0.0)]}}
    drop, delete, used = card_page.depth_findings(document)
    assert "after layer 1 and" in drop
    assert "after layer 2 and" in delete
    assert used == "All layers are shown to be in use."
    document = {
        "depth": {"layers": [point(1, -0.2, -0.3), point(2, -0.1, 0.1), point(3, 0.0, 0.0), point(4, 0.0, 0.0)]}
    }
    drop, delete, used = card_page.depth_findings(document)
    assert "after layer 2 and" in drop
    assert "Layers 3 to 4 are therefore not shown to be in use" in used
