"""What happens around the inputs of a container: its hooks, a cancellation, and a preemption.

Run it with `cloudfn run examples/lifecycle.py`. Every container notes what happens to it.
"""

import time

import cloudfn

app = cloudfn.App("lifecycle")
notes = cloudfn.Queue.from_name("lifecycle-notes", create_if_missing=True)


@app.cls(max_containers=1)
class Worker:
    @cloudfn.enter()
    def start(self) -> None:
        notes.put("enter")

    @cloudfn.method()
    def work(self, name: str, seconds: float = 0.0) -> str:
        notes.put(f"{name} begins")
        try:
            time.sleep(seconds)
        except cloudfn.exception.InputCancellation:
            notes.put(f"{name} is cancelled")
            raise
        return f"{name} is done"

    @cloudfn.method()
    def be_preempted(self) -> str:
        if "preempted" in notes.iterate(item_poll_timeout=0):
            return "done by the second container"
        notes.put("preempted")
        cloudfn.exception.simulate_preemption(0.1)
        time.sleep(60)
        return "never said"

    @cloudfn.exit()
    def leave(self) -> None:
        # At the end of the run as well, when nobody reads notes any more.
        print("a container leaves")


@app.local_entrypoint()
def main() -> None:
    notes.clear()
    worker = Worker()
    print(worker.work.remote("first"))

    call = worker.work.spawn("second", 60.0)
    while "second begins" not in notes.iterate(item_poll_timeout=0):
        time.sleep(0.1)
    call.cancel()
    try:
        call.get()
    except cloudfn.exception.RemoteError as error:
        print("second:", str(error).splitlines()[0])
    print(worker.work.remote("third"))

    # Its container is interrupted and leaves; the input runs again, and spends no retry.
    print(worker.be_preempted.remote())
    print(", ".join(notes.iterate(item_poll_timeout=0)))
    cloudfn.Queue.objects.delete("lifecycle-notes")
