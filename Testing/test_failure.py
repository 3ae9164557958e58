"""Why a command failed, in a sentence."""

import pytest

from SlicRegLib.jobs.failure import explain_failure


@pytest.mark.parametrize(
    "code, lines, start",
    [
        (2, ["noise", "slicreg: The scan is empty."], "The scan is empty."),
        (2, ["slicreg: The first.", "slicreg: The last."], "The last."),
        (
            1,
            ["Traceback", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"],
            "The GPU ran out of memory;",
        ),
        (1, ["RuntimeError: DefaultCPUAllocator: can't allocate memory"], "The computer ran out of memory;"),
        (1, ["numpy._core._exceptions._ArrayMemoryError: Unable to allocate"], "The computer ran out of memory;"),
        (1, ["ModuleNotFoundError: No module named 'nibabel.nifti1'"], "The Python package nibabel is missing;"),
        (137, [], "The system ended the process, most likely because memory ran out;"),
        (139, [], "The process was ended by SIGSEGV; see the log."),
        (1, ["Traceback", "ValueError: what", " "], "The process ended with code 1 (ValueError: what); see the log."),
        (3, [], "The process ended with code 3; see the log."),
        (-100, [], "The process was ended by signal 100; see the log."),
    ],
)
def test_explanations(code, lines, start):
    sentence = explain_failure(code, lines)
    assert sentence.startswith(start) and sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize(
    "code, start",
    [
        (0xC0000017, "The computer ran out of memory;"),
        (0xC000012D - 2**32, "The computer ran out of memory;"),  # as a signed number
        (0xC0000005, "The process crashed (Windows code 0xC0000005); see the log."),
        (-9, "The process crashed (Windows code 0xFFFFFFF7); see the log."),  # no signals there
        (3, "The process ended with code 3; see the log."),
    ],
)
def test_codes_of_windows(monkeypatch, code, start):
    monkeypatch.setattr("SlicRegLib.jobs.failure.WINDOWS", True)
    assert explain_failure(code, []).startswith(start)
