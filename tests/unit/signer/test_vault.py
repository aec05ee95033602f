"""A sealed secret opens for its own row under its own key, and for nothing else."""

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signer.errors import KeyringFault, VaultFault
from signer.vault import Keyring, Vault, generate_keyring_text

OLD_KEY = bytes(range(32))
NEW_KEY = bytes(range(32, 64))
ROW = b"endpoint_secret|app_1|ep_1"
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def entry(key_id: str, key: bytes) -> str:
    return f"{key_id}:{b64encode(key).decode()}"


def old_vault() -> Vault:
    return Vault({"old": OLD_KEY}, "old")


def rotated_vault() -> Vault:
    return Vault({"new": NEW_KEY, "old": OLD_KEY}, "new")


@settings(deadline=None)  # the machine may be busy
@given(plaintext=st.binary(max_size=300), context=st.binary(max_size=100))
def test_what_was_sealed_opens_again(plaintext: bytes, context: bytes) -> None:
    vault = rotated_vault()

    sealed = vault.seal(plaintext, context=context)

    assert vault.open(sealed, context=context) == plaintext


def test_a_sealed_value_shows_its_version_and_key_id_but_not_its_content() -> None:
    sealed = old_vault().seal(SECRET, context=ROW)

    assert sealed.startswith(b"\x01\x03old")
    assert len(sealed) == len(b"\x01\x03old") + 12 + len(SECRET) + 16
    assert SECRET[:8] not in sealed


def test_sealing_twice_gives_two_different_values() -> None:
    vault = old_vault()

    sealed = {vault.seal(SECRET, context=ROW) for _ in range(50)}

    assert len(sealed) == 50


def test_a_value_does_not_open_for_another_row() -> None:
    vault = old_vault()

    sealed = vault.seal(SECRET, context=ROW)

    with pytest.raises(VaultFault, match="belongs to another row") as refusal:
        vault.open(sealed, context=b"endpoint_secret|app_2|ep_1")
    assert refusal.value.key_id == "old"


def test_a_change_of_any_bit_is_noticed() -> None:
    vault = old_vault()
    sealed = vault.seal(b"short", context=ROW)

    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8

        with pytest.raises(VaultFault):
            vault.open(bytes(changed), context=ROW)


def test_a_value_cannot_be_passed_off_as_sealed_under_another_id() -> None:
    vault = Vault({"a": OLD_KEY, "b": OLD_KEY}, "a")
    sealed = vault.seal(SECRET, context=ROW)

    renamed = sealed.replace(b"\x01\x01a", b"\x01\x01b", 1)

    with pytest.raises(VaultFault, match="does not open under key 'b'"):
        vault.open(renamed, context=ROW)


@pytest.mark.parametrize("kept_bytes", [0, 1, 2, 4, 5, 17, 32])
def test_a_value_that_was_cut_short_is_refused(kept_bytes: int) -> None:
    vault = old_vault()

    sealed = vault.seal(b"", context=ROW)[:kept_bytes]

    with pytest.raises(VaultFault, match="not a sealed value") as refusal:
        vault.open(sealed, context=ROW)
    assert refusal.value.key_id is None


def test_a_value_sealed_by_a_later_release_says_to_upgrade() -> None:
    vault = old_vault()

    later = b"\x02" + vault.seal(SECRET, context=ROW)[1:]

    with pytest.raises(VaultFault, match="or upgrade"):
        vault.open(later, context=ROW)


@settings(deadline=None)  # the machine may be busy
@given(noise=st.binary(max_size=80))
def test_noise_is_refused_and_nothing_else_is_raised(noise: bytes) -> None:
    with pytest.raises(VaultFault):
        old_vault().open(noise, context=ROW)


def test_a_value_of_a_key_that_is_gone_says_which_key_to_put_back() -> None:
    sealed = old_vault().seal(SECRET, context=ROW)

    with pytest.raises(VaultFault, match=r"under key 'old', .* add that key") as gone:
        Vault({"new": NEW_KEY}, "new").open(sealed, context=ROW)
    assert gone.value.key_id == "old"


def test_another_key_under_the_same_id_is_noticed() -> None:
    sealed = old_vault().seal(SECRET, context=ROW)

    with pytest.raises(VaultFault, match="another key under this id"):
        Vault({"old": NEW_KEY}, "old").open(sealed, context=ROW)


def test_a_fault_does_not_show_what_was_sealed_or_any_key() -> None:
    sealed = old_vault().seal(SECRET, context=ROW)

    with pytest.raises(VaultFault) as refusal:
        old_vault().open(sealed, context=b"another")

    assert SECRET.decode() not in str(refusal.value)
    assert b64encode(OLD_KEY).decode() not in str(refusal.value)


