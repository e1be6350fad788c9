"""The trait `link`: a link exists, with these interfaces and configs."""

from __future__ import annotations

from collections.abc import Sequence

from trellis_lattice.links import Link
from trellis_wadm.planner.commands import PutLink
from trellis_wadm.planner.desired import LinkScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.view import Outcome, View, slot_of
from trellis_wadm.planner.world import LinkKey, SlotKey

__all__ = ["decide", "rivals", "same_link"]


def decide(scaler: LinkScaler, view: View, cleared: frozenset[LinkKey], again: frozenset[SlotKey]) -> Outcome:
    """A put if the link is missing or differs.

    `cleared` are links that this pass deletes; `again` are those slots where v1's delete, which removes the
    first match, may take the wrong one, so that the right one is put again.
    """
    if scaler.problem is not None:
        return Outcome(conditions=(Condition("link-refused", scaler.problem, fatal=True),))
    needs, missing = view.needs(scaler.config)
    if missing:
        return Outcome(conditions=tuple(missing))
    link = scaler.link
    for other in rivals(link, view.slots.get(slot_of(link), ())):
        if other.key not in cleared:
            message = (
                f"{link.source_id} is linked to {other.target} already under the name '{link.name}' "
                f"for {link.wit_namespace}:{link.wit_package}."
            )
            return Outcome(conditions=(Condition("link-conflict", message, fatal=True),))
    stored = view.links.get(link.key)
    if stored is not None and same_link(stored, link) and slot_of(link) not in again:
        return Outcome()
    differs = stored is not None and not same_link(stored, link)
    reason = "it does not exist" if stored is None else "it differs" if differs else "its rival goes"
    return Outcome((Step(Stage.LINK, PutLink(link), reason, scaler.app, scaler.id, needs),))


def rivals(link: Link, others: Sequence[Link]) -> list[Link]:
    """Those of the links of one slot that cannot exist beside this one: common interfaces, another target."""
    interfaces = set(link.interfaces)
    return [other for other in others if other.target != link.target and not interfaces.isdisjoint(other.interfaces)]


def same_link(one: Link, other: Link) -> bool:
    """Whether both say the same about their place."""
    return (
        set(one.interfaces) == set(other.interfaces)
        and tuple(one.source_config) == tuple(other.source_config)
        and tuple(one.target_config) == tuple(other.target_config)
    )
