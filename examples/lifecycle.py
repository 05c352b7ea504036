"""What happens around the inputs of a container: its hooks, a cancellation, and a preemption.

Run it with `cloudfn run examples/lifecycle.py`. Every container notes what happens to it.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cloudfn

app = cloudfn.App("lifecycle")


@app.cls(max_containers=1)
class Worker:
    folder: str = cloudfn.parameter()

    @cloudfn.enter()
    def start(self) -> None:
        self.note("enter")

    @cloudfn.method()
    def work(self, name: str, seconds: float = 0.0) -> str:
        self.note(f"{name} begins")
        try:
            time.sleep(seconds)
        except cloudfn.exception.InputCancellation:
            self.note(f"{name} is cancelled")
            raise
        return f"{name} is done"

    @cloudfn.method()
    def be_preempted(self) -> str:
        if "preempted" in Path(self.folder, "notes").read_text():
            return "done by the second container"
        self.note("preempted")
        cloudfn.exception.simulate_preemption(0.1)
        time.sleep(60)
        return "never said"

    @cloudfn.exit()
    def leave(self) -> None:
        # At the end of the run as well, when nobody reads notes any more.
        print("a container leaves")

    def note(self, what: str) -> None:
        with Path(self.folder, "notes").open("a") as file:
            file.write(f"{what}\n")


@app.local_entrypoint()
def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes")
        worker = Worker(folder=folder)
        print(worker.work.remote("first"))

        call = worker.work.spawn("second", 60.0)
        await_true(lambda: "second begins" in notes.read_text())
        call.cancel()
        try:
            call.get()
        except cloudfn.exception.RemoteError as error:
            print("second:", str(error).splitlines()[0])
        print(worker.work.remote("third"))

        # Its container is interrupted and leaves; the input runs again, and spends no retry.
        print(worker.be_preempted.remote())
        print(", ".join(notes.read_text().split("\n")[:-1]))


def await_true(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)
