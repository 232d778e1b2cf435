# SPDX-License-Identifier: Apache-2.0
"""The byte corpus of the example models: Python documentation and docstrings.

Two sources, both covered by the PSF licence:

* the reST sources of the Python documentation, as installed by Debian's
  ``python3.X-doc`` package (folders library, reference, tutorial, howto, faq);
* the docstrings of the standard library of the running interpreter, found with
  ``ast`` (no module is imported).

The order of the files is fixed (sorted names) and the train / held-out split
is decided by a hash of each file's *topic*: for ``library/`` pages and for
docstrings that is the module's first name, so that the page ``heapq.rst`` and
the docstrings of ``heapq.py`` fall on the same side; for other pages it is the
file's relative name.
"""
from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path

DOC_PARTS = ("library", "reference", "tutorial", "howto", "faq")
SKIP_DIRS = {"test", "tests", "idle_test", "site-packages", "__pycache__", "ensurepip",
             "lib2to3", "turtledemo", "pydoc_data"}
HELDOUT_BUCKETS = 24  # one topic in 24 is held out
WINDOW = 256
EXCERPT_BYTES = 32768  # 8 chunks of 4096 bytes: a whole number of windows
MISSING_DOCS = """\
The reST sources of the Python documentation were not found. Looked for
  {looked}
On Debian or Ubuntu:  apt-get install python3-doc   (or python3.11-doc)
or give the folder that holds library/*.rst[.txt] with --doc-sources."""


@dataclass
class Corpus:
    train: bytes
    heldout: bytes
    excerpt: bytes
    description: dict


def find_doc_sources(given: str | None = None) -> Path:
    """The folder of the reST sources; a clear SystemExit when there is none."""
    if given:
        candidates = [Path(given)]
    else:
        root = Path("/usr/share/doc")
        candidates = [root / "python3.11/html/_sources"]
        candidates += sorted(root.glob("python3*/html/_sources"))
    for folder in candidates:
        if any((folder / "library").glob("*.rst*")):
            return folder
    looked = "\n  ".join(str(c / "library") for c in candidates)
    raise SystemExit(MISSING_DOCS.format(looked=looked))


def doc_pages(sources: Path):
    for part in DOC_PARTS:
        for path in sorted((sources / part).glob("*.rst*")):
            name = f"{part}/{path.name.split('.rst')[0]}.rst"
            yield name, path.read_text("utf-8", "replace")


def docstrings_of(source: str) -> str:
    """Every docstring of a module, each after the name it belongs to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    parts = []

    def visit(node, prefix):
        text = ast.get_docstring(node)
        if text:
            parts.append(f"{prefix}\n\n{text}\n\n" if prefix else f"{text}\n\n")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                visit(child, f"{prefix}.{child.name}" if prefix else child.name)

    visit(tree, "")
    return "\n".join(parts)


def library_docstrings():
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if SKIP_DIRS & set(relative.parts) or relative.parts[0].startswith("config-"):
            continue
        try:
            text = docstrings_of(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        if len(text) >= 200:
            yield f"docstrings/{relative.as_posix()}", text


def topic(name: str) -> str:
    part, rest = name.split("/", 1)
    if part in ("library", "docstrings"):
        return re.split(r"[./\-]", rest.lstrip("_"))[0].lower()
    return name


def is_heldout(name: str) -> bool:
    digest = hashlib.sha256(topic(name).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELDOUT_BUCKETS == 0


def _excerpt(heldout: bytes, chunk: int = 4096) -> bytes:
    """Evenly spaced pure-ASCII chunks of the held-out text, each from a line start."""
    count, out = EXCERPT_BYTES // chunk, []
    stride = (len(heldout) - chunk) // count
    for i in range(count):
        at = i * stride
        while True:
            at = heldout.index(b"\n", at) + 1
            piece = heldout[at:at + chunk]
            if len(piece) == chunk and piece.isascii():
                break
        out.append(piece)
    return b"".join(out)


def load_corpus(doc_sources: str | None = None) -> Corpus:
    sources = find_doc_sources(doc_sources)
    train, heldout, names, counts = [], [], [], {}
    for kind, files in (("documentation", doc_pages(sources)),
                        ("docstrings", library_docstrings())):
        for name, text in files:
            data = text.replace("\r\n", "\n").expandtabs(8).encode("utf-8") + b"\n"
            held = is_heldout(name)
            (heldout if held else train).append(data)
            if held:
                names.append(name)
            key = f"{kind}_{'heldout' if held else 'train'}"
            files_bytes = counts.setdefault(key, {"files": 0, "bytes": 0})
            files_bytes["files"] += 1
            files_bytes["bytes"] += len(data)
    a, b = b"".join(train), b"".join(heldout)
    sha = {"train": hashlib.sha256(a).hexdigest(), "heldout": hashlib.sha256(b).hexdigest()}
    description = {
        "text": "reST sources of the Python documentation (" + ", ".join(DOC_PARTS)
                + ") and the docstrings of the standard library",
        "split": f"by topic: sha256(topic)[:4] % {HELDOUT_BUCKETS} == 0 is held out",
        "counts": counts, "train_bytes": len(a), "heldout_bytes": len(b), "sha256": sha,
        "heldout_files": names,
    }
    return Corpus(a, b, _excerpt(b), description)


if __name__ == "__main__":
    import json
    print(json.dumps(load_corpus().description, indent=1))
