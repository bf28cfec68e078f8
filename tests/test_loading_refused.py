"""Checkpoints that are broken, absurd or out of reach: one sentence within seconds, and nothing from libraries."""

import copy
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from todre.errors import ImageError, InvalidValueError, LoadError, UnsupportedInputError
from todre.images import MAX_PIXELS, open_image
from todre.loading import memory_needs as needs
from todre.loading.model import load, load_config
from todre.loading.quiet import mute_loggers
from todre.processing import apply, check_columns
from todre.tiny import checkpoint_path


@pytest.fixture
def copied(tmp_path):
    """Writes a copy of the shipped checkpoint, with entries of its JSON files set, or whole files replaced."""

    def write(changes=(), **files):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for source in checkpoint_path().iterdir():
            if source.suffix == ".safetensors":
                os.symlink(source, folder / source.name)
            elif source.is_file():
                shutil.copy2(source, folder / source.name)
        for file, *path, value in changes:
            document = json.loads((folder / file).read_text())
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = copy.deepcopy(value)
            (folder / file).write_text(json.dumps(document))
        for name, text in files.items():
            (folder / name.replace("_dot_", ".")).write_text(text)
        return folder

    return write


def refuse(work, *words, error=LoadError, within=5.0):
    before = time.process_time()
    with pytest.raises(error) as caught:
        work()
    assert time.process_time() - before < within  # of this process alone: nothing of such a size was built
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 800
    for word in words:
        assert word in message
    return message


CONFIG, PROCESSOR = "config.json", "processor_config.json"
NUMBERS = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
ABSURD = (10**6, 10**7, 10**12, 10**30, -1, "x", [], {}, 1.5, True, float("nan"))


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_numbers_of_a_config(copied, part, field, value):
    folder = copied([(CONFIG, part, field, value)])
    refuse(lambda: load(folder, device="cpu"), str(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vision_config", "x"), ("vision_config", []), ("text_config", 3), ("image_token_index", "x"),
        ("image_grid_pinpoints", []), ("image_grid_pinpoints", None), ("image_grid_pinpoints", 5),
        ("image_grid_pinpoints", [[96, 96]]), ("vision_feature_layer", 10**6), ("vision_feature_layer", "x"),
        ("vision_feature_select_strategy", "full"), ("model_type", []), ("model_type", 3), ("model_type", None),
    ],
)  # fmt: skip
def test_other_fields_of_a_config(copied, field, value):
    refuse(lambda: load(copied([(CONFIG, field, value)]), device="cpu"))


@pytest.mark.parametrize(("field", "value"), [("vocab_size", 10**9), ("max_position_embeddings", "x")])
def test_a_vocabulary_beyond_any_machine(copied, field, value):
    refuse(lambda: load(copied([(CONFIG, "text_config", field, value)]), device="cpu"))


def test_a_config_of_too_many_brackets(copied):
    refuse(lambda: load(copied(config_dot_json="[" * 200_000), device="cpu"), "cannot be read")


def test_a_model_for_which_there_is_no_room(copied, monkeypatch):
    monkeypatch.setattr(needs, "available", lambda device: 20_000_000)
    monkeypatch.setattr(
        "transformers.AutoModelForImageTextToText.from_pretrained", lambda *a, **k: pytest.fail("built")
    )
    words = ("needs 23.7 MB for its weights in float32", "20.0 MB left", "bfloat16 (11.9 MB)", "device_map")
    refuse(lambda: load(copied(), device="cpu"), *words)
    monkeypatch.undo()
    assert load(copied(), device="cpu", dtype="bfloat16").model.dtype.itemsize == 2


SIZES = [
    {"height": 10**6, "width": 10**6}, {"height": 9000, "width": 10}, {"shortest_edge": 10**6},
    {"longest_edge": 10**6}, {"height": -5, "width": 5}, {"height": "x", "width": 5}, 10**6, "x",
]  # fmt: skip


@pytest.mark.parametrize("field", ["size", "crop_size"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes_of_a_processor(copied, field, size):
    refuse(lambda: load(copied([(PROCESSOR, "image_processor", field, size)]), device="cpu"), "processor")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch_size", 10**6), ("patch_size", 0), ("patch_size", "x"), ("patch_size", None),
        ("num_additional_image_tokens", 10**9), ("num_additional_image_tokens", -1), ("image_token", 3),
        ("vision_feature_select_strategy", "x"), ("vision_feature_select_strategy", "full"),
    ],
)  # fmt: skip
def test_other_fields_of_a_processor(copied, field, value):
    refuse(lambda: load(copied([(PROCESSOR, field, value)]), device="cpu"), "processor")


@pytest.mark.parametrize("pinpoints", [[[10**6, 10**6]], [["x", 5]], [5, -5], [[96, 96]] * 5000], ids=range(4))
def test_canvases_of_a_processor(copied, pinpoints):
    refuse(lambda: load(copied([(PROCESSOR, "image_processor", "image_grid_pinpoints", pinpoints)]), device="cpu"))


def ask(folder):
    loaded = load(folder, device="cpu")
    content = [{"type": "image", "image": Image.new("RGB", (90, 60))}, {"type": "text", "text": "what ?"}]
    inputs, _ = apply(loaded.processor, [{"role": "user", "content": content}])
    check_columns(loaded.model.config, inputs)


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{% for %}", LoadError),
        ("{{ raise_exception('no') }}", LoadError),
        ("{{ messages[0].x.y }}", LoadError),
        ("{% for i in range(10**9) %}a{% endfor %}", LoadError),
        ("no picture here", UnsupportedInputError),
        ("<image> <image>", UnsupportedInputError),
        ("<picture>", UnsupportedInputError),
        ("", LoadError),
    ],
)
def test_chat_templates(copied, template, error):
    folder = copied(chat_template_dot_jinja=template)
    refuse(lambda: ask(folder), "template", error=error)


