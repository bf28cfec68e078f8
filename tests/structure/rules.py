"""Structure rules of the package, which no general linter knows; `make lint` runs this file.

The directions between rooms are the layers contract in pyproject.toml, which import-linter checks.

    python tests/structure/rules.py [FOLDER]    FOLDER holds the package's modules: src/todre if left out
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "todre"
CORE = ("tensors", "methods", "hf", "tower", "runtime", "select")
"""Rooms whose files, with those at the root, have names that are used once."""
MOST_AT_ROOT = 16
MOST_LINES = 300
MOST_IN_FIRST_LINE = 80

TRANSFORMERS_ROOM = "hf"
TRANSFORMERS_WORDS = (
    *("input_ids", "attention_mask", "position_ids", "inputs_embeds", "pixel_values", "image_sizes"),
    *("image_grid_thw", "video_grid_thw", "hidden_states", "position_embeddings", "cu_seqlens", "max_seqlen"),
    *("grid_thw", "window_index", "use_cache", "logits_to_keep", "mm_encoder_outputs", "deepstack_visual_embeds"),
    *("past_key_values", "last_hidden_state", "pooler_output", "get_decoder", "base_model", "_attn_implementation"),
    *("layer_types", "vision_feature_layer", "rotary_emb", "is_initialized", "cumulative_length", "s_aux", "softcap"),
    *("ALL_ATTENTION_FUNCTIONS", "get_anyres_image_grid_shape", "pack_image_features", "image_size_to_num_patches"),
    "create_masks_for_generate",
)
"""Keywords and attributes of transformers, which one room may spell, in code, text and comments."""

LONG_FILES: dict[str, int] = {}
"""Files that may have more than `MOST_LINES` lines, and how many."""
SPELLED: dict[str, tuple[str, ...]] = {
    # Public parameters and fields of `todre.prune_embeddings`, named as those of `generate` that they go with.
    "embeddings.py": ("attention_mask", "position_ids"),
    # A function of Ray.
    "batch/on_ray.py": ("is_initialized",),
}
"""Words of transformers that a file outside its room may spell, with a reason beside each entry."""


@dataclass(frozen=True)
class Exceptions:
    """Exceptions to the rules, by file relative to the package.

    Attributes:
        long_files: how many lines a file may have.
        spelled: the words of transformers that a file may spell.
    """

    long_files: dict[str, int] = field(default_factory=dict)
    spelled: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        path: of its file, relative to the package's folder.
        name: as it is imported, such as `todre.hf.calls`.
        text: of its file.
    """

    path: Path
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, filename=str(self.path))


def read_modules(package: Path) -> list[Module]:
    """Every module below the folder `package`, whose own name is the package's."""
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        parts = [package.name, *relative.with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(relative, name, path.read_text(encoding="utf-8")))
    return found


def imported(module: Module, known: frozenset[str]) -> set[str]:
    """Modules of `known` that `module` imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return (found & known) - {module.name}


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """Name of what an import names by dots from where the module is."""
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if module.path.name != "__init__.py":
        package = package[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def find_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, each sorted; every pair in a group is reachable both ways."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return [list(group) for group in sorted(groups) if group]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        fresh = graph[ahead.pop()] - seen
        seen |= fresh
        ahead.extend(fresh)
    return seen


def circles(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """Modules that import one another, counting lazy and TYPE_CHECKING imports."""
    known = frozenset(module.name for module in modules)
    for group in find_circles({module.name: imported(module, known) for module in modules}):
        yield f"these modules import one another; let the imports run one way: {', '.join(group)}"


def crowded_root(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """More modules at the package's root than there may be."""
    at_root = [module.path.name for module in modules if len(module.path.parts) == 1]
    if len(at_root) > MOST_AT_ROOT:
        yield f"{len(at_root)} modules lie at the root, at most {MOST_AT_ROOT} may: {', '.join(at_root)}"


def names_used_twice(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """File names that two core rooms use."""
    places = defaultdict(list)
    for module in modules:
        parts = module.path.parts
        if parts[-1] != "__init__.py" and (len(parts) == 1 or parts[0] in CORE):
            places[parts[-1]].append(module.path.as_posix())
    for name, paths in sorted(places.items()):
        if len(paths) > 1:
            yield f"the file name {name} is used twice in the core rooms: {', '.join(paths)}"


def long_files(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """Files with too many lines, and exceptions that no file needs."""
    needed = set()
    for module in modules:
        path, lines = module.path.as_posix(), len(module.text.splitlines())
        if lines > MOST_LINES:
            needed.add(path)
            most = exceptions.long_files.get(path, MOST_LINES)
            if lines > most:
                yield f"{path} has {lines} lines, at most {most} are allowed"
    for path in sorted(exceptions.long_files.keys() - needed):
        yield f"{path} needs no exception for its length; take it out of LONG_FILES"


def spelled_words(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """Words of transformers outside its room, and exceptions that no file needs."""
    pattern = re.compile(rf"(?<!\w)({'|'.join(TRANSFORMERS_WORDS)})(?!\w)")
    spelled = defaultdict(set)
    for module in modules:
        path = module.path.as_posix()
        if module.path.parts[0] == TRANSFORMERS_ROOM:
            continue
        for number, line in enumerate(module.text.splitlines(), 1):
            for word in dict.fromkeys(pattern.findall(line)):
                spelled[path].add(word)
                if word not in exceptions.spelled.get(path, ()):
                    yield f"{path}:{number} spells transformers' {word}, which only {TRANSFORMERS_ROOM}/ may"
    for path, words in sorted(exceptions.spelled.items()):
        for word in sorted(set(words) - spelled[path]):
            yield f"{path} does not spell {word}; take it out of SPELLED"


def first_lines(modules: list[Module], exceptions: Exceptions) -> Iterator[str]:
    """Docstrings, of attributes too, whose first line is too long or does not end with a period."""
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
                continue
            if not isinstance(node.value.value, str):
                continue
            first, _, _ = node.value.value.partition("\n")
            place = f"{module.path.as_posix()}:{node.lineno}"
            if len(first) > MOST_IN_FIRST_LINE:
                of = f"{len(first)} of at most {MOST_IN_FIRST_LINE}"
                yield f"{place} has a docstring with {of} characters in its first line"
            elif not first.rstrip().endswith("."):
                yield f"{place} has a docstring whose first line does not end with a period"


RULES: tuple[Callable[[list[Module], Exceptions], Iterator[str]], ...] = (
    *(circles, crowded_root, names_used_twice, long_files, spelled_words, first_lines),
)


def violations(package: Path = PACKAGE, exceptions: Exceptions | None = None) -> list[str]:
    """What breaks the rules, one line each; nothing if the structure holds."""
    allowed = Exceptions(LONG_FILES, SPELLED) if exceptions is None else exceptions
    modules = read_modules(package)
    return [line for rule in RULES for line in rule(modules, allowed)]


def main(arguments: list[str]) -> int:
    """Print what breaks the rules; 1 if anything does. The exceptions hold for this package alone."""
    found = violations(Path(arguments[0]), Exceptions()) if arguments else violations()
    for line in found:
        print(line)
    print(f"Structure: {len(found)} violations." if found else "Structure: all rules hold.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
