"""What a sender makes of each status."""

from __future__ import annotations

import pytest
from pynetdicom import status as standard

from node.dicom import statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, statuses.Kind.SUCCESS),
        (0xB000, statuses.Kind.WARNING),
        (0xB006, statuses.Kind.WARNING),
        (0xB007, statuses.Kind.WARNING),
        (0xBFFF, statuses.Kind.WARNING),
        (0x0001, statuses.Kind.WARNING),
        (0x0107, statuses.Kind.WARNING),
        (0x0111, statuses.Kind.WARNING),  # an earlier attempt was stored, its answer lost
        (0xA700, statuses.Kind.RETRY),
        (0xA7FF, statuses.Kind.RETRY),
        (0x0110, statuses.Kind.RETRY),
        (0x0213, statuses.Kind.RETRY),
        (0x1234, statuses.Kind.RETRY),  # nobody defined it
        (0xA900, statuses.Kind.PERMANENT),
        (0xA9FF, statuses.Kind.PERMANENT),
        (0xC000, statuses.Kind.PERMANENT),
        (0xCFFF, statuses.Kind.PERMANENT),
        (0x0117, statuses.Kind.PERMANENT),
        (0x0122, statuses.Kind.PERMANENT),
        (0x0124, statuses.Kind.PERMANENT),
        (0x0211, statuses.Kind.PERMANENT),
    ],
)
def test_a_store_status_has_one_kind(status: int, kind: statuses.Kind) -> None:
    assert statuses.classify(status) is kind


def test_every_storage_status_of_the_standard_is_named_and_agrees_on_failure() -> None:
    delivered = (statuses.Kind.SUCCESS, statuses.Kind.WARNING)
    for code, (category, _) in standard.STORAGE_SERVICE_CLASS_STATUS.items():
        assert "does not define" not in statuses.name(code), hex(code)
        if code != statuses.DUPLICATE_INSTANCE:
            is_failure = category in (standard.STATUS_FAILURE, standard.STATUS_CANCEL)
            assert is_failure == (statuses.classify(code) not in delivered), hex(code)


def test_a_status_is_shown_with_its_code_its_name_and_the_peers_comment() -> None:
    assert statuses.text(0xA700, "disk full") == "0xA700 (out of resources): disk full"
    assert statuses.text(0xC123) == "0xC123 (the peer cannot understand the data set)"
    assert statuses.text(0x1234) == "0x1234 (a status that the standard does not define)"
