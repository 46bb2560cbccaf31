"""What only the store on disk has to do: outlive its process, and know when not to be believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from processor.core.events import IN_FLIGHT, Change, MessageState
from processor.errors import ConfigError, StopProcessing, StoreFailed
from processor.ports import OwedCount
from processor.store import partition as partition_module
from processor.store.index import Seen
from processor.store.store import LmdbStore, machine_boot_id
from tests.contracts.test_store import StoppedClock
from tests.support.states import HOUR, NOW, settled, state

DATA = Path("partition-0", "data.mdb")


def make(
    directory: Path,
    *,
    identity: str = "cluster/topic",
    boot_id: str = "boot 1",
    now_ms: int = NOW,
    map_bytes: int = 1 << 20,
    map_limit_bytes: int = 1 << 30,
) -> LmdbStore:
    return LmdbStore(
        directory,
        identity,
        clock=StoppedClock(now_ms),
        delete_retention_ms=24 * HOUR,
        boot_id=boot_id,
        map_bytes=map_bytes,
        map_limit_bytes=map_limit_bytes,
    )


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory with a store of one partition, closed, its checkpoint at 41."""
    store = make(tmp_path)
    store.open(0)
    rows = [state("in flight", due=IN_FLIGHT), settled("done")]
    store.put_many(0, [Change(None, row) for row in rows], checkpoint=41)
    store.close(0)
    return tmp_path


# -- when a checkpoint is believed -----------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "checkpoint"),
    [
        ({}, 41),
        ({"now_ms": NOW + 24 * HOUR}, 41),
        ({"now_ms": NOW + 24 * HOUR + 1}, None),
        ({"now_ms": NOW - 60_000}, 41),
        ({"now_ms": NOW - 60_001}, None),
        ({"identity": "cluster/topic made anew"}, None),
        ({"boot_id": "boot 2"}, None),
    ],
)
def test_a_store_of_another_topic_boot_or_age_is_wiped(
    kept: Path, store: dict[str, object], checkpoint: int | None
) -> None:
    opened = make(kept, **store)  # type: ignore[arg-type]
    assert opened.open(0) == checkpoint
    assert opened.count() == (2 if checkpoint is not None else 0)
    assert opened.owed_count() == OwedCount(0, 1 if checkpoint is not None else 0)
    opened.close(0)


