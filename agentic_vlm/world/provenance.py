"""The digest of the code that makes the pocket base model, so that its card can be checked."""

import ast
import hashlib
from importlib import resources

_MODULES = (
    ("agentic_vlm.world", "drawing.py"),
    ("agentic_vlm.world", "entities.py"),
    ("agentic_vlm.world", "scenes.py"),
    ("agentic_vlm.world", "questions.py"),
    ("agentic_vlm.world", "samples.py"),
    ("agentic_vlm.world", "script.py"),
    ("agentic_vlm.world", "exchange.py"),
    ("agentic_vlm.world", "copying.py"),
    ("agentic_vlm.world", "lessons.py"),
    ("agentic_vlm.world", "truth.py"),
    ("agentic_vlm.world", "base_model.py"),
    ("agentic_vlm.world", "processor.py"),
    ("agentic_vlm.training", "pretrain.py"),
    ("agentic_vlm.training", "pretrain_agent.py"),
    ("agentic_vlm.training", "pretrain_vision.py"),
)
_PROMPTS = ("pocket_system.md", "pocket_user.md", "direct_user.md")


def base_code_sha256() -> str:
    """Return a digest of the code and the prompts that make the base model.

    Comments, docstrings and layout do not count: they change no result.
    """
    digest = hashlib.sha256()
    for package, name in _MODULES:
        source = resources.files(package).joinpath(name).read_text(encoding="utf-8")
        digest.update(f"{name}\n{_canonical(source)}\n".encode())
    for name in _PROMPTS:
        text = resources.files("agentic_vlm.agent").joinpath("prompts", name).read_bytes()
        digest.update(name.encode() + text)
    return digest.hexdigest()


def _canonical(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_docstring(part)] or [ast.Pass()]
    return ast.dump(tree)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
