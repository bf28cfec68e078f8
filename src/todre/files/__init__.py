"""Files: inputs are checked before use, results appear whole or not at all.

`readers` reads every file that a user names: `kind` says what a file should hold, `shapes` what its values have to be,
and `json_values` keeps JSON within limits. `writers` writes every file. `question_file` reads files of questions, and
`locations` says what the name of a picture means, and `names` puts paths and values into messages.
"""

from __future__ import annotations

from todre.files.kind import Kind
from todre.files.names import printable
from todre.files.readers import (
    check_input,
    making_sense,
    numbered,
    opened,
    parsed,
    parsed_text,
    read_bytes,
    read_finished,
    read_json,
    read_lines,
    read_text,
    sha256,
)
from todre.files.writers import (
    append,
    atomic_path,
    check_folder,
    check_target,
    check_targets,
    lock,
    new_folder,
    open_locked,
    write_atomic,
)

__all__ = [
    "Kind",
    "append",
    "atomic_path",
    "check_folder",
    "check_input",
    "check_target",
    "check_targets",
    "lock",
    "making_sense",
    "new_folder",
    "numbered",
    "open_locked",
    "opened",
    "parsed",
    "parsed_text",
    "read_bytes",
    "read_finished",
    "read_json",
    "read_lines",
    "read_text",
    "sha256",
    "printable",
    "write_atomic",
]
