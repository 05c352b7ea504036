"""Hundreds of requests that mostly wait, in a container or two.

`cloudfn run examples/concurrent_requests.py` starts a slow server here and has containers ask it.
An input that waits for an answer takes no processor, so one container runs fifty at once:
`@cloudfn.concurrent` gives each a task of one event loop, because `ask` is `async`. A plain
function would get a thread for each.
"""

import asyncio
import os
import threading

import cloudfn

app = cloudfn.App("concurrent-requests")


@app.function()
@cloudfn.concurrent(max_inputs=50)
async def ask(port: int, question: int) -> tuple[int, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{question}\n".encode())
    answer = await reader.readline()
    writer.close()
    return int(answer), os.getpid()


class SlowServer:
    """Squares a number, after having thought about it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.port = 0
        self.ready = threading.Event()

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(await reader.readline())
        await asyncio.sleep(self.seconds)
        writer.write(f"{number * number}\n".encode())
        writer.close()


@app.local_entrypoint()
def main(questions: int = 200, seconds: float = 0.1) -> None:
    server = SlowServer(seconds)
    threading.Thread(target=server.serve, daemon=True).start()
    server.ready.wait()

    answers = list(ask.map([server.port] * questions, range(questions)))

    print(f"{questions} answers, the last one is {answers[-1][0]}")
    print(f"containers: {len({pid for _, pid in answers})}, at up to 50 requests each")
