"""What a peer sends as N-EVENT-REPORT is looked at before its data set is."""

from __future__ import annotations

import pytest

from node.dicom import commitment
from node.scp import event
from node.wire import command


def _request(sop_class: str, sop_instance: str, number: int | None) -> command.Command:
    elements = {} if number is None else {command.EVENT_TYPE: command.us(number)}
    asked = command.request(
        command.Field.N_EVENT_REPORT,
        1,
        sop_class=sop_class,
        sop_instance=sop_instance,
        has_data=True,
        elements=elements,
    )
    return command.decode(asked)


@pytest.mark.parametrize(
    ("abstract", "sop_class", "sop_instance", "number", "status"),
    [
        (commitment.SOP_CLASS, commitment.SOP_CLASS, commitment.SOP_INSTANCE, 1, 0x0000),
        (commitment.SOP_CLASS, commitment.SOP_CLASS, commitment.SOP_INSTANCE, 2, 0x0000),
        (commitment.SOP_CLASS, commitment.SOP_CLASS, commitment.SOP_INSTANCE, 3, 0x0113),
        (commitment.SOP_CLASS, commitment.SOP_CLASS, commitment.SOP_INSTANCE, None, 0x0113),
        (commitment.SOP_CLASS, commitment.SOP_CLASS, "1.2.3", 1, 0x0112),
        (commitment.SOP_CLASS, "1.2.840.10008.1.1", commitment.SOP_INSTANCE, 1, 0x0118),
        ("1.2.840.10008.1.1", commitment.SOP_CLASS, commitment.SOP_INSTANCE, 1, 0x0122),
    ],
)
def test_check(abstract: str, sop_class: str, sop_instance: str, number: int | None, status: int) -> None:
    assert event.check(_request(sop_class, sop_instance, number), abstract)[0] == status