def test_a_store_of_another_format_is_wiped(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.store.store.FORMAT", 999)
    store = make(kept)
    assert store.open(0) is None
    store.close(0)


def test_this_machine_has_a_boot_id_that_stays() -> None:
    assert machine_boot_id() == machine_boot_id() != ""


def test_rows_in_hand_are_found_after_reopening(kept: Path) -> None:
    store = make(kept)
    store.open(0)
    assert list(store.owed_rows(0)) == [state("in flight", due=IN_FLIGHT)]
    assert store.due("default", NOW, 10) == []
    store.close(0)


def test_a_second_store_in_the_process_is_refused_too(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    first.open(0)
    with pytest.raises(StopProcessing):
        second.open(0)
    first.close(0)
    assert second.open(0) is None
    assert second.open(0) is None  # opening again closes first
    second.close(0)


# -- space -----------------------------------------------------------------------------------


def fill(store: LmdbStore, count: int, *, of: str = "m", checkpoint: int = 1) -> list[MessageState]:
    rows = [state(f"{of}{n:06}", due=n) for n in range(count)]
    store.put_many(0, [Change(None, row) for row in rows], checkpoint=checkpoint)
    return rows


def test_the_map_grows_under_a_batch_and_the_batch_is_whole(tmp_path: Path) -> None:
    store = make(tmp_path, map_bytes=1 << 16)
    store.open(0)
    rows = fill(store, 20_000)
    assert store.count() == 20_000
    assert store.owed_count() == OwedCount(0, 20_000)
    store.close(0)
    again = make(tmp_path, map_bytes=1 << 16)  # a smaller map than what is there
    assert again.open(0) == 1
    assert list(again.owed_rows(0)) == rows
    again.close(0)


def test_the_map_grows_under_somebody_who_reads_the_owed_rows(tmp_path: Path) -> None:
    store = make(tmp_path, map_bytes=1 << 20)
    store.open(0)
    rows = fill(store, 3_000)
    iterator = store.owed_rows(0)
    seen = [next(iterator) for _ in range(10)]
    fill(store, 20_000, of="later ")
    assert seen + list(iterator) == rows
    store.close(0)


def test_a_map_at_its_limit_fails_the_batch_and_keeps_what_was(tmp_path: Path) -> None:
    store = make(tmp_path, map_bytes=1 << 18, map_limit_bytes=1 << 20)
    store.open(0)
    before = fill(store, 100)
    with pytest.raises(StoreFailed, match="STATE__MAP_LIMIT_BYTES"):
        fill(store, 20_000, of="more ", checkpoint=2)
    assert store.get_many(0, [row.message_id for row in before]) == {
        row.message_id: row for row in before
    }
    assert len(list(store.owed_rows(0))) == store.count() < 20_000
    assert store.open(0) == 1
    store.close(0)


def test_a_file_of_mostly_free_pages_is_copied_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_module, "COMPACT_MIN_BYTES", 1 << 20)
    store = make(tmp_path)
    store.open(0)
    rows = fill(store, 20_000)
    store.put_many(0, [Change(row, None) for row in rows[100:]], checkpoint=2)
    store.close(0)
    large = (tmp_path / DATA).stat().st_size
    assert store.open(0) == 2
    assert (tmp_path / DATA).stat().st_size < large / 10
    assert list(store.owed_rows(0)) == rows[:100]
    fill(store, 10, of="new ")
    store.close(0)
    assert sorted(path.name for path in (tmp_path / "partition-0").iterdir()) == [
        "data.mdb",
        "lock.mdb",
    ]


# -- damage ----------------------------------------------------------------------------------


def use(store: LmdbStore) -> None:
    """Everything that reads."""
    store.open(0)
    list(store.owed_rows(0))
    store.due("default", NOW, 100_000)
    store.get_many(0, [f"m{n:06}" for n in range(3_000)])
    store.expired(0, NOW + HOUR, 10)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    store = make(tmp_path)
    store.open(0)
    fill(store, 3_000)
    store.close(0)
    return tmp_path


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.7, 0.95])
def test_a_file_cut_short_fails_the_store_and_wiping_mends_it(large: Path, share: float) -> None:
    os.truncate(large / DATA, int((large / DATA).stat().st_size * share))
    store = make(large)
    with pytest.raises(StoreFailed):
        use(store)
    store.wipe(0)
    assert store.open(0) is None
    store.close(0)


def test_a_header_overwritten_fails_the_store(large: Path) -> None:
    file = bytearray((large / DATA).read_bytes())
    file[0:8192] = b"\x07" * 8192
    (large / DATA).write_bytes(file)
    with pytest.raises(StoreFailed):
        make(large).open(0)
    store = make(large)
    store.wipe(0)
    assert store.open(0) is None
    store.close(0)


def test_values_overwritten_fail_the_store(large: Path) -> None:
    file = (large / DATA).read_bytes()
    (large / DATA).write_bytes(file.replace(b"00T000000000001AAA", b"\xff" * 18))
    store = make(large)
    store.open(0)
    with pytest.raises(StoreFailed, match="corrupt"):
        store.get_many(0, ["m000001"])
    with pytest.raises(StoreFailed):
        store.load(0, [("m000001", state("m000001"))], 5)
    store.close(0)


@pytest.mark.parametrize("record", [b"", b"{}", b"[1]", b"\xff", b'{"offset": "x"}'])
def test_a_checkpoint_that_makes_no_sense_fails_the_store(kept: Path, record: bytes) -> None:
    with lmdb.open(str(kept / "partition-0"), max_dbs=5) as env, env.begin(write=True) as txn:
        txn.put(b"checkpoint", record, db=env.open_db(b"meta", txn=txn))
    store = make(kept)
    with pytest.raises(StoreFailed):
        store.open(0)
    store.wipe(0)
    assert store.open(0) is None
    store.close(0)


