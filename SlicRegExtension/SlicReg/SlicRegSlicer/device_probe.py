"""Tries on one device what a registration does; `selfcheck` runs it in a process of its own.

``python -m SlicRegSlicer.device_probe DEVICE PACKAGES``; PACKAGES is JSON: import name -> name of the distribution.
With `PACKAGES_ONLY` as device, torch is not imported but every package that is there.
Each report is a printed line: `MARK` and a JSON object. It is flushed at once, so that it arrives before a crash.
Runs in any Python, also in one without packages.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import sys
import time

MARK = "SLICREG "
PACKAGES_ONLY = "packages"


def main(device: str, packages: dict[str, str]) -> None:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    report(absent=absent)
    if device == PACKAGES_ONLY:
        there = [name for name in packages if name not in absent]
        report(versions=find_versions(packages))
        report(broken=find_broken(there), importing="")
        return
    import torch

    report(version=str(torch.__version__), cuda=torch.version.cuda, place=str(torch.__file__))
    if device == "cpu":
        report(**find_devices())
    report(seconds=compute(device))


def report(**values) -> None:
    print(MARK + json.dumps(values), flush=True)


def find_broken(packages: list[str]) -> dict[str, str]:
    """Import name -> the last line of the error, of the packages whose import fails. The name of each is reported
    before, since an import may end the process."""
    broken = {}
    for name in packages:
        report(importing=name)
        try:
            importlib.import_module(name)
        except Exception as error:
            broken[name] = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
            report(broken=broken)
    return broken


def find_versions(packages: dict[str, str]) -> dict[str, str]:
    """Import name -> installed version, where one is recorded."""
    versions = {}
    for name, distribution in packages.items():
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def find_devices() -> dict[str, object]:
    """The names of torch's CUDA devices, or the reason why it has none; "mps": whether it offers Apple's GPU."""
    import torch

    mps = getattr(torch.backends, "mps", None)
    found = {"mps": bool(mps and mps.is_available())}
    try:
        torch.cuda.init()
        return {**found, "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]}
    except Exception as error:
        return {**found, "devices": [], "no_cuda": f"{error}".strip().splitlines()[0]}


def compute(device: str) -> float:
    """Seconds of a small 3-D convolution and resampling, forward and backward, with arrays from and to numpy."""
    import numpy as np
    import torch

    began = time.perf_counter()
    scan = np.random.default_rng(0).standard_normal((1, 1, 24, 24, 24)).astype(np.float32)
    weight = torch.ones(4, 1, 3, 3, 3, device=device, requires_grad=True)
    field = torch.zeros(1, 12, 12, 12, 3, device=device, requires_grad=True)
    features = torch.nn.functional.conv3d(torch.from_numpy(scan).to(device), weight, padding=1)
    torch.nn.functional.grid_sample(features, field, align_corners=False).square().mean().backward()
    sums = [float(np.abs(part.grad.detach().cpu().numpy()).sum()) for part in (weight, field)]
    if not all(np.isfinite(sums)) or min(sums) <= 0:
        raise RuntimeError(f"wrong result {sums}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
