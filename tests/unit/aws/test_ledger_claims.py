"""What befalls a claim while others talk to the same process."""

from random import Random

from cloudfn.model.call import CallKind
from cloudfn.providers.aws.crew import Crew
from cloudfn.providers.aws.ledger.book import Book
from cloudfn.providers.aws.ledger.claims import Claims
from cloudfn.providers.aws.ledger.counts import Counts
from cloudfn.providers.aws.ledger.returns import Returns
from cloudfn.providers.aws.ledger.shelf import Shelf
from cloudfn.providers.aws.table import Table
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import CallSpec
from cloudfn.settings import Limits
from cloudfn.wire.seals import input_seals, result_seals
from tests.contract.dynamo_ledgers import KEY, NOW, TABLE, Source, account, open_ledger

POOL = "fu-f@1"


class Interrupted(Book):
    """Lets something else happen the next time that a page is asked for."""

    def __init__(self):
        super().__init__()
        self.then = None

    def page(self, number):
        then, self.then = self.then, None
        if then is not None:
            then()
        return super().page(number)


def test_a_doorbell_that_rings_in_the_middle_of_a_claim_does_not_disturb_it():
    aws = account()
    client = open_ledger(aws, "cl-1")
    call = CallSpec("fc-1", "fu-f", POOL, CallKind.MAP, NOW)
    client.submit(call, 0, [b"x"] * 200, sealed=True, now=NOW)
    rings = client.rings()
    table = Table(Source(aws, 1), TABLE, aws.clock)
    seals = input_seals(KEY), result_seals(KEY)
    shelf = Shelf(table, "ma-1", *seals, Limits(), aws.clock, Random(1), Crew(1))
    book = shelf.book = Interrupted()
    claims = Claims(shelf, Returns(shelf, Counts(shelf)))
    for ring in rings:
        claims.hear(ring)

    book.then = lambda: claims.hear(Ring("fu-f", POOL, f"{7:014x}"))

    assert len(claims.claim(POOL, 1, NOW)) == 1
