"""What attempts show to say who they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.api.roles.keys import Bearer, Keys, bearer_of
from batchyard.core.job import attempt_id
from batchyard.exceptions import DataFolderError

JOB = "00000000-0000-4000-8000-000000000001"
ONE = Bearer(JOB, None, 1)
OTHERS = [Bearer(JOB, None, 2), Bearer(JOB, 1, 1), Bearer(JOB, 11, 1), Bearer(JOB[:-1] + "2", None, 1)]
KEYS = Keys(b"k" * 32)
bearers = st.builds(Bearer, st.uuids().map(str), st.none() | st.integers(0, 999_999), st.integers(1, 10))


@given(bearers)
def test_a_name_says_which_attempt(bearer: Bearer) -> None:
    assert bearer_of(bearer.name) == bearer
    assert bearer.attempt_id == attempt_id(bearer.job_id, bearer.index, bearer.number)


@given(st.text())
def test_no_text_breaks_the_reading_of_names_and_tokens(text: str) -> None:
    assert bearer_of(text) is None
    assert KEYS.of_token(text) is None
    assert KEYS.bearer_at("metadata", text) is None
    assert not KEYS.is_authorization(ONE, text)


def test_an_attempts_token_is_its_own() -> None:
    assert KEYS.is_authorization(ONE, KEYS.authorization(ONE))
    assert not any(KEYS.is_authorization(other, KEYS.authorization(ONE)) for other in OTHERS)


def test_a_place_is_good_for_one_attempt_and_one_purpose() -> None:
    place = KEYS.place("metadata", ONE)
    assert KEYS.bearer_at("metadata", place) == ONE
    assert KEYS.bearer_at("guest", place) is None
    proof = place.rpartition(".")[2]
    assert all(KEYS.bearer_at("metadata", f"{other.name}.{proof}") is None for other in OTHERS)
    assert KEYS.authorization(ONE) != proof


def test_credentials_follow_from_their_token() -> None:
    credentials = KEYS.credentials(ONE, 1_800_000_000)
    assert KEYS.of_token(credentials.token) == (ONE, credentials)
    assert len(credentials.access_key) == 20 and len(credentials.secret_key) == 40
    later = KEYS.credentials(ONE, 1_800_000_001)
    assert len({*_parts(credentials), *_parts(later), *_parts(KEYS.credentials(OTHERS[0], 1_800_000_000))}) == 9


def _parts(credentials: object) -> tuple[str, str, str]:
    return (credentials.access_key, credentials.secret_key, credentials.token)  # type: ignore[attr-defined]


def test_a_token_can_not_be_made_longer_lived() -> None:
    token = KEYS.credentials(ONE, 1_800_000_000).token
    assert KEYS.of_token(token.replace("1800000000", "1900000000")) is None


def test_nothing_of_another_servers_is_taken() -> None:
    other = Keys(b"o" * 32)
    assert other.of_token(KEYS.credentials(ONE, 1_800_000_000).token) is None
    assert other.bearer_at("metadata", KEYS.place("metadata", ONE)) is None
    assert not other.is_authorization(ONE, KEYS.authorization(ONE))


def test_the_key_of_a_data_folder_stays_and_is_its_owners_alone(tmp_path: Path) -> None:
    token = Keys.load(tmp_path).authorization(ONE)
    assert Keys.load(tmp_path).authorization(ONE) == token
    (made,) = tmp_path.iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    made.unlink()
    assert Keys.load(tmp_path).authorization(ONE) != token


def test_a_key_that_was_not_written_whole_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "attempt-key.new").write_text("half")
    assert Keys.load(tmp_path).authorization(ONE) != Keys(b"half").authorization(ONE)


@pytest.mark.parametrize("key", ["", "short"])
def test_a_key_that_is_too_short_is_refused(tmp_path: Path, key: str) -> None:
    Keys.load(tmp_path)
    (tmp_path / "attempt-key").write_text(key)
    with pytest.raises(DataFolderError, match="too short"):
        Keys.load(tmp_path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Keys.load(tmp_path)
    (tmp_path / "attempt-key").chmod(0o640)
    with pytest.raises(DataFolderError, match="can be read by others"):
        Keys.load(tmp_path)


def test_a_folder_that_can_not_be_used_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="cannot read or write"):
        Keys.load(tmp_path / "absent")
