"""What a run of the demo comes to, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from medmesh.demo.check import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals of one run."""

    sent: int
    accepted: int
    rejected: int
    unanswered: int
    his: Place
    archive: Place
    drained: bool
    """Whether the stop left nothing in hand."""
    seconds: float
    """From the first message to the last arrival."""
    p50_ms: float
    p99_ms: float
    trouble: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was sent was accepted and arrived everywhere, as it was, once, in order."""
        whole = self.his.is_whole and self.archive.is_whole
        return whole and self.sent > 0 and self.accepted == self.sent

    def fields(self) -> dict[str, object]:
        """Ready for JSON."""
        rate = self.accepted / self.seconds if self.seconds > 0 else 0.0
        return {
            "ok": self.is_whole,
            "sent": self.sent,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "unanswered": self.unanswered,
            "delivered": self.his.arrived,
            "archived": self.archive.arrived,
            "missing": self.his.missing + self.archive.missing,
            "different": self.his.different + self.archive.different,
            "duplicates": self.his.duplicates + self.archive.duplicates,
            "out_of_order": self.his.out_of_order,
            "his": asdict(self.his),
            "archive": asdict(self.archive),
            "drained": self.drained,
            "seconds": round(self.seconds, 3),
            "rate": round(rate, 1),
            "ack_p50_ms": round(self.p50_ms, 3),
            "ack_p99_ms": round(self.p99_ms, 3),
            **({"trouble": self.trouble} if self.trouble else {}),
        }

    def text(self) -> str:
        """A few lines."""
        f = self.fields()
        verdict = (
            "Every message arrived at the HIS and in the archive, byte for byte, in each patient's order."
            if self.is_whole
            else "NOT everything arrived as it was sent:"
        )
        return (
            f"{verdict}\n"
            f"  sent {f['sent']}, accepted {f['accepted']}, rejected {f['rejected']}, unanswered {f['unanswered']}\n"
            f"  delivered {f['delivered']}, archived {f['archived']}, missing {f['missing']}, "
            f"different {f['different']}, duplicates {f['duplicates']}, patients out of order {f['out_of_order']}\n"
            f"  {f['seconds']} s, {f['rate']} messages/s, "
            f"acknowledged in p50 {f['ack_p50_ms']} ms, p99 {f['ack_p99_ms']} ms"
            + (f"\n  {self.trouble}" if self.trouble else "")
        )


__all__ = ["Summary"]
