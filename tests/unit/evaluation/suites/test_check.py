"""`python -m agentic_vlm.evaluation.suites`: the list, and a look through a file."""

import hashlib
from dataclasses import replace

from agentic_vlm.evaluation.suites import SUITES, KnownFile
from agentic_vlm.evaluation.suites.__main__ import main
from agentic_vlm.evaluation.suites.check import check_file, find_known
from agentic_vlm.evaluation.suites.paper import paper_table


def row(pictures, **fields):
    return {"index": 0, "image": pictures.b64("red"), "question": "q", "A": "x", "B": "y",
            "answer": "A", "category": "direct_attributes", **fields}  # fmt: skip


def test_the_list_names_every_suite_and_the_papers_number(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SUITES)
    assert lines[0].split() == ["vstar", "191", "items", "DeepEyesV2", "81.8", "V*"]


def test_show_names_rule_files_and_rows(capsys):
    assert main(["show", "vstar"]) == 0
    told = capsys.readouterr().out
    assert "md5 b18854d7075574be06b631cd5f7d2d6a" in told
    assert "paper: Qwen2.5-VL-7B 78.5" in told


def test_a_file_is_known_by_its_name_and_looked_through(tsv, capsys, pictures):
    path = tsv("VStarBench.tsv", row(pictures), row(pictures, index=1))
    assert main(["check", str(path)]) == 0
    told = capsys.readouterr().out
    assert "items: 2 (published: 191); 0 without a picture" in told
    assert "file: not a known one" in told
    assert "category: direct_attributes 2" in told


def test_item_ids_that_stand_twice_are_told(tsv, pictures):
    path = tsv("VStarBench.tsv", row(pictures), row(pictures))
    found = check_file(SUITES["vstar"], path)
    assert found.doubles == ["0"]
    assert "WARNING: 1 item ids stand twice" in "\n".join(found.lines())


def test_a_known_file_is_recognised_by_its_digest(tsv, pictures):
    path = tsv("other_name.tsv", row(pictures))
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    suite = replace(SUITES["vstar"], files=(KnownFile("VStarBench.tsv", digest, "late issue"),))
    known = find_known(suite, path)
    assert known is not None
    assert known.note == "late issue"
    assert find_known(SUITES["vstar"], path) is None


def test_a_broken_picture_or_an_unknown_file_ends_with_two_lines(tsv, capsys, pictures):
    path = tsv("VStarBench.tsv", row(pictures, image=pictures.b64("red")[:80]))
    assert main(["check", str(path)]) == 1
    assert "item 0: broken picture" in capsys.readouterr().err
    assert main(["check", str(tsv("who.tsv", row(pictures)))]) == 1
    assert "its name is that of no known file" in capsys.readouterr().err


def test_every_column_of_the_paper_belongs_to_a_suite():
    for name in ("real_world", "mathematics", "search", "other"):
        table = paper_table(name)
        columns = {suite.column for suite in SUITES.values() if suite.table == name}
        assert set(table.columns) == columns - {""}
        assert all(len(figures) == len(table.columns) for figures in table.rows.values())
    assert paper_table("realx").figure("DeepEyesV2, all", "Integration") == 18.1
    assert paper_table("real_world").figure("DeepEyes", "ChartQA") is None
