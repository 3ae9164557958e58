"""The hardware in the training report."""

from SlicRegLib.jobs.report.hardware import describe_hardware


def test_hardware_names_what_computes():
    found = describe_hardware()
    assert list(found) == ["processor", "cores", "memory_gb", "gpu"]
    assert found["processor"] and found["cores"] >= 1 and found["memory_gb"] > 0.1 and found["gpu"]


def test_hardware_names_every_gpu(monkeypatch):
    class Card:
        name, total_memory = "Card X", 80 * 2**30

    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: Card)
    assert describe_hardware()["gpu"] == "Card X (80 GB), Card X (80 GB)"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert describe_hardware()["gpu"] == "none"
