import csv
import io
import json
import tracemalloc

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.data import readers, records, splits
from laconic.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), max_size=30)
WORD = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" \t\n\r"), min_size=1, max_size=9
).filter(lambda word: word != "-DOCSTART-")
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tags", "feature", "names", "_type", "x"]), inner | st.just("ClassLabel"))
    ),
    max_leaves=8,
)
END = st.sampled_from(["\n", "\r\n"])
BOM = st.sampled_from(["", "\ufeff"])


def one(label):
    """Whether a cell is one label, not a list."""
    return not label.lstrip().startswith("[")


CLASSIFY = st.lists(st.fixed_dictionaries({"text": TEXT, "label": TEXT.filter(one)}), min_size=1, max_size=5)
TAGGED = st.lists(
    st.lists(st.tuples(WORD, st.sampled_from(["O", "B-PER", "B-LOC"])), min_size=1, max_size=6), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, kind):
    return [records.example(raw, kind, "here") for _, raw in readers.read(path, kind)]


@given(CLASSIFY, END, BOM, st.booleans(), st.booleans())
def test_json_lines(folder, examples, end, bom, ascii, gaps):
    lines = [json.dumps(e, ensure_ascii=ascii) + end + (end if gaps else "") for e in examples]
    assert read(written(folder, "a.jsonl", bom + "".join(lines)), "classify") == examples


def test_json_lines_may_end_without_a_line_end_and_say_their_line(folder):
    path = written(folder, "a.jsonl", '\n{"text": "a", "label": "x"}\n \n{"text": "b", "label": "y"}')
    assert [line for line, _ in readers.read(path)] == [2, 4]


