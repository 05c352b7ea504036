"""How the ledger's memory comes back: after its owner died, and after a commit that failed."""

from __future__ import annotations

from collections.abc import Mapping

from cloudfn.model.call import Again, ContainerLost, Status, settle
from cloudfn.providers.endings import lost_payload
from cloudfn.providers.local.records import UNHURT, Page, Scar
from cloudfn.providers.local.residents import Residents
from cloudfn.providers.local.store import Store

_UNHURT = Scar(UNHURT, 0.0, alone=False)


def load_scars(memory: Residents, store: Store) -> None:
    """Bring all scars into memory; their inputs are queued by `queue_scarred`."""
    for seq, number, scar in store.scarred():
        memory.numbered(number).scars[seq] = scar


def queue_scarred(memory: Residents, now: float) -> None:
    """Queue the waiting inputs that have scars; all others are queued when their lane is read."""
    for call in list(memory.in_memory()):
        for seq in call.scars:
            page = memory.page_at(seq)
            if page is not None and call.statuses[page.first + seq - page.seq] == Status.PENDING:
                memory.queue.add_back(page, seq, 0, now)


def lose_running(memory: Residents, store: Store) -> None:
    """Settle what ran when the last owner died: its containers died with it."""
    query = "SELECT number FROM call WHERE running AND number IN (SELECT call FROM payload)"
    for (number,) in store.read(query):
        call = memory.numbered(number)
        for seq, first, count in store.pages_of(call):
            if Status.RUNNING in call.statuses[first : first + count]:
                _lose_page(memory, memory.page(call, seq, first, count))


def restore_held(memory: Residents, held: Mapping[int, int]) -> None:
    """Let inputs run under these fences, by seq, as far as the file knows them."""
    page: Page | None = None
    for seq, fence in sorted(held.items()):
        if page is None or seq >= page.seq + page.count:
            page = memory.page_at(seq)
        if page is None:
            continue
        status = page.call.statuses[page.first + seq - page.seq]
        if status == Status.PENDING:
            memory.queue.move(page, seq, Status.RUNNING)
        if status <= Status.RUNNING:
            memory.queue.running[seq] = page, fence


def _lose_page(memory: Residents, page: Page) -> None:
    call = page.call
    for offset, status in enumerate(call.statuses[page.first : page.first + page.count]):
        if status != Status.RUNNING:
            continue
        seq = page.seq + offset
        memory.queue.move(page, seq, Status.PENDING)
        if call.cancelled:
            memory.end(page, seq, Status.CANCELLED)
            continue
        scar = call.scars.get(seq, _UNHURT)
        verdict = settle(scar.counters, ContainerLost("its agent died"), None)
        if isinstance(verdict, Again):
            memory.hurt(call, seq, scar._replace(counters=verdict.counters, not_before=0.0))
        else:
            payload = lost_payload(call.spec.call_id, page.first + offset, verdict.reason)
            memory.end(page, seq, verdict.status, payload)
