"""SIGHUP: what applies at once, and what waits for a restart."""

from __future__ import annotations

import dataclasses

from node import config, evaluate, model

OLD = model.Settings(
    peers=(model.Peer("ct", "CT"), model.Peer("mr", "MR")),
    rules=(
        model.Rule("a", model.Action.KEEP, when=evaluate.of({"Modality": "CT"})),
        model.Rule("b", model.Action.DISCARD, when=evaluate.of({"Modality": "SR"})),
    ),
)


def test_nothing_changed() -> None:
    change = config.changed(OLD, OLD)
    assert change == config.Change(OLD, (), ())
    assert change.describe() == "nothing changed"


def test_peers_limits_and_level_apply_at_once() -> None:
    new = dataclasses.replace(
        OLD,
        log=model.LogSettings(level="debug"),
        limits=model.Limits(pdu=65536),
        peers=(model.Peer("ct", "CT", port=105), model.Peer("us", "US")),
    )
    change = config.changed(OLD, new)
    assert change.settings == new
    assert change.restart == ()
    assert change.applied == ("log.level", "limits.pdu", "peers.ct", "peers.us (new)", "peers.mr (removed)")


def test_a_port_waits_for_a_restart_and_the_old_one_stays_in_force() -> None:
    new = dataclasses.replace(
        OLD,
        node=dataclasses.replace(OLD.node, port=104, accept_unknown=False),
        storage=dataclasses.replace(OLD.storage, database="postgresql://x/y", min_free=5),
    )
    change = config.changed(OLD, new)
    assert change.restart == ("node.port", "storage.database")
    assert change.applied == ("node.accept_unknown", "storage.min_free")
    assert change.settings.node == dataclasses.replace(OLD.node, accept_unknown=False)
    assert change.settings.storage == dataclasses.replace(OLD.storage, min_free=5)
    assert change.describe() == (
        "applied: node.accept_unknown, storage.min_free; needs a restart: node.port, storage.database"
    )


def test_what_waits_for_a_restart_is_told_at_every_reload() -> None:
    new = dataclasses.replace(OLD, node=dataclasses.replace(OLD.node, port=104))
    first = config.changed(OLD, new)
    assert config.changed(first.settings, new).restart == ("node.port",)


def test_another_order_of_rules_is_a_change() -> None:
    new = dataclasses.replace(OLD, rules=OLD.rules[::-1])
    assert config.changed(OLD, new).applied == ("rules (order)",)


def test_another_order_of_peers_is_none() -> None:
    assert config.changed(OLD, dataclasses.replace(OLD, peers=OLD.peers[::-1])).applied == ()


def test_a_coercion_that_only_moved_in_the_file_is_the_same() -> None:
    steps = ({"empty": "PatientID"},)
    old = dataclasses.replace(OLD, coerce=(model.Coercion("tidy", steps, places=("node.toml:3",)),))
    moved = dataclasses.replace(OLD, coerce=(model.Coercion("tidy", steps, places=("node.toml:9",)),))
    assert config.changed(old, moved).describe() == "nothing changed"
    other = dataclasses.replace(OLD, coerce=(model.Coercion("tidy", ({"remove": "PatientID"},)),))
    assert config.changed(old, other).applied == ("coerce.tidy",)
    assert config.changed(OLD, other).applied == ("coerce.tidy (new)",)
