"""compare, demo, flops, methods, env, version and help."""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image
from transformers import InternVLConfig

from todre.methods import registry

QUESTION = "Is there a red square in the picture?"
COMMANDS = ("ask", "bench", "compare", "demo", "flops", "methods", "models", "env", "version")
FAST = ("--max-new-tokens", "3", "--warm-up", "0", "--repeats", "1", "--device", "cpu")


def error_line(result, code, *words):
    assert (result.code, result.out) == (code, "")
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    for word in words:
        assert word in lines[0]


# -- help, and what must be quick ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_options_and_ends_with_examples(run, command):
    result = run(command, "--help")
    assert result.code == 0
    body, _, examples = result.out.partition("Examples")
    assert f"todre {command}" in body
    assert f"todre {command}" in examples


def test_no_arguments_is_help(run):
    result = run()
    assert "ask" in result.out + result.err
    assert run("ask").code == 2


LIGHT = """
import sys
from todre.cli import main
for arguments in (["--help"], ["ask", "--help"], ["bench", "--help"], ["methods"], ["methods", "todre", "--json"],
                  ["version"], ["ask", "a.png", "why?", "--retain", "0"]):
    try:
        main(arguments)
    except SystemExit:
        pass
heavy = {"torch", "transformers", "numpy", "matplotlib", "PIL"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""


def test_light_commands_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_installed_command_answers():
    done = subprocess.run(
        [sys.executable, "-c", "from todre.cli import main; main()", "version"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().count(".") == 2


# -- compare ---------------------------------------------------------------------------------------------------------


def test_compare_shows_every_method_and_draws(run, picture, tmp_path):
    drawn = tmp_path / "out.png"
    result = run("compare", picture, QUESTION, "--methods", "none,todre,todre-v1,random", "--output", drawn, *FAST)
    assert result.code == 0
    for name in ("none", "todre", "todre-v1", "random"):
        assert any(line.strip().startswith(f"{name} ") for line in result.out.splitlines())
    for heading in ("FLOPs", "KV", "prefill"):
        assert heading in result.out
    assert f"wrote {drawn}" in result.err
    assert result.err.count("todre-tiny, which ships with todre, is a toy") == 1
    with Image.open(drawn) as image:
        assert image.width > image.height


def test_compare_document(run, picture):
    result = run("compare", picture, QUESTION, "--methods", "none,cls-top-k", "--retain", "30", "--json", *FAST)
    facts = json.loads(result.out)
    assert "toy" not in result.err
    assert facts["question"] == QUESTION
    none, pruned = facts["answers"]
    assert none["method"]["method"] == "none"
    assert none["kv_bytes"] == none["kv_bytes_unpruned"] == pruned["kv_bytes_unpruned"]
    assert pruned["visual_tokens"]["after"] == 30
    assert pruned["kv_bytes"] < none["kv_bytes"]
    assert pruned["flops"]["first_token"] < none["flops"]["first_token"]
    assert pruned["images"] == none["images"]


def test_compare_runs_all_that_apply_and_says_why_others_do_not(run, picture, tmp_path):
    fitted = tmp_path / "mine.json"
    registry.save(registry.create("fitprune", deletions=(0.1,) * 7 + (0.0,)), fitted)
    result = run("compare", picture, QUESTION, "--methods", f"all,todre,{fitted}", "--json", *FAST)
    facts = json.loads(result.out)
    assert facts["answers"].pop()["method"] == json.loads(fitted.read_text())
    ran = {answer["method"]["method"] for answer in facts["answers"]}
    assert {"none", "todre", "tome", "fastv", "visionzip", "swiftvlm", "compose"} <= ran
    assert {"evs", "vidcom2", "pixelprune", "fitprune", "g-search"} <= set(facts["left_out"])
    assert len(facts["answers"]) + len(facts["left_out"]) == len(registry.names())
    assert all(reason.endswith(".") for reason in facts["left_out"].values())


def test_compare_shows_a_smaller_picture_or_says_why_not(run, tmp_path):
    large, figure = tmp_path / "large.png", tmp_path / "figure.png"
    Image.new("RGB", (192, 192), (200, 30, 30)).save(large)
    arguments = ("compare", large, QUESTION, "--methods", "none,downsample,pooling", *FAST)
    result = run(*arguments, "--retain", "0.5", "--output", figure)
    assert result.code == 0
    assert re.search(r"downsample.* 744 → 300 ", result.out)
    assert "downsample: shown as 96 × 96 pixels: 300 of 744 visual tokens" in result.err
    with Image.open(figure) as drawn:
        assert drawn.width > 300
    result = run(*arguments, "--retain", "0.1", "--json")
    facts = json.loads(result.out)
    assert [answer["method"]["method"] for answer in facts["answers"]] == ["none", "pooling"]
    assert "the fewest at any smaller size are 300" in facts["left_out"]["downsample"]


def test_commands_that_prune_beforehand_refuse_to_resize(run, picture, tmp_path):
    batch = ("batch", picture, "--question", QUESTION, "--output", tmp_path / "answers.jsonl")
    for command in (("chat",), ("serve",), batch):
        error_line(run(*command, "--method", "downsample"), 1, "todre.downsample(image, processor, model")


def test_compare_refuses_bad_lists_of_methods(run, picture):
    error_line(run("compare", picture, QUESTION, "--methods", "none,toder"), 2, "did you mean 'todre'")
    error_line(run("compare", picture, QUESTION, "--methods", " , "), 2, "no method is named")
    error_line(run("compare", picture, QUESTION, "--methods", "todre,todre"), 2, "twice")
    error_line(run("compare", picture, " "), 2, "question is empty")
    error_line(run("compare", picture, QUESTION, "--repeats", "0"), 2, "--repeats")


# -- demo ------------------------------------------------------------------------------------------------------------


def test_demo_writes_its_picture_and_names_it_last(run, tmp_path, monkeypatch):
    monkeypatch.setattr("todre.cli.demo.SETTINGS", {"max_new_tokens": 2, "warm_up": 0, "repeats": 1})
    folder = tmp_path / "new" / "folder"
    result = run("demo", "--output", folder)
    assert result.code == 0
    assert result.out.strip().splitlines()[-1].startswith(f"Wrote {folder / 'demo.png'}")
    assert result.out.count("todre-v1") == 2
    first = (folder / "demo.png").read_bytes()
    again = run("demo", "--output", folder, "--json", "--force")
    assert set(json.loads(again.out)) == {"figure", "scene", "photograph"}
    assert (folder / "demo.png").read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == ["demo.json", "demo.png", "photograph.png", "scene.png"]
    assert set(json.loads((folder / "demo.json").read_text())) == {"figure", "scene", "photograph"}


def test_demo_knows_the_truth():
    """The scene's truth is checked against the objects that were drawn."""
    from todre.cli.demo import SCENE_SEED, exhibits
    from todre.scenes import make_scene

    drawn = {(thing.colour, thing.shape) for thing in make_scene(SCENE_SEED, "val").objects}
    _, question, truth = exhibits()["scene"]
    colour, shape = question.removeprefix("Is there a ").removesuffix(" in the picture?").split()
    assert truth == ("yes" if (colour, shape) in drawn else "no")


