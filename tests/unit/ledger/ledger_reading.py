"""What the ledger's tables hold."""

from tidemill.ledger import tables
from tidemill.ledger.settings import LedgerSettings


def requests(settings: LedgerSettings) -> list[str]:
    return sorted(tables.answers(settings, "shop").select("request").collect()["request"])
