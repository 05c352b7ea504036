"""The program of the check: kernels in containers, on the devices that those were given."""

import os
import time
from pathlib import Path

import cloudfn
from tests.gpu.cuda import NO_DEVICE, Cuda, CudaError, kernel_runs

MIB = 1 << 20
#: MiB that `hold` takes
TAKEN = 512

app = cloudfn.App("gpu-check")


def report(folder: str, text: str) -> None:
    """Say in a folder what this container sees, all at once."""
    file = Path(folder, str(os.getpid()))
    file.write_text(text)
    file.rename(f"{file}.sees")


def at_work(folder: str, library: str) -> tuple[bool, list[str]]:
    """Run a kernel, say in a folder which devices there are, and wait for a file `go` there."""
    cuda = Cuda(library)
    seen, right = cuda.uuids(), kernel_runs(cuda)
    report(folder, " ".join(seen))
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.01)
    return right, seen


@app.function(gpu="any")
def whole(folder: str, library: str) -> tuple[bool, list[str]]:
    return at_work(folder, library)


@app.function(gpu="any", gpu_memory=1_024)
def part(folder: str, library: str) -> tuple[bool, list[str]]:
    return at_work(folder, library)


@app.function(gpu="any", gpu_memory=1_024)
def hold(folder: str) -> None:
    """Take memory of the device, and keep it until the folder has a file `go`."""
    cuda = Cuda()
    with cuda.context():
        cuda.memory(TAKEN * MIB)
        report(folder, "memory")
        while not os.path.exists(f"{folder}/go"):
            time.sleep(0.01)


@app.function()
def without(library: str) -> bool:
    """Whether CUDA finds no device."""
    try:
        Cuda(library)
    except CudaError as error:
        return error.args == ("cuInit", NO_DEVICE)
    return False


early = cloudfn.App("gpu-check-early")

if not cloudfn.is_local() and os.environ.get("EARLY"):
    # As programs do that look at their device while they are imported.
    AT_IMPORT = kernel_runs(Cuda())


@early.function(gpu="any", env={"EARLY": "1"})
def after_import() -> tuple[bool, bool]:
    return AT_IMPORT, kernel_runs(Cuda())
