"""What a reader's error becomes: one sentence about the file, with the reader's last words."""

from pathlib import Path

import pytest

from SlicRegLib.errors import UserError
from SlicRegLib.images.reading import explained

ERRORS = {
    "several lines": (
        RuntimeError("sitk::ERROR:\n  Unable to read.\n  Wrong magic number. \n\n"),
        "(Wrong magic number);",
    ),
    "no words": (EOFError(), "(EOFError);"),
    "no memory": (MemoryError("Unable to allocate 30 GiB"), "needs more memory than is free"),
    "a sentence already": (UserError("The scan is a picture."), "The scan is a picture."),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_readers(kind):
    error, words = ERRORS[kind]
    with pytest.raises(UserError) as found, explained(Path("scan.nrrd")):
        raise error
    assert words in str(found.value)
    assert ("scan.nrrd" in str(found.value)) == (kind != "a sentence already")


def test_what_is_read_without_an_error_is_left_alone():
    with explained(Path("scan.nrrd")):
        value = 3
    assert value == 3
