"""CUDA's driver by ctypes: enough to run a kernel, without any package. User code of the check."""

import ctypes
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

DRIVER = "libcuda.so.1"
NO_DEVICE = 100
_THREADS = 256

#: c[i] = a[i] + b[i] for i < n; by hand, so that the check needs no compiler
ADD = b"""
.version 6.3
.target sm_70
.address_size 64

.visible .entry add(
    .param .u64 a,
    .param .u64 b,
    .param .u64 c,
    .param .u32 n
)
{
    .reg .pred %outside;
    .reg .f32 %x, %y, %z;
    .reg .b32 %block, %size, %thread, %i, %count;
    .reg .b64 %offset, %from, %and, %to;

    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %thread, %tid.x;
    mad.lo.s32 %i, %block, %size, %thread;
    ld.param.u32 %count, [n];
    setp.ge.u32 %outside, %i, %count;
    @%outside bra DONE;

    mul.wide.u32 %offset, %i, 4;
    ld.param.u64 %from, [a];
    cvta.to.global.u64 %from, %from;
    add.s64 %from, %from, %offset;
    ld.global.f32 %x, [%from];
    ld.param.u64 %and, [b];
    cvta.to.global.u64 %and, %and;
    add.s64 %and, %and, %offset;
    ld.global.f32 %y, [%and];
    add.f32 %z, %x, %y;
    ld.param.u64 %to, [c];
    cvta.to.global.u64 %to, %to;
    add.s64 %to, %to, %offset;
    st.global.f32 [%to], %z;
DONE:
    ret;
}
"""


class CudaError(Exception):
    """The driver refused something."""


class Cuda:
    """The driver, initialised in this process; another library may pretend to be it."""

    def __init__(self, library: str = DRIVER) -> None:
        self._library = ctypes.CDLL(library)
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the driver; raises CudaError unless it succeeds."""
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise CudaError(name, status)

    def uuids(self) -> list[str]:
        """Return the devices that this process sees, by the names that NVML has for them."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return [self._uuid(number) for number in range(count.value)]

    def _uuid(self, number: int) -> str:
        raw = (ctypes.c_ubyte * 16)()
        self.call("cuDeviceGetUuid_v2", raw, self._device(number))
        return f"GPU-{UUID(bytes=bytes(raw))}"

    def _device(self, number: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), number)
        return device

    @contextmanager
    def context(self) -> Iterator[None]:
        """Use the first device until the end of the block."""
        context = ctypes.c_void_p()
        self.call("cuCtxCreate_v2", ctypes.byref(context), 0, self._device(0))
        try:
            yield
        finally:
            self.call("cuCtxDestroy_v2", context)

    def memory(self, size: int) -> ctypes.c_uint64:
        """Take bytes of the device's memory."""
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def add(self, left: "array[float]", right: "array[float]") -> "array[float]":
        """Add numbers on the device, in a context."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(ADD))
        self.call("cuModuleGetFunction", ctypes.byref(function), module, b"add")
        size = len(left) * left.itemsize
        a, b, c = (self.memory(size) for _ in range(3))
        for pointer, numbers in ((a, left), (b, right)):
            self.call("cuMemcpyHtoD_v2", pointer, _address(numbers), ctypes.c_size_t(size))
        count = ctypes.c_uint32(len(left))
        given = (ctypes.c_void_p * 4)(*(ctypes.addressof(each) for each in (a, b, c, count)))
        blocks = -(-len(left) // _THREADS)
        self.call("cuLaunchKernel", function, blocks, 1, 1, _THREADS, 1, 1, 0, None, given, None)
        self.call("cuCtxSynchronize")
        result = array("f", bytes(size))
        self.call("cuMemcpyDtoH_v2", _address(result), c, ctypes.c_size_t(size))
        for pointer in (a, b, c):
            self.call("cuMemFree_v2", pointer)
        return result


def _address(numbers: "array[float]") -> ctypes.c_void_p:
    return ctypes.c_void_p(numbers.buffer_info()[0])


def kernel_runs(cuda: Cuda) -> bool:
    """Add a million numbers on the first device, and return whether the sums are right."""
    count = 1_000_003  # no multiple of a block
    left, right = array("f", range(count)), array("f", (0.5 for _ in range(count)))
    with cuda.context():
        found = cuda.add(left, right)
    return found == array("f", (number + 0.5 for number in range(count)))
