"""`python -m agentic_vlm.ask IMAGE QUESTION`: one episode on your picture, shown as it happens.

The loop, the tools and the prompts are those of training and evaluation. Nothing is written but the
pictures that `--save` asks for.
"""

import argparse
import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.runtime import open_runtime
from agentic_vlm.agent.task import EpisodeTask, episode_seed
from agentic_vlm.backends.base import ChatMessage, Completion, Policy, Request, SamplingParams
from agentic_vlm.errors import AgenticError, ArtifactMissing, ImageError, ParamsError
from agentic_vlm.params import Params, VisionParams, load_params
from agentic_vlm.schema import ImageRef, ProbeMode, Role, StopReason, Trajectory, content_id
from agentic_vlm.tools.toolbox import Toolbox
from agentic_vlm.vision import decode_image, encode_png, to_rgb

Say = Callable[[str], None]
"""Takes each piece of text as it comes."""

_MODELS = ("models/rl", "models/sft", "models/base")
_CORPUS = "data/corpus"
_SEARCH_TOOLS = {"search", "image_search"}


class Narrator:
    """A policy that tells what another one writes, and what the tools answer, turn by turn."""

    def __init__(self, policy: Policy, *, say: Say, save: Path | None = None) -> None:
        """Wrap a policy.

        Args:
            policy: who acts.
            say: takes the text.
            save: folder for the pictures that tools hand back; absent for none.
        """
        self.policy_id = policy.policy_id
        self._policy = policy
        self._say = say
        self._save = save
        self._num_told = 0
        self._num_pictures = 0

    async def complete(self, request: Request, params: SamplingParams) -> Completion:
        """Tell the observations that are new, then the completion."""
        for message in request.messages[self._num_told :]:
            # The first turn shows what the user has just typed.
            if message.role is Role.USER and request.turn > 0:
                self._tell_observation(message, request.turn)
        # The completion itself is the next message; it has been told by then.
        self._num_told = len(request.messages) + 1
        completion = await self._policy.complete(request, params)
        self._say(f"--- turn {request.turn + 1}\n{request.assistant_prefix}{completion.text}\n")
        return completion

    def expect(self, num_episodes: int) -> None:
        """Pass on."""
        self._policy.expect(num_episodes)

    def done(self, episode_id: str) -> None:
        """Pass on."""
        self._policy.done(episode_id)

    async def close(self) -> None:
        """Pass on."""
        await self._policy.close()

    def _tell_observation(self, message: ChatMessage, turn: int) -> None:
        self._say(f"--- observation {turn}\n{message.text}\n")
        for part in message.parts:
            if isinstance(part, Image.Image):
                self._num_pictures += 1
                self._tell_picture(part, f"turn{turn}_picture{self._num_pictures}.png")

    def _tell_picture(self, picture: Image.Image, name: str) -> None:
        size = f"{picture.width} x {picture.height} px"
        if self._save is None:
            self._say(f"[picture, {size}; --save DIR keeps it]\n")
            return
        self._save.mkdir(parents=True, exist_ok=True)
        path = self._save / name
        path.write_bytes(encode_png(picture))
        self._say(f"[picture, {size}: {path}]\n")


def find_model(root: Path) -> Path:
    """Return the folder of the furthest trained model: rl, else sft, else base.

    Raises:
        ArtifactMissing: there is none.
    """
    for name in _MODELS:
        if (root / name / "config.json").exists():
            return root / name
    fix = "run `make reproduce`, or `git checkout models/base`, or give --model DIR"
    raise ArtifactMissing(str(root / "models"), "no checkpoint here", fix)


def open_picture(path: Path, *, limits: VisionParams) -> Image.Image:
    """Read a picture of any format as RGB.

    Raises:
        ImageError: it is missing, broken or outside the limits.
    """
    try:
        encoded = path.read_bytes()
    except OSError as fault:
        what = fault.strerror or type(fault).__name__
        raise ImageError(str(path), what, "give the path of a picture file") from fault
    picture = to_rgb(decode_image(encoded, where=str(path)))
    short, long = min(picture.size), max(picture.size)
    is_outside = short < limits.min_side_px or long > limits.max_side_px
    if is_outside or long > limits.max_ratio * short:
        raise ImageError(
            str(path),
            f"{picture.width} x {picture.height} px are outside the limits",
            f"sides from {limits.min_side_px} to {limits.max_side_px} px, ratio up to "
            f"{limits.max_ratio:.0f}; section vision of params.yaml",
        )
    return picture


