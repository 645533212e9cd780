"""What a process that opens a PostgreSQL for itself may rely on."""

import asyncio
import os
import subprocess
import threading
from pathlib import Path

import asyncpg
import pytest
from embedded_servers.errors import (
    EmbeddedServerError,
    FolderNotUsable,
    NotOnMainThread,
    ServerNotStarted,
)
from embedded_servers.postgres import open_postgres


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def settings(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["name"]: row["setting"] for row in await connection.fetch("SHOW ALL")}
    finally:
        await connection.close()


async def test_a_fresh_folder_gives_a_database_at_once(tmp_path: Path) -> None:
    async with open_postgres(tmp_path / "a" / "b", database="some-thing") as url:
        assert await ask(url, "SELECT current_database()") == "some-thing"
        assert str(await ask(url, "SHOW server_version")).startswith("18.")


async def test_psycopg_reads_the_same_url(url: str) -> None:
    psycopg = pytest.importorskip("psycopg")

    async with await psycopg.AsyncConnection.connect(url) as connection:
        answer = await (await connection.execute("SELECT 42")).fetchone()

    assert answer == (42,)


async def test_the_truth_is_kept_safely_and_out_of_reach_of_the_network(url: str) -> None:
    found = await settings(url)

    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    assert expected == {name: found[name] for name in expected}


async def test_clients_own_the_database_but_are_no_superusers(url: str) -> None:
    await ask(url, "CREATE TABLE mine (n int)")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(url, "COPY mine FROM PROGRAM 'echo 1'")


async def test_clients_may_clone_their_database(url: str) -> None:
    await ask(url.replace("/mediad?", "/postgres?"), "CREATE DATABASE clone TEMPLATE mediad")

    clone = url.replace("/mediad?", "/clone?")
    assert await ask(clone, "SELECT current_database()") == "clone"


async def test_rows_survive_a_restart_at_the_same_url(folder: Path) -> None:
    async with open_postgres(folder) as first:
        await ask(first, "CREATE TABLE survivor AS SELECT 7 AS n")

    async with open_postgres(folder) as second:
        assert await ask(second, "SELECT n FROM survivor") == 7

    assert first == second


async def test_connections_that_stay_open_do_not_delay_the_end(folder: Path) -> None:
    async with asyncio.timeout(5):
        async with open_postgres(folder) as url:
            forgotten = await asyncpg.connect(url)
    forgotten.terminate()


async def test_a_path_too_long_for_a_socket_is_no_obstacle(
    tmp_path: Path, own_folder: Path
) -> None:
    folder = own_folder.rename(tmp_path / ("long, and with a comma " * 6))

    async with open_postgres(folder) as url:
        assert await ask(url, "SELECT 1") == 1
        socket_folder = Path(url.split("host=")[1].split("&")[0])
        assert socket_folder.is_dir()
        assert folder not in socket_folder.parents

    assert not socket_folder.parent.exists()


async def test_everything_is_private(own_folder: Path) -> None:
    own_folder.chmod(0o755)

    async with open_postgres(own_folder):
        open_to_others = [
            p for p in (own_folder, *own_folder.rglob("*")) if p.lstat().st_mode & 0o077
        ]

    assert not open_to_others


async def test_our_environment_stays_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "s3cret")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "--nonsense=1")

    async with open_postgres(folder) as url:
        monkeypatch.delenv("PGOPTIONS")
        assert await ask(url, "SELECT 1") == 1
        pid = (folder / "data" / "postmaster.pid").read_text().split()[0]
        assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "pg" / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    async with open_postgres(tmp_path / "pg") as url:
        assert await ask(url, "SELECT 1") == 1

    assert not half_made.exists()


async def test_a_stale_pid_that_some_other_process_has_now_is_no_obstacle(own_folder: Path) -> None:
    async with open_postgres(own_folder):
        left_behind = (own_folder / "data" / "postmaster.pid").read_text()
    account = (own_folder / "data").stat().st_uid
    other = subprocess.Popen(["sleep", "30"], user=account, cwd="/")
    stale = "\n".join([str(other.pid), *left_behind.splitlines()[1:]])
    (own_folder / "data" / "postmaster.pid").write_text(stale)

    try:
        async with open_postgres(own_folder) as url:
            assert await ask(url, "SELECT 1") == 1
    finally:
        other.kill()
        other.wait()


async def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(FolderNotUsable, match=r"may create(.|\n)*/file/pg: Not a directory"):
        async with open_postgres(tmp_path / "file" / "pg"):
            pass


async def test_a_server_that_dies_at_its_start_is_quoted_and_frees_the_folder(
    own_folder: Path,
) -> None:
    configuration = own_folder / "data" / "postgresql.conf"
    sound = configuration.read_text()
    configuration.write_text("nonsense = 1\n")

    with pytest.raises(ServerNotStarted, match='parameter "nonsense"'):
        async with open_postgres(own_folder):
            pass

    configuration.write_text(sound)
    async with open_postgres(own_folder) as url:
        assert await ask(url, "SELECT 1") == 1


def test_a_thread_that_would_take_the_server_with_it_is_refused(tmp_path: Path) -> None:
    refusals: list[EmbeddedServerError] = []

    async def open_it() -> None:
        try:
            async with open_postgres(tmp_path / "pg"):
                pass
        except NotOnMainThread as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=asyncio.run, args=(open_it(),))
    thread.start()
    thread.join()

    assert len(refusals) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(FolderNotUsable, match="Permission denied"):
        async with open_postgres(tmp_path / "pg"):
            pass
