"""Tables of label names: as spreadsheets and editors save them, and one sentence for each that is none."""

import codecs
import time

import pytest

from SlicRegLib.cohort.label_names import LabelName, check_label_names, read_label_names
from SlicRegLib.cohort.names import tidy_name
from SlicRegLib.errors import UserError
from SlicRegLib.jobs.options import JobOptions

LIVER = {1: LabelName("Liver")}
GOOD = {
    "plain.csv": (b"value,name\n1,Liver\n", LIVER),
    "windows.csv": (codecs.BOM_UTF8 + b"Value;Name\r\n1;Liver\r\n", LIVER),
    "tabs.csv": (b"value\tname\n1\tLiver\n", LIVER),
    "commas in names.csv": (b"value;name\n1;Kidney, left\n", {1: LabelName("Kidney, left")}),
    "quotes.csv": (b'value,name\n1,"Kidney, left"\n', {1: LabelName("Kidney, left")}),
    "other columns.csv": (b"name,side,value\nLiver,,1\n", LIVER),
    "spaces and empty rows.csv": (b"\n value , name \n\n 1 , Liver ,\n,\n", LIVER),
    "as floats.csv": (b"value,name\n1.0,Liver\n", LIVER),
    "background.csv": (b"value,name\n0,Background\n1,Liver\n", LIVER),
    "colours.csv": (
        b"value,name,r,g,b\n1,Liver,255,0,7\n2,Aorta,,,\n",
        {1: LabelName("Liver", (255, 0, 7)), 2: LabelName("Aorta")},
    ),
    "scripts.csv": (
        "value,name\n1,肝臓\n2,الكبد\n3,Печень\n".encode(),
        {1: LabelName("肝臓"), 2: LabelName("الكبد"), 3: LabelName("Печень")},
    ),
    "two lines.csv": (b'value,name\n1,"Li\nver \x1b[31m"\n', {1: LabelName("Li ver [31m")}),
    "same name.csv": (b"value,name\n1,Lung\n2,Lung\n", {1: LabelName("Lung"), 2: LabelName("Lung")}),
    "the last value.csv": (b"value,name\n65535,Liver\n", {65535: LabelName("Liver")}),
    "plain.json": (b'{"1": "Liver"}', LIVER),
    "windows.JSON": (codecs.BOM_UTF8 + b'{"0": "Background", "1": "Liver"}', LIVER),
}
BAD = {
    "no header.csv": (b"1,Liver\n2,Aorta\n", "no column value and no column name"),
    "no value.csv": (b"label,name\n1,Liver\n", "no column value"),
    "no name.csv": (b"value,title\n1,Liver\n", "no column name"),
    "empty.csv": (b"", "no column"),
    "only a header.csv": (b"value,name\n", "names no label"),
    "only background.csv": (b"value,name\n0,Background\n", "names no label"),
    "a row too short.csv": (b"value,name\n1\n", "no name"),
    "a row too long.csv": (b"value,name\n1,Kidney, left\n", "more cells"),
    "negative.csv": (b"value,name\n-1,Liver\n", '"-1" as value'),
    "too large.csv": (b"value,name\n65536,Liver\n", '"65536" as value'),
    "a fraction.csv": (b"value,name\n1.5,Liver\n", '"1.5" as value'),
    "many digits.csv": (b"value,name\n" + b"1" * 5000 + b",Liver\n", "as value"),
    "twice.csv": (b"value,name\n1,Liver\n1,Aorta\n", "the value 1 twice"),
    "latin.csv": ("value,name\n1,Ösophagus\n".encode("latin-1"), "not saved as UTF-8"),
    "utf-16.csv": ("value,name\n1,Liver\n".encode("utf-16"), "not saved as UTF-8"),
    "half a colour.csv": (b"value,name,r,g,b\n1,Liver,1,,\n", '"" as g'),
    "a colour too bright.csv": (b"value,name,r,g,b\n1,Liver,256,0,0\n", '"256" as r'),
    "a colour of fractions.csv": (b"value,name,r,g,b\n1,Liver,0.5,0,0\n", '"0.5" as r'),
    "a long name.csv": (b"value,name\n1," + b"x" * 201 + b"\n", "at most 200"),
    "a name of 1 MB.csv": (b"value,name\n1," + b"x" * (1 << 20) + b"\n", "no table"),
    "control characters.csv": (b"value,name\n1,\x1b\x00\n", "no name"),
    "bytes.csv": (bytes(range(256)), "UTF-8"),
    "a list.json": (b'["Liver"]', "no JSON object"),
    "broken.json": (b'{"1": ', "no table"),
    "deep.json": (b'{"1":' * 100_000, "nested"),
    "numbers.json": (b'{"1": 2}', '"2" is no name'),
    "nothing.json": (b'{"1": null}', '"None" is no name'),
    "objects.json": (b'{"1": {"name": "Liver"}}', "is no name"),
    "turned round.json": (b'{"Liver": 1}', '"Liver" as value'),
    "twice.json": (b'{"1": "Liver", "01": "Aorta"}', "the value 1 twice"),
    "the same key.json": (b'{"1": "Liver", "1": "Aorta"}', "the value 1 twice"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_table_as_programs_save_it(tmp_path, name):
    content, expected = GOOD[name]
    (tmp_path / name).write_bytes(content)
    assert read_label_names(tmp_path / name) == expected


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_one_sentence(tmp_path, name):
    content, words = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_label_names(path)
    text = str(error.value)
    assert text.startswith(f"{path} is no table of label names (") and "give a CSV file" in text
    assert text.isprintable() and len(text) < 400 + len(str(path))


def test_a_file_that_is_no_file(tmp_path):
    with pytest.raises(UserError, match="does not exist; give a CSV"):
        read_label_names(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="is a folder; give a CSV"):
        read_label_names(tmp_path)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.csv"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # sparse
    began = time.monotonic()
    with pytest.raises(UserError, match="larger than 8 MB"):
        read_label_names(path)
    assert time.monotonic() - began < 5


def test_all_values_that_a_label_map_can_have(tmp_path):
    path = tmp_path / "all.csv"
    path.write_text("value,name\n" + "".join(f"{n},organ {n}\n" for n in range(1, 65536)))
    names = read_label_names(path)
    assert len(names) == 65535 and names[65535].name == "organ 65535"


def test_names_keep_the_joiners_of_their_script():
    assert tidy_name("کبد\u200cچپ") == "کبد\u200cچپ"
    assert tidy_name(" left\t\n lung\u202e\x07 ") == "left lung"


def test_names_need_labels(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("value,name\n1,Liver\n")
    assert check_label_names(str(path), "labels") == LIVER and check_label_names("", "") == {}
    with pytest.raises(UserError, match="Names of labels need the labels; give their folder with --labels, too"):
        check_label_names(str(path), "")
    for given in ({"labels": ""}, {"labels": str(tmp_path), "label_names": str(tmp_path / "bad.csv")}):
        (tmp_path / "bad.csv").write_text("1,Liver\n")
        options = JobOptions(images=str(tmp_path), name="m", **{"label_names": str(path), **given})
        with pytest.raises(UserError, match=r"Names of labels need|no column value"):  # before the work begins
            options.check()