def make_task(picture: Image.Image, question: str, *, mode: ProbeMode, seed: int) -> EpisodeTask:
    """Return the episode that asks the question about the picture.

    Raises:
        ParamsError: the question is empty.
    """
    if not question.strip():
        raise ParamsError("QUESTION", "empty", "put the question in quotes")
    sha256 = hashlib.sha256(encode_png(picture)).hexdigest()
    sample_id = content_id(question, sha256)
    return EpisodeTask(
        sample_id=sample_id,
        question=question,
        images=(picture,),
        image_refs=(ImageRef(sha256=sha256, width_px=picture.width, height_px=picture.height),),
        mode=mode,
        attempt=0,
        seed=episode_seed(seed, sample_id=sample_id, mode=mode, attempt=0),
        stage="ask",
    )


async def ask(
    task: EpisodeTask,
    *,
    params: Params,
    checkpoint: Path,
    corpus: Path,
    temperature: float,
    say: Say,
    save: Path | None = None,
) -> Trajectory:
    """Run the episode and tell it as it happens.

    Args:
        task: what is asked.
        params: limits, tools and prompt.
        checkpoint: folder with weights, processor and `card.json`.
        corpus: what the search tools search; where it is missing, a search ends the episode.
        temperature: of sampling; 0 is greedy.
        say: takes the text.
        save: folder for the pictures that tools hand back.
    """
    async with open_runtime(params, checkpoint=checkpoint, corpus=corpus) as runtime:
        narrator = Narrator(runtime.policy, say=say, save=save)
        narrator.expect(1)
        episode = await run_episode(
            task,
            policy=narrator,
            toolbox=Toolbox.for_episode(runtime.kit, images=task.images, seed=task.seed),
            renderer=runtime.renderer,
            params=params.agent,
            temperature=temperature,
        )
        narrator.done(task.episode_id(narrator.policy_id))
    return episode.trajectory


def describe_end(trajectory: Trajectory) -> str:
    """Return the last lines: the answer, or why there is none."""
    calls = f"{trajectory.num_calls} tool call{'' if trajectory.num_calls == 1 else 's'}"
    if trajectory.answer is not None:
        return f"=== answer: {trajectory.answer}   ({len(trajectory.turns)} turns, {calls})"
    reasons = {
        StopReason.NO_ACTION: "two turns in a row asked for nothing that can be understood",
        StopReason.TURN_LIMIT: "the last allowed turn ended without one (agent.max_turns)",
        StopReason.LENGTH: "the text grew too long (agent.max_turn_tokens, max_context_tokens)",
        StopReason.INFRASTRUCTURE: "a tool is out of order",
    }
    return f"=== no answer: {reasons[trajectory.stop_reason]}   ({calls})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one question; return 0, or 1 with two lines that say what to do."""
    options = _parser().parse_args(arguments)
    try:
        trajectory = _run(options)
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _say(f"{describe_end(trajectory)}\n")
    if trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        sys.stderr.write(f"{trajectory.failure}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> Trajectory:
    root: Path = options.root
    params = load_params(root / "params.yaml")
    picture = open_picture(options.image, limits=params.vision)
    mode = ProbeMode.DIRECT if options.direct else ProbeMode.AGENT
    task = make_task(picture, options.question, mode=mode, seed=options.seed)
    checkpoint: Path = options.model or find_model(root)
    _say(f"model {checkpoint}, picture {picture.width} x {picture.height} px\n")
    corpus = root / _CORPUS
    may_search = mode is ProbeMode.AGENT and bool(_SEARCH_TOOLS & set(params.agent.tools))
    if may_search and params.search.type == "local" and not corpus.exists():
        _say(
            f"{corpus}: no search corpus here, so a search will end the episode\n"
            "  fix: python -m stages.ingest\n"
        )
    return asyncio.run(
        ask(
            task,
            params=params,
            checkpoint=checkpoint,
            corpus=corpus,
            temperature=options.temperature,
            say=_say,
            save=options.save,
        )
    )


def _say(text: str) -> None:
    # A model may write anything; control characters could rewrite what the terminal shows.
    sys.stdout.write(re.sub(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]", "?", text))
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentic_vlm.ask",
        description="Ask a trained model about a picture and watch it think, run code and search.",
        epilog="Example: python -m agentic_vlm.ask photo.jpg 'What is on the sign?' --save out",
    )
    parser.add_argument("image", type=Path, help="picture file: PNG, JPEG, WebP, ...")
    parser.add_argument("question", help="the question")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="checkpoint; default models/rl, else sft, base"
    )
    parser.add_argument("--direct", action="store_true", help="answer at once, without tools")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 (default) is greedy")
    parser.add_argument(
        "--seed", type=int, default=0, help="of sampling; matters above temperature 0"
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the pictures of the tools")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
    return parser


if __name__ == "__main__":
    sys.exit(main())
