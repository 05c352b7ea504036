"""A laptop in the tests: calls what is deployed, and prints what comes of it.

ask NAME     waits for `patient`
spawn NAME   prints the call's id at once, then waits for `patient`
again CALL   waits for a call of somebody else
map N        maps `crunch` over so many; prints a line when the first outcome is there
one X        calls `crunch` once
put QUEUE    puts an element
"""

import sys

import cloudfn


def main(what: str, word: str) -> None:
    patient = cloudfn.Function.from_name("survivors", "patient")
    crunch = cloudfn.Function.from_name("survivors", "crunch")
    match what:
        case "ask":
            print("answer", patient.remote(word))
        case "spawn":
            call = patient.spawn(word)
            print(call.object_id, flush=True)
            print("answer", call.get())
        case "again":
            print("answer", cloudfn.FunctionCall.from_id(word).get())
        case "map":
            outcomes = []
            for outcome in crunch.map(range(int(word))):
                if not outcomes:
                    print("begun", flush=True)
                outcomes.append(outcome)
            right = [x for _, x in outcomes] == list(range(int(word)))
            print("right", right, "revisions", {revision for revision, _ in outcomes})
        case "one":
            print("answer", crunch.remote(int(word)))
        case "put":
            cloudfn.Queue.from_name(word).put("by hand")


main(*sys.argv[1:])