def test_after_a_rotation_old_values_open_and_ask_to_be_resealed() -> None:
    vault = rotated_vault()
    sealed = old_vault().seal(SECRET, context=ROW)

    resealed = vault.seal(vault.open(sealed, context=ROW), context=ROW)

    assert vault.needs_reseal(sealed)
    assert not vault.needs_reseal(resealed)
    assert Vault({"new": NEW_KEY}, "new").open(resealed, context=ROW) == SECRET


def test_whether_noise_needs_a_reseal_cannot_be_said() -> None:
    with pytest.raises(VaultFault, match="not a sealed value"):
        old_vault().needs_reseal(SECRET)


@pytest.mark.parametrize(
    ("keys", "current", "message"),
    [
        ({}, "a", "the current key is not among its keys"),
        ({"a": OLD_KEY}, "b", "the current key is not among its keys"),
        ({"a": OLD_KEY[:16]}, "a", "key 1: the key of 'a' has 16 bytes, not 32"),
        ({"a": OLD_KEY, "b b": NEW_KEY}, "a", "key 2: it must begin with an id"),
        ({"": OLD_KEY}, "", "key 1: it must begin with an id"),
        ({"é": OLD_KEY}, "é", "key 1: it must begin with an id"),
    ],
)
def test_a_vault_refuses_keys_that_it_could_not_use(
    keys: dict[str, bytes], current: str, message: str
) -> None:
    with pytest.raises(KeyringFault, match=message):
        Vault(keys, current)


@pytest.mark.parametrize(
    "text",
    [
        f"{entry('new', NEW_KEY)}\n{entry('old', OLD_KEY)}\n",
        f"{entry('new', NEW_KEY)},{entry('old', OLD_KEY)}",
        f"# since spring\r\n\r\n  {entry('new', NEW_KEY)} ,\r\n\r\n{entry('old', OLD_KEY)},,\r\n",
        f"  # a, b\nnew : {b64encode(NEW_KEY).decode()}\n{entry('old', OLD_KEY)}",
    ],
)
def test_a_keyring_is_read_from_lines_or_commas_and_its_first_key_is_current(text: str) -> None:
    keyring = Keyring.from_text(text)

    assert keyring.current == "new"
    assert dict(keyring.keys) == {"new": NEW_KEY, "old": OLD_KEY}


def test_all_faults_of_a_keyring_are_reported_at_once() -> None:
    text = "\n".join(
        [
            entry("good", OLD_KEY),
            entry("good", NEW_KEY),
            entry("short", OLD_KEY[:31]),
            "odd:not-base64!",
            entry("no spaces", OLD_KEY),
            "loner",
        ]
    )

    with pytest.raises(KeyringFault) as refusal:
        Keyring.from_text(text)

    no_id = 'it must begin with an id (1 to 24 letters, digits, "_", "-") and a colon'
    assert refusal.value.faults == (
        "entry 2: the id 'good' is there twice",
        "entry 3: the key of 'short' has 31 bytes, not 32",
        "entry 4: the key of 'odd' is not standard, padded base64",
        f"entry 5: {no_id}",
        f"entry 6: {no_id}",
    )


@pytest.mark.parametrize("text", ["", " \n", "# nothing yet", ",,"])
def test_an_empty_keyring_says_how_an_entry_looks(text: str) -> None:
    with pytest.raises(KeyringFault, match="holds no key: write one entry as id:base64"):
        Keyring.from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b64encode(OLD_KEY).decode(), id="key-without-id"),
        pytest.param(b64encode(OLD_KEY).decode() + ":old", id="key-before-id"),
        pytest.param("correct-horse-battery", id="passphrase"),
        pytest.param("old:correct-horse-battery", id="passphrase-with-id"),
        pytest.param("old:" + b64encode(OLD_KEY[:20]).decode(), id="short-key"),
    ],
)
def test_a_refused_keyring_never_repeats_a_key(text: str) -> None:
    with pytest.raises(KeyringFault) as refusal:
        Keyring.from_text(text)

    longest = max(text.split(":"), key=len)
    assert longest not in str(refusal.value)


def test_printing_a_keyring_or_a_vault_shows_no_key() -> None:
    keyring = Keyring.from_text(entry("only", OLD_KEY))

    shown = f"{keyring} {keyring!r} {Vault(keyring.keys, keyring.current)!r}"

    assert "only" in shown
    assert b64encode(OLD_KEY).decode() not in shown
    assert repr(OLD_KEY)[2:12] not in shown


def test_generated_entries_make_a_keyring_together() -> None:
    newest, oldest = generate_keyring_text(), generate_keyring_text()

    keyring = Keyring.from_text(newest + oldest)

    assert len(keyring.keys) == 2
    assert keyring.current == newest.partition(":")[0]
    vault = Vault(keyring.keys, keyring.current)
    assert vault.open(vault.seal(SECRET, context=ROW), context=ROW) == SECRET


def test_the_keys_of_a_keyring_cannot_be_changed() -> None:
    keyring = Keyring.from_text(generate_keyring_text())

    with pytest.raises(TypeError):
        keyring.keys["other"] = OLD_KEY  # type: ignore[index]
