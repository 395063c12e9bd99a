"""Every way in which an instance is not taken has its status."""

from __future__ import annotations

import pytest

from node import errors, receive
from node.scp import statuses

FAULTS = {
    receive.Fault.MALFORMED: 0xC000,
    receive.Fault.NOT_DICOM: 0xC000,
    receive.Fault.MISSING_UID: 0xC000,
    receive.Fault.WRONG_CLASS: 0xA900,
    receive.Fault.WRONG_INSTANCE: 0xA900,
    receive.Fault.TOO_LARGE: 0xA700,
    receive.Fault.CONFLICT: 0x0111,
    receive.Fault.BAD_UID: 0x0117,
}


@pytest.mark.parametrize("fault", list(receive.Fault))
def test_a_refusal(fault: receive.Fault) -> None:
    assert statuses.of_store(receive.Refused(fault, "why")) == FAULTS[fault]


def test_a_bad_uid_inside_the_data_set_is_the_data_sets_fault() -> None:
    assert statuses.of_store(receive.Refused(receive.Fault.BAD_UID, "why", tag=0x0020000D)) == 0xC000


@pytest.mark.parametrize("error", [errors.StorageFull, errors.StorageFailed, errors.DatabaseUnavailable])
def test_what_passes_is_out_of_resources(error: type[errors.Transient]) -> None:
    assert statuses.of_store(error("why")) == 0xA700


def test_what_does_not_pass_and_is_nobodys_fault_is_a_processing_failure() -> None:
    assert statuses.of_store(errors.Permanent("why")) == 0x0110
