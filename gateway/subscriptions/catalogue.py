"""The topics of a gateway and the judges that filter by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from adapters.fhir.store.events import Change, domain_of, event_name
from adapters.fhir.store.refusals import Refusal
from gateway.subscriptions.filters import Judge, query_pairs
from gateway.subscriptions.model import Filter, Wish
from gateway.subscriptions.topics import Topic, built_in, read_topics
from schemas.errors import ConfigurationError
from schemas.gateway.subscriptions import SubscriptionsSection
from schemas.subjects import SiteId


class Topics:
    """Every topic by its address."""

    def __init__(self, section: SubscriptionsSection, releases: Sequence[str]) -> None:
        own = read_topics(section.topics) if section.topics is not None else []
        self._topics: Mapping[str, Topic] = {
            one.url: one for one in (*built_in(section.types), *own)
        }
        self._judges = {release: Judge(release) for release in releases}
        for topic in own:
            self._check(topic)

    def close(self) -> None:
        """Free the judges."""
        for judge in self._judges.values():
            judge.close()

    def _check(self, topic: Topic) -> None:
        for judge in self._judges.values():
            for trigger in topic.triggers:
                try:
                    for query in filter(None, (trigger.previous, trigger.current)):
                        judge.check(trigger.type, query_pairs(query), base="")
                except Refusal as refusal:
                    words = f"gateway.subscriptions.topics: {topic.url}: {refusal}"
                    raise ConfigurationError(words) from refusal

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def get(self, url: str) -> Topic | None:
        """The topic of an address; a version behind `|` is not looked at."""
        return self._topics.get(url.partition("|")[0])

    def judge(self, release: str) -> Judge:
        """What looks at resources of a release."""
        return self._judges[release]

    @property
    def types(self) -> frozenset[str]:
        """Every type that sets off a topic."""
        return frozenset(type_ for topic in self for type_ in topic.types)

    def check(self, wish: Wish, release: str, base: str) -> Topic:
        """The topic of a wish whose filters can be used with it. Raises `Refusal` (422)."""
        place = "Subscription.topic" if release == "R5" else "Subscription.criteria"
        topic = self.get(wish.topic)
        if topic is None:
            words = "there is no such topic; metadata and SubscriptionTopic (R5) list them"
            raise Refusal(422, "not-supported", words, expression=place)
        for one in wish.filters:
            self._check_filter(topic, one, release, base)
        return topic

    def _check_filter(self, topic: Topic, one: Filter, release: str, base: str) -> None:
        place = "Subscription.filterBy" if release == "R5" else "Subscription.criteria.extension"
        if one.resource_type and one.resource_type not in topic.types:
            words = "the filter is for a type that the topic is not about"
            raise Refusal(422, "value", words, expression=place)
        for type_ in (one.resource_type,) if one.resource_type else topic.types:
            if not topic.may_filter(type_, one.name.partition(":")[0]):
                words = "the topic offers no filter by this parameter (canFilterBy)"
                raise Refusal(422, "not-supported", words, expression=place)
            try:
                self.judge(release).check(type_, ((one.name, one.value),), base=base)
            except Refusal as refusal:
                first = refusal.issues[0]
                raise Refusal(422, first.code, first.text, expression=place) from None


def patterns(site: SiteId, types: Iterable[str]) -> tuple[str, ...]:
    """The events of changes of these types."""
    return tuple(
        f"evt.{site}.{domain_of(type_).value}.{event_name(type_, change)}.*"
        for type_ in sorted(types)
        for change in Change
    )


__all__ = ["Topics", "patterns"]
