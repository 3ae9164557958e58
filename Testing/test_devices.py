"""Devices: what "auto" means, and one sentence for a GPU that is not there."""

import platform

import numpy as np
import psutil
import pytest
import torch

from SlicRegLib.errors import UserError
from SlicRegLib.network import devices
from SlicRegLib.network.devices import (
    autocast,
    choose_device,
    choose_precision,
    peak_memory_mb,
    return_free_memory,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpus(monkeypatch):
    """Set the number of GPUs that torch finds."""

    def find(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: f"GPU {index}")

    return find


def test_the_device_by_name(gpus):
    gpus(2)
    assert choose_device("auto") == (CUDA, "GPU 0, found automatically")
    assert choose_device("cpu") == (CPU, "CPU, as requested")
    assert choose_device("cuda:1") == (torch.device("cuda", 1), "GPU 1, as requested")
    assert choose_device("cuda")[0] == torch.device("cuda", 0)
    gpus(0)
    assert choose_device("auto")[0] == CPU


@pytest.fixture
def apple(monkeypatch, gpus):
    """A torch that offers Apple's GPU. problem: why it cannot compute there; "" where it can."""

    def offer(problem: str = "") -> None:
        gpus(0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        monkeypatch.setattr(devices, "try_operations", lambda device: problem)

    return offer


def test_cuda_then_apple_then_the_cpu(apple, gpus):
    apple()
    assert choose_device("auto") == (torch.device("mps"), "Apple GPU, found automatically")
    assert choose_device("mps") == (torch.device("mps"), "Apple GPU, as requested")
    assert choose_device("cpu")[0] == CPU
    gpus(1)
    assert choose_device("auto")[0] == CUDA and choose_device("mps")[0].type == "mps"
    apple("aten::grid_sampler_3d is not implemented")
    device, reason = choose_device("auto")
    assert device == CPU and "grid_sampler_3d" in reason


def test_apples_gpu_computes_in_single_precision():
    mps = torch.device("mps")
    assert choose_precision(mps, "auto") == choose_precision(mps, "auto", training=True) == "fp32"
    with autocast(mps, "auto"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert devices.find_wide_device(mps) == CPU and devices.find_wide_device(CUDA) == CUDA


def test_operations_are_tried(monkeypatch):
    assert devices.try_operations(CPU) == ""
    monkeypatch.setattr(torch.nn.functional, "grid_sample", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        devices.try_operations(CPU)  # a mistake of ours is no property of the device

    def lack(*_, **__):
        raise NotImplementedError("The operator 'aten::grid_sampler_3d' is not implemented\nfor the MPS device")

    monkeypatch.setattr(torch.nn.functional, "grid_sample", lack)
    assert devices.try_operations(CPU) == "The operator 'aten::grid_sampler_3d' is not implemented"


@pytest.mark.parametrize(
    "error, device, left",
    [
        (torch.cuda.OutOfMemoryError(), CUDA, True),
        (torch.cuda.OutOfMemoryError(), CPU, False),
        (RuntimeError("a defect"), CUDA, False),
        (RuntimeError("MPS backend out of memory"), torch.device("mps"), True),
        (NotImplementedError(), torch.device("mps"), True),
        (KeyboardInterrupt(), torch.device("mps"), False),
    ],
)
def test_what_the_cpu_does_instead(error, device, left):
    assert devices.is_left_to_cpu(error, device) == left


@pytest.mark.parametrize(
    "count, name, words",
    [
        (0, "cuda", "CUDA was requested"),
        (2, "cuda:2", "no CUDA device 'cuda:2'"),
        (2, "cuda:x", "no CUDA device"),
        (2, "tpu", "Unknown device 'tpu'"),
        (2, "mps", "no Apple GPU"),
    ],
)
def test_a_missing_device_is_one_sentence(gpus, count, name, words):
    gpus(count)
    with pytest.raises(UserError, match=words) as error:
        choose_device(name)
    assert str(error.value).endswith(".") and ";" in str(error.value)


@pytest.mark.parametrize("has_bf16", [False, True])
def test_automatic_precision(monkeypatch, has_bf16):
    monkeypatch.setattr(devices, "_computes_bf16", lambda: has_bf16)
    assert choose_precision(CUDA, "auto") == choose_precision(CUDA, "auto", training=True) == "fp16"
    assert choose_precision(CPU, "auto") == ("bf16" if has_bf16 else "fp32")
    assert choose_precision(CPU, "auto", training=True) == "fp32"
    assert choose_precision(CPU, "bf16", training=True) == "bf16"  # as requested


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_arithmetic_within_the_context(precision, dtype):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_peak_memory_is_at_least_what_is_resident():
    peak, process = peak_memory_mb(CPU), psutil.Process()
    assert set(peak) == {"process"}
    assert process.memory_info().rss / 2**20 - 1 < peak["process"] < psutil.virtual_memory().total / 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_goes_back_to_the_system():
    """Pieces of 96 kB between others that stay, which glibc keeps."""
    pieces = [np.ones(12_000) for _ in range(2000)]
    kept = pieces[::50]
    del pieces
    before = psutil.Process().memory_info().rss
    return_free_memory()
    assert before - psutil.Process().memory_info().rss > 100 << 20 and len(kept) == 40