def test_demo_refuses_a_file_as_directory(run, tmp_path):
    (tmp_path / "file").touch()
    error_line(run("demo", "--output", tmp_path / "file"), 1, "cannot be made a directory")


# -- flops -----------------------------------------------------------------------------------------------------------


def test_flops_of_the_shipped_model(run):
    result = run("flops", "--retain", "0.25")
    assert result.code == 0
    assert "744" in result.out
    assert "186 kept" in result.out
    assert "todre-eq1" in result.out


def test_flops_of_the_paper(run):
    """Table 3 of ToDRE v1: 31.4 → 6.0 T for 2250 visual tokens and 288 kept, by the profiler convention."""
    arguments = ("-m", "llava-next-7b", "--visual-tokens", "2250", "--text-tokens", "15", "--retain", "288", "--json")
    facts = json.loads(run("flops", *arguments).out)
    profiler = facts["conventions"]["profiler"]
    assert round(profiler["unpruned"] / 1e12, 1) == 31.4
    assert round(profiler["pruned"] / 1e12, 1) == 6.0


def test_flops_of_given_tokens_have_the_tiles_that_yield_them(run, tmp_path):
    one, two = (
        json.loads(run("flops", "-m", "llava-1.5-7b", "--visual-tokens", tokens, "--json").out)
        for tokens in ("576", "1152")
    )
    assert two["unpruned"]["encoder"] == 2 * one["unpruned"]["encoder"]
    vision = {"image_size": [28, 28], "patch_size": [7, 7], "hidden_size": 32, "num_hidden_layers": 2}
    InternVLConfig(vision_config=vision | {"num_attention_heads": 2, "intermediate_size": 64}).save_pretrained(tmp_path)
    few, many = (
        json.loads(run("flops", "-m", tmp_path, "--visual-tokens", tokens, "--json").out) for tokens in ("4", "9")
    )
    assert many["unpruned"]["encoder"] == 3 * few["unpruned"]["encoder"] > 0
    error_line(run("flops", "-m", tmp_path), 1, "give the number of visual tokens")


