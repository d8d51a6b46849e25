"""The sample site passes Django's deployment checks with the settings that the page recommends."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nucleus_ledger.core import signing
from nucleus_ledger.evidence import signers
from tests.processes import ROOT, Site

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
CHECK = ["check", "--deploy", "--fail-level", "WARNING"]


def recommended() -> dict[str, str]:
    """Return the page's settings, as a shell would read them."""
    block = re.search(r"```sh\n(SECRET_KEY=.*?)```", PAGE, re.DOTALL)
    assert block
    lines = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def deployed(site: Site, tmp_path: Path) -> Site:
    """The sample site with what the page says; secrets and hosts are of this test."""
    signer, vkey = signing.generate("example.com-production")
    signers.write(tmp_path / "key", signer)
    made = subprocess.run(
        [sys.executable, "-c", _secret()], capture_output=True, text=True, check=True
    )
    of_this_test = {
        "SECRET_KEY": made.stdout.strip(),
        "DATABASE_URL": site.url,
        "STATIC_ROOT": str(tmp_path / "static"),
        "EVIDENCE_FOLDER": str(tmp_path / "evidence"),
        "CHECKPOINT_KEY_FILES": str(tmp_path / "key"),
        "CHECKPOINT_VKEYS": str(vkey),
    }
    assert set(of_this_test) <= set(recommended())
    return replace(site, environment=recommended() | of_this_test)


def _secret() -> str:
    """Return the program by which the page makes a secret key."""
    found = re.search(r'`python -c "(.+?)"`', PAGE)
    assert found
    return found[1]


def test_the_recommended_settings_pass_the_deployment_checks(deployed: Site) -> None:
    done = deployed.manage(*CHECK, "--database", "default")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("SECRET_KEY", "short", "security.W009"),
        ("DEBUG", "true", "security.W018"),
        ("SECURE_SSL_REDIRECT", "false", "security.W008"),
        ("SESSION_COOKIE_SECURE", "false", "security.W012"),
        ("CSRF_COOKIE_SECURE", "false", "security.W016"),
        ("SECURE_HSTS_SECONDS", "0", "security.W004"),
        ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "false", "security.W005"),
        ("SECURE_HSTS_PRELOAD", "false", "security.W021"),
        ("LEDGER_ID", "ledger", "nucleus_ledger.W003"),
    ],
)
def test_each_of_them_is_needed(tmp_path: Path, name: str, value: str, warning: str) -> None:
    site = Site(f"sqlite:///{tmp_path / 'site.sqlite3'}", recommended())
    site.environment |= {"DATABASE_URL": site.url, "CHECKPOINT_SINKS": "", name: value}
    site.environment |= {"CHECKPOINT_KEY_FILES": "", "CHECKPOINT_VKEYS": ""}
    done = site.manage(*CHECK)
    assert done.returncode == 1
    assert warning in done.stderr


def test_the_site_serves_behind_a_proxy_with_tls(deployed: Site) -> None:
    done = deployed.python(
        "from django.test import Client\n"
        "host = {'headers': {'host': 'ledger.example.com'}}\n"
        "plain = Client(**host).get('/admin/login/')\n"
        "host['headers']['x-forwarded-proto'] = 'https'\n"
        "secure = Client(**host).get('/admin/login/')\n"
        "print(plain.status_code, plain['location'], secure.status_code,\n"
        "      secure['strict-transport-security'], secure.cookies['csrftoken']['secure'])"
    )
    assert done.stdout.split(" ", 3)[:3] == [
        "301", "https://ledger.example.com/admin/login/", "200",
    ]  # fmt: skip
    assert done.stdout.split(" ", 3)[3] == "max-age=31536000; includeSubDomains; preload True\n"
