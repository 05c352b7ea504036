"""Inputs that failed for good, found again and run once more after the repair.

    cloudfn deploy examples/dead_letters.py
    cloudfn run examples/dead_letters.py
    cloudfn call dead --app dead-letters
    cloudfn run examples/dead_letters.py::learn --currency XTS --rate 2.5
    cloudfn call retry fc-… --all        # prints the id of a new call
    cloudfn call get fc-…

One of the amounts is in a currency that has no rate yet. No retry helps, but the input is not lost:
it waits among the dead letters, with its arguments. `cloudfn call drop in-…` gives one up.
"""

import cloudfn

app = cloudfn.App("dead-letters")
rates = cloudfn.Dict.from_name("dead-letters-rates", create_if_missing=True)


@app.function()
def convert(amount: float, currency: str) -> float:
    return amount * rates[currency]


@app.function()
def learn(currency: str, rate: float) -> None:
    rates[currency] = rate


@app.local_entrypoint()
def main() -> None:
    # Calls of the app of this run would end with it; those of the deployed one stay.
    deployed = cloudfn.App.lookup("dead-letters")
    deployed.registered_functions["learn"].remote("XDR", 1.0)
    convert = deployed.registered_functions["convert"]
    calls = [convert.spawn(20.0, "XDR"), convert.spawn(7.0, "XTS")]
    for call in calls:
        try:
            print(call.get(), "converted")
        except KeyError as error:
            print(f"{call.object_id} failed for want of {error}")
