"""Two worlds on one machine: `cloudfn run examples/environments.py`.

The same app is deployed to two environments in two versions. Neither sees the other; at the end one
of them is deleted with everything in it.
"""

import cloudfn

app = cloudfn.App("environments")
shop = cloudfn.App("shop")


@shop.function(max_containers=2)
def price(pieces: int) -> int:
    return 3 * pieces


@app.local_entrypoint()
def main(environment: str = "example-staging") -> None:
    staging = cloudfn.Environment.objects.create(environment, allow_existing=True)
    try:
        shop.deploy(environment_name=staging.name)
        there = cloudfn.Function.from_name("shop", "price", environment_name=staging.name)
        there.update_autoscaler(max_containers=1)
        print(f"{staging.name}: {there.remote(2)}, {there.autoscaler.settings()}")
        try:
            cloudfn.Function.from_name("shop", "price").remote(2)
        except cloudfn.exception.NotFoundError:
            print("there is no shop in this environment")
    finally:
        cloudfn.Environment.objects.delete(staging.name)
    print(f"{staging.name} is gone")
