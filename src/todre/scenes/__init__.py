"""A synthetic world: pictures of shapes, digits and words, with questions.

Any number of scenes can be made. A seed decides a scene, and the three splits share no scene. `make_scene` renders a
scene, `questions` walks through a split, and `score` marks an answer. `make_set` renders two or three pictures that
are asked about together; `make_clip` renders a moving scene. `reword` puts a question into other words, and
`as_sentence` makes a caption a sentence. Tasks follow POPE (presence), VQA (colour, shape, size, count), GQA
(relation, quadrant), OCR (digit, word) and captioning. Nothing here imports torch; models belong to `todre.tiny`.
"""

from __future__ import annotations

from todre.scenes.clip import SceneClip, make_clip, write_mp4
from todre.scenes.objects import Question, SceneObject
from todre.scenes.photographs import PHOTOGRAPHS, photograph, photograph_path
from todre.scenes.questions import TASKS
from todre.scenes.scene import SPLITS, Scene, ask, make_scene, questions
from todre.scenes.scoring import score
from todre.scenes.several import SceneSet, make_set
from todre.scenes.wordings import WORDED, as_sentence, reword, wordings_of

__all__ = [
    "PHOTOGRAPHS",
    "SPLITS",
    "TASKS",
    "WORDED",
    "Question",
    "Scene",
    "SceneClip",
    "SceneObject",
    "SceneSet",
    "as_sentence",
    "ask",
    "make_clip",
    "make_scene",
    "make_set",
    "photograph",
    "photograph_path",
    "questions",
    "reword",
    "score",
    "wordings_of",
    "write_mp4",
]
