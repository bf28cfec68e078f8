"""Tasks of lmms-eval on this package's scenes: pictures, questions and the YAML that lmms-eval reads."""

import json

_FUNCTIONS = """from PIL import Image


def shown(doc):
    return [Image.open(path) for path in doc["images"]]


def asked(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def marked(doc, results):
    return {"exact": float(results[0].strip().lower() in [each.lower() for each in doc["answers"]])}
"""
_HEAD = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
doc_to_visual: !function functions.shown
doc_to_text: !function functions.asked
"""
_GENERATED = """output_type: generate_until
doc_to_target: answer
generation_kwargs:
  max_new_tokens: {new_tokens}
  temperature: 0
  top_p: 1.0
  num_beams: 1
  do_sample: false
process_results: !function functions.marked
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 0.0
"""
_CHOSEN = """output_type: multiple_choice
doc_to_choice: choices
doc_to_target: place
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 0.0
"""


def write(folder, name, items, choices=None):
    """Write a task of `items` (`todre.evaluate.tasks.Item`) into `folder`.

    Args:
        folder: for lmms-eval's `--include_path`.
        name: of the task.
        items: with one length of answers.
        choices: what each question's answer is chosen from; answers are generated without.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    (folder / "functions.py").write_text(_FUNCTIONS, encoding="utf-8")
    lines = []
    for item in items:
        paths = [pictures / f"{item.picture}-{number}.png" for number in range(len(item.media))]
        for path, opened in zip(paths, item.media, strict=True):
            if not path.exists():
                opened().save(path)
        line = {"id": item.id, "images": list(map(str, paths)), "question": item.question}
        line |= {"answers": list(item.references), "answer": item.references[0]}
        if choices:
            line |= {"choices": list(choices), "place": list(choices).index(item.references[0])}
        lines.append(json.dumps(line) + "\n")
    data = folder / f"{name}.jsonl"
    data.write_text("".join(lines), encoding="utf-8")
    body = _CHOSEN if choices else _GENERATED.format(new_tokens=items[0].new_tokens)
    (folder / f"{name}.yaml").write_text(_HEAD.format(name=name, data=data) + body, encoding="utf-8")
