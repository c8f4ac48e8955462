"""The fake sandbox remembers what it was asked."""

import asyncio

from agentic_vlm.sandbox import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox


def test_the_fake_remembers_codes_and_answers_unknown_ones_with_an_error() -> None:
    sandbox = FakeSandbox({"x": CellResult(CellStatus.OK, value="1")})

    async def scene() -> list[str]:
        session = await sandbox.open([], seed=5)
        return [(await session.run_cell(code)).error_class for code in ("x", "y")]

    assert asyncio.run(scene()) == ["", "NameError"]
    assert sandbox.sessions[0].codes == ["x", "y"]
    assert sandbox.sessions[0].seed == 5
