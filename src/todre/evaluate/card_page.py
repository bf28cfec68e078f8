"""The model card's text, made from its JSON document alone."""

from __future__ import annotations

from typing import Any

from todre.evaluate.card_subjects import Subject, subject_of
from todre.reading.result_pages import markdown_table, paragraph, percent, points, spread

_FAR = 0.2


def page(document: dict[str, Any], source: str, image: str) -> str:
    """The card as Markdown: what the model is and knows, and each number's conditions."""
    return (
        "\n\n".join(
            [
                f"# {_subject(document).title}",
                _about(document, source),
                f"![accuracy by task, random pruning, attention by layer, use of depth](images/{image})",
                "## What it knows, and what it does not",
                "\n".join(f"* {sentence}" for sentence in knowledge(document)),
                "## Accuracy by task",
                _tasks(document),
                "## Visual tokens",
                _tokens(document),
                "## Random pruning",
                _random(document),
                "## Attention to the picture",
                _attention(document),
                "## Use of depth",
                _depth(document),
                "## What follows from it, and what does not",
                paragraph(_subject(document).limits),
            ]
        )
        + "\n"
    )


def _subject(document: dict[str, Any]) -> Subject:
    return subject_of(str(document["conditions"]["model"]["id"]))


def chance(values: dict[str, Any]) -> float:
    """Best score without looking: by a constant answer, or on grey pictures."""
    return float(max(values["majority"]["score"], values["blind"]["score"]))


def knowledge(document: dict[str, Any]) -> list[str]:
    """Sentences that sort tasks by how far their interval lies above chance."""
    far: list[str] = []
    above: list[str] = []
    near: list[str] = []
    for task, values in document["tasks"].items():
        named = f"{task} ({points(values['score'])}, chance {points(chance(values))})"
        margin = values["low"] - chance(values)
        (far if margin >= _FAR else above if margin > 0 else near).append(named)
    sentences = []
    if far:
        sentences.append(f"Far above chance (interval at least {points(_FAR)[:-2]} points above it): {', '.join(far)}.")
    if above:
        sentences.append(f"Above chance, but weak: {', '.join(above)}.")
    if near:
        sentences.append(f"**Not shown to be above chance: {', '.join(near)}.**")
    sentences.append(_subject(document).world)
    return sentences


def _about(document: dict[str, Any], source: str) -> str:
    run = document["conditions"]
    model, side = run["model"], run["picture_size"]
    return "\n\n".join(
        [
            paragraph(
                f"A LLaVA-NeXT of {document['parameters'] / 1e6:.1f} million parameters with "
                f"{document['decoder_layers']} decoder layers, {_subject(document).origin}"
            ),
            "Made by",
            f"    {document['command']}",
            paragraph(
                f"from [`results/{source}`](../results/{source}). {run['questions']} questions, "
                f"{run['questions_per_task']} of each task, about {run['pictures']} pictures of {side} × {side} pixels "
                f"from the `{run['split']}` split "
                f"({'nothing was tuned on it' if run['split'] == 'test' else 'not the held-out one'}). Weights and "
                f"configuration SHA-256 `{model['sha256'][:12]}…`, {model['dtype']} on {model['device']}, attention "
                f"`{model['attn_implementation']}`, image processor `{model['image_processor_backend']}`, greedy "
                "decoding. Brackets hold 95 % intervals: Wilson's for single tasks, a bootstrap over whole pictures "
                "for captions, means and differences."
            ),
        ]
    )


def _tasks(document: dict[str, Any]) -> str:
    rows = []
    for task, values in document["tasks"].items():
        constant = values["majority"]
        answer = constant["answer"] if task != "caption" else "the commonest pairs"
        best = f"{points(constant['score'])} ({answer})"
        rows.append([task, str(values["n"]), spread(values), best, spread(values["blind"])])
    total = sum(values["n"] for values in document["tasks"].values())
    rows.append(["all", str(total), spread(document["all"]), "", spread(document["blind"])])
    note = (
        "The best constant answer is chosen in hindsight, on these very questions. Blind is the same question with a "
        "plain grey picture. Captions score the F1 of the colour–shape pairs that they name."
    )
    return markdown_table(["task", "n", "accuracy", "best constant answer", "blind"], rows) + "\n\n" + paragraph(note)


def _tokens(document: dict[str, Any]) -> str:
    rows = [
        [f"{each['size'][0]} × {each['size'][1]}", str(each["tokens"]), str(each["prompt"])]
        for each in document["visual_tokens"]
    ]
    return markdown_table(["picture, pixels", "visual tokens", "prompt with a short question"], rows)


def _random(document: dict[str, Any]) -> str:
    rows = [["100 %", str(document["visual_tokens"][0]["tokens"]), spread(document["all"]), ""]]
    for each in document["random"]:
        against = spread(each["against_none"], "difference")
        rows.append([percent(each["retain"]), str(each["visual_tokens"]), spread(each), against])
    draws = len(document["conditions"]["random_seeds"])
    note = f"Tokens drawn uniformly before the decoder; mean of {draws} draws, made anew for every group of pictures."
    return paragraph(note) + "\n\n" + markdown_table(["kept", "visual tokens", "accuracy", "against no pruning"], rows)


def _attention(document: dict[str, Any]) -> str:
    found = document["attention"]
    rows = [[str(each["layer"]), points(each["text_to_visual"])] for each in found["layers"]]
    note = (
        "Share of attention, in %, that the text after the picture pays to it (ToDRE eq. 7), averaged over heads, that "
        f"text's tokens and {found['questions']} questions. The picture holds {points(found['uniform'])} % of the "
        "prompt's tokens."
    )
    return paragraph(note) + "\n\n" + markdown_table(["layer", "attention to the picture"], rows)


def _depth(document: dict[str, Any]) -> str:
    rows = []
    for each in document["depth"]["layers"]:
        pair = [f"{spread(each[k])} ({spread(each[k]['against_none'], 'difference')})" for k in ("drop", "delete")]
        rows.append([str(each["layer"]), *pair])
    note = (
        "Left, all visual tokens are dropped after the layer, and the layers after it go on without them. Right, the "
        "control: those layers are deleted. Where dropping costs nothing and deleting does, vision has been used up "
        "and the depth has not; where both cost nothing, the layers are idle, and dropping vision proves nothing. "
        f"In parentheses the difference to the whole model, over {document['depth']['questions']} questions."
    )
    header = ["layers", "picture dropped after", "layers after it deleted"]
    return (
        paragraph(note) + "\n\n" + markdown_table(header, rows) + "\n\n" + paragraph(" ".join(depth_findings(document)))
    )


def depth_findings(document: dict[str, Any]) -> list[str]:
    """Sentences on the last layer after which dropping or deleting costs accuracy."""
    sentences = []
    for kind, words in (("drop", "Dropping the picture"), ("delete", "Deleting all later layers")):
        costly = [p["layer"] for p in document["depth"]["layers"] if p[kind]["against_none"]["high"] < 0]
        if costly:
            sentences.append(f"{words} is shown to cost accuracy after layer {max(costly)} and not later.")
        else:
            sentences.append(f"{words} is not shown to cost accuracy after any layer.")
    used, depth = max(costly, default=0) + 1, document["depth"]["layers"][-1]["layer"]
    if used < depth:
        sentences.append(
            f"**Layers {used + 1} to {depth} are therefore not shown to be in use: that vision can be dropped there "
            "says nothing about vision fading in deeper models.**"
        )
    else:
        sentences.append("All layers are shown to be in use.")
    return sentences
