"""`python -m agentic_vlm.serve`: the agent as an OpenAI-compatible chat endpoint."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from agentic_vlm.agent.runtime import Runtime, open_kit, open_runtime
from agentic_vlm.errors import AgenticError, ArtifactMissing, ParamsError
from agentic_vlm.params import Params, load_params
from agentic_vlm.serve.access import LOOPBACK
from agentic_vlm.serve.app import Service, create_app
from agentic_vlm.serve.limits import Limits

KEY_VARIABLE = "AGENTIC_SERVE_KEY"
_POLICY_KEY_VARIABLE = "AGENTIC_POLICY_KEY"
_MODELS = ("rl", "sft", "base")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return 0, or 1 with two lines that say what to do."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options))
    except AgenticError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(options: argparse.Namespace) -> None:
    root: Path = options.root
    key = os.environ.get(KEY_VARIABLE) or None
    _check_host(options.host, key)
    params = _params(load_params(root / "params.yaml"), options)
    limits = Limits(
        max_running=options.max_running,
        max_waiting=options.max_waiting,
        deadline_s=options.deadline_s,
    )
    listener = _listen(options.host, options.port)
    async with _open(options, params, root) as runtime:
        service = Service(runtime, params, options.name, limits, key)
        config = uvicorn.Config(create_app(service), log_level="warning", timeout_keep_alive=30)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/v1 serves {options.name}", flush=True)
        print(f"key: {'as in ' + KEY_VARIABLE if key else 'none needed'}", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


def _check_host(host: str, key: str | None) -> None:
    if key is None and host not in LOOPBACK:
        what = "other machines could run code here without a key"
        raise ParamsError(f"--host {host}", what, f"set {KEY_VARIABLE}, or leave --host out")


def _params(params: Params, options: argparse.Namespace) -> Params:
    """Return the params of a server: turns of whoever is there are answered together."""
    agent = params.agent.model_copy(
        update={"deterministic": False, "max_concurrent": options.max_running}
    )
    return params.model_copy(update={"agent": agent})


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as fault:
        what = fault.strerror or str(fault)
        raise ParamsError(f"--port {port}", what, "choose another, or 0 for any") from fault
    return listener


@asynccontextmanager
async def _open(options: argparse.Namespace, params: Params, root: Path) -> AsyncIterator[Runtime]:
    corpus = root / "data" / "corpus"
    if options.policy_url:
        from agentic_vlm.backends.openai_http import build_openai

        policy = build_openai(
            options.name,
            base_url=options.policy_url,
            api_key=os.environ.get(_POLICY_KEY_VARIABLE, "none"),
            continues_messages=options.continues_messages,
        )
        async with open_kit(params, corpus=corpus) as kit:
            try:
                yield Runtime(policy, None, kit)
            finally:
                await policy.close()
        return
    checkpoint: Path = options.model or _find_model(root)
    async with open_runtime(params, checkpoint=checkpoint, corpus=corpus) as runtime:
        yield runtime


def _find_model(root: Path) -> Path:
    for name in _MODELS:
        if (root / "models" / name / "config.json").exists():
            return root / "models" / name
    fix = "run `make reproduce`, or give --model DIR"
    raise ArtifactMissing(str(root / "models"), "no checkpoint here", fix)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.serve",
        description="Serve the agent (loop, tools, one checkpoint) as an OpenAI-compatible API.",
        epilog=f"Example: {KEY_VARIABLE}=... python -m agentic_vlm.serve --port 8000",
    )
    parser.add_argument("--host", default="127.0.0.1", help="others need a key in the environment")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one")
    parser.add_argument("--model", type=Path, metavar="DIR", help="default models/rl, sft, base")
    parser.add_argument("--name", default="agent", help="name under which clients ask for it")
    parser.add_argument("--policy-url", metavar="URL", help="the weights are behind this server")
    parser.add_argument(
        "--continues-messages", action="store_true", help="that server can go on with a pre-fill"
    )
    limits = Limits()
    parser.add_argument("--max-running", type=int, default=limits.max_running, metavar="N")
    parser.add_argument("--max-waiting", type=int, default=limits.max_waiting, metavar="N")
    parser.add_argument("--deadline-s", type=float, default=limits.deadline_s, metavar="S")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
