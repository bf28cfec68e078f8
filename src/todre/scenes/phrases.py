"""The wordings themselves: what `todre.scenes.wordings` puts names into.

In braces, `name` is what the stock question names ("red circle", "small red", "stars"), `a` and `A` are its article,
`other` is the second object of a relation, and `way`, `side` and `toward` are forms of its direction.
"""

from __future__ import annotations

SENTENCE = "sentence"
"""Task of captions that are full sentences."""

WAYS: dict[str, dict[str, str]] = {
    "left of": {"way": "to the left of", "side": "on the left side of", "toward": "to its left"},
    "right of": {"way": "to the right of", "side": "on the right side of", "toward": "to its right"},
    "above": {"way": "higher than", "side": "further up than", "toward": "above it"},
    "below": {"way": "lower than", "side": "further down than", "toward": "below it"},
}
"""Direction → its forms; training wordings use `way`, held-out ones the others."""

TRAINING: dict[str, tuple[str, ...]] = {
    "presence": (
        "Can you see {a} {name}?",
        "Does the picture show {a} {name}?",
        "Is {a} {name} visible in the image?",
        "Look at the picture. Is there {a} {name} in it?",
        "Do you see {a} {name} anywhere?",
    ),
    "colour": (
        "What colour is the {name}?",
        "Which color does the {name} have?",
        "What is the color of the {name}?",
        "Tell me the colour of the {name}.",
        "The {name} has what color?",
    ),
    "shape": (
        "What is the shape of the {name} object?",
        "Which shape does the {name} object have?",
        "Tell me the shape of the {name} thing.",
        "The {name} object has what shape?",
        "What form does the {name} object have?",
    ),
    "size": (
        "Is the {name} large or small?",
        "What size is the {name}, small or large?",
        "How big is the {name}: small or large?",
        "Tell me whether the {name} is small or large.",
        "Would you call the {name} large or small?",
    ),
    "count": (
        "How many {name} can you see?",
        "Count the {name}.",
        "What is the number of {name} in the picture?",
        "How many {name} does the picture show?",
        "Tell me how many {name} there are.",
    ),
    "relation": (
        "Is the {name} {way} the {other}?",
        "Does the {name} lie {way} the {other}?",
        "Tell me whether the {name} is {way} the {other}.",
        "Can the {name} be seen {way} the {other}?",
        "Yes or no: the {name} is {way} the {other}.",
    ),
    "quadrant": (
        "In which quarter of the picture is the {name}?",
        "Where in the picture is the {name}?",
        "Which corner is the {name} nearest to?",
        "Where can the {name} be found?",
        "Tell me where the {name} is.",
    ),
    "digit": (
        "Which digit can you see?",
        "What number is in the picture?",
        "Read the digit.",
        "Tell me which digit is shown.",
        "What digit does the picture show?",
    ),
    "word": (
        "What word can you read?",
        "Read the word.",
        "Which word is in the picture?",
        "Tell me what the sign says.",
        "What is the word on the plate?",
    ),
    "caption": (
        "List what is in the picture.",
        "What is in the picture?",
        "Name all the shapes.",
        "List the shapes with their colors.",
        "Caption the image.",
    ),
    SENTENCE: (
        "Say in one sentence what the picture shows.",
        "Write a sentence about the picture.",
        "What can be seen? Answer in a full sentence.",
        "Put what you see into a sentence.",
        "In a sentence, tell me what is in the image.",
    ),
}
"""Task → wordings of the training split."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "presence": (
        "Please tell me whether the image contains {a} {name}.",
        "{A} {name}: is it in the picture, yes or no?",
        "Would you say that there is {a} {name} here?",
    ),
    "colour": (
        "Could you name the colour of the {name}, please?",
        "In which color is the {name} painted?",
        "Please say what colour the {name} is.",
    ),
    "shape": (
        "Could you name the shape of the {name} object, please?",
        "Of what shape is the {name} thing in the picture?",
        "Please say which shape the {name} one has.",
    ),
    "size": (
        "Please say if the {name} is a small one or a large one.",
        "Small or large: what would you say about the {name}?",
        "Could you tell if the {name} is of the large or the small size?",
    ),
    "count": (
        "Please count all {name} in the image.",
        "In this picture, how many {name} are there?",
        "Could you give me the number of {name}?",
    ),
    "relation": (
        "Would you say that the {name} is {side} the {other}?",
        "Seen from the {other}, is the {name} {toward}?",
        "Please say whether one finds the {name} {side} the {other}.",
    ),
    "quadrant": (
        "Please say in what part of the image the {name} lies.",
        "Could you find the {name} and name its quarter?",
        "Which part of the picture holds the {name}?",
    ),
    "digit": (
        "Please read out the number in the image.",
        "Which numeral is on the disc?",
        "Could you name the digit, please?",
    ),
    "word": (
        "Please read out the text in the image.",
        "Which word stands on the sign?",
        "Could you tell me what is written there?",
    ),
    "caption": (
        "Please list all that you see.",
        "Which objects does the image hold?",
        "Could you name the shapes and their colours?",
    ),
    SENTENCE: (
        "Please describe in a full sentence what is there.",
        "Could you write one sentence that says what the image holds?",
        "As a sentence, please: what do you see?",
    ),
}
"""Task → wordings of the splits val and test, none of which is used in training."""
