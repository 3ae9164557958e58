"""What a probe's reports mean for a user: cause and cure."""

import pytest

from SlicRegSlicer.findings import judge_device, judge_packages, judge_unused_gpu


@pytest.mark.parametrize(
    "report, title, detail, cure",
    [
        (
            {"cuda": None, "version": "2.5.1+cpu"},
            "The NVIDIA GPU is not used",
            "build without CUDA",
            "install PyTorch with CUDA",
        ),
        (
            {"cuda": "12.1", "no_cuda": "The NVIDIA driver on your system is too old (found version 11040)."},
            "The NVIDIA driver is too old",
            "11040",
            "Update the NVIDIA driver",
        ),
        (
            {"cuda": "12.1", "no_cuda": "CUDA unknown error"},
            "The NVIDIA GPU is not used",
            "CUDA unknown error",
            "Update the NVIDIA driver",
        ),
    ],
    ids=["cpu build", "old driver", "unknown"],
)
def test_a_gpu_that_torch_does_not_see(report, title, detail, cure):
    found = judge_unused_gpu({"version": "2.5.1+cu121", **report}, "NVIDIA RTX A4000, 470.1")
    assert found.title.startswith(title) and detail in found.detail and cure in found.cure
    assert "NVIDIA RTX A4000, 470.1" in found.detail
    assert not found.ok and not found.blocking  # the CPU does it


@pytest.mark.parametrize(
    "problem, cure",
    [
        ("RuntimeError: Numpy is not available", "versions of PyTorch and numpy do not match"),
        ("RuntimeError: CUDA error: no kernel image is available for execution", "not built for this GPU"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "Close other programs"),
        ("RuntimeError: something else", "Reinstall PyTorch"),
    ],
)
def test_a_device_that_does_not_work(problem, cure):
    found = judge_device("The CPU", {}, problem, blocking=True)
    assert found.title == "The CPU does not work" and found.detail == problem
    assert cure in found.cure and found.blocking and not found.ok


def test_a_gpu_that_fails_for_an_unknown_reason_can_be_avoided():
    found = judge_device("The GPU 0 (T4)", {}, "RuntimeError: something else", blocking=False)
    assert "choose the CPU" in found.cure and not found.blocking


def test_broken_and_old_packages():
    found = judge_packages(
        {
            "broken": {"skimage": "ImportError: DLL load failed"},
            "versions": {"nibabel": "3.2.1", "numpy": "1.26.4"},
        }
    )
    assert found.title == "2 Python packages cannot be used" and found.blocking
    assert (
        found.detail
        == "skimage cannot be imported (ImportError: DLL load failed); nibabel>=5.0 is needed, 3.2.1 is installed"
    )
    assert found.cure.startswith("Press Apply") and "In Slicer's Python console" in found.cure
    assert "--no-deps scikit-image'" in found.cure and "newer Slicer" not in found.cure


def test_a_package_of_slicer_that_is_too_old_needs_a_newer_slicer():
    found = judge_packages({"versions": {"numpy": "1.19.0"}})
    assert found.cure == "Install a newer Slicer."
