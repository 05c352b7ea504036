"""What is written to a page, as conditional updates of its slots. Pure.

Every condition speaks of the slots that change and of nothing else, so that several processes
write to one page at the same time without meeting each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cloudfn.providers.aws.ledger.pages import (
    CANCELLED,
    PAGE,
    STEP,
    WAITS,
    Page,
    Scar,
    scar_item,
    scars_item,
)
from cloudfn.providers.aws.table import Write, update


class Change:
    """An update of a page in the making.

    Args:
        page: As it was seen last; only its key and its scars matter.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._sets = ["#v=#v+:one"]
        self._removes: list[str] = []
        self._conditions: list[str] = []
        self._values: dict[str, Any] = {"one": 1}
        self._names: dict[Any, str] = {}
        self._waiting = self._unfinished = 0

    def slot(self, slot: int, before: int, after: int) -> None:
        """Let a slot say something else, if it still says what it said."""
        self._conditions.append(f"#s[{slot}]={self._value(before)}")
        self._sets.append(f"#s[{slot}]={self._value(after)}")
        self._waiting += (after == WAITS) - (before == WAITS)
        self._unfinished -= (after < WAITS) - (before < WAITS)
        if after < WAITS and slot in self._page.scars:
            self._removes.append(f"#sc.#k{slot}")

    def claim(self, slots: Collection[int], label: int, holder: str) -> None:
        """PENDING → RUNNING, all under the next fence."""
        self._values |= {"step": STEP, "mine": STEP + label, "holder": holder}
        # What came back meanwhile, to wait or to run alone, does not look like what never ran.
        self._values["sc"] = scars_item(self._page.scars)
        self._conditions.append("#sc=:sc")
        self._sets += ["#f=#f+:step", f"#h.#l{label}=:holder"]
        # The label is this process's, or still nobody's.
        self._conditions.append(f"(attribute_not_exists(#h.#l{label}) OR #h.#l{label}=:holder)")
        for slot in slots:
            self._conditions.append(f"#s[{slot}]={self._value(WAITS)}")
            self._sets.append(f"#s[{slot}]=#f+:mine")
        self._waiting -= len(slots)

    def scar(self, slot: int, scar: Scar) -> None:
        """Note what is known of an input."""
        self._set(f"#sc.#k{slot}", scar_item(scar))

    def outcome(self, slot: int, sealed: bytes) -> None:
        """Keep an outcome on the page itself."""
        self._set(f"#o.#k{slot}", sealed)

    def end(self, now: float) -> None:
        """Note when outcomes were recorded last."""
        self._set("#e", now)

    def cancel(self) -> None:
        """Mark the page as one of a cancelled call."""
        self._set("#x", 1)

    def require(self, condition: str) -> None:
        """Write only if something else holds as well."""
        self._conditions.append(condition)

    def write(self) -> Write:
        """Return the update."""
        sets = list(self._sets)
        for name, change in (("w", self._waiting), ("u", self._unfinished)):
            if change:
                self._values[f"{name}_"] = change
                sets.append(f"#{name}=#{name}+:{name}_")
        text = "SET " + ",".join(sets)
        if self._removes:
            text += " REMOVE " + ",".join(self._removes)
        when = " AND ".join(["attribute_exists(pk)", *self._conditions])
        return update(self._page.key, PAGE, text, when, **self._values)

    def _set(self, place: str, value: Any) -> None:
        name = f"n{len(self._values)}"
        self._values[name] = value
        self._sets.append(f"{place}=:{name}")

    def _value(self, value: int) -> str:
        """Return the placeholder of a slot's value; most slots share a few."""
        if value not in self._names:
            self._names[value] = f"c{len(self._names)}"
            self._values[self._names[value]] = value
        return f":{self._names[value]}"


def claim(page: Page, slots: Collection[int], label: int, holder: str) -> Write:
    """Take waiting inputs."""
    change = Change(page)
    change.claim(slots, label, holder)
    return change.write()


def record(page: Page, ends: Mapping[int, int], inline: Mapping[int, bytes], now: float) -> Write:
    """End inputs that run; `ends` says what their slots say afterwards."""
    change = Change(page)
    for slot, after in ends.items():
        change.slot(slot, page.slots[slot], after)
    for slot, sealed in inline.items():
        change.outcome(slot, sealed)
    change.end(now)
    return change.write()


def release(page: Page, slots: Iterable[int], scars: Mapping[int, Scar], now: float) -> Write:
    """Let inputs wait again that run; those of a cancelled call are cancelled instead."""
    change = Change(page)
    for slot in slots:
        change.slot(slot, page.slots[slot], CANCELLED if page.cancelled else WAITS)
        if slot in scars and not page.cancelled:
            change.scar(slot, scars[slot])
    change.require("attribute_exists(#x)" if page.cancelled else "attribute_not_exists(#x)")
    if page.cancelled:
        change.end(now)
    return change.write()


def cancel(page: Page, now: float) -> Write:
    """Cancel what waits, and mark the page."""
    change = Change(page)
    for slot, value in enumerate(page.slots):
        if value == WAITS:
            change.slot(slot, WAITS, CANCELLED)
    change.cancel()
    change.end(now)
    return change.write()


def fold(page: Page) -> Write:
    """Note that the counters of its function say of the page what it says itself.

    They may say more than is true for a while, never less.
    """
    return update(
        page.key,
        PAGE,
        "SET #fw=:w,#fu=:u,#v=#v+:one",
        "#fw=:fw AND #fu=:fu AND #w<=:w AND #u<=:u",
        w=page.waiting,
        u=page.unfinished,
        fw=page.folded_waiting,
        fu=page.folded_unfinished,
        one=1,
    )


def close(page: Page, expires: int | None) -> Write:
    """Take a page whose inputs have all ended out of the counters, and let it expire."""
    more = "" if expires is None else ",#expires=:expires"
    values = {} if expires is None else {"expires": expires}
    return update(
        page.key,
        PAGE,
        f"SET #fw=:zero,#fu=:zero,#z=:yes,#v=#v+:one{more}",
        "#fw=:fw AND #fu=:fu AND #u=:zero AND attribute_not_exists(#z)",
        zero=0,
        yes=True,
        one=1,
        fw=page.folded_waiting,
        fu=page.folded_unfinished,
        **values,
    )


def add_to_set(page: Page, name: str, slots: Collection[int]) -> Write:
    """Mark slots as delivered (d) or buried (b)."""
    return update(
        page.key,
        PAGE,
        f"SET #v=#v+:one ADD #{name} :slots",
        "attribute_exists(pk)",
        one=1,
        slots=frozenset(slots),
    )