@pytest.mark.parametrize("value", [10**6, -5, 150, None, "x"])
@pytest.mark.parametrize("field", ["image_token_id"])
def test_a_model_that_marks_pictures_by_another_token(copied, field, value):
    folder = copied([(CONFIG, field, value)])
    refuse(lambda: ask(folder), "image_token_id", "wrote no such token")


@pytest.mark.parametrize("device", ["meta", "mps"])
def test_devices_that_run_nothing_here(device):
    refuse(lambda: load(device=device), device, error=InvalidValueError)


def test_a_picture_that_claims_little_and_holds_much(tmp_path):
    Image.new("L", (9999, 9999)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    refuse(lambda: open_image(tmp_path / "a.png"), "9999 × 9999", f"{MAX_PIXELS:,}", error=ImageError, within=2)


# -- what libraries print --------------------------------------------------------------------------------------------


@pytest.fixture
def heard(monkeypatch):
    """Texts of all records that reach a handler of transformers' logger or of the root."""
    texts = []

    class Ear(logging.Handler):
        def emit(self, record):
            texts.append(record.getMessage())

    ears = [(logging.getLogger(name), Ear()) for name in ("transformers", None)]
    for logger, ear in ears:
        logger.addHandler(ear)
    yield texts
    for logger, ear in ears:
        logger.removeHandler(ear)


def damaged(folder, change):
    """The folder with other tensors."""
    tensors = dict(load_file(checkpoint_path() / "model.safetensors"))
    change(tensors)
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


NORM = "model.language_model.layers.0.input_layernorm.weight"


def shorter(tensors):
    name = next(name for name in tensors if name.endswith("layers.0.input_layernorm.weight"))
    tensors[name] = tensors[name][:5].clone()


def fewer(tensors):
    for name in [name for name in tensors if "layers.3" in name]:
        del tensors[name]


def more(tensors):
    tensors |= {f"odd.{number}": tensors[next(iter(tensors))].clone() for number in range(7)}


@pytest.mark.parametrize(
    ("change", "words"), [(shorter, ("1 tensors of other shapes", "[5] for [192]")), (fewer, ("lack",))]
)
def test_tables_of_a_failed_load_are_not_heard(copied, heard, capfd, change, words):
    folder = damaged(copied(), change)
    refuse(lambda: load(folder, device="cpu"), *words)
    assert heard == []
    assert "REPORT" not in capfd.readouterr().err


def test_tables_of_a_load_that_works_are_a_sentence(copied, heard, capfd):
    reply = []
    load(damaged(copied(), more), device="cpu", announce=reply.append)
    (sentence,) = reply
    assert "holds 7 tensors that the model has no place for (the first is odd.0)" in sentence
    assert heard == []
    assert "REPORT" not in capfd.readouterr().err


def test_other_threads_and_libraries_are_heard(heard):
    ours, theirs = logging.getLogger("transformers.modeling_utils"), logging.getLogger("elsewhere")
    with mute_loggers("transformers"):
        ours.warning("a table")
        theirs.warning("theirs")
        thread = threading.Thread(target=ours.warning, args=("another thread",))
        thread.start()
        thread.join()
    ours.warning("after")
    assert "a table" not in heard
    assert {"theirs", "another thread", "after"} <= set(heard)


def test_hushing_ends_with_an_exception():
    handlers = [*logging.getLogger("transformers").handlers, *logging.getLogger().handlers]
    before = [list(handler.filters) for handler in handlers]
    with pytest.raises(KeyError), mute_loggers("transformers"):
        raise KeyError
    assert [list(handler.filters) for handler in handlers] == before


# -- a hub that does not answer --------------------------------------------------------------------------------------


@pytest.fixture(params=["silent", "refusing", "unknown name", "garbage", "slow name"])
def far_hub(request, monkeypatch, tmp_path):
    """A hub that cannot be reached, in one of the ways in which that shows."""
    import huggingface_hub.constants as constants

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    if request.param == "refusing":
        listening.close()
    elif request.param == "unknown name":
        address = "http://no-such-hub.invalid"
    elif request.param == "slow name":
        found = socket.getaddrinfo

        def slow(*args, **kwargs):
            time.sleep(30)
            return found(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
    elif request.param == "garbage":

        def answer():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.sendall(b"go away\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield
    listening.close()


@pytest.mark.parametrize("what", [load, load_config])
def test_a_hub_out_of_reach_is_one_line_within_five_seconds(far_hub, what, capfd):
    refuse(lambda: what("org/name"), "org/name", "hub cannot be reached", "check the path or the network", within=5)
    assert capfd.readouterr().err == ""


def test_the_wait_is_as_long_as_its_variable_says(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        refuse(lambda: load("org/name"), "org/name", within=2)


def test_a_config_is_taken_from_the_cache_when_the_hub_is_far(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    snapshot = tmp_path / "models--org--name" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("c0ffee")
    shutil.copy2(checkpoint_path() / CONFIG, snapshot / CONFIG)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert load_config("org/name").model_type == "llava_next"


def test_a_refusal_comes_before_models_are_imported():
    """What a load is refused for is known without the modules that run models, whose import takes seconds."""
    late = ("todre.pruning", "todre.hf.versions")
    code = f"import sys, todre.loading.model; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
