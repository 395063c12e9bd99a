"""What only enhanced PET says: the agent, the acquisition, and what the counts were corrected for."""

from __future__ import annotations

from collections.abc import Mapping

from node.formats import building, classic

# Each flag, and the word of Corrected Image in a classic PET object that sets it.
_CORRECTED: Mapping[int, str] = {
    0x00189758: "DECY",
    0x00189759: "ATTN",
    0x00189760: "SCAT",
    0x00189761: "DTIM",
    0x00189762: "",  # gantry motion
    0x00189763: "MOTN",
    0x00189764: "NORM",
    0x00189765: "RAN",
    0x00189766: "RADL",
    0x00189767: "DCAL",
    0x00189768: "NORM",
}
_AGENT, _NUMBER = 0x00540016, 0x00189729
_DATE, _TIME, _STARTED, _CLOCK = 0x00080021, 0x00080031, 0x00181078, 0x00181072
_MUST: Mapping[int, str] = {  # of the agent; a classic object need not say it, and nobody may guess it
    0x00540300: "radionuclide",
    0x00540302: "route of administration",
    0x00540304: "radiopharmaceutical",
    0x00181075: "half life",
    0x00181076: "positron fraction",
    _STARTED: "start of the injection",
}


def describe(made: building.Elements, before: building.Elements) -> tuple[str, ...]:
    """Set the modules of enhanced PET from what a classic template says; what it does not, in sentences."""
    said = {word.strip() for word in before.text(0x00280051).split("\\")}
    for tag, word in _CORRECTED.items():
        made.set(tag, "YES" if any(one.startswith(word) for one in said if word) else "NO")
    made.set(0x00541002, "EMISSION")
    made.offer(0x00541002, before.get(0x00541002) or "EMISSION")
    made.set(0x00181134, "STATIC")  # what a classic object says of the table is not enough to say more
    made.set(0x00189755, "FALSE")
    made.sequence(0x00540220, [made.item(classic.code("62824007", "SCT", "Transverse"))])
    agent = _agent(made, before)
    made.sequence(_AGENT, [agent.bytes()])
    if made.text(0x00189759) == "YES":
        method = before.text(0x00541101).upper()
        made.set(0x00189738, "MR" if "MR" in method and "CT" not in method else "CT")
        made.set(0x00189770, "SEPARATE")
    if made.text(0x00189758) == "YES":
        begun = before.text(_DATE) + before.text(_TIME)
        made.offer(0x00189701, agent.text(_STARTED) if before.text(0x00541102) == "ADMIN" else begun)
    missing = [name for tag, name in _MUST.items() if tag not in agent]
    return (f"the template does not say what enhanced PET must: {', '.join(missing)}",) if missing else ()


def _agent(made: building.Elements, before: building.Elements) -> building.Elements:
    """The first radiopharmaceutical of the template with a number, which the frames refer to it by."""
    items = before.get(_AGENT)
    found = building.first_item(items) if isinstance(items, bytes) else None
    agent = found or building.Elements({}, made.sets)
    agent.set(_NUMBER, 1)
    agent.default(0x00181074, None)
    day, clock = before.text(_DATE) or before.text(0x00080020), agent.text(_CLOCK)
    if _STARTED not in agent and len(day) == 8 and clock:
        agent.offer(_STARTED, day + clock)
    return agent
