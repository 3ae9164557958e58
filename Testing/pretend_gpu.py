"""A GPU that is none: finds tensors on different devices where there is no GPU.

Tensors on it are ordinary ones of the CPU whose memory is marked; views and parameters share memory, and so the mark.
It computes as the CPU does, whatever autocast says, but refuses what torch refuses on a GPU: the rules are those of its
notes on CUDA semantics and of its errors. Neither other threads nor what a backward pass computes again are watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
ANSWERS = {Tensor.device.__get__: CUDA, Tensor.is_cuda.__get__: True, Tensor.is_cpu.__get__: False}
NUMPY = {Tensor.numpy, Tensor.__array__}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
JOINING = {torch.stack, torch.cat, torch.concat, torch.concatenate, torch.hstack, torch.vstack, torch.dstack}
MIXING = {
    *(Tensor.to, Tensor.type_as, Tensor.copy_, Tensor.data.__set__),  # copy from device to device
    *(torch.tensor, torch.as_tensor),  # read the numbers in a list one by one
    *(Tensor.expand_as, Tensor.view_as, Tensor.reshape_as),  # read nothing but the shape
    torch._has_compatible_shallow_copy_type,  # compares types, for `nn.Module.to`
}
PRODUCTS = {
    torch.matmul,
    torch.mm,
    torch.mv,
    torch.bmm,
    Tensor.matmul,
    Tensor.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
}
NAMES = (torch.device, str)
NAMING = {torch.device, torch._C._nn._parse_to}  # make no tensor on the device that they are given


def is_on_gpu(tensor: Tensor) -> bool:
    return getattr(tensor.untyped_storage(), "on_gpu", False)


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def clash(tensors: list[Tensor], scalars: bool = True) -> bool:
    """Whether devices are mixed. scalars: tensors of the CPU without dimensions go with all ("0-dim" in torch's notes
    on CUDA semantics)."""
    others = [tensor for tensor in tensors if not is_on_gpu(tensor)]
    return len(others) < len(tensors) and any(tensor.ndim or not scalars for tensor in others)


def is_refused(function: Callable, args: tuple, inputs: list[Tensor]) -> bool:
    """Whether torch refuses the devices of a call's ``inputs``."""
    if function in MIXING:
        return False
    if function in INDEXING:
        values, index = [args[0], *tensors_in(args[2:])], tensors_in(args[1])
        # "indices should be either on cpu or on the same device"; values are put at slices by `copy_`
        return (not is_on_gpu(args[0]) and clash([args[0], *index])) or (bool(index) and clash(values))
    if function in JOINING:  # unlike arithmetic, these take no scalars of another device
        return clash(inputs, scalars=False)
    in_place = function.__name__.endswith("_") and not function.__name__.endswith("__")
    # the result of in-place arithmetic stays where it is, so that scalars of the CPU cannot become ones of the GPU
    return clash(inputs) or (in_place and not all(map(is_on_gpu, tensors_in(args[:1]))))


def requested_device(function: Callable, args: tuple, kwargs: dict[str, Any]) -> torch.device | None:
    """The device that a call asks for, None where it leaves that to its inputs."""
    if function in (Tensor.cuda, Tensor.cpu):
        return CUDA if function is Tensor.cuda else CPU
    if function in NAMING:
        return None
    a_list = function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
    wish = kwargs.get("device") or (CPU if a_list else None)  # lists are of the CPU, whatever is in them
    if function in (Tensor.to, Tensor.type_as):
        wish = next((value for value in (*args[1:], *kwargs.values()) if isinstance(value, (*NAMES, Tensor))), None)
    if isinstance(wish, Tensor):
        return CUDA if is_on_gpu(wish) else wish.device
    return torch.device(wish) if isinstance(wish, NAMES) else None


class PretendedGpu(TorchFunctionMode):
    """Marks what is made on "cuda" and what comes of it, and refuses what a GPU refuses."""

    def __init__(self, has_float64: bool = True):
        """has_float64: whether the GPU has double precision, which Apple's lacks."""
        super().__init__()
        self.has_float64 = has_float64

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs, inputs = dict(kwargs or {}), tensors_in((args, kwargs or {}))
        on_gpu = any(map(is_on_gpu, inputs))
        if on_gpu and function in ANSWERS:
            return ANSWERS[function]
        if on_gpu and function in NUMPY:  # numpy reads the computer's memory alone
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if on_gpu and is_refused(function, args, inputs):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {function.__name__} got two.")
        if on_gpu and function in PRODUCTS and not all(tensor.is_floating_point() for tensor in inputs):
            raise RuntimeError("the device has no products of matrices of whole numbers")  # CUDA's libraries have none
        device = requested_device(function, args, kwargs)
        to_gpu = on_gpu if device is None else device.type == "cuda"
        if to_gpu and kwargs.get("generator"):  # a generator fills the memory of its own device
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if to_gpu and device:  # it is computed on the CPU
            function = Tensor.cpu if function is Tensor.cuda else function
            args, kwargs = tuple(map(as_cpu, args)), {name: as_cpu(value) for name, value in kwargs.items()}
        result = function(*args, **kwargs)
        known = [tensor.untyped_storage() for tensor in inputs]
        if device and isinstance(result, Tensor) and is_on_gpu(result) != to_gpu and result.untyped_storage() in known:
            result = result.clone()  # devices share no memory
        for tensor in tensors_in(result) if to_gpu else ():
            if tensor.dtype == torch.float64 and not self.has_float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it.")
            if tensor.untyped_storage() not in known:
                tensor.untyped_storage().on_gpu = True
        return result


def as_cpu(value: Any) -> Any:
    return CPU if isinstance(value, NAMES) and str(value).startswith("cuda") else value


@contextmanager
def pretended_gpu(has_float64: bool = True) -> Iterator[torch.device]:
    """Inside the block, ``torch.cuda`` tells of a GPU with 8 GB, and "cuda" means it; yields its device."""
    generator = torch.Generator()

    def set_state(state: Tensor, device: Any = None) -> None:
        if is_on_gpu(state):  # generators keep their states in the computer's memory
            raise TypeError("RNG state must be a torch.ByteTensor")
        generator.set_state(state)

    answers = {
        **dict(is_available=True, is_initialized=True, device_count=1, get_device_name="pretended GPU"),
        **dict(is_bf16_supported=True, is_current_stream_capturing=False, max_memory_allocated=0),
        **dict(get_device_properties=SimpleNamespace(name="pretended GPU", total_memory=8 << 30)),
        **dict.fromkeys(["empty_cache", "synchronize", "set_device"]),
    }
    with pytest.MonkeyPatch.context() as patch, PretendedGpu(has_float64):
        for name, answer in answers.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        patch.setattr(torch.cuda, "get_rng_state", lambda device=None: generator.get_state())
        patch.setattr(torch.cuda, "set_rng_state", set_state)
        yield torch.device("cuda")
