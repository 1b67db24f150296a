import datasets
import pytest

from laconic import data
from laconic.errors import DataError

FEATURES = datasets.Features(
    {
        "id": datasets.Value("int64"),
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-X", "I-X"])),
    }
)


@pytest.fixture(autouse=True)
def silent():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def tagged(count, start=0):
    ids = range(start, start + count)
    records = {"id": list(ids), "tokens": [[f"w{i}", "é"] for i in ids], "ner_tags": [[0, 1] for _ in ids]}
    return datasets.Dataset.from_dict(records, features=FEATURES)


def example(i):
    return {"tokens": [f"w{i}", "é"], "tags": ["O", "B-X"]}


def both():
    return datasets.DatasetDict({"train": tagged(5), "validation": tagged(2, 5), "test": tagged(3, 7)})


def test_a_saved_folder_with_class_ids(tmp_path):
    both().save_to_disk(tmp_path / "saved")
    found = data.read_splits(tmp_path / "saved", "ner")
    assert found.train == [example(i) for i in range(5)]
    assert found.validation == [example(i) for i in (5, 6)]
    assert data.read_split(tmp_path / "saved", "ner", "test") == [example(i) for i in (7, 8, 9)]


def test_a_saved_folder_without_splits_is_dealt_out_and_its_selection_holds(tmp_path):
    tagged(60).select(range(10, 50)).save_to_disk(tmp_path / "saved")
    found = data.read_splits(tmp_path / "saved", "ner")
    test = data.read_split(tmp_path / "saved", "ner", "test")
    words = sorted(e["tokens"][0] for e in found.train + found.validation + test)
    assert words == [f"w{i}" for i in range(10, 50)]


def test_a_damaged_saved_folder_is_named(tmp_path):
    both().save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="saved: not a readable saved dataset"):
        data.read_splits(tmp_path / "saved", "ner")


def test_parquet_files_keep_their_class_names(tmp_path):
    tagged(5).to_parquet(tmp_path / "train.parquet")
    tagged(2, 5).to_parquet(tmp_path / "validation.parquet")
    assert data.read_splits(tmp_path, "ner").train == [example(i) for i in range(5)]


def test_a_split_without_answers_is_named(tmp_path):
    classes = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    hidden = datasets.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=classes)
    hidden.to_parquet(tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"column 'label' holds class -1, but its classes are 0 to 1"):
        data.read_split(tmp_path, "classify", "test")


def test_a_hub_id_may_name_a_configuration(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *given: asked.append(given) or both())
    assert len(data.read_splits("someone/things:small", "ner").train) == 5
    assert asked == [("someone/things", "small")]


def test_without_a_network_a_hub_id_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="'someone/things' is no file or folder here, and as a data set") as caught:
        data.read_splits("someone/things", "ner")
    assert "\n" not in str(caught.value)
