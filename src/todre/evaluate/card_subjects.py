"""What a card says of each model beside what a run measures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from todre.smol.parts import names as smol_names


@dataclass(frozen=True)
class Subject:
    """Sentences about one model.

    Attributes:
        title: heading of the card.
        origin: how the model was made, after "A LLaVA-NeXT of N million parameters with L decoder layers, ".
        world: what it knows.
        limits: what numbers about it do not say.
    """

    title: str
    origin: str
    world: str
    limits: str


_TOY = Subject(
    title="Card of the shipped model",
    origin=(
        "trained from nothing on rendered scenes (`python -m todre.tiny.train`; logs in `results/tiny`). It is here so "
        "that pruning can be tried and tested on a model that really looks, with nothing to download."
    ),
    world=(
        "It knows the small world of `todre.scenes` only: six shapes, seven colours, ten words, ten digits, and the "
        "wordings of its questions. Other words are unknown to its tokenizer. On photographs, drawings or screens it "
        "answers in the same few words, and those answers mean nothing."
    ),
    limits=(
        "The model was trained with dense patch labels, so its visual tokens may be unusually separable, and its "
        "pictures hold a few small objects on much background. A ranking of pruning methods on it is a finding about "
        "this model alone: no evidence about models of billions of parameters, about photographs, or about "
        "benchmarks. One training run stands behind it, so no interval here covers a second one."
    ),
)
_SMOL = Subject(
    title="Card of smol",
    origin=(
        "the tower of the shipped toy in front of SmolLM2-135M-Instruct, a pretrained language model whose weights "
        "are frozen. Connector, newline and low-rank updates of the decoder's attention were trained on rendered "
        "scenes and pages (`python -m todre.smol.training`; logs and curves in `results/smol`)."
    ),
    world=(
        "Its decoder understands English, but its eyes know the small world of `todre.scenes` and `todre.pages` only: "
        "six shapes, seven colours, ten words and ten digits. On photographs, drawings or screens its answers mean "
        "nothing."
    ),
    limits=(
        "The tower was trained with dense patch labels, and the pictures hold a few small objects on much background. "
        "What is seen here is a finding about this one model: a pretrained decoder of 135 million parameters behind a "
        "small tower. It is no evidence about models of billions of parameters, about photographs, or about "
        "benchmarks. No interval here covers a second training run: smol and smol-1 are two of them, side by side on "
        "the page about both."
    ),
)


def subject_of(model: str) -> Subject:
    """The sentences for a model.

    Args:
        model: its name or folder, as the run recorded it.
    """
    return replace(_SMOL, title=f"Card of {model}") if model in smol_names() else _TOY