@given(CLASSIFY, END, BOM, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_csv(folder, examples, end, bom, quoting):
    out = io.StringIO(newline="")
    if any("\r" in value for e in examples for value in e.values()):
        quoting = csv.QUOTE_ALL  # Python 3.11 leaves a lone carriage return unquoted, which no reader can mend
    writer = csv.DictWriter(out, ["label", "text"], lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(examples)
    assert read(written(folder, "a.csv", bom + out.getvalue()), "classify") == examples


def test_a_csv_record_of_several_lines_is_at_its_first(folder):
    path = written(folder, "a.csv", 'text,label\n"a\nb",x\n\nc,y\n')
    assert [line for line, _ in readers.read(path)] == [2, 5]


@pytest.mark.parametrize("cell", ["so " * 100_000, '"' + "so,\n" * 100_000 + '"'])
def test_a_csv_cell_is_as_long_as_it_is(folder, cell):
    csv.field_size_limit(131_072)  # what it is in a fresh process
    path = written(folder, "a.csv", f"text,label\n{cell},x\n")
    assert read(path, "classify") == [{"text": cell.strip('"'), "label": "x"}]


def test_a_csv_whose_lines_end_in_carriage_returns(folder):
    path = written(folder, "a.csv", "text,label\ra,x\rb,y\r")
    assert list(readers.read(path, "classify")) == [(2, {"text": "a", "label": "x"}), (3, {"text": "b", "label": "y"})]


@given(st.lists(st.fixed_dictionaries({"text": LINE, "label": LINE.filter(one)}), min_size=1, max_size=5), END, BOM)
def test_tsv_of_a_csv_writer(folder, examples, end, bom):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["label", "text"], lineterminator=end, dialect="excel-tab")
    writer.writeheader()
    writer.writerows(examples)
    assert read(written(folder, "a.tsv", bom + out.getvalue()), "classify") == examples


def test_lone_quotes_in_a_tsv_are_text(folder):
    path = written(folder, "a.tsv", 'sentence\tlabel\n"so it goes\t1\nhe said "no\t0\n')
    assert read(path, "classify") == [{"text": '"so it goes', "label": "1"}, {"text": 'he said "no', "label": "0"}]


@given(TAGGED, END, BOM, st.sampled_from(["\t", " ", " NNP I-NP "]), st.booleans())
def test_conll(folder, sentences, end, bom, gap, start):
    lines = [f"-DOCSTART-{gap}O", ""] if start else []
    for sentence in sentences:
        lines += [f"{word}{gap}{tag}" for word, tag in sentence] + ["", ""]
    examples = [{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
    assert read(written(folder, "a.conll", bom + end.join(lines)), "ner") == examples


def test_iob1_columns_become_iob2(folder):
    path = written(folder, "a.txt", "U.N. NNP I-ORG\nofficial NN O\nEkeus NNP I-PER\nRolf NNP B-PER\nX NNP I-PER")
    assert read(path, "ner")[0]["tags"] == ["B-ORG", "O", "B-PER", "B-PER", "I-PER"]


@given(TAGGED)
def test_lists_in_table_cells(folder, sentences):
    examples = [{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["tokens", "tags"])
    writer.writeheader()
    writer.writerows({"tokens": json.dumps(e["tokens"]), "tags": " ".join(e["tags"])} for e in examples)
    assert read(written(folder, "a.csv", out.getvalue()), "ner") == examples


def test_a_list_of_labels_in_a_table_cell(folder):
    path = written(folder, "a.tsv", 'text\tlabels\nboth\t["a", "b"]\nnone\t[]\n')
    assert [e["label"] for e in read(path, "classify")] == [["a", "b"], []]


@given(TAGGED)
def test_parquet(folder, sentences):
    examples = [{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
    pq.write_table(pa.Table.from_pylist(examples), folder / "a.parquet")
    assert read(folder / "a.parquet", "ner") == examples


def whole_parquet() -> bytes:
    """A file with tags as class ids, and their names."""
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-X"]))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": tags})
    rows = {"tokens": [["a", "b"], ["c"]] * 4, "tags": [[0, 1], [0]] * 4}
    sink = io.BytesIO()
    pq.write_table(datasets.Dataset.from_dict(rows, features=features).data.table, sink, compression="none")
    return sink.getvalue()


PARQUET = whole_parquet()
FLIPS = st.lists(st.tuples(st.integers(0, len(PARQUET) - 1), st.integers(1, 255)), min_size=1, max_size=3)


@settings(max_examples=100)
@given(FLIPS)
def test_a_damaged_parquet_file_is_read_or_refused_in_one_line(folder, flips):
    content = bytearray(PARQUET)
    for place, change in flips:
        content[place] ^= change
    path, said = written(folder, "damaged.parquet", bytes(content)), ""
    try:
        found = list(readers.read(path))
    except DataError as error:
        found, said = [], str(error)
    assert all(isinstance(record, dict) for _, record in found)
    assert not said or (str(path) in said and "\n" not in said)


@given(json_like)
def test_any_metadata_of_a_parquet_file_is_read_or_refused_in_one_line(folder, value):
    for saved in (value, {"info": value}, {"info": {"features": value}}, {"info": {"features": {"tags": value}}}):
        table = pa.table({"tags": [0, 1]}).replace_schema_metadata({"huggingface": json.dumps(saved)})
        pq.write_table(table, folder / "odd.parquet")
        said = str(folder / "odd.parquet")
        try:
            list(readers.read(folder / "odd.parquet"))
        except DataError as error:
            said = str(error)
        assert str(folder / "odd.parquet") in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (b"{", "its class names (huggingface metadata) do not read (JSONDecodeError"),
        (b"\xff", "do not read (UnicodeDecodeError"),
        (b"[" * 100_000, "do not read (RecursionError"),
        (b'{"info": null}', "do not read (AttributeError"),
        (b'{"info": {"features": {"tags": {"_type": "ClassLabel"}}}}', "do not read (KeyError: 'names')"),
        (
            b'{"info": {"features": {"labelx": {"_type": "ClassLabel", "names": ["a"]}}}}',
            "names the classes of a column 'labelx' that is not there",
        ),
    ],
)
def test_metadata_that_does_not_fit_its_parquet_file_is_named(folder, metadata, words):
    path = folder / "odd.parquet"
    pq.write_table(pa.table({"tags": [0, 1]}).replace_schema_metadata({"huggingface": metadata}), path)
    with pytest.raises(DataError) as caught:
        list(readers.read(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv", "tsv", "conll", "parquet"]))
def test_any_bytes_are_read_or_refused_in_one_line(folder, content, suffix):
    path = written(folder, f"a.{suffix}", content)
    said = ""
    try:
        found = list(readers.read(path))
    except DataError as error:
        found, said = [], str(error)
    assert all(isinstance(record, dict) for _, record in found)
    assert not said or (str(path) in said and "\n" not in said)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', "line 2: byte 0xE9 is not UTF-8"),
        ("a.jsonl", "{}\n[1]\n", "line 2: a JSON list, not an object"),
        ("a.jsonl", "{}\n{'a': 1}\n", "line 2: not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.csv", "text,label\na,b\na,b,c\n", "line 3: 3 cells but 2 columns"),
        ("a.csv", 'text,label\na,b\n"a\nb"x,c\n', "line 3: not CSV"),
        ("a.csv", "text,text\na,b\n", "line 1: the column 'text' is there twice"),
        ("a.tsv", "text\tlabel\n\na\n", "line 3: 1 cells but 2 columns"),
        ("a.conll", "EU B-ORG\nalone\n", "line 2: one column ('alone')"),
        ("a.parquet", b"PAR1 but no more", "not a readable parquet file"),
    ],
)
def test_a_bad_line_is_named(folder, name, content, words):
    with pytest.raises(DataError) as caught:
        list(readers.read(written(folder, name, content)))
    assert words in str(caught.value)
    assert str(folder / name) in str(caught.value)


def test_cells_hold_entities_and_answers_as_json(folder):
    span = {"text": "a", "start": 0, "end": 1}
    rows = [
        ["text", "e1", "e2", "label"],
        ["a a", json.dumps(span), json.dumps({**span, "start": 2, "end": 3}), "Other"],
    ]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    (made,) = read(written(folder, "pairs.csv", out.getvalue()), "relation")
    assert (made["e1"], made["e2"]["start"]) == (span, 2)
    with pytest.raises(DataError, match="field 'e1' is 'fire', not an entity"):
        read(written(folder, "pairs.csv", "text,e1,e2,label\nfire,fire,x,Other\n"), "relation")


TURNS = [{"speaker": "a", "text": "b"}, {"speaker": "c", "text": "[d]"}]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("kind", "cells", "made"),
    [
        ("classify", {"text": "[1] a", "label": '["a", "b"]'}, {"text": "[1] a", "label": ["a", "b"]}),
        ("classify", {"text": '["a"]', "intent": "a [b]"}, {"text": '["a"]', "label": "a [b]"}),
        ("classify", {"text": "a", "label": "[NEG]"}, {"label": "[NEG]", "text": "a"}),
        ("classify", {"text": "a", "label": "[very good] so"}, {"label": "[very good] so", "text": "a"}),
        ("classify", {"text": "a", "label": "[1, 2]"}, {"label": ["1", "2"], "text": "a"}),
        ("choice", {"question": "[a", "choices": ' ["b", "c"]', "label": "1"}, {"choices": ["b", "c"], "label": 1}),
        ("choice", {"prefix": "a", "target": "b [c", "label": ""}, {"question": "a", "choices": ["b [c"]}),
        ("translate", {"source": "{a", "target": "[b]"}, {"source": "{a", "target": "[b]"}),
        ("summarize", {"document": "a", "summary": "[b", "references": '["[b", "c"]'}, {"references": ["[b", "c"]}),
        ("summarize", {"document": "a", "summary": "b", "references": ""}, {"document": "a", "summary": "b"}),
        ("dialogue", {"turns": json.dumps(TURNS)}, {"turns": TURNS}),
        ("ner", {"tokens": "[ Reuters ]", "tags": '["O", "B-ORG", "O"]'}, {"tokens": ["[", "Reuters", "]"]}),
        ("ner", {"tokens": ' ["[", "5"] ', "tags": " [] "}, {"tokens": ["[", "5"], "tags": []}),
        ("ner", {"tokens": "[ 5 ]", "tags": "O O O"}, {"tokens": ["[", "5", "]"]}),
        ("lm", {"text": "a", "label": "[b"}, {"text": "a"}),
    ],
)
def test_a_cell_holds_what_its_field_of_the_task_does(folder, suffix, kind, cells, made):
    out = io.StringIO()
    csv.writer(out, "excel" if suffix == "csv" else "excel-tab").writerows([list(cells), list(cells.values())])
    (found,) = read(written(folder, f"cells.{suffix}", out.getvalue()), kind)
    assert {key: found[key] for key in made} == made
    assert set(found) == {*made, *records.fields(kind)}
    assert all(type(value) in (str, int, list) for value in found.values())


@pytest.mark.parametrize(
    ("kind", "cells", "words"),
    [
        ("classify", ("text,label", 'a,"[""a"", ""b"""'), "field 'label' begins with [ but is not JSON"),
        ("classify", ("text,label", "a,\"['b', 'c']\""), "field 'label' begins with [ but is not JSON"),
        ("classify", ("text,label", "a,[0 1]"), "field 'label' begins with [ but is not JSON"),
        ("classify", ("text,label", "a,[NEG"), "field 'label' begins with [ but is not JSON"),
        ("ner", ("tokens,tags", '"[5, 7]",O O'), "field 'tokens' holds 5 as item 1; every item is text"),
        ("ner", ("tokens,tags", '"[""It"", 5]",O O'), "field 'tokens' holds 5 as item 2; every item is text"),
        ("choice", ("question,choices,label", "a,[b|c],0"), "field 'choices' begins with [ but is not JSON"),
        ("choice", ("question,choices,label", 'a,"[""b"", ""c""]",one'), "field 'label' is 'one', not a place among"),
        ("choice", ("question,choices,label", 'a,"[1, 2]",1'), "field 'choices' holds 1 as item 1"),
        ("summarize", ("document,summary,references", "a,b,c"), "field 'references' is 'c', not a list"),
        ("qa", ("context,question,answers", "a,b,{'text': []}"), "field 'answers' begins with { but is not JSON"),
        ("dialogue", ("turns", "[" * 100_000), "field 'turns' begins with [ but is not JSON"),
        ("control", ("label,text", '"[""a""]",b'), "field 'label' is ['a'], a list; give one label"),
    ],
)
def test_a_cell_that_cannot_be_what_its_field_holds_is_named(folder, kind, cells, words):
    written(folder, "train.csv", "\n".join(cells))
    with pytest.raises(DataError) as caught:
        splits.read_split(folder / "train.csv", kind, "train")
    assert f"{folder / 'train.csv'}, record 1 (line 2): {words}" in str(caught.value)


def test_answers_are_read_from_parquet_with_their_id(folder):
    given = {"text": ["a"], "answer_start": [0]}
    row = {"id": "7", "title": "t", "context": "a", "question": "b", "answers": given}
    pq.write_table(pa.Table.from_pylist([row]), folder / "asked.parquet")
    assert read(folder / "asked.parquet", "qa") == [{k: row[k] for k in ("id", "context", "question", "answers")}]


@pytest.mark.parametrize(("name", "row"), [("a.csv", '"so, it\ngoes",x\n'), ("a.tsv", "so it goes\tx\n")])
def test_a_table_is_never_in_memory_as_a_whole(folder, name, row):
    path = written(folder, name, f"text{',' if name == 'a.csv' else chr(9)}label\n" + row * 200_000)
    next(iter(readers.read(path, "classify")))  # what is imported at the first call is none of the table
    tracemalloc.start()
    assert sum(1 for _ in readers.read(path, "classify")) == 200_000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 500_000 < path.stat().st_size