def test_flops_drop_after_and_image_size(run):
    whole = json.loads(run("flops", "--json").out)
    dropped = json.loads(run("flops", "--drop-after", "7", "--json").out)
    assert dropped["visual_tokens"]["per_layer"] == [74] * 7 + [0]
    assert dropped["pruned"]["total"] < whole["pruned"]["total"]
    small = json.loads(run("flops", "--image-size", "200x20", "--json").out)
    assert small["visual_tokens"]["before"] < whole["visual_tokens"]["before"]


def test_flops_refusals(run, tmp_path):
    error_line(run("flops", "--image-size", "big"), 2, "'big'")
    error_line(run("flops", "--drop-after", "8"), 1, "1 to 7")
    error_line(run("flops", "-m", "qwen2.5-vl-7b"), 1, "--visual-tokens")
    error_line(run("flops", "-m", tmp_path), 1, "no config.json")
    error_line(run("flops", "-m", "not an id"), 1, "neither a folder nor a hub id")
    assert run("flops", "-m", "qwen2.5-vl-7b", "--visual-tokens", "900").code == 0


# -- methods, env ----------------------------------------------------------------------------------------------------


def test_methods_lists_and_describes(run):
    listed = run("methods")
    assert listed.code == 0
    assert "2505.18757" in listed.out
    shown = run("methods", "todre-v1")
    assert "k_center" in shown.out
    assert "0.03" in shown.out
    facts = json.loads(run("methods", "--json").out)
    assert [each["name"] for each in facts][:3] == ["none", "todre", "todre-v1"]
    assert json.loads(run("methods", "random", "--json").out)["settings"]["retain"] == 0.1
    error_line(run("methods", "radnom"), 2, "did you mean 'random'")


def test_every_method_says_what_it_is(run):
    shown = run("methods", "sparsevlm").out
    for part in ("arXiv 2410.04417", "inside the LLM", "budget", "follows", "recycle"):
        assert part in shown
    for facts in json.loads(run("methods", "--json").out):
        assert {"name", "summary", "paper", "venue", "acts", "needs", "budget", "follows", "settings"} == set(facts)
        assert facts["name"] == "none" or facts["acts"]


def test_env_says_versions_and_devices(run):
    shown = run("env")
    assert shown.code == 0
    assert "transformers" in shown.out
    facts = json.loads(run("env", "--json").out)
    assert facts["versions"]["torch"]
    assert facts["torch"]["threads"] >= 1
    assert facts["cpu_count"] >= 1


def test_env_survives_a_broken_torchvision(run, monkeypatch):
    from todre.errors import MissingDependencyError

    def broken():
        raise MissingDependencyError("torchvision does not fit")

    monkeypatch.setattr("todre.environment.version", lambda name: "1.0")
    monkeypatch.setattr("todre.processing.check_torchvision", broken)
    assert json.loads(run("env", "--json").out)["torchvision"] == "torchvision does not fit"


def test_unknown_command(run):
    error_line(run("aks"), 2, "aks")


def test_closed_pipe_is_no_traceback():
    code = "from todre.cli import main; main(['methods', '--json'])"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{code}" | true'], capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr
