"""A function that asks whoever runs it: `cloudfn run -i examples/ask_when_unsure.py`.

It sorts messages by a rule, in a container, and reads from your terminal what to make of those that
the rule leaves open. After `cloudfn.interact()`, `breakpoint()` stops there as well.
"""

import cloudfn

app = cloudfn.App("ask-when-unsure")

RULES = {"invoice": "bills", "payment": "bills", "crashed": "faults", "error": "faults"}
MESSAGES = ["your invoice of May", "it crashed again", "an invoice with an error", "good morning"]


@app.function(timeout=3600)  # it counts the time that you think about it
def sort(messages: list[str]) -> dict[str, list[str]]:
    cloudfn.interact()
    boxes: dict[str, list[str]] = {}
    for message in messages:
        found = {box for word, box in RULES.items() if word in message}
        box = found.pop() if len(found) == 1 else input(f"Where does {message!r} belong? ")
        boxes.setdefault(box, []).append(message)
    return boxes


@app.local_entrypoint()
def main() -> None:
    for box, messages in sort.remote(MESSAGES).items():
        print(f"{box}: {', '.join(messages)}")
