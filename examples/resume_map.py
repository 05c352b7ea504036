"""A map that goes on where an earlier run ended, whatever ended it.

Run it with `cloudfn run examples/resume_map.py`; stop it with Ctrl-C, and run it again.
`--name` gives the map another name, and so begins anew.
"""

import time

import cloudfn

app = cloudfn.App("resume-map")


@app.function(max_containers=2)
def render(frame: int, seconds: float) -> tuple[int, float]:
    time.sleep(seconds)
    return frame, time.time()


@app.local_entrypoint()
def main(frames: int = 20, seconds: float = 0.02, name: str = "film") -> None:
    frame_times = render.map(range(frames), kwargs={"seconds": seconds}, resume=name)

    # As if the process died here: five results are told, the others are lost to this reader.
    before = [next(frame_times) for _ in range(5)]
    frame_times.close()

    after = list(render.map(range(frames), kwargs={"seconds": seconds}, resume=name))
    print("frames:", [frame for frame, _ in after][:3], "…", len(after), "in all")
    print("finished frames were not rendered again:", after[:5] == before)