def test_an_index_that_names_a_missing_message_fails_the_store(kept: Path) -> None:
    with lmdb.open(str(kept / "partition-0"), max_dbs=5) as env, env.begin(write=True) as txn:
        txn.delete(b"in flight", db=env.open_db(b"states", txn=txn))
        txn.delete(b"done", db=env.open_db(b"states", txn=txn))
    store = make(kept)
    store.open(0)
    reads: list[Callable[[], object]] = [
        lambda: list(store.owed_rows(0)),
        lambda: store.expired(0, NOW + HOUR, 5),
    ]
    for read in reads:
        with pytest.raises(StoreFailed) as caught:
            read()
        assert caught.value.partition == 0
    store.close(0)


# -- expiry with much in the way ---------------------------------------------------------------


def test_old_rows_that_are_still_owed_hide_none_behind_them(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.open(0)
    owed = [state(f"o{n:05}", at=NOW - 9 * HOUR) for n in range(5_000)]
    done = [settled(f"d{n}", at=NOW - 5 * HOUR) for n in range(10)]
    store.put_many(0, [Change(None, row) for row in owed + done])
    calls = []
    for _ in range(8):
        calls.append(store.expired(0, NOW, 4))
        store.put_many(0, [Change(row, None) for row in calls[-1]])
    assert [row for found in calls for row in found] == done
    store.put_many(0, [Change(owed[0], replace(owed[0], settled_version=1))])
    later = [row.message_id for _ in range(4) for row in store.expired(0, NOW, 4)]
    assert "o00000" in later
    store.close(0)


# -- refusals --------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made_is_a_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="STATE__DIR"):
        make(tmp_path / "file" / "state")


@pytest.mark.parametrize(
    "wrong",
    [
        state("", due=1),
        state("x" * 600),
        state("m", due=-1),
        state("m", version=1 << 40),
        replace(state("m"), settled_code=1 << 15),
        state("m", account="a" * 70_000),
    ],
)
def test_what_has_no_place_fails_the_store(kept: Path, wrong: MessageState) -> None:
    store = make(kept)
    store.open(0)
    with pytest.raises(StoreFailed):
        store.put_many(0, [Change(None, wrong)])
    assert store.count() == 2
    store.close(0)


def test_an_org_with_too_long_a_name_fails_the_store(kept: Path) -> None:
    store = make(kept)
    store.open(0)
    with pytest.raises(StoreFailed, match="org"):
        store.due("o" * 201, NOW, 1)
    store.close(0)


def test_a_checkpoint_is_as_old_as_the_commit_it_stands_for(tmp_path: Path) -> None:
    # A process stopped for days between the commit and here wakes up as its partition's former
    # owner. What it dates now would be believed when it becomes the owner again, although the
    # tombstones since then may be compacted away: messages would rise from the dead.
    store = make(tmp_path, now_ms=NOW + 25 * HOUR)
    store.open(0)
    store.put_many(0, [Change(None, settled("done"))], checkpoint=41, as_of_ms=NOW)
    store.close(0)
    assert make(tmp_path, now_ms=NOW + 25 * HOUR).open(0) is None


# -- a restore -------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["nothing", "a write", "a reopening"])
def test_what_comes_again_in_a_restore_is_joined_with_what_came_before(
    tmp_path: Path, between: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded into an empty store is looked up there only if its id has come before."""
    monkeypatch.setattr(partition_module, "SEEN_FROM_CHANGES", 2)
    store = make(tmp_path)
    store.open(0)
    newer = replace(settled("m"), version=7, settled_version=7)
    store.load(0, [], checkpoint=0)
    store.load(0, [("m", newer), ("n", settled("n"))], checkpoint=2)
    if between == "a write":
        store.put_many(0, [Change(None, newer_of_late := settled("late"))])
        store.load(0, [("late", replace(newer_of_late, version=1, settled_version=1))], 3)
    elif between == "a reopening":
        store.close(0)
        store.open(0)
    store.load(0, [("m", replace(newer, version=6, settled_version=6))], checkpoint=4)
    assert store.get_many(0, ["m"])["m"].version == 7
    store.load(0, [("n", None)], checkpoint=5)
    assert store.get_many(0, ["n"]) == {}
    store.close(0)


def test_an_id_that_came_before_is_always_told() -> None:
    seen = Seen()
    for step in range(5):
        names = [f"{step}-{number}" for number in range(1_000)]
        told = seen.again([(name, None) for name in names])
        assert len(told) < 5, "by chance"
        assert seen.again([(name, None) for name in names]) == set(names)
