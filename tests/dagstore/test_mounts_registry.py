"""The registry of mounts, and packages that bring some."""

from __future__ import annotations

import textwrap
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from carv2.dagstore.mounts import BytesMount, FileMount, Mount, MountRegistry, default_registry
from carv2.errors import MountError, UnknownMountError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLUGIN = """
    from dataclasses import dataclass
    from carv2.dagstore.mounts import Mount, MountStat

    @dataclass(frozen=True)
    class Shouting(Mount):
        text: str
        random_access = False

        @property
        def url(self):
            return f"shout://{self.text}"

        @classmethod
        def of_url(cls, url):
            return cls(url.partition("://")[2])

        def stat(self, *, timeout=None):
            return MountStat(exists=True, size=len(self.text))

        def chunks(self, start=0):
            self.check_start(start)
            yield self.text.upper().encode()
"""


class Site:
    """A folder that packages are installed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, module: str, entry_points: str) -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(module))
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "INSTALLER").write_text("test\n")
        (info / "entry_points.txt").write_text(f"[carv2.mounts]\n{entry_points}\n")
        (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    import sys

    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_an_installed_package_brings_a_mount(site: Site) -> None:
    site.install("shouting_mounts", PLUGIN, "shout = shouting_mounts:Shouting.of_url")
    registry = default_registry()
    assert "shout" in registry
    mount = registry.instantiate("shout://fish")
    assert b"".join(mount.chunks()) == b"FISH"
    assert registry.instantiate(mount.url) == mount
    assert "shout" not in default_registry(entry_points=False)


def test_it_is_imported_when_it_is_needed_and_may_be_broken_until_then(site: Site) -> None:
    site.install("broken_mounts", "raise RuntimeError('fell over')", "broken = broken_mounts:Mount")
    site.install("lost_mounts", "", "lost = lost_mounts:Nothing")
    registry = default_registry()
    assert registry.instantiate("file:///x") == FileMount("/x")
    with pytest.raises(MountError, match="RuntimeError: fell over"):
        registry.instantiate("broken://x")
    with pytest.raises(MountError, match="AttributeError"):
        registry.instantiate("lost://x")


def test_it_takes_the_place_of_nothing(site: Site) -> None:
    site.install("sly_mounts", PLUGIN, "file = sly_mounts:Shouting.of_url\nhttps = sly_mounts:Shouting.of_url")
    registry = default_registry(fsspec=["https"])
    assert registry.instantiate("file:///x") == FileMount("/x")
    assert type(registry.instantiate("https://host/x")).__name__ == "FsspecMount"
    assert type(default_registry().instantiate("https://host/x")).__name__ == "Shouting"


def test_two_packages_for_one_scheme_are_not_chosen_from(site: Site) -> None:
    site.install("one_mounts", PLUGIN, "shout = one_mounts:Shouting.of_url")
    site.install("other_mounts", PLUGIN, "shout = other_mounts:Shouting.of_url")
    with pytest.raises(MountError, match=r"several packages.*one_mounts.*other_mounts"):
        default_registry().instantiate("shout://x")


def test_a_name_that_is_no_scheme_is_left_out_with_a_warning(site: Site) -> None:
    site.install("odd_mounts", PLUGIN, "not a scheme = odd_mounts:Shouting.of_url")
    with pytest.warns(UserWarning, match="not a scheme"):
        registry = default_registry()
    assert registry.schemes == ("bytes", "file")


def test_what_there_is_by_default() -> None:
    assert default_registry().schemes == ("bytes", "file")
    assert list(default_registry(fsspec=["s3", "https"])) == ["bytes", "file", "https", "s3"]


def test_a_scheme_is_registered_once() -> None:
    registry = default_registry()
    with pytest.raises(ValueError, match="mount already registered for scheme: file"):
        registry.register("FILE", FileMount.of_url)
    registry.register("file", lambda _: BytesMount(b"fish"), replace=True)
    assert registry.instantiate("file:///x") == BytesMount(b"fish")


@pytest.mark.parametrize("scheme", ["", "1x", "a b", "a:b", "a/b", "\u00e9", "x\n"])
def test_what_cannot_be_a_scheme(scheme: str) -> None:
    with pytest.raises(ValueError, match="cannot be the scheme"):
        MountRegistry().register(scheme, FileMount.of_url)


def test_whatever_a_factory_does_is_a_mount_error() -> None:
    def fail(url: str) -> Mount:
        raise KeyError(url)

    registry = MountRegistry()
    registry.register("bad", fail)
    registry.register("worse", cast("Any", lambda _: "a text"))
    with pytest.raises(MountError, match="KeyError") as caught:
        registry.instantiate("bad://x")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(MountError, match="made a str, not a Mount"):
        registry.instantiate("worse://x")
    with pytest.raises(UnknownMountError):
        registry.instantiate("worst://x")


def test_threads_may_register_and_ask() -> None:
    registry = MountRegistry()

    def register(number: int) -> None:
        for at in range(50):
            registry.register(f"x{number}-{at}", FileMount.of_url)
            assert f"x{number}-{at}" in registry.schemes

    threads = [threading.Thread(target=register, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.schemes) == 200
