"""load: the shipped model, a folder, the hub; safetensors alone; one clear sentence for everything that is no model."""

import json
import os
import shutil
import socket
import types
from pathlib import Path

import pytest
import torch

from todre import hub
from todre.errors import InvalidValueError, LoadError, MissingDependencyError
from todre.loading import model as loading
from todre.loading.model import load, load_config
from todre.tiny import checkpoint_path


@pytest.fixture
def copy(tmp_path):
    """A private copy of the shipped checkpoint to damage; big files are linked."""

    def build(*without):
        folder = tmp_path / "model"
        shutil.copytree(checkpoint_path(), folder, copy_function=_link, ignore=shutil.ignore_patterns(*without))
        return folder

    return build


def _link(source, target):
    if str(source).endswith(".safetensors"):
        os.symlink(source, target)
    else:
        shutil.copy2(source, target)


def refuse(error, *words, model=None, **options):
    with pytest.raises(error) as caught:
        load(model, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to open a connection is recorded, and fails."""
    attempts = []

    def connect(self, address, *_):
        attempts.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: connect(None, args))
    return attempts


def test_shipped_model_loads_without_network(no_network):
    loaded = load(device="cpu")
    assert no_network == []
    assert not loaded.model.training
    assert loaded.model.dtype == torch.float32
    facts = loaded.facts()
    assert facts["id"] == loading.SHIPPED
    assert facts["revision"] is None
    assert facts["image_processor_backend"] == "pil"
    assert facts["attn_implementation"] == "sdpa"


def test_folder_loads_without_network(no_network, copy):
    folder = copy()
    loaded = load(folder, device="cpu", dtype="bfloat16", attn_implementation="eager")
    assert no_network == []
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.facts() == loaded.facts() | {"id": str(folder), "dtype": "bfloat16", "attn_implementation": "eager"}


def test_folder_without_config(tmp_path):
    refuse(LoadError, "no config.json", model=str(tmp_path))


def test_file_is_no_model(copy):
    refuse(LoadError, "is a file", model=str(copy() / "config.json"))


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "a b", "~/nowhere-at-all", "x/y/z", Path("nowhere"), "", " "]
)
def test_path_that_is_not_there(name):
    refuse(LoadError, "neither a folder nor a hub id", model=name)


@pytest.mark.parametrize(
    ("text", "word"), [("{", "cannot be read"), ("[]", "model_type"), ("{}", "model_type"), ("", "cannot be read")]
)
def test_broken_config(copy, text, word):
    folder = copy()
    (folder / "config.json").write_text(text)
    refuse(LoadError, word, model=folder)


def test_language_model_alone(copy):
    folder = copy()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    refuse(LoadError, "'llama'", "not a vision-language model", model=folder)


def test_model_with_its_own_code(copy):
    folder = copy()
    (folder / "config.json").write_text(json.dumps({"model_type": "novel", "auto_map": {"AutoConfig": "a.B"}}))
    refuse(LoadError, "'novel'", "--trust-remote-code", model=folder)


def test_pickled_weights_are_not_read(copy):
    folder = copy("*.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refuse(LoadError, "no *.safetensors weights", "pytorch_model.bin", model=folder)


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_truncated_weights(copy, size):
    folder = copy("*.safetensors")
    (folder / "model.safetensors").write_bytes((checkpoint_path() / "model.safetensors").read_bytes()[:size])
    refuse(LoadError, "weights", "complete copy", model=folder)


def test_missing_tensors_are_not_made_up(copy):
    from safetensors.torch import load_file, save_file

    folder = copy("*.safetensors")
    tensors = load_file(checkpoint_path() / "model.safetensors")
    gone = next(name for name in tensors if "layers.3" in name and "q_proj" in name)
    save_file({name: value for name, value in tensors.items() if name != gone}, folder / "model.safetensors")
    refuse(LoadError, "lack 1 tensors", "q_proj", model=folder)


def test_weights_of_another_shape(copy):
    folder = copy()
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] = 96
    (folder / "config.json").write_text(json.dumps(config))
    refuse(LoadError, "weights", model=folder)


@pytest.mark.parametrize("missing", ["tokenizer.json", "processor_config.json"])
def test_missing_processor(copy, missing):
    refuse(LoadError, "no usable processor", "tokenizer.json", model=copy(missing))


def test_tokenizer_where_a_processor_is_needed(monkeypatch):
    lone = types.SimpleNamespace(image_processor=None, tokenizer=None)
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: lone)
    refuse(LoadError, "image processor and tokenizer are needed")


def test_processor_that_needs_another_package(monkeypatch):
    def fail(*_, **__):
        raise ImportError("\nVideoProcessor requires the Torchvision library")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", fail)
    refuse(MissingDependencyError, "todre[vlm]", "Torchvision")


def test_unusable_device_dtype_attention():
    refuse(InvalidValueError, "'toaster'", device="toaster")
    refuse(InvalidValueError, "'cuda:99'", device="cuda:99")
    refuse(InvalidValueError, "'float8'", dtype="float8")
    refuse(InvalidValueError, "'magic'", attn_implementation="magic", device="cpu")
    refuse(InvalidValueError, "'flash_attention_2'", attn_implementation="flash_attention_2", device="cpu")


def test_config_alone():
    assert load_config().model_type == "llava_next"
    with pytest.raises(LoadError, match="neither a folder nor a hub id"):
        load_config("x/y/z")


def test_config_that_transformers_does_not_know(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "novel"}))
    with pytest.raises(LoadError, match="cannot be loaded"):
        load_config(tmp_path)


# -- the hub, played by objects with its interface -------------------------------------------------------------------


class Hub:
    """What todre uses of huggingface_hub: model_info, snapshot_download, try_to_load_from_cache."""

    def __init__(self, monkeypatch, files, folder, cached=(), error=None):
        self.files, self.folder, self.cached, self.error = files, folder, cached, error
        self.downloads, self.events = [], []
        api = types.SimpleNamespace(model_info=self.model_info)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.snapshot_download)
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", self.try_to_load_from_cache)

    def model_info(self, repo_id, revision=None, files_metadata=False, timeout=None):
        assert files_metadata
        if self.error is not None:
            raise self.error
        siblings = [types.SimpleNamespace(rfilename=name, size=size) for name, size in self.files.items()]
        return types.SimpleNamespace(sha="c0ffee", siblings=siblings)

    def snapshot_download(self, repo_id, revision=None, allow_patterns=None, local_files_only=False):
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("nothing cached")
        self.events.append("download")
        self.downloads.append((repo_id, revision, allow_patterns))
        if isinstance(self.folder, Exception):
            raise self.folder
        return str(self.folder)

    def try_to_load_from_cache(self, repo_id, filename, revision=None):
        return filename if filename in self.cached else None


FILES = {
    "config.json": 1000,
    "model-00001-of-00002.safetensors": 4_000_000_000,
    "model-00002-of-00002.safetensors": 1_200_000_000,
    "model.safetensors.index.json": 2000,
    "tokenizer.json": 3000,
    "chat_template.jinja": 100,
    "README.md": 5000,
    "pytorch_model.bin": 9_000_000_000,
    "pytorch_model.bin.index.json": 9_000_000,
    "consolidated.safetensors": 9_000_000_000,
    "original/model.safetensors": 9_000_000_000,
    "modeling_novel.py": 700,
}


def test_hub_says_the_size_before_it_downloads(monkeypatch, tmp_path):
    folder = tmp_path / "c0ffee"
    shutil.copytree(checkpoint_path(), folder, copy_function=_link)
    fake = Hub(monkeypatch, FILES, folder)
    loaded = load("org/name", device="cpu", announce=fake.events.append)
    assert fake.events == ["downloading 6 files of org/name, 5.2 GB", "download"]
    ((_, revision, wanted),) = fake.downloads
    assert (revision, loaded.revision) == (None, "c0ffee")
    assert set(wanted) == set(list(FILES)[:6])
    assert loaded.facts()["id"] == "org/name"


def test_hub_takes_code_only_when_trusted(monkeypatch):
    fake = Hub(monkeypatch, FILES, checkpoint_path())
    hub.fetch("org/name", None, code=True, announce=lambda sentence: None)
    assert "modeling_novel.py" in fake.downloads[0][2]


def test_hub_says_nothing_when_all_is_cached(monkeypatch):
    fake = Hub(monkeypatch, FILES, checkpoint_path(), cached=tuple(FILES))
    load("org/name", device="cpu", announce=fake.events.append)
    assert fake.events == ["download"]


def test_hub_without_safetensors(monkeypatch):
    Hub(monkeypatch, {"config.json": 1, "pytorch_model.bin": 9}, checkpoint_path())
    refuse(LoadError, "no weights in the safetensors format", model="org/name")


def test_hub_out_of_reach_uses_the_cache(monkeypatch, tmp_path):
    folder = tmp_path / "c0ffee"
    shutil.copytree(checkpoint_path(), folder, copy_function=_link)
    Hub(monkeypatch, FILES, folder, cached=("x",), error=OSError("no route"))
    assert load("org/name", device="cpu").revision == "c0ffee"


def test_hub_out_of_reach_and_nothing_cached(monkeypatch):
    Hub(monkeypatch, FILES, checkpoint_path(), error=OSError("no route to host"))
    refuse(LoadError, "no route to host", "neither a folder here nor in the download cache", model="org/name")


def test_hub_download_that_breaks_off(monkeypatch):
    Hub(monkeypatch, FILES, OSError("disk full"))
    refuse(LoadError, "disk full", "resume", model="org/name")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("RepositoryNotFoundError", "no model 'org/name'"),
        ("GatedRepoError", "gated"),
        ("RevisionNotFoundError", "revision"),
        ("HFValidationError", "neither a folder nor a hub id"),
    ],
)
def test_hub_refusals(monkeypatch, kind, word):
    import huggingface_hub.errors as errors

    cls = getattr(errors, kind)
    Hub(monkeypatch, FILES, checkpoint_path(), error=cls.__new__(cls))
    refuse(LoadError, word, model="org/name")


def test_sizes_for_people():
    assert [hub.decimal_bytes(n) for n in (12, 1500, 2_000_000, 5_203_000_000, 7 * 10**12)] == [
        "12 B", "1.5 kB", "2.0 MB", "5.2 GB", "7000.0 GB"
    ]  # fmt: skip


@pytest.mark.parametrize("model", [None, "todre-tiny", "folder"])
def test_a_revision_of_what_is_not_on_the_hub_is_refused(model):
    with pytest.raises(InvalidValueError, match=r"revision 'v2' names a commit on the hub, and .* leave it out"):
        load(checkpoint_path() if model == "folder" else model, revision="v2", device="cpu")


def test_an_adapter_without_its_package_is_refused(tmp_path, monkeypatch):
    import importlib.util

    folder = tmp_path / "model"
    shutil.copytree(checkpoint_path(), folder)
    (folder / "adapter_config.json").write_text("{}")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else found(name, *more))
    with pytest.raises(MissingDependencyError, match=r"has an adapter \(adapter_config.json\), which needs .* peft"):
        load(folder, device="cpu")


def test_what_a_load_has_to_say_is_logged(tmp_path, caplog):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(checkpoint_path(), folder)
    weights = next(folder.glob("*.safetensors"))
    save_file(load_file(weights) | {"of.another.model": torch.zeros(1)}, weights, metadata={"format": "pt"})
    load(folder, device="cpu")
    assert any("of.another.model" in record.getMessage() for record in caplog.records)
