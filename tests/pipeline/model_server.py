"""`transformers serve` with the pocket base model, in a process that can be killed."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

_START = "from transformers.cli.transformers import main; main()"
_ADDRESS = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")
# Its reply is the text as the model wrote it: calls are parsed by the loop, not by the server.
_PLAIN_REPLY = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {"content": {"close_pattern": "<\\|im_end\\|>\\s*", "content": "text"}},
}


def copy_base(folder: Path) -> None:
    """Copy the committed base model to where a project expects it, ready to be served."""
    shutil.copytree(Path(__file__).parents[2] / "models" / "base", folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "response_template": _PLAIN_REPLY}))


class ModelServer:
    """A server started in a project, so that it knows its model as models/base."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._log = root / "server.log"
        self._port = 0
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def restart(self) -> None:
        """Kill the process without warning and start another at the same address."""
        self.kill()
        self._start()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        (self._root / "hub" / "hub").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "HF_HOME": str(self._root / "hub"), "HF_HUB_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        options = ["--trust-remote-code", "--device", "cpu", "--dtype", "float32"]
        options += ["--host", "127.0.0.1", "--port", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, "serve", "models/base", *options],
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while (found := _ADDRESS.search(self._log.read_text(errors="replace"))) is None:
            assert self._process.poll() is None, self._log.read_text(errors="replace")
            time.sleep(0.05)
        self._port = int(found[1])
