import json

import pytest

from agentic_vlm.formats.cells import Columns
from agentic_vlm.formats.conversations import ConversationRow, write_conversations
from agentic_vlm.formats.readers import READERS
from agentic_vlm.formats.verl import VerlRow, write_verl


def test_what_is_written_for_verl_is_read_back(tmp_path):
    rows = [
        VerlRow(f"r{at}", "Which?\n(A) x\n(B) y", "A", ("x",), "search", (b"picture",), "sys")
        for at in range(130)
    ]
    assert write_verl(tmp_path / "a.parquet", rows) == 130
    lines = [line.content for line in READERS["verl"](tmp_path / "a.parquet", Columns())]
    assert len(lines) == 130
    last = lines[-1]
    assert (last.own_id, last.question, last.answer) == ("r129", "Which?\n(A) x\n(B) y", "A")
    assert (last.aliases, last.pictures, last.family) == (("x",), (b"picture",), "search")


def conversation(**changes):
    messages = (("user", "<image>\nWhich?\n\nThink."), ("assistant", "<answer>x</answer>"))
    fields = {"row_id": "r", "question": "Which?", "answer": "x", "system": "sys"}
    return ConversationRow(
        **{**fields, "messages": messages, "pictures": (("p.png", b"picture"),), **changes}
    )


def test_what_is_written_for_llama_factory_is_read_back(tmp_path):
    assert write_conversations(tmp_path, [conversation(), conversation()], name="sft") == 2
    first, _ = (line.content for line in READERS["llama_factory"](tmp_path / "sft.json", Columns()))
    assert (first.question, first.answer, first.pictures) == ("Which?", "x", ("images/p.png",))
    assert (tmp_path / "images" / "p.png").read_bytes() == b"picture"
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["sft"]
    assert entry["columns"] == {"messages": "messages", "images": "images"}


def test_a_row_whose_markers_are_not_its_pictures_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="1 markers, 0 pictures"):
        write_conversations(tmp_path, [conversation(pictures=())], name="sft")
